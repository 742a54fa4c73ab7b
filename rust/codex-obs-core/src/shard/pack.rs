//! Packing: the oldest rotated shard becomes an archive, and is there once at every moment.
//!
//! Its lines are compressed under a name that nobody reads. The finished file gets the shard's number, where the plain file
//! wins; then the plain file is deleted, and then the file gets its archive name. The folder reaches the disk before each of
//! the last two steps, so that a power cut leaves one of these states as well. Rotation may move the pair in between: its
//! number is looked up anew, by device and inode, under the lock that rotation holds too.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::archive::{Archive, draft_path};
use super::footer::{Birth, Footer};
use super::ordinal::Shards;
use super::rotate::{MOVING, rename_new};
use super::tally::Tally;
use crate::error::{Error, Result};
use crate::fs::{FileId, create_new, open_read, remove_if_there, rename, sync_file, sync_folder};
use crate::limits::SCAN_BLOCK_BYTES;
use crate::paths::{Coding, shard_path};

/// Rows of eight random floats become 21 times smaller at 0.9 GB/s a core; level 3 packs worse at half the speed.
const LEVEL: i32 = 1;

/// Held while names of a log change: by rotation, and by packing for its renames.
pub type Names = Mutex<()>;

fn lock(names: &Names) -> MutexGuard<'_, ()> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

fn folder(base: &Path) -> &Path {
    base.parent().unwrap_or(Path::new("."))
}

fn is_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_file())
}

/// How the shard with `number` is stored that is read.
fn coding_of(base: &Path, number: u64) -> Option<Coding> {
    Coding::ALL.into_iter().find(|&coding| is_file(&shard_path(base, number, coding)))
}

/// Removes what a packer that died left of the log `base` and nobody reads.
///
/// # Errors
/// If the folder cannot be read, or a file cannot be removed.
pub fn tidy(base: &Path) -> Result<()> {
    remove_if_there(&draft_path(base))?;
    let name = base.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let folder = folder(base);
    let failed = |source| Error::io("list", folder, source);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let file_name = entry.map_err(failed)?.file_name();
        let rest = file_name.to_str().and_then(|file_name| file_name.strip_prefix(name)?.strip_suffix(MOVING));
        let path = folder.join(&file_name);
        // One that somebody else packed is kept: it is a copy, but not ours.
        if rest.is_some_and(|rest| rest.ends_with(Coding::Zstandard.suffix()))
            && let Ok(file) = open_read(&path)
            && Footer::of(&file, &path)?.is_some()
        {
            remove_if_there(&path)?;
        }
    }
    Ok(())
}

/// Whether there is something to pack of the log `base`, or to finish, if `keep` rotated shards stay plain.
///
/// # Errors
/// If the folder cannot be read.
pub fn is_due(base: &Path, keep: u64) -> Result<bool> {
    let shards = Shards::of(base)?;
    let excess = shards.numbers.len() as u64 > keep;
    Ok(excess || is_file(&draft_path(base)) || finished(base, &shards)?.is_some())
}

/// The number of the oldest shard, if it is an archive that only lacks its name.
fn finished(base: &Path, shards: &Shards) -> Result<Option<u64>> {
    let Some(&number) = shards.numbers.last() else { return Ok(None) };
    if coding_of(base, number) != Some(Coding::Zstandard) {
        return Ok(None);
    }
    let path = shard_path(base, number, Coding::Zstandard);
    let footer = Footer::of(&open_read(&path)?, &path)?;
    Ok(footer.filter(|footer| footer.ordinal == shards.ordinal(number)).map(|_| number))
}

/// Whether the file at `path` is a second copy of an archive that has its name: one that got a shard's number later than the file
/// system said, when the shard had another.
fn is_left_over(base: &Path, path: &Path) -> Result<bool> {
    let Some(footer) = Footer::of(&open_read(path)?, path)? else { return Ok(false) };
    let archive = Archive::Packed.path(base, footer.ordinal);
    let archived = match open_read(&archive) {
        Ok(file) => Footer::of(&file, &archive)?,
        Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => None,
        Err(error) => return Err(error),
    };
    Ok(archived.is_some_and(|archived| Footer { own: footer.own, ..archived } == footer))
}

/// A shard that is being packed, a block at a time, so that it can be left at any block and gone on with.
pub struct Job {
    base: PathBuf,
    path: PathBuf,
    ordinal: u64,
    coding: Coding,
    source: File,
    birth: Birth,
    length: u64,
    reader: Box<dyn Read + Send>,
    encoder: zstd::Encoder<'static, File>,
    own: FileId,
    tally: Tally,
    block: Vec<u8>,
}

