//! Which files a reader reads: the shards of every stream at one moment, while writers go on.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::listing::{Base, Listing, Names};
use super::report::Report;
use super::source::{Content, Lines, Source};
use super::walk::{Found, OpenFiles, Walk, read_once};
use super::{below, doubles, unread};
use crate::error::{Error, Result};
use crate::fs::{FileId, open_read};
use crate::paths::{Coding, FileKind, Stream};

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

impl Snapshot {
    /// The metrics shards of all streams of a run directory, and what journals add.
    ///
    /// # Errors
    /// If the directory does not exist, holds no shard, or cannot be read.
    pub fn of_directory(directory: &Path, tails: &[Tail]) -> Result<Self> {
        let snapshot = Self::of_log(FileKind::Metrics, directory, tails)?;
        if snapshot.sources.is_empty() { Err(no_log(directory, &snapshot.report)) } else { Ok(snapshot) }
    }

    /// The shards of one log, none if there are none, and what journals add.
    ///
    /// # Errors
    /// If the directory does not exist or cannot be read.
    pub fn of_log(log: FileKind, directory: &Path, tails: &[Tail]) -> Result<Self> {
        let mut listing = Listing::of(log, directory)?;
        let mut tail_of: HashMap<Base, &Tail> = HashMap::new();
        for tail in tails {
            let base = Base::of(log, &tail.stream);
            if tail.rows > 0 {
                listing.shards.entry(base.clone()).or_default();
            }
            tail_of.insert(base, tail);
        }
        let mut walks = stable_walks(log, directory, &mut listing)?;
        read_once(&mut walks);
        let mut snapshot = Self::default();
        for (base, mut walk) in walks {
            snapshot.report.retired += walk.retired;
            let stream = base.stream_name();
            let tail = tail_of.get(&base);
            if let Some((id, length)) = tail.and_then(|tail| tail.cut) {
                walk.cut(id, length);
            }
            for stranger in &walk.strangers {
                snapshot.report.skip_name(stranger);
            }
            let mut sources = walk.found.into_iter().rev().map(|found| found.source(&stream)).collect();
            snapshot.report.name_doubles(&doubles::leave_out(&mut sources)?);
            snapshot.report.files += sources.len() as u64;
            snapshot.sources.append(&mut sources);
            if let Some(tail) = tail.filter(|tail| tail.rows > 0) {
                snapshot.report.recovered += tail.rows;
                snapshot.sources.push(Source {
                    path: directory.join(base.file_name()),
                    stream,
                    coding: Coding::Plain,
                    ordinal: 0,
                    content: Content::Lines(Arc::clone(&tail.lines)),
                    start: 0,
                    segments: Vec::new(),
                });
            }
        }
        unread::note(log, directory, &listing, &mut snapshot.report);
        Ok(snapshot)
    }

    /// Adds what another snapshot has, behind what is there. A file that both have is read once.
    pub fn add(&mut self, other: Self) {
        let known: HashSet<FileId> = self.sources.iter().filter_map(Source::file_id).collect();
        let is_new = |source: &Source| source.file_id().is_none_or(|id| !known.contains(&id));
        self.sources.extend(other.sources.into_iter().filter(is_new));
        self.report.add(other.report);
        self.report.files = self.sources.iter().filter(|source| source.file_id().is_some()).count() as u64;
    }

    /// The streams that have metrics shards in `directory`, the main one first.
    ///
    /// # Errors
    /// If the directory does not exist or cannot be read.
    pub fn streams(directory: &Path) -> Result<Vec<Stream>> {
        let bases = Listing::of(FileKind::Metrics, directory)?.shards.into_keys();
        Ok(bases.filter_map(|base| base.stream.map_or(Some(Stream::main()), |name| Stream::parse(&name))).collect())
    }

    /// The shards that one stream has of a log, none if there are none.
    ///
    /// # Errors
    /// If the directory does not exist or cannot be read.
    pub fn of_stream(log: FileKind, directory: &Path, stream: &Stream) -> Result<Self> {
        let (mut snapshot, doubled) = Self::with_doubles(log, directory, stream)?;
        snapshot.report.name_doubles(&doubled);
        Ok(snapshot)
    }

    fn with_doubles(log: FileKind, directory: &Path, stream: &Stream) -> Result<(Self, Vec<(PathBuf, PathBuf)>)> {
        let base = Base::of(log, stream);
        let names = Listing::of(log, directory)?.shards.remove(&base).unwrap_or_default();
        let mut listing = Listing { shards: BTreeMap::from([(base.clone(), names)]), others: Vec::new() };
        let name = base.stream_name();
        let mut snapshot = Self::default();
        for walk in stable_walks(log, directory, &mut listing)?.into_values() {
            snapshot.sources.extend(walk.found.into_iter().rev().map(|found| found.source(&name)));
        }
        let doubled = doubles::leave_out(&mut snapshot.sources)?;
        Ok((snapshot, doubled))
    }

