//! How far a destination has got, on disk.
//!
//! A shard is known by its ordinal and its first line, since rotation renames it and packing gives it another inode: first
//! lines may be equal, and ordinals begin anew in a log whose archives and records were removed by hand. The hash of the last
//! delivered line tells whether the bytes before the offset are still the ones that were delivered.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};
use crate::fs::{self, FileId};
use crate::run::ending::RunStatus;
use crate::run::identity::Home;
use crate::shard::name::Stream;
use crate::shard::tail::INTERNALS;

/// Mode of the file: nobody else needs it.
const MODE: u32 = 0o600;
/// Longest file read. Ours have a few hundred bytes.
const MAX_BYTES: u64 = 1 << 16;
/// Shards known to be done with, beside the current one, in case that one is lost.
const MAX_COMPLETED: usize = 16;

/// A place in a log: behind a line that was delivered, or that there was nothing to deliver of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Hash of the shard's first line.
    pub shard: u64,
    /// The shard's [ordinal](crate::shard::ordinal); 0 where it is not known, as in a cursor of an older version.
    pub ordinal: u64,
    /// Bytes before the place, of the shard as it is uncompressed.
    pub offset: u64,
    /// Hash of the line that ends there.
    pub last: u64,
    /// The shard's file when it was last seen: of several that look the same it is preferred.
    pub file: FileId,
    /// Hashes of the first lines of the shards before, the newest last.
    pub completed: Vec<u64>,
}

/// The hash of a line, without its newline.
#[must_use]
pub fn hash(line: &[u8]) -> u64 {
    xxh3_64(line.strip_suffix(b"\n").unwrap_or(line))
}

impl Cursor {
    /// Goes on in a new shard; the cursor stands before its first line until [`pass`](Self::pass) is called.
    pub fn enter(&mut self, shard: u64, ordinal: u64, file: FileId) {
        let is_same = self.shard == shard && (self.ordinal == ordinal || self.ordinal == 0 || ordinal == 0);
        if self.offset > 0 && !is_same {
            self.completed.push(self.shard);
            let excess = self.completed.len().saturating_sub(MAX_COMPLETED);
            self.completed.drain(..excess);
        }
        (self.shard, self.ordinal, self.offset, self.last, self.file) = (shard, ordinal, 0, 0, file);
    }

    /// Goes on behind a line.
    #[inline]
    pub fn pass(&mut self, end: u64, line: &[u8]) {
        (self.offset, self.last) = (end, hash(line));
    }
}

/// What a destination lacks since it was deleted before it was delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Rows, as far as their number is known.
    pub rows: u64,
    /// Times that an unknown number of rows may have gone.
    pub gaps: u64,
}

impl Missing {
    /// Whether anything is missing.
    #[must_use]
    pub fn is_some(self) -> bool {
        self != Self::default()
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { rows: self.rows + other.rows, gaps: self.gaps + other.gaps }
    }

    /// The number of rows, or that it is not known.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self { gaps: 0, rows } => rows.to_string(),
            Self { rows: 0, .. } => "unknown".to_owned(),
            Self { rows, .. } => format!("at least {rows}"),
        }
    }

    fn of(document: &Value, key: &str) -> Self {
        let number =
            |field| document.get(key).and_then(|missing| missing.get(field)).and_then(Value::as_u64).unwrap_or(0);
        Self { rows: number("rows"), gaps: number("gaps") }
    }
}

/// What is kept of a delivery on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Up to where rows were delivered; `None` before the first.
    pub cursor: Option<Cursor>,
    /// Bytes of the parameters' file that were delivered.
    pub params_offset: u64,
    /// How the run ended and when, in microseconds since the epoch, as the destination was told.
    pub told: Option<(RunStatus, i64)>,
    /// `run.json` names another remote run instead of this one, so that nothing is kept for it.
    pub is_superseded: bool,
    /// Where it is delivered to; `None` of an older version's.
    pub address: Option<String>,
    /// Lines of the stream before the cursor, also those that were deleted; `None` where that is not known.
    pub rows: Option<u64>,
    /// What is missing there.
    pub missing: Missing,
    /// What the destination was told is missing.
    pub told_missing: Missing,
}

