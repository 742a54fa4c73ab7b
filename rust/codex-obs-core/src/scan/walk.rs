//! The files of one stream, opened while its writer may rotate them.
//!
//! A rotation renames shards to the next higher number, the highest first, and then creates a new current file. So a file's
//! number only grows, and of two files of a stream the older one always has the higher number. [`Walk`] opens the files
//! of a stream from the current one upwards and keeps them open, which gives:
//!
//! * Nothing is missed. A file that was not met yet stands above the place of the walk, and moves away from it. Where a file
//!   was listed or found, the number above it is tried too, so that a file that moves on is met there.
//! * Nothing comes twice: a file is known by device and inode, not by name. One that is met again, and has left its name, has
//!   moved past the walk, and so has every older one. What was noted behind it is forgotten; it is either older and will be met
//!   again, or newer than the walk's first file (two rotations in one walk) and no part of the snapshot. One that still has its
//!   name has two of them.
//! * The moment of the snapshot is the opening of the first file. Its length is noted then; what is appended later is
//!   behind that. Older files do not grow.
//!
//! At the far end the oldest shard becomes an archive, whose name never changes, so archives are opened last. Retention
//! deletes there as well. A walk during which names changed is therefore done again, a few times, so that a shard that was
//! there at its moment is not lost to the next rotation, and none is read both as it was and packed.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::listing::{Base, Names};
use super::source::{Content, Identity, Source};
use crate::error::{Error, Result};
use crate::fs::{FileId, open_read};
use crate::paths::{Coding, shard_path};
use crate::shard::archive::Archive;
use crate::shard::footer::{Birth, Footer};
use crate::shard::ordinal::{Shards, gone};

/// A file that was opened.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) id: Identity,
    pub(super) path: PathBuf,
    coding: Coding,
    length: u64,
    file: Option<Arc<File>>,
    /// Among the rotated ones, 0 for the current file; `None` for an archive.
    number: Option<u64>,
    pub(super) ordinal: u64,
}

impl Found {
    pub(super) fn new(file: File, path: PathBuf, coding: Coding, open_files: &mut OpenFiles) -> Result<Self> {
        let id = Identity::of(&file, &path)?;
        let length = file.metadata().map_err(|source| Error::io("examine", &path, source))?.len();
        Ok(Self { id, path, coding, length, file: open_files.keep(file), number: None, ordinal: 0 })
    }

    pub(super) fn source(self, stream: &Arc<str>) -> Source {
        let content = Content::File { id: self.id, length: self.length, file: self.file };
        Source {
            path: self.path,
            stream: Arc::clone(stream),
            coding: self.coding,
            ordinal: self.ordinal,
            content,
            start: 0,
            segments: Vec::new(),
        }
    }

    /// The file that was packed into this one, if we did that and it is open.
    fn packed_from(&self) -> Result<Option<Birth>> {
        let Some(file) = self.file.as_ref().filter(|_| self.coding == Coding::Zstandard) else { return Ok(None) };
        Ok(Footer::of(file, &self.path)?.map(|footer| footer.source))
    }
}

/// The files of one stream, the newest first.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) found: Vec<Found>,
    /// Names that lead to no file.
    pub(super) strangers: BTreeSet<PathBuf>,
    /// Rows that retention deleted.
    pub(super) retired: u64,
}

impl Walk {
    /// Opens the current file and then every number upwards.
    pub(super) fn new(directory: &Path, base: &Base, listed: &Names, open_files: &mut OpenFiles) -> Result<Self> {
        let path = directory.join(base.file_name());
        let mut walk = Self::default();
        let mut ahead: BTreeSet<u64> = listed.numbers.keys().copied().chain([0]).collect();
        while let Some(number) = ahead.pop_first() {
            let opened = walk.open_best(&path, number)?;
            if opened.is_some() || listed.numbers.contains_key(&number) {
                ahead.extend(number.checked_add(1));
            }
            let Some((file, path, coding)) = opened else { continue };
            let found = Found { number: Some(number), ..Found::new(file, path, coding, open_files)? };
            match walk.found.iter().position(|known| known.id == found.id) {
                None => walk.found.push(found),
                Some(index) => {
                    open_files.give_back(&found);
                    if leads_to(&walk.found[index].path) != Some(found.id.id) {
                        walk.found.drain(index + 1..).for_each(|forgotten| open_files.give_back(&forgotten));
                    }
                }
            }
        }
        Ok(walk)
    }

    /// Whether the stream's files have moved since: its current one is another, or there are other names `now`.
    pub(super) fn has_moved(&self, directory: &Path, base: &Base, listed: &Names, now: Option<&Names>) -> bool {
        let path = directory.join(base.file_name());
        let first = self.found.first().filter(|first| first.path == path).map(|first| first.id.id);
        let leads = || leads_to(&path).filter(|_| !self.strangers.contains(&path));
        now.map_or(*listed != Names::default(), |now| now != listed) || leads() != first
    }