    /// Whether the rows of the current file of `stream` stand in another one too, as in a copy that was made while it was rotated.
    ///
    /// # Errors
    /// If the directory or a file cannot be read.
    pub fn is_doubled(directory: &Path, stream: &Stream) -> Result<bool> {
        let current = directory.join(Base::of(FileKind::Metrics, stream).file_name());
        let doubled = Self::with_doubles(FileKind::Metrics, directory, stream)?.1;
        Ok(doubled.iter().any(|(double, _)| *double == current))
    }

    /// The given files. Order and streams come from their names; a file whose name is no shard's counts as the current one of
    /// the main stream. A file that is given twice is read once, and a plain one is taken instead of its compressed form.
    ///
    /// # Errors
    /// If a file does not exist, is no regular file or cannot be read.
    pub fn of_files(log: FileKind, paths: &[PathBuf]) -> Result<Self> {
        let mut files = Vec::new();
        let mut plain = BTreeSet::new();
        for path in paths {
            let name = path.file_name().and_then(|name| name.to_str());
            let archive = name.and_then(|name| Base::parse_archive(log, name));
            let (base, age, coding) = match (archive, name.and_then(|name| Base::parse(log, name))) {
                (Some((base, _, ordinal)), _) => (base, Age::Archive(ordinal), Coding::Zstandard),
                (None, Some((base, number, coding))) => (base, Age::Number(Reverse(number)), coding),
                (None, None) => (Base { log, stream: None }, Age::Number(Reverse(0)), coding_by_suffix(path)),
            };
            let place = (path.parent().map(Path::to_owned), base.clone(), age);
            if coding == Coding::Plain {
                plain.insert(place.clone());
            }
            files.push((place, base, age, coding, path));
        }
        files.retain(|(place, _, _, coding, _)| *coding == Coding::Plain || !plain.contains(place));
        // Stable: what stands at the same place stays in the order in which it was given.
        files.sort_by(|(_, base, age, ..), (_, other, other_age, ..)| base.cmp(other).then(age.cmp(other_age)));
        let mut snapshot = Self::default();
        let mut open_files = OpenFiles::new();
        let mut known = BTreeSet::new();
        for (_, base, age, coding, path) in files {
            let file = open_read(path).map_err(|error| match error.io_kind() {
                Some(io::ErrorKind::NotFound) => Error::no_log(format!("{} does not exist", path.display())),
                _ => error,
            })?;
            let mut found = Found::new(file, path.clone(), coding, &mut open_files)?;
            if let Age::Archive(ordinal) = age {
                found.ordinal = ordinal;
            }
            if known.insert((found.id.id.device, found.id.id.inode)) {
                snapshot.sources.push(found.source(&base.stream_name()));
            }
        }
        snapshot.report.name_doubles(&doubles::leave_out(&mut snapshot.sources)?);
        snapshot.report.files = snapshot.sources.len() as u64;
        Ok(snapshot)
    }
}

/// The place of a file among those of its stream: archives come first, then the highest number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Age {
    Archive(u64),
    Number(Reverse<u64>),
}

fn coding_by_suffix(path: &Path) -> Coding {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => Coding::Gzip,
        Some("zst") => Coding::Zstandard,
        _ => Coding::Plain,
    }
}

/// The files of every stream in `listing`, each found in a walk during which none of them moved, or in the last one tried. The
/// numbers in `listing` are then those of the last look.
fn stable_walks(log: FileKind, directory: &Path, listing: &mut Listing) -> Result<BTreeMap<Base, Walk>> {
    let mut walks = BTreeMap::new();
    let mut open_files = OpenFiles::new();
    let mut moving: Vec<Base> = listing.shards.keys().cloned().collect();
    for _ in 0..WALKS {
        for base in &moving {
            let walk = Walk::new(directory, base, &names_of(listing, base), &mut open_files)?;
            walks.insert(base.clone(), walk);
        }
        // One look at the names for all streams: there may be thousands.
        let mut now = Listing::of(log, directory)?.shards;
        moving.retain(|base| walks[base].has_moved(directory, base, &names_of(listing, base), now.get(base)));
        if moving.is_empty() {
            break;
        }
        for base in &moving {
            if let Some(walk) = walks.get(base) {
                open_files.give_back_all(walk);
            }
            listing.shards.insert(base.clone(), now.remove(base).unwrap_or_default());
        }
    }
    for (base, walk) in &mut walks {
        walk.complete(directory, base, &names_of(listing, base), moving.contains(base), &mut open_files)?;
    }
    Ok(walks)
}

fn names_of<'a>(listing: &'a Listing, base: &Base) -> Cow<'a, Names> {
    listing.shards.get(base).map_or_else(Cow::default, Cow::Borrowed)
}

/// Why a folder cannot be read as a run, and what the user may have meant.
#[cold]
fn no_log(directory: &Path, report: &Report) -> Error {
    let named = report.unread.iter().filter_map(|path| path.file_name()).map(|name| name.display().to_string());
    let named = named.collect::<Vec<_>>().join(", ");
    let hint = if named.is_empty() {
        below::in_words(directory).unwrap_or_default()
    } else {
        format!(
            " that can be read, only {named}: plain files, .gz and .zst are read, with names like metrics.ndjson.1.gz"
        )
    };
    Error::no_log(format!("{} holds no metrics log{hint}", directory.display()))
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
