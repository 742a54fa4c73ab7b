//! Which files a reader reads: the shards of every stream at one moment, while writers go on.
//!
//! A rotation renames shards to the next higher number, the highest first, and then creates a new current file. So a file's
//! number only grows, and of two files of a stream the older one always has the higher number. [`Walk`] opens the files
//! of a stream from the current one upwards and keeps them open, which gives:
//!
//! * Nothing is missed. A file that was not met yet stands above the place of the walk, and moves away from it. Where a file
//!   was listed or found, the number above it is tried too, so that a file that moves on is met there.
//! * Nothing comes twice: a file is known by device and inode, not by name. One that is met again has moved past the walk,
//!   and so has every older one. What was noted behind it is forgotten; it is either older and will be met again, or newer
//!   than the walk's first file (two rotations in one walk) and no part of the snapshot.
//! * The moment of the snapshot is the opening of the first file. Its length is noted then; what is appended later is
//!   behind that. Older files do not grow.
//!
//! Retention deletes at the far end. A walk during which a rotation happened is therefore done again, a few times, so that
//! a shard that was there at its moment is not lost to the next rotation.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::report::Report;
use super::source::{Content, Identity, Lines, Source};
use crate::error::{Error, Result};
use crate::fs::{FileId, open_read};
use crate::shard::name::{Coding, ShardName, Stream, shard_path};

const KIND: &str = "metrics";
const EXTENSION: &str = "ndjson";

/// Walks until one without a rotation is given up.
const WALKS: u32 = 16;

/// What is read, in order of position.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The shards.
    pub sources: Vec<Source>,
    /// Files, recovered rows and names that lead to no file.
    pub report: Report,
}

/// What the journal of a dead writer adds, where it could not be recovered on disk.
#[derive(Clone, Debug)]
pub struct Tail {
    /// Whose journal it is.
    pub stream: Stream,
    /// Bytes of this file behind this length belong to an append that was not finished.
    pub cut: Option<(FileId, u64)>,
    /// Lines that stand behind the stream's newest shard.
    pub lines: Arc<dyn Lines>,
    /// How many they are.
    pub rows: u64,
}

/// A stream's place in the order, and the name of its current file. The main stream has no name in it and comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Base {
    stream: Option<String>,
}

impl Base {
    fn of(stream: &Stream) -> Self {
        Self { stream: (!stream.is_main()).then(|| stream.to_string()) }
    }

    /// The base of a shard's file name.
    fn parse(file_name: &str) -> Option<(Self, ShardName)> {
        let shard = ShardName::parse(file_name, KIND)?;
        // Someone else's `metrics.main.ndjson` is not the main stream's file, though the stream has that name.
        let named = !file_name.starts_with("metrics.ndjson");
        Some((Self { stream: named.then(|| shard.stream.to_string()) }, shard))
    }

    fn file_name(&self) -> String {
        match &self.stream {
            None => format!("{KIND}.{EXTENSION}"),
            Some(stream) => format!("{KIND}.{stream}.{EXTENSION}"),
        }
    }

    fn stream_name(&self) -> Arc<str> {
        self.stream.as_deref().unwrap_or(crate::shard::name::MAIN).into()
    }
}

impl Snapshot {
    /// The metrics shards of all streams of a run directory, and what journals add.
    ///
    /// # Errors
    /// If the directory does not exist, holds no shard, or cannot be read.
    pub fn of_directory(directory: &Path, tails: &[Tail]) -> Result<Self> {
        let mut listed = list(directory)?;
        for tail in tails.iter().filter(|tail| tail.rows > 0) {
            listed.entry(Base::of(&tail.stream)).or_default();
        }
        let mut snapshot = Self::default();
        let mut open_files = OpenFiles::new();
        for (base, numbers) in listed {
            let mut walk = Walk::stable(directory, &base, numbers, &mut open_files, &mut snapshot.report)?;
            let stream = base.stream_name();
            let tail = tails.iter().find(|tail| Base::of(&tail.stream) == base);
            if let Some((id, length)) = tail.and_then(|tail| tail.cut) {
                walk.cut(id, length);
            }
            snapshot.report.files += walk.found.len() as u64;
            snapshot.sources.extend(walk.found.into_iter().rev().map(|found| found.source(&stream)));
            if let Some(tail) = tail.filter(|tail| tail.rows > 0) {
                snapshot.report.recovered += tail.rows;
                snapshot.sources.push(Source {
                    path: directory.join(base.file_name()),
                    stream,
                    coding: Coding::Plain,
                    content: Content::Lines(Arc::clone(&tail.lines)),
                });
            }
        }
        if snapshot.sources.is_empty() {
            return Err(Error::no_log(format!("{} holds no metrics log", directory.display())));
        }
        Ok(snapshot)
    }