impl Job {
    /// Begins with the oldest shard of the log `base` if more than `keep` are rotated, and finishes what was begun before.
    ///
    /// # Errors
    /// If a file cannot be opened or renamed.
    pub fn begin(base: &Path, keep: u64, mode: u32, names: &Names) -> Result<Option<Self>> {
        loop {
            let _names = lock(names);
            let shards = Shards::of(base)?;
            let ordinal_of = |number| shards.ordinal(number);
            if let Some(number) = finished(base, &shards)? {
                sync_folder(folder(base))?;
                let path = shard_path(base, number, Coding::Zstandard);
                rename_new(&path, &Archive::Packed.path(base, ordinal_of(number)))?;
                continue;
            }
            let Some(&number) = shards.numbers.last().filter(|_| shards.numbers.len() as u64 > keep) else {
                return Ok(None);
            };
            let Some(coding) = coding_of(base, number) else { return Ok(None) };
            let path = shard_path(base, number, coding);
            if coding == Coding::Zstandard && is_left_over(base, &path)? {
                sync_folder(folder(base))?;
                remove_if_there(&path)?;
                continue;
            }
            return Self::of(base, path, ordinal_of(number), coding, mode).map(Some);
        }
    }

    fn of(base: &Path, path: PathBuf, ordinal: u64, coding: Coding, mode: u32) -> Result<Self> {
        let source = open_read(&path)?;
        let birth = Birth::of(&source, &path)?;
        let length = source.metadata().map_err(|error| Error::io("examine", &path, error))?.len();
        let again = || source.try_clone().map_err(|error| Error::io("open", &path, error));
        let reader: Box<dyn Read + Send> = match coding {
            Coding::Plain => Box::new(again()?),
            Coding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(again()?)),
            Coding::Zstandard => {
                Box::new(zstd::Decoder::new(again()?).map_err(|error| Error::io("read", &path, error))?)
            }
        };
        let draft = draft_path(base);
        remove_if_there(&draft)?;
        let file = create_new(&draft, mode)?;
        let own = FileId::of(&file, &draft)?;
        let encoder = zstd::Encoder::new(file, LEVEL).and_then(|mut encoder| {
            encoder.include_checksum(true)?;
            Ok(encoder)
        });
        let encoder = encoder.map_err(|error| Error::io("write", &draft, error))?;
        Ok(Self {
            base: base.to_owned(),
            path,
            ordinal,
            coding,
            source,
            birth,
            length,
            reader,
            encoder,
            own,
            tally: Tally::new(0),
            block: vec![0; SCAN_BLOCK_BYTES],
        })
    }

    /// Packs the next block. Gives whether that was the last one.
    ///
    /// # Errors
    /// If the shard cannot be read, or there is no room for the archive: then it is to be begun anew.
    pub fn step(&mut self) -> Result<bool> {
        let count = loop {
            match self.reader.read(&mut self.block) {
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if self.coding != Coding::Plain => {
                    return Err(Error::corrupt(&self.path, "it cannot be unpacked; move it elsewhere"));
                }
                Err(error) => return Err(Error::io("read", &self.path, error)),
            }
        };
        self.tally.add(&self.block[..count]);
        let written = self.encoder.write_all(&self.block[..count]);
        written.map_err(|error| Error::io("write", &draft_path(&self.base), error))?;
        Ok(count == 0)
    }

    /// Ends the archive and puts it on the disk.
    ///
    /// # Errors
    /// If that is impossible.
    pub fn finish(mut self) -> Result<Packed> {
        let draft = draft_path(&self.base);
        let failed = |error| Error::io("write", &draft, error);
        let (hash, first_line) = self.tally.end();
        let footer = Footer {
            ordinal: self.ordinal,
            rows: self.tally.rows,
            largest_step: self.tally.largest_step,
            plain_bytes: self.tally.bytes,
            hash,
            first_line,
            source: self.birth,
            own: self.own,
        };
        let mut file = self.encoder.finish().map_err(failed)?;
        file.write_all(&footer.to_bytes()).map_err(failed)?;
        file.sync_all().map_err(|error| Error::io("sync", &draft, error))?;
        Ok(Packed {
            base: self.base,
            coding: self.coding,
            source: self.source,
            birth: self.birth,
            length: self.length,
            footer,
        })
    }

    /// Removes what was written so far.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn discard(base: &Path) -> Result<()> {
        remove_if_there(&draft_path(base))
    }
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("path", &self.path).field("ordinal", &self.ordinal).finish_non_exhaustive()
    }
}

/// A finished archive that has not taken the shard's place.
#[derive(Debug)]
pub struct Packed {
    base: PathBuf,
    coding: Coding,
    /// Open, so that its inode is nobody else's.
    source: File,
    birth: Birth,
    length: u64,
    /// What the archive says of itself.
    pub footer: Footer,
}

impl Packed {
    /// Lets the archive take the shard's place, once `secure` has heard of the shard and its number, and its rows are on the
    /// disk as they are. `false` if the shard is no longer the oldest one, or not what it was: then the archive is gone, and
    /// the shard is as it is.
    ///
    /// # Errors
    /// If `secure` refuses, or a name cannot be changed; whatever was done is gone on with by [`Job::begin`].
    pub fn place(&self, names: &Names, secure: &dyn Fn(FileId, u64) -> Result<()>) -> Result<bool> {
        let (base, draft) = (&self.base, draft_path(&self.base));
        let number = {
            let _names = lock(names);
            self.number()?
        };
        if number.is_some() && self.is_archived()? {
            remove_if_there(&draft)?;
            sync_folder(folder(base))?;
            let _names = lock(names);
            if let Some(number) = self.number()? {
                remove_if_there(&shard_path(base, number, self.coding))?;
            }
            return Ok(true);
        }
        if let Some(number) = number {
            sync_file(&self.source, &shard_path(base, number, self.coding))?;
            sync_folder(folder(base))?;
            secure(self.birth.id, number)?;
        }
        {
            let _names = lock(names);
            let Some(number) = self.number()? else {
                remove_if_there(&draft)?;
                return Ok(false);
            };
            let target = shard_path(base, number, Coding::Zstandard);
            rename(&draft, &target)?;
        }
        self.replace(names)
    }

