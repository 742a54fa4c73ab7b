//! What the names in a run directory say: which streams it has, and which shards of each.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::paths::{Coding, FileKind, ShardName, Stream, extension};
use crate::shard::archive::{Archive, is_passing, log_name};
use crate::shard::ordinal::Shards;

/// A stream's place in the order, and the name of its current file. The main stream has no name in it and comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Base {
    pub(super) log: FileKind,
    pub(super) stream: Option<String>,
}

impl Base {
    pub(super) fn of(log: FileKind, stream: &Stream) -> Self {
        Self { log, stream: (!stream.is_main()).then(|| stream.to_string()) }
    }

    /// The base of a shard's file name, its number and how it is stored.
    pub(super) fn parse(log: FileKind, file_name: &str) -> Option<(Self, u64, Coding)> {
        let shard = ShardName::parse(file_name, log.base())?;
        // Someone else's `metrics.main.ndjson` is not the main stream's file, though the stream has that name.
        let behind = file_name.strip_prefix(log.base())?.strip_prefix('.')?;
        let named = !behind.starts_with(extension(log.base()));
        Some((Self { log, stream: named.then(|| shard.stream.to_string()) }, shard.number, shard.coding))
    }

    /// The base of an archive's name, and what the name stands for.
    pub(super) fn parse_archive(log: FileKind, file_name: &str) -> Option<(Self, Archive, u64)> {
        let name = log_name(file_name)?;
        let (base, ..) =
            Self::parse(log, name).filter(|&(_, number, coding)| (number, coding) == (0, Coding::Plain))?;
        let (kind, ordinal) = Archive::parse(file_name, name)?;
        Some((base, kind, ordinal))
    }

    pub(super) fn file_name(&self) -> String {
        let (kind, extension) = (self.log.base(), extension(self.log.base()));
        match &self.stream {
            None => format!("{kind}.{extension}"),
            Some(stream) => format!("{kind}.{stream}.{extension}"),
        }
    }

    pub(super) fn stream_name(&self) -> Arc<str> {
        self.stream.as_deref().unwrap_or(crate::paths::MAIN).into()
    }
}

/// The shards of a stream: their numbers, and in which codings each is there.
pub(super) type Numbers = BTreeMap<u64, Vec<Coding>>;

/// The names of a stream's shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// Those with a number, also of what is no file.
    pub(super) numbers: Numbers,
    /// Those that are files, and the archives.
    pub(super) shards: Shards,
}

/// The names of a run directory.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The shards of each stream.
    pub(super) shards: BTreeMap<Base, Names>,
    /// Names that begin like a shard's and are none.
    pub(super) others: Vec<OsString>,
}

impl Listing {
    pub(super) fn of(log: FileKind, directory: &Path) -> Result<Self> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => Error::no_log(format!("{} does not exist", directory.display())),
            _ => Error::io("list", directory, source),
        };
        let mut listing = Self::default();
        for entry in std::fs::read_dir(directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if let Some((base, kind, ordinal)) = name.to_str().and_then(|name| Base::parse_archive(log, name)) {
                let shards = &mut listing.shards.entry(base).or_default().shards;
                match kind {
                    Archive::Packed => shards.archives.insert(ordinal),
                    Archive::Leaving => shards.leaving.insert(ordinal),
                };
                continue;
            }
            match name.to_str().and_then(|name| Base::parse(log, name)) {
                Some((base, number, coding)) => {
                    let names = listing.shards.entry(base).or_default();
                    let codings = names.numbers.entry(number).or_default();
                    codings.push(coding);
                    codings.sort_unstable();
                    if number > 0 && entry.file_type().is_ok_and(|found| found.is_file()) {
                        names.shards.numbers.insert(number);
                    }
                }
                // Of a shard that is being packed or moved right now.
                None if name.to_str().is_some_and(is_passing) => {}
                None if begins_like_a_log(log, &name) => listing.others.push(name),
                None => {}
            }
        }
        Ok(listing)
    }
}

/// Whether a file with this name has rows of a run: a shard, plain or packed.
#[must_use]
pub fn is_shard(file_name: &str) -> bool {
    Base::parse(FileKind::Metrics, file_name).is_some() || Base::parse_archive(FileKind::Metrics, file_name).is_some()
}

fn begins_like_a_log(log: FileKind, name: &OsString) -> bool {
    let start = log.base().as_bytes();
    name.as_encoded_bytes().get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start))
}
