//! Retention: which shards are deleted, and how, so that a death at any moment neither shifts an ordinal nor forgets a row.
//!
//! A shard that goes is renamed first; the name says its ordinal. Then its rows are counted and put on record, and then it is
//! deleted. Whoever finds such a name later does the rest of that.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::archive::Archive;
use super::footer::Footer;
use super::hold::{Hold, Need};
use super::ordinal::{Gone, Shards};
use super::rotate::rename_new;
use super::tally::Tally;
use crate::error::{Error, Result};
use crate::fs::remove_if_there;
use crate::limits::SCAN_BLOCK_BYTES;
use crate::paths::{Coding, shard_path};
use crate::pulse::Pulse;

/// What happens to rotated shards beyond the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// They are packed; else deleted.
    pub packs: bool,
    /// Most bytes of a log's archives. Beyond it the oldest archives are deleted, but for the newest one.
    pub max_archive_bytes: Option<u64>,
}

impl Default for Retention {
    fn default() -> Self {
        Self { packs: true, max_archive_bytes: None }
    }
}

/// A shard that is to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// One with a number.
    Rotated {
        /// Its number among the rotated ones.
        number: u64,
        /// Its ordinal.
        ordinal: u64,
    },
    /// An archive.
    Archive(u64),
    /// One whose deletion was begun.
    Leaving(u64),
}

impl Due {
    fn ordinal(self) -> u64 {
        match self {
            Self::Rotated { ordinal, .. } | Self::Archive(ordinal) | Self::Leaving(ordinal) => ordinal,
        }
    }
}

/// What is to be deleted of a log, the oldest first.
#[derive(Debug)]
pub struct Plan {
    base: PathBuf,
    /// What was deleted before.
    pub gone: Gone,
    need: Need,
    /// The shards.
    pub due: Vec<Due>,
}

impl Plan {
    /// Looks which shards of the log `base` go, of which `keep` rotated ones stay. What went before is read unless it is
    /// `known`.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn of(
        base: &Path,
        keep: u64,
        retention: Retention,
        needed: Option<&Hold>,
        known: Option<Gone>,
    ) -> Result<Self> {
        let shards = Shards::with(base, known)?;
        let mut due: Vec<Due> = Vec::new();
        if !retention.packs {
            let excess = shards.numbers.len().saturating_sub(usize::try_from(keep).unwrap_or(usize::MAX));
            let oldest = shards.numbers.iter().rev().take(excess);
            due.extend(oldest.map(|&number| Due::Rotated { number, ordinal: shards.ordinal(number) }));
        }
        if let Some(most) = retention.max_archive_bytes {
            let mut archives = over(base, &shards, most);
            archives.append(&mut due);
            due = archives;
        }
        let mut need = Need::Nothing;
        if let Some(needed) = needed.filter(|_| !due.is_empty()) {
            need = needed.need();
            let ordinals: Vec<u64> = due.iter().map(|due| due.ordinal()).collect();
            due.truncate(needed.spare(need, &ordinals));
        }
        due.splice(0..0, shards.leaving.iter().map(|&ordinal| Due::Leaving(ordinal)));
        Ok(Self { base: base.to_owned(), gone: shards.gone, need, due })
    }

    /// Begins the deletion of a shard, of which followers hear first. `None` if it is gone. Counting is beats of `pulse`.
    ///
    /// # Errors
    /// If it cannot be renamed or read.
    pub fn begin(&self, due: Due, needed: Option<&Hold>, pulse: &Pulse) -> Result<Option<Leaving>> {
        let ordinal = due.ordinal();
        let path = Archive::Leaving.path(&self.base, ordinal);
        let is_new = !matches!(due, Due::Leaving(_));
        if let Some(needed) = needed.filter(|_| is_new) {
            needed.leave(ordinal);
        }
        let start = if is_new { self.need.start_in(ordinal) } else { None };
        let coding = match due {
            Due::Rotated { number, .. } => match move_out(&self.base, number, &path)? {
                Some(coding) => coding,
                None => return Ok(None),
            },
            Due::Archive(ordinal) => {
                if !rename_new(&Archive::Packed.path(&self.base, ordinal), &path)? {
                    return Ok(None);
                }
                Coding::Zstandard
            }
            Due::Leaving(_) => {
                let Some(file) = open(&path)? else { return Ok(None) };
                if Footer::of(&file, &path)?.is_some() { Coding::Zstandard } else { Coding::Plain }
            }
        };
        let mut leaving = Leaving { path, ordinal, rows: 0, undelivered: 0, largest_step: None };
        // Of one that was begun a record means that only the deletion is left.
        if is_new || ordinal > self.gone.ordinal {
            leaving.count(coding, start, pulse)?;
        }
        Ok(Some(leaving))
    }

    /// Whether a destination still needed something.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        self.need != Need::Nothing
    }
}

