//! Ordinals: a shard's number in the archive, present or future. Unlike its number among the rotated ones it never changes,
//! so it is what a place in a log is named by.
//!
//! The archives and what was deleted come first, then the rotated shards from the highest number down, then the current
//! file. A shard that is packed keeps its ordinal, and so does the rest where the oldest one is deleted: its name says it
//! until a `retired` record does.

use std::collections::{BTreeSet, HashMap};
use std::fs::DirEntry;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::archive::Archive;
use crate::error::{Error, Result};
use crate::paths::ShardName;

/// The record in `run.ndjson` that says what was deleted.
pub const RETIRED: &str = "retired";

/// What ends the name of a log.
const EXTENSION: &str = ".ndjson";

/// What of a log was deleted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// All shards up to this one.
    pub ordinal: u64,
    /// Rows in them.
    pub rows: u64,
    /// Those of them that a destination still needed.
    pub undelivered: u64,
    /// Largest step of those rows.
    pub largest_step: Option<i64>,
}

/// The shards of a log at one moment, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shards {
    /// Ordinals of the archives.
    pub archives: BTreeSet<u64>,
    /// Numbers of the rotated shards that are files, in any coding.
    pub numbers: BTreeSet<u64>,
    /// Ordinals of those that are being deleted.
    pub leaving: BTreeSet<u64>,
    /// What was deleted, as far as it is on record.
    pub gone: Gone,
}

impl Shards {
    /// Those of the log `base`.
    ///
    /// # Errors
    /// If its folder or its records cannot be read.
    pub fn of(base: &Path) -> Result<Self> {
        Self::with(base, None)
    }

    /// As [`of`](Self::of), without reading records that are `known`.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn with(base: &Path, known: Option<Gone>) -> Result<Self> {
        let folder = base.parent().unwrap_or(Path::new("."));
        let name = base.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let failed = |source| Error::io("list", folder, source);
        let mut shards = Self { gone: known.map_or_else(|| gone(base), Ok)?, ..Self::default() };
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            shards.add(&entry.map_err(failed)?, name);
        }
        Ok(shards)
    }

    /// Those of several logs in `folder`, by one look at its names.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn of_all(folder: &Path, bases: &[PathBuf]) -> Result<Vec<Self>> {
        let failed = |source| Error::io("list", folder, source);
        let mut all = Vec::with_capacity(bases.len());
        let mut indices = HashMap::with_capacity(bases.len());
        for (index, base) in bases.iter().enumerate() {
            all.push(Self { gone: gone(base)?, ..Self::default() });
            indices.extend(base.file_name().and_then(|name| name.to_str()).map(|name| (name, index)));
        }
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let file_name = entry.file_name();
            let Some(end) = file_name.to_str().and_then(|name| name.find(EXTENSION)) else { continue };
            let name = file_name.to_str().map_or("", |name| &name[..end + EXTENSION.len()]);
            if let Some(&index) = indices.get(name) {
                all[index].add(&entry, name);
            }
        }
        Ok(all)
    }

    /// Adds what a file in the folder of the log `name` is of that.
    fn add(&mut self, entry: &DirEntry, name: &str) {
        let file_name = entry.file_name();
        let Some(file_name) = file_name.to_str() else { return };
        if let Some((kind, ordinal)) = Archive::parse(file_name, name) {
            match kind {
                Archive::Packed => self.archives.insert(ordinal),
                Archive::Leaving => self.leaving.insert(ordinal),
            };
        } else if let Some((number, _)) = file_name.strip_prefix(name).and_then(ShardName::behind)
            && number > 0
            && entry.file_type().is_ok_and(|found| found.is_file())
        {
            self.numbers.insert(number);
        }
    }

    /// The ordinal of the newest shard that is packed or gone; 0 if there is none.
    #[must_use]
    pub fn behind(&self) -> u64 {
        let last = |set: &BTreeSet<u64>| set.last().copied().unwrap_or(0);
        last(&self.archives).max(last(&self.leaving)).max(self.gone.ordinal)
    }

    /// The ordinal of the shard with that number, 0 for the current file.
    #[must_use]
    pub fn ordinal(&self, number: u64) -> u64 {
        let older = if number == 0 { self.numbers.len() + 1 } else { self.numbers.range(number..).count() };
        self.behind().saturating_add(older as u64)
    }

    /// The ordinal of the current file, which it keeps when it is rotated and packed.
    #[must_use]
    pub fn current(&self) -> u64 {
        self.ordinal(0)
    }
}

/// The name of the file that keeps a stream's records, beside the log named `log`.
fn records_name(log: &str) -> Option<String> {
    let (kind, _) = log.split_once('.')?;
    let stream = ShardName::parse(log, kind)?.stream;
    Some(stream.file_name("run", "ndjson"))
}