    /// Gives the shards their ordinals, where no name has changed, and opens the archives behind them, the newest first. Where
    /// names kept changing, a shard may have been met before it was packed, and its archive is left out.
    pub(super) fn complete(
        &mut self,
        directory: &Path,
        base: &Base,
        now: &Names,
        moved: bool,
        open_files: &mut OpenFiles,
    ) -> Result<()> {
        let log = directory.join(base.file_name());
        let gone = gone(&log)?;
        self.retired = gone.rows;
        if !moved {
            let shards = Shards { gone, ..now.shards.clone() };
            for found in &mut self.found {
                found.ordinal = found.number.map_or(0, |number| shards.ordinal(number));
            }
        }
        let met = if moved { self.leave_out_packed()? } else { HashSet::new() };
        for &ordinal in now.shards.archives.iter().rev() {
            let path = Archive::Packed.path(&log, ordinal);
            let file = match open_read(&path) {
                Ok(file) => file,
                // Deleted since.
                Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => continue,
                Err(_) if path.metadata().is_ok_and(|metadata| !metadata.is_file()) => {
                    self.strangers.insert(path);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let source = if moved { Footer::of(&file, &path)?.map(|footer| footer.source) } else { None };
            let found = Found { ordinal, ..Found::new(file, path, Coding::Zstandard, open_files)? };
            let is_met = source.is_some_and(|source| met.contains(&source))
                || (moved && self.found.iter().any(|known| known.id == found.id));
            if is_met {
                open_files.give_back(&found);
            } else {
                self.found.push(found);
            }
        }
        Ok(())
    }

    /// Leaves out shards that were met both as they were and packed. Gives what was met.
    fn leave_out_packed(&mut self) -> Result<HashSet<Birth>> {
        let mut met = HashSet::new();
        for found in &self.found {
            if let Some(file) = &found.file {
                met.insert(Birth::of(file, &found.path)?);
            }
        }
        let mut kept = Vec::with_capacity(self.found.len());
        for found in std::mem::take(&mut self.found) {
            if !found.packed_from()?.is_some_and(|source| met.contains(&source)) {
                kept.push(found);
            }
        }
        self.found = kept;
        Ok(met)
    }

    /// Ignores what is behind `length` in a file.
    pub(super) fn cut(&mut self, id: FileId, length: u64) {
        if let Some(found) = self.found.iter_mut().find(|found| found.id.id == id) {
            found.length = found.length.min(length);
        }
    }

    /// Opens shard `number` in the coding that is preferred among those that exist.
    fn open_best(&mut self, base: &Path, number: u64) -> Result<Option<(File, PathBuf, Coding)>> {
        for coding in Coding::ALL {
            let path = shard_path(base, number, coding);
            match open_read(&path) {
                Ok(file) => return Ok(Some((file, path, coding))),
                Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => {
                    // A link that leads nowhere is a name without a file.
                    if path.is_symlink() {
                        self.strangers.insert(path);
                    }
                }
                Err(error) => match path.metadata() {
                    Ok(metadata) if metadata.is_file() => return Err(error),
                    // A folder, a device, a link in a circle or through a file.
                    Ok(_) => drop(self.strangers.insert(path)),
                    Err(_) if path.is_symlink() => drop(self.strangers.insert(path)),
                    Err(source) if source.kind() == io::ErrorKind::NotFound => {}
                    Err(_) => return Err(error),
                },
            }
        }
        Ok(None)
    }
}

/// The file that a name leads to, through links.
fn leads_to(path: &Path) -> Option<FileId> {
    path.metadata().ok().map(|metadata| FileId::from(&metadata))
}

/// Leaves of every file that several names lead to only one: that of a name that is no link, else the first in order.
pub(super) fn read_once(walks: &mut BTreeMap<Base, Walk>) {
    let mut kept: HashMap<FileId, (Base, Identity, PathBuf)> = HashMap::new();
    let mut doubled = BTreeSet::new();
    for (base, walk) in walks.iter() {
        for found in &walk.found {
            match kept.entry(found.id.id) {
                Entry::Vacant(vacant) => {
                    vacant.insert((base.clone(), found.id, found.path.clone()));
                }
                // An inode may have been used again meanwhile.
                Entry::Occupied(known) if known.get().1 != found.id => {}
                Entry::Occupied(mut known) => {
                    if known.get().2.is_symlink() && !found.path.is_symlink() {
                        let (base, _, path) = known.insert((base.clone(), found.id, found.path.clone()));
                        doubled.insert((base, path));
                    } else {
                        doubled.insert((base.clone(), found.path.clone()));
                    }
                }
            }
        }
    }
    for (base, path) in doubled {
        if let Some(walk) = walks.get_mut(&base) {
            walk.found.retain(|found| found.path != path);
        }
    }
}

/// How many files may stay open. The others are found again by device and inode when their turn comes.
#[derive(Debug)]
pub(super) struct OpenFiles {
    room: u64,
}

impl OpenFiles {
    /// Half of what the process may open; the rest is its own.
    pub(super) fn new() -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Self { room: limit.unwrap_or(u64::MAX) / 2 }
    }

    fn keep(&mut self, file: File) -> Option<Arc<File>> {
        self.room = self.room.checked_sub(1)?;
        Some(Arc::new(file))
    }

    fn give_back(&mut self, found: &Found) {
        self.room += u64::from(found.file.is_some());
    }

    /// For files that are opened anew.
    pub(super) fn give_back_all(&mut self, walk: &Walk) {
        walk.found.iter().for_each(|found| self.give_back(found));
    }
}