/// The oldest archives beyond `most` bytes; the newest stays.
fn over(base: &Path, shards: &Shards, most: u64) -> Vec<Due> {
    let size = |&ordinal: &u64| {
        let metadata = Archive::Packed.path(base, ordinal).symlink_metadata();
        metadata.map_or(0, |metadata| metadata.len())
    };
    let mut total = 0_u64;
    let fits = |ordinal: &&u64| {
        total = total.saturating_add(size(ordinal));
        total <= most
    };
    let fitting = shards.archives.iter().rev().take_while(fits).count().max(1);
    let excess = shards.archives.len().saturating_sub(fitting);
    shards.archives.iter().take(excess).map(|&ordinal| Due::Archive(ordinal)).collect()
}

/// Renames the shard that is read of those with `number`, and deletes the others. Gives how it is stored; `None` if there is
/// none. What is no regular file is none of ours and stays.
fn move_out(base: &Path, number: u64, target: &Path) -> Result<Option<Coding>> {
    let is_file =
        |coding: &Coding| shard_path(base, number, *coding).symlink_metadata().is_ok_and(|metadata| metadata.is_file());
    let mut codings = Coding::ALL.into_iter().filter(is_file);
    let Some(read) = codings.next() else { return Ok(None) };
    for copy in codings {
        remove_if_there(&shard_path(base, number, copy))?;
    }
    Ok(rename_new(&shard_path(base, number, read), target)?.then_some(read))
}

fn open(path: &Path) -> Result<Option<File>> {
    match crate::fs::open_read(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A shard that nobody reads any more and that is about to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    path: PathBuf,
    /// Its ordinal.
    pub ordinal: u64,
    /// Its lines.
    pub rows: u64,
    /// Those of them that a destination still needed.
    pub undelivered: u64,
    /// Largest step of them.
    pub largest_step: Option<i64>,
}

impl Leaving {
    fn count(&mut self, coding: Coding, start: Option<u64>, pulse: &Pulse) -> Result<()> {
        let Some(file) = open(&self.path)? else { return Ok(()) };
        let footer = if coding == Coding::Zstandard { Footer::of(&file, &self.path)? } else { None };
        if let Some(footer) = footer {
            (self.rows, self.largest_step) = (footer.rows, footer.largest_step);
            match start {
                None => return Ok(()),
                Some(0) => self.undelivered = footer.rows,
                Some(start) => self.undelivered = tally(file, coding, start, &self.path, pulse)?.rows_behind,
            }
            return Ok(());
        }
        // The rows of what somebody else packed are not worth unpacking it here.
        if coding == Coding::Plain {
            let tally = tally(file, coding, start.unwrap_or(0), &self.path, pulse)?;
            (self.rows, self.largest_step) = (tally.rows, tally.largest_step);
            self.undelivered = start.map_or(0, |_| tally.rows_behind);
        }
        Ok(())
    }

    /// What was deleted of the log with this one.
    #[must_use]
    pub fn add_to(&self, gone: Gone) -> Gone {
        Gone {
            ordinal: gone.ordinal.max(self.ordinal),
            rows: gone.rows + self.rows,
            undelivered: gone.undelivered + self.undelivered,
            largest_step: gone.largest_step.max(self.largest_step),
        }
    }

    /// Deletes it.
    ///
    /// # Errors
    /// If it cannot be deleted.
    pub fn delete(&self) -> Result<()> {
        remove_if_there(&self.path)
    }

    /// Gives its bytes back and leaves its name: there is no room to put on record what it was.
    ///
    /// # Errors
    /// If it cannot be truncated.
    pub fn empty(&self) -> Result<()> {
        let file = crate::fs::open_existing(&self.path)?;
        file.set_len(0).map_err(|source| Error::io("truncate", &self.path, source))
    }
}

fn tally(file: File, coding: Coding, place: u64, path: &Path, pulse: &Pulse) -> Result<Tally> {
    let failed = |source| Error::io("read", path, source);
    let mut reader: Box<dyn Read> = match coding {
        Coding::Plain => Box::new(file),
        Coding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(file)),
        Coding::Zstandard => Box::new(zstd::Decoder::new(file).map_err(failed)?),
    };
    let mut tally = Tally::new(place);
    let mut block = vec![0; SCAN_BLOCK_BYTES];
    loop {
        pulse.beat();
        match reader.read(&mut block) {
            Ok(0) => break,
            Ok(count) => tally.add(&block[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The rest of a damaged archive is not worth keeping it.
            Err(_) if coding != Coding::Plain => break,
            Err(source) => return Err(failed(source)),
        }
    }
    tally.end();
    Ok(tally)
}

/// Deletes what is due as a writer without a journal would, for tests.
#[cfg(test)]
pub fn retire(base: &Path, keep: u64, needed: Option<&Hold>, pulse: &Pulse) -> Result<Gone> {
    let retention = Retention { packs: false, max_archive_bytes: None };
    let plan = Plan::of(base, keep, retention, needed, None)?;
    let mut gone = plan.gone;
    for &due in &plan.due {
        if let Some(leaving) = plan.begin(due, needed, pulse)? {
            gone = leaving.add_to(gone);
            super::ordinal::record_for_tests(base, &gone);
            leaving.delete()?;
        }
    }
    Ok(gone)
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