/// What was deleted of the log `base`, by the last record of it.
///
/// # Errors
/// If the records are there and cannot be read.
pub fn gone(base: &Path) -> Result<Gone> {
    let name = base.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some(records) = records_name(name) else { return Ok(Gone::default()) };
    let path = base.with_file_name(records);
    let file = match crate::fs::open_read(&path) {
        Ok(file) => file,
        Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => return Ok(Gone::default()),
        // Somebody else's: it says nothing of ours.
        Err(error) if error.io_kind().is_none() => return Ok(Gone::default()),
        Err(error) => return Err(error),
    };
    let kind = name.split_once('.').map_or(name, |(kind, _)| kind);
    let mut gone = Gone::default();
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let count = std::io::Read::take(&mut reader, MAX_RECORD_BYTES).read_until(b'\n', &mut line);
        match count {
            Ok(0) => return Ok(gone),
            Ok(_) => gone = record(&line, kind).filter(|found| found.ordinal >= gone.ordinal).unwrap_or(gone),
            Err(source) => return Err(Error::io("read", &path, source)),
        }
    }
}

/// Longest record read in one piece; ours have a few hundred bytes.
const MAX_RECORD_BYTES: u64 = 1 << 20;

fn record(line: &[u8], kind: &str) -> Option<Gone> {
    // Most records are others.
    memchr::memmem::find(line, br#""retired""#)?;
    let document: Value = serde_json::from_slice(line).ok()?;
    let is_it = document.get("record")? == RETIRED && document.get("file")? == kind;
    let number = |key: &str| document.get(key).and_then(Value::as_u64);
    is_it.then_some(())?;
    Some(Gone {
        ordinal: number("ordinal")?,
        rows: number("rows")?,
        undelivered: number("rows_undelivered")?,
        largest_step: document.get("largest_step").and_then(Value::as_i64),
    })
}

/// Puts on record what was deleted of the log `base`, for tests.
#[cfg(test)]
pub fn record_for_tests(base: &Path, gone: &Gone) {
    use std::io::Write;
    let name = base.file_name().unwrap().to_str().unwrap();
    let path = base.with_file_name(records_name(name).unwrap());
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    let kind = name.split_once('.').unwrap().0;
    let (ordinal, rows, undelivered) = (gone.ordinal, gone.rows, gone.undelivered);
    writeln!(
        file,
        r#"{{"record":"{RETIRED}","file":"{kind}","ordinal":{ordinal},"rows":{rows},"rows_undelivered":{undelivered}}}"#
    )
    .unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinal_stays_while_shards_are_rotated_packed_and_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("metrics.rank-1.ndjson");
        let at = |name: &str| folder.path().join(format!("metrics.rank-1.ndjson{name}"));
        let write = |name: &str| std::fs::write(at(name), "{}\n").unwrap();
        let move_to = |from: &str, to: &str| std::fs::rename(at(from), at(to)).unwrap();
        let ordinals = || {
            let shards = Shards::of(&base).unwrap();
            let numbers: Vec<u64> = shards.numbers.iter().rev().map(|&number| shards.ordinal(number)).collect();
            assert_eq!(
                Shards::of_all(folder.path(), std::slice::from_ref(&base)).unwrap(),
                std::slice::from_ref(&shards)
            );
            (numbers, shards.current())
        };
        assert_eq!(ordinals(), (vec![], 1), "an empty folder");
        for name in ["", ".1", ".2", ".7.gz"] {
            write(name);
        }
        for other in ["metrics.ndjson.3", "metrics.ndjson.archive-000009.zst", "metrics_manifest.rank-1.ndjson.4"] {
            std::fs::write(folder.path().join(other), "{}\n").unwrap();
        }
        std::fs::create_dir(at(".9")).unwrap();
        assert_eq!(ordinals(), (vec![1, 2, 3], 4));
        move_to(".7.gz", ".7.zst");
        assert_eq!(ordinals(), (vec![1, 2, 3], 4));
        move_to(".7.zst", ".archive-000001.zst");
        assert_eq!(ordinals(), (vec![2, 3], 4));
        move_to(".2", ".3");
        move_to(".1", ".2");
        move_to("", ".1");
        assert_eq!(ordinals(), (vec![2, 3, 4], 5));
        move_to(".3", ".archive-000002.gone");
        assert_eq!(ordinals(), (vec![3, 4], 5));
        let record = |kind: &str, ordinal: u64| {
            format!(
                "{{\"record\":\"retired\",\"file\":\"{kind}\",\"ordinal\":{ordinal},\"rows\":1,\"rows_undelivered\":0,\
                 \"largest_step\":5}}\n"
            )
        };
        let records = [record("metrics", 2), record("metrics_manifest", 9), "torn".to_owned()].concat();
        std::fs::write(folder.path().join("run.rank-1.ndjson"), records).unwrap();
        std::fs::remove_file(at(".archive-000002.gone")).unwrap();
        std::fs::remove_file(at(".archive-000001.zst")).unwrap();
        assert_eq!(ordinals(), (vec![3, 4], 5));
        assert_eq!(gone(&base).unwrap(), Gone { ordinal: 2, rows: 1, undelivered: 0, largest_step: Some(5) });
    }
}
