//! How far a delivery has come, on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::cursor::Cursor;
use super::points::UnshownRows;
use crate::error::{Error, Result};
use crate::fs;
use crate::paths::{FileKind, INTERNALS, Stream};
use crate::run::ending::RunStatus;
use crate::run::identity::Home;

/// Of the file's form. The first had no number.
const VERSION: u64 = 2;
/// Mode of the file: nobody else needs it.
const MODE: u32 = 0o600;
/// Longest file read. Ours have a few hundred bytes beside what a destination keeps.
const MAX_BYTES: u64 = 1 << 20;
/// Stands for the remote run while that is not known, or where there is no such thing.
pub const NO_RUN: &str = "";

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

/// What was delivered and what was not, over all sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Points that were taken.
    pub points: u64,
    /// Points that were refused for good.
    pub rejected: u64,
    /// Parameters that were taken.
    pub params: u64,
    /// Spans and samples that were taken.
    pub records: u64,
    /// Rows that the destination has no form for.
    pub unshown: UnshownRows,
}

impl Totals {
    fn of(document: &Value) -> Self {
        let number =
            |field| document.get("totals").and_then(|totals| totals.get(field)).and_then(Value::as_u64).unwrap_or(0);
        Self {
            points: number("points"),
            rejected: number("rejected"),
            params: number("params"),
            records: number("records"),
            unshown: UnshownRows {
                structured: number("structured"),
                without_step: number("without_step"),
                without_value: number("without_value"),
            },
        }
    }

    fn to_json(self) -> Value {
        json!({
            "points": self.points, "rejected": self.rejected, "params": self.params, "records": self.records,
            "structured": self.unshown.structured, "without_step": self.unshown.without_step,
            "without_value": self.unshown.without_value,
        })
    }
}

/// What is kept of a delivery on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Up to where rows were delivered; `None` before the first.
    pub cursor: Option<Cursor>,
    /// The place in the manifest behind the structured value of the last row that had one.
    pub manifest: Option<Cursor>,
    /// Up to where other logs were delivered, by the first part of their files' names.
    pub records: BTreeMap<String, Cursor>,
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
    /// Whether only lines of other logs are delivered.
    pub is_without_rows: bool,
    /// The other logs that it follows, whether it has anything of them yet or not.
    pub follows: BTreeSet<String>,
    /// What is missing there.
    pub missing: Missing,
    /// What the destination was told is missing.
    pub told_missing: Missing,
    /// What was delivered and what was not, in all.
    pub totals: Totals,
    /// What the destination itself keeps, as JSON.
    pub state: Option<String>,
}

impl Progress {
    /// What the file at `path` says. A missing or damaged one says that nothing was delivered: sending again does no harm.
    ///
    /// # Errors
    /// If it cannot be read, or a newer version wrote it.
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
        let Ok(document) = serde_json::from_slice::<Value>(&bytes) else { return Ok(Self::default()) };
        let version = document.get("version").map_or(Some(1), Value::as_u64);
        if version.is_none_or(|version| version > VERSION) {
            return Err(Error::conflict(format!(
                "{} was written by a newer version of codex_obs: upgrade codex_obs to deliver the rest, or delete the file to \
                 deliver everything again",
                path.display()
            )));
        }
        Ok(Self::parse(&document).unwrap_or_default())
    }

    /// That of an earlier delivery to `run`; without one to the run that `run.json` names, as far as that is known without
    /// asking.
    pub fn known(directory: &Path, stream: &Stream, address: &str, run: Option<&str>) -> Result<Self> {
        let run = match run {
            Some(run) => Some(run.to_owned()),
            None => Home::of(directory)?.destinations.get(address).cloned(),
        };
        Self::load(&progress_path(directory, stream, address, run.as_deref().unwrap_or(NO_RUN)))
    }

    /// Whether it has something to do with a log.
    #[must_use]
    pub fn is_of(&self, log: FileKind) -> bool {
        if log == FileKind::Metrics { !self.is_without_rows } else { self.follows.contains(log.base()) }
    }

    /// Up to where a log was delivered.
    #[must_use]
    pub fn cursor_in(&self, log: FileKind) -> Option<&Cursor> {
        if log == FileKind::Metrics { self.cursor.as_ref() } else { self.records.get(log.base()) }
    }

    /// That, to be moved.
    pub fn cursor_mut(&mut self, log: FileKind) -> Option<&mut Cursor> {
        if log == FileKind::Metrics { self.cursor.as_mut() } else { self.records.get_mut(log.base()) }
    }

    fn parse(document: &Value) -> Option<Self> {
        let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64);
        let cursor = match document.get("cursor")? {
            Value::Null => None,
            value => Some(Cursor::of_json(value)?),
        };
        let records = document.get("records").and_then(Value::as_object).into_iter().flatten();
        let records = records.filter_map(|(log, place)| Some((log.clone(), Cursor::of_json(place)?))).collect();
        let told = document.get("told").and_then(|told| {
            Some((RunStatus::of_word(told.get("status")?.as_str()?)?, told.get("end_micros")?.as_i64()?))
        });
        let is_superseded = document.get("superseded").and_then(Value::as_bool).unwrap_or(false);
        let address = document.get("address").and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            cursor,
            manifest: document.get("manifest").and_then(Cursor::of_json),
            records,
            params_offset: number(document, "params_offset")?,
            told,
            is_superseded,
            address,
            rows: number(document, "rows"),
            is_without_rows: document.get("without_rows").and_then(Value::as_bool).unwrap_or(false),
            follows: document
                .get("follows")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            missing: Missing::of(document, "missing"),
            told_missing: Missing::of(document, "told_missing"),
            totals: Totals::of(document),
            state: document.get("state").filter(|state| !state.is_null()).map(Value::to_string),
        })
    }

    /// Puts it on disk.
    pub fn save(&self, path: &Path) -> Result<()> {
        let cursor = self.cursor.as_ref().map(Cursor::to_json);
        let manifest = self.manifest.as_ref().map(Cursor::to_json);
        let records: serde_json::Map<_, _> =
            self.records.iter().map(|(log, place)| (log.clone(), place.to_json())).collect();
        let state = self.state.as_deref().map(serde_json::from_str::<Value>).transpose();
        let state = state.map_err(|error| Error::io("note the destination's state in", path, error.into()))?;
        let told = self.told.map(|(status, end_micros)| json!({"status": status.word(), "end_micros": end_micros}));
        let document = json!({
            "version": VERSION, "cursor": cursor, "manifest": manifest, "records": records, "params_offset": self.params_offset, "told": told, "superseded": self.is_superseded,
            "address": self.address, "rows": self.rows, "without_rows": self.is_without_rows, "follows": self.follows,
            "missing": {"rows": self.missing.rows, "gaps": self.missing.gaps},
            "told_missing": {"rows": self.told_missing.rows, "gaps": self.told_missing.gaps},
            "totals": self.totals.to_json(), "state": state,
        });
        fs::replace(path, format!("{document}\n").as_bytes(), MODE)
    }
}