    /// Once the archive stands beside the shard: deletes the shard, and gives the archive its own name.
    fn replace(&self, names: &Names) -> Result<bool> {
        let base = &self.base;
        sync_folder(folder(base))?;
        if self.coding != Coding::Zstandard {
            let _names = lock(names);
            match self.number()? {
                Some(number) => {
                    // A copy that was not read would be read once the plain file is gone.
                    let copy = shard_path(base, number, Coding::Gzip);
                    if self.coding == Coding::Plain && is_file(&copy) {
                        let aside = Archive::Packed.path(base, self.footer.ordinal).with_extension("gz");
                        rename(&copy, &aside)?;
                    }
                    remove_if_there(&shard_path(base, number, self.coding))?;
                }
                None if self.has_source()? => {
                    if let Some(number) = self.own_number()? {
                        remove_if_there(&shard_path(base, number, Coding::Zstandard))?;
                    }
                    return Ok(false);
                }
                // Gone meanwhile, as where a deletion that was answered with an error is done later: the archive has the only rows.
                None => {}
            }
        }
        sync_folder(folder(base))?;
        let _names = lock(names);
        let Some(number) = self.own_number()? else { return Ok(false) };
        let path = shard_path(base, number, Coding::Zstandard);
        rename_new(&path, &Archive::Packed.path(base, self.footer.ordinal))
    }

    /// The shard's number, if it is still the oldest one and as it was.
    fn number(&self) -> Result<Option<u64>> {
        let shards = Shards::of(&self.base)?;
        let Some(&number) = shards.numbers.last() else { return Ok(None) };
        let path = shard_path(&self.base, number, self.coding);
        let metadata = self.source.metadata().map_err(|error| Error::io("examine", &path, error))?;
        let is_it = coding_of(&self.base, number) == Some(self.coding)
            && FileId::at(&path)? == Some(self.birth.id)
            && shards.ordinal(number) == self.footer.ordinal
            && metadata.len() == self.length;
        Ok(is_it.then_some(number))
    }

    /// Whether the file that was packed is still a shard, perhaps changed or under another number.
    fn has_source(&self) -> Result<bool> {
        for &number in &Shards::of(&self.base)?.numbers {
            if FileId::at(&shard_path(&self.base, number, self.coding))? == Some(self.birth.id) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the newest archive is of this very shard: names that change later than the file system says bring a shard back
    /// that was packed. Where files have no time of creation, none is known to be the same.
    fn is_archived(&self) -> Result<bool> {
        let Some(newest) = Shards::of(&self.base)?.archives.last().copied() else { return Ok(false) };
        let path = Archive::Packed.path(&self.base, newest);
        let archived = Footer::of(&open_read(&path)?, &path)?;
        Ok(self.birth.created > 0
            && archived.is_some_and(|archived| {
                let Footer { rows, plain_bytes, hash, source, .. } = self.footer;
                (archived.rows, archived.plain_bytes, archived.hash, archived.source)
                    == (rows, plain_bytes, hash, source)
            }))
    }

    /// The archive's number, while it has one.
    fn own_number(&self) -> Result<Option<u64>> {
        for &number in Shards::of(&self.base)?.numbers.iter().rev() {
            if FileId::at(&shard_path(&self.base, number, Coding::Zstandard))? == Some(self.footer.own) {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }
}

/// Packs what is due of the log `base`, where nobody writes it and no journal is left, as far as it `goes_on`. Gives how
/// many archives were made.
///
/// # Errors
/// If that is impossible: then the shards are as they were.
pub fn pack_all(base: &Path, keep: u64, mode: u32, goes_on: &dyn Fn() -> bool) -> Result<u64> {
    let names = Names::default();
    let mut packed = 0;
    if !is_due(base, keep)? {
        return Ok(0);
    }
    tidy(base)?;
    while goes_on() {
        let Some(mut job) = Job::begin(base, keep, mode, &names)? else { break };
        let outcome = loop {
            match job.step() {
                Ok(false) => {}
                Ok(true) => break job.finish(),
                Err(error) => break Err(error),
            }
        };
        let placed = outcome
            .and_then(|packed| packed.place(&names, &|_, _| Ok(())))
            .inspect_err(|_| drop(Job::discard(base)))?;
        packed += u64::from(placed);
        if !placed {
            break;
        }
    }
    Ok(packed)
}

#[cfg(test)]
#[path = "pack_tests.rs"]
mod tests;
