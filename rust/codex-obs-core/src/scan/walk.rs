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
//! Retention deletes at the far end. A walk during which a rotation happened is therefore done again, a few times, so that
//! a shard that was there at its moment is not lost to the next rotation.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::listing::{Base, Numbers};
use super::source::{Content, Identity, Source};
use crate::error::{Error, Result};
use crate::fs::{FileId, open_read};
use crate::shard::name::{Coding, shard_path};

/// A file that was opened.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) id: Identity,
    pub(super) path: PathBuf,
    coding: Coding,
    length: u64,
    file: Option<Arc<File>>,
}

impl Found {
    pub(super) fn new(file: File, path: PathBuf, coding: Coding, open_files: &mut OpenFiles) -> Result<Self> {
        let id = Identity::of(&file, &path)?;
        let length = file.metadata().map_err(|source| Error::io("examine", &path, source))?.len();
        Ok(Self { id, path, coding, length, file: open_files.keep(file) })
    }

    pub(super) fn source(self, stream: &Arc<str>) -> Source {
        let content = Content::File { id: self.id, length: self.length, file: self.file };
        Source { path: self.path, stream: Arc::clone(stream), coding: self.coding, content }
    }
}

/// The files of one stream, the newest first.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) found: Vec<Found>,
    /// Names that lead to no file.
    pub(super) strangers: BTreeSet<PathBuf>,
}

impl Walk {
    /// Opens the current file and then every number upwards.
    pub(super) fn new(directory: &Path, base: &Base, listed: &Numbers, open_files: &mut OpenFiles) -> Result<Self> {
        let path = directory.join(base.file_name());
        let mut walk = Self::default();
        let mut ahead: BTreeSet<u64> = listed.keys().copied().chain([0]).collect();
        while let Some(number) = ahead.pop_first() {
            let opened = walk.open_best(&path, number)?;
            if opened.is_some() || listed.contains_key(&number) {
                ahead.extend(number.checked_add(1));
            }
            let Some((file, path, coding)) = opened else { continue };
            let found = Found::new(file, path, coding, open_files)?;
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

    /// Whether the stream's files have moved since: its current one is another, or there are other numbers `now`.
    pub(super) fn has_moved(&self, directory: &Path, base: &Base, listed: &Numbers, now: Option<&Numbers>) -> bool {
        let path = directory.join(base.file_name());
        let first = self.found.first().filter(|first| first.path == path).map(|first| first.id.id);
        let leads = || leads_to(&path).filter(|_| !self.strangers.contains(&path));
        now.map_or(!listed.is_empty(), |now| now != listed) || leads() != first
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
            let path = coded_path(base, number, coding);
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

/// Where shard `number` of the file `base` lies in a coding.
pub(super) fn coded_path(base: &Path, number: u64, coding: Coding) -> PathBuf {
    if number > 0 {
        return shard_path(base, number, coding);
    }
    let mut name = base.as_os_str().to_owned();
    name.push(coding.suffix());
    PathBuf::from(name)
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