    /// The streams that have metrics shards in `directory`, the main one first.
    ///
    /// # Errors
    /// If the directory does not exist or cannot be read.
    pub fn streams(directory: &Path) -> Result<Vec<Stream>> {
        let listed = list(directory)?;
        Ok(listed
            .into_keys()
            .filter_map(|base| base.stream.map_or(Some(Stream::main()), |name| Stream::parse(&name)))
            .collect())
    }

    /// The metrics shards of one stream, none if there are none.
    ///
    /// # Errors
    /// If the directory does not exist or cannot be read.
    pub fn of_stream(directory: &Path, stream: &Stream) -> Result<Self> {
        let base = Base::of(stream);
        let numbers = list(directory)?.remove(&base).unwrap_or_default();
        let mut snapshot = Self::default();
        let walk = Walk::stable(directory, &base, numbers, &mut OpenFiles::new(), &mut snapshot.report)?;
        let name = base.stream_name();
        snapshot.sources.extend(walk.found.into_iter().rev().map(|found| found.source(&name)));
        Ok(snapshot)
    }

    /// The given files. Order and streams come from their names; a file whose name is no shard's counts as the current one of
    /// the main stream. A file that is given twice is read once, and a plain one is taken instead of its compressed form.
    ///
    /// # Errors
    /// If a file does not exist, is no regular file or cannot be read.
    pub fn of_files(paths: &[PathBuf]) -> Result<Self> {
        let mut files = Vec::new();
        let mut plain = BTreeSet::new();
        for path in paths {
            let parsed = path.file_name().and_then(|name| name.to_str()).and_then(Base::parse);
            let (base, number, coding) = match parsed {
                Some((base, shard)) => (base, shard.number, shard.coding),
                None => (Base { stream: None }, 0, coding_by_suffix(path)),
            };
            let place = (path.parent().map(Path::to_owned), base.clone(), number);
            if coding == Coding::Plain {
                plain.insert(place.clone());
            }
            files.push((place, base, number, coding, path));
        }
        files.retain(|(place, _, _, coding, _)| *coding == Coding::Plain || !plain.contains(place));
        // Stable: what stands at the same place stays in the order in which it was given.
        files.sort_by(|(_, base, number, ..), (_, other, other_number, ..)| {
            base.cmp(other).then(other_number.cmp(number))
        });
        let mut snapshot = Self::default();
        let mut open_files = OpenFiles::new();
        let mut known = BTreeSet::new();
        for (_, base, _, coding, path) in files {
            let file = open_read(path).map_err(|error| match error.io_kind() {
                Some(io::ErrorKind::NotFound) => Error::no_log(format!("{} does not exist", path.display())),
                _ => error,
            })?;
            let found = Found::new(file, path.clone(), coding, &mut open_files)?;
            if known.insert((found.id.id.device, found.id.id.inode)) {
                snapshot.sources.push(found.source(&base.stream_name()));
            }
        }
        snapshot.report.files = snapshot.sources.len() as u64;
        Ok(snapshot)
    }
}

fn coding_by_suffix(path: &Path) -> Coding {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => Coding::Gzip,
        Some("zst") => Coding::Zstandard,
        _ => Coding::Plain,
    }
}

/// The numbers of the shards of each stream.
fn list(directory: &Path) -> Result<BTreeMap<Base, BTreeSet<u64>>> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => Error::no_log(format!("{} does not exist", directory.display())),
        _ => Error::io("list", directory, source),
    };
    let mut listed: BTreeMap<Base, BTreeSet<u64>> = BTreeMap::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Some((base, shard)) = entry.file_name().to_str().and_then(Base::parse) {
            listed.entry(base).or_default().insert(shard.number);
        }
    }
    Ok(listed)
}