impl Progress {
    /// What the file at `path` says. A missing or damaged one says that nothing was delivered: sending again does no harm.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = match fs::open_read(path) {
            Ok(file) => {
                let mut bytes = Vec::new();
                let read = std::io::Read::read_to_end(&mut std::io::Read::take(file, MAX_BYTES), &mut bytes);
                read.map_err(|source| Error::io("read", path, source))?;
                bytes
            }
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        Ok(serde_json::from_slice(&bytes).ok().as_ref().and_then(Self::parse).unwrap_or_default())
    }

    /// That of an earlier delivery to `run`; without one to the run that `run.json` names, as far as that is known without
    /// asking.
    pub fn known(directory: &Path, stream: &Stream, address: &str, run: Option<&str>) -> Result<Self> {
        let run = match run {
            Some(run) => Some(run.to_owned()),
            None => Home::of(directory)?.destinations.get(address).cloned(),
        };
        run.map_or(Ok(Self::default()), |run| Self::load(&progress_path(directory, stream, address, &run)))
    }

    fn parse(document: &Value) -> Option<Self> {
        let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64);
        let cursor = match document.get("cursor")? {
            Value::Null => None,
            value => Some(Cursor {
                shard: number(value, "shard")?,
                ordinal: number(value, "ordinal").unwrap_or(0),
                offset: number(value, "offset")?,
                last: number(value, "last")?,
                file: FileId { device: number(value, "device")?, inode: number(value, "inode")? },
                completed: value.get("completed")?.as_array()?.iter().filter_map(Value::as_u64).collect(),
            }),
        };
        let told = document.get("told").and_then(|told| {
            Some((RunStatus::of_word(told.get("status")?.as_str()?)?, told.get("end_micros")?.as_i64()?))
        });
        let is_superseded = document.get("superseded").and_then(Value::as_bool).unwrap_or(false);
        let address = document.get("address").and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            cursor,
            params_offset: number(document, "params_offset")?,
            told,
            is_superseded,
            address,
            rows: number(document, "rows"),
            missing: Missing::of(document, "missing"),
            told_missing: Missing::of(document, "told_missing"),
        })
    }

    /// Puts it on disk.
    pub fn save(&self, path: &Path) -> Result<()> {
        let cursor = self.cursor.as_ref().map(|cursor| {
            json!({
                "shard": cursor.shard, "ordinal": cursor.ordinal, "offset": cursor.offset, "last": cursor.last,
                "device": cursor.file.device, "inode": cursor.file.inode, "completed": cursor.completed,
            })
        });
        let told = self.told.map(|(status, end_micros)| json!({"status": status.word(), "end_micros": end_micros}));
        let document = json!({
            "cursor": cursor, "params_offset": self.params_offset, "told": told, "superseded": self.is_superseded,
            "address": self.address, "rows": self.rows,
            "missing": {"rows": self.missing.rows, "gaps": self.missing.gaps},
            "told_missing": {"rows": self.told_missing.rows, "gaps": self.told_missing.gaps},
        });
        fs::replace(path, format!("{document}\n").as_bytes(), MODE)
    }
}

/// The lock that is held by whoever delivers a stream to an address.
#[must_use]
pub fn lock_path(directory: &Path, stream: &Stream, address: &str) -> PathBuf {
    directory.join(INTERNALS).join(format!("export-{stream}-{:016x}.lock", xxh3_64(address.as_bytes())))
}

/// The progress of a stream's delivery to a remote run.
#[must_use]
pub fn progress_path(directory: &Path, stream: &Stream, address: &str, remote_run: &str) -> PathBuf {
    let destination = format!("{address}\0{remote_run}");
    directory.join(INTERNALS).join(format!("export-{stream}-{:016x}.json", xxh3_64(destination.as_bytes())))
}

/// The progress of every delivery of a stream that ever began.
pub fn progress_paths(directory: &Path, stream: &Stream) -> Result<Vec<PathBuf>> {
    let folder = directory.join(INTERNALS);
    let start = format!("export-{stream}-");
    let mut paths = Vec::new();
    for name in fs::list(&folder)? {
        let number = name.to_str().and_then(|name| name.strip_prefix(&start)?.strip_suffix(".json"));
        // The names of other streams may begin with this one's.
        if number.is_some_and(|number| number.len() == 16 && number.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            paths.push(folder.join(name));
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_comes_back_and_damage_means_from_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("export-main-0.json");
        assert_eq!(Progress::load(&path).unwrap(), Progress::default());
        let mut cursor = Cursor { offset: 3, shard: u64::MAX, ..Cursor::default() };
        for shard in 0..100 {
            cursor.enter(shard, shard + 1, FileId { device: u64::MAX, inode: shard });
            cursor.pass(17, b"{}\n");
        }
        assert_eq!((cursor.completed.len(), cursor.completed.last()), (MAX_COMPLETED, Some(&98)));
        let address = Some("test http://x".to_owned());
        let (rows, missing) = (Some(77), Missing { rows: 3, gaps: 1 });
        let progress =
            Progress { cursor: Some(cursor), params_offset: 5, address, rows, missing, ..Progress::default() };
        for told in [None, Some((RunStatus::Killed, -1)), Some((RunStatus::Failed, i64::MAX))] {
            let progress = Progress { told, is_superseded: told.is_some(), ..progress.clone() };
            progress.save(&path).unwrap();
            assert_eq!(Progress::load(&path).unwrap(), progress);
        }
        progress.save(&path).unwrap();
        assert_eq!(Progress::load(&path).unwrap(), progress);
        let text = std::fs::read(&path).unwrap();
        for length in 0..text.len() - 2 {
            std::fs::write(&path, &text[..length]).unwrap();
            assert_eq!(Progress::load(&path).unwrap(), Progress::default(), "a prefix of {length} bytes");
        }
        Progress::default().save(&path).unwrap();
        assert_eq!(Progress::load(&path).unwrap(), Progress::default());
        std::fs::write(&path, "{\"cursor\":null,\"params_offset\":9,\"told\":null}\n").unwrap();
        assert_eq!(
            Progress::load(&path).unwrap(),
            Progress { params_offset: 9, ..Progress::default() },
            "an older one"
        );
        let older = "{\"cursor\":{\"shard\":1,\"offset\":2,\"last\":3,\"device\":4,\"inode\":5,\"completed\":[6]},\
                     \"params_offset\":9,\"told\":null}";
        std::fs::write(&path, older).unwrap();
        let file = FileId { device: 4, inode: 5 };
        let cursor = Cursor { shard: 1, ordinal: 0, offset: 2, last: 3, file, completed: vec![6] };
        assert_eq!(Progress::load(&path).unwrap().cursor, Some(cursor), "an older one with a cursor");
    }

    #[test]
    fn a_newline_does_not_count() {
        assert_eq!(hash(b"{}\n"), hash(b"{}"));
        assert_ne!(hash(b"{}"), hash(b"{ }"));
    }
}