/// The lock that a process holds while it delivers a stream to an address.
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

/// What a destination keeps of each stream, as JSON.
///
/// # Errors
/// If a progress cannot be read.
pub fn states(directory: &Path, address: &str) -> Result<BTreeMap<Stream, String>> {
    let suffix = format!("-{:016x}.json", xxh3_64(format!("{address}\0{NO_RUN}").as_bytes()));
    let folder = directory.join(INTERNALS);
    let mut states = BTreeMap::new();
    for name in fs::list(&folder)? {
        let stream = name.to_str().and_then(|name| name.strip_prefix("export-")?.strip_suffix(&suffix));
        let Some(stream) = stream.and_then(Stream::parse) else { continue };
        if let Some(state) = Progress::load(&folder.join(&name))?.state {
            states.insert(stream, state);
        }
    }
    Ok(states)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::FileId;

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
        assert_eq!(cursor.completed.last(), Some(&98));
        let address = Some("test http://x".to_owned());
        let (rows, missing) = (Some(77), Missing { rows: 3, gaps: 1 });
        let totals = Totals {
            points: 9,
            unshown: UnshownRows { without_step: 2, ..UnshownRows::default() },
            ..Totals::default()
        };
        let progress = Progress {
            cursor: Some(cursor.clone()),
            manifest: Some(Cursor { offset: 1, ..Cursor::default() }),
            records: [("telemetry".to_owned(), cursor)].into(),
            params_offset: 5,
            address,
            rows,
            missing,
            totals,
            state: Some("{\"length\":7}".to_owned()),
            ..Progress::default()
        };
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
    fn what_a_newer_version_wrote_is_not_taken_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("export-main-0.json");
        for version in ["3", "99999999999999999999", "\"2\"", "-1"] {
            std::fs::write(&path, format!("{{\"version\":{version},\"cursor\":null,\"params_offset\":0}}")).unwrap();
            let error = Progress::load(&path).unwrap_err().to_string();
            assert!(error.contains("export-main-0.json") && error.contains("upgrade codex_obs"), "{error}");
        }
    }

    #[test]
    fn the_states_of_a_destination_are_found_by_stream() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(INTERNALS)).unwrap();
        for (stream, address) in [("main", "a"), ("rank-1", "a"), ("main", "b")] {
            let path = progress_path(folder.path(), &Stream::parse(stream).unwrap(), address, NO_RUN);
            let state = Some(format!("[\"{stream}\",\"{address}\"]"));
            Progress { state, ..Progress::default() }.save(&path).unwrap();
        }
        let found = states(folder.path(), "a").unwrap();
        let found: Vec<_> = found.iter().map(|(stream, state)| (stream.as_str(), state.as_str())).collect();
        assert_eq!(found, [("main", "[\"main\",\"a\"]"), ("rank-1", "[\"rank-1\",\"a\"]")]);
    }
}