/// A file that was opened.
#[derive(Debug)]
struct Found {
    id: Identity,
    path: PathBuf,
    coding: Coding,
    length: u64,
    file: Option<Arc<File>>,
}

impl Found {
    fn new(file: File, path: PathBuf, coding: Coding, open_files: &mut OpenFiles) -> Result<Self> {
        let id = Identity::of(&file, &path)?;
        let length = file.metadata().map_err(|source| Error::io("examine", &path, source))?.len();
        Ok(Self { id, path, coding, length, file: open_files.keep(file) })
    }

    fn source(self, stream: &Arc<str>) -> Source {
        let content = Content::File { id: self.id, length: self.length, file: self.file };
        Source { path: self.path, stream: Arc::clone(stream), coding: self.coding, content }
    }
}

/// The files of one stream, the newest first.
#[derive(Debug, Default)]
struct Walk {
    found: Vec<Found>,
}

impl Walk {
    /// A walk during which nothing was rotated, or the last one tried.
    fn stable(
        directory: &Path,
        base: &Base,
        mut numbers: BTreeSet<u64>,
        open_files: &mut OpenFiles,
        report: &mut Report,
    ) -> Result<Self> {
        let path = directory.join(base.file_name());
        let mut walks = 1;
        loop {
            let mut strangers = BTreeSet::new();
            let mut walk = Self::default();
            let room = open_files.room;
            walk.climb(&path, &numbers, open_files, &mut strangers)?;
            let now = list(directory)?.remove(base).unwrap_or_default();
            let first = walk.found.first().filter(|first| first.path == path).map(|first| first.id.id);
            let moved = FileId::at(&path)?.filter(|_| !strangers.contains(&path)) != first || now != numbers;
            if !moved || walks == WALKS {
                for stranger in &strangers {
                    report.skip_name(stranger);
                }
                return Ok(walk);
            }
            open_files.room = room;
            numbers = now;
            walks += 1;
        }
    }

    /// Opens the current file and then every number upwards.
    fn climb(
        &mut self,
        path: &Path,
        listed: &BTreeSet<u64>,
        open_files: &mut OpenFiles,
        strangers: &mut BTreeSet<PathBuf>,
    ) -> Result<()> {
        let mut ahead = listed.clone();
        ahead.insert(0);
        while let Some(number) = ahead.pop_first() {
            let opened = open_best(path, number, strangers)?;
            if opened.is_some() || listed.contains(&number) {
                ahead.extend(number.checked_add(1));
            }
            let Some((file, path, coding)) = opened else { continue };
            let found = Found::new(file, path, coding, open_files)?;
            match self.found.iter().position(|known| known.id == found.id) {
                Some(index) => self.found.truncate(index + 1),
                None => self.found.push(found),
            }
        }
        Ok(())
    }

    /// Ignores what is behind `length` in a file.
    fn cut(&mut self, id: FileId, length: u64) {
        if let Some(found) = self.found.iter_mut().find(|found| found.id.id == id) {
            found.length = found.length.min(length);
        }
    }
}

/// Opens shard `number` in the coding that is preferred among those that exist.
fn open_best(base: &Path, number: u64, strangers: &mut BTreeSet<PathBuf>) -> Result<Option<(File, PathBuf, Coding)>> {
    let codings = if number == 0 { &Coding::ALL[..1] } else { &Coding::ALL[..] };
    for &coding in codings {
        let path = shard_path(base, number, coding);
        match open_read(&path) {
            Ok(file) => return Ok(Some((file, path, coding))),
            Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => {
                // A link that leads nowhere is a name without a file.
                if path.is_symlink() {
                    strangers.insert(path);
                }
            }
            Err(_) if path.metadata().is_ok_and(|metadata| !metadata.is_file()) => {
                strangers.insert(path);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// How many files may stay open. The others are found again by device and inode when their turn comes.
#[derive(Debug)]
struct OpenFiles {
    room: u64,
}

impl OpenFiles {
    /// Half of what the process may open; the rest is its own.
    fn new() -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Self { room: limit.unwrap_or(u64::MAX) / 2 }
    }

    fn keep(&mut self, file: File) -> Option<Arc<File>> {
        self.room = self.room.checked_sub(1)?;
        Some(Arc::new(file))
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
