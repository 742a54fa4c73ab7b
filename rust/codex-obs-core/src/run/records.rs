//! What `run.ndjson` says of a stream's sessions.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::paths::{FileKind, Stream};
use crate::record::text::cut;
use crate::record::timestamp;
use crate::run::ending::RunStatus;

/// Longest line looked at. Ours have a few hundred bytes, and a file that somebody planted takes no more memory.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// A place in the metrics of a stream: where a session begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The shard's ordinal, which stays the same while rotation renames it and packing replaces it.
    pub shard: u64,
    /// Bytes of the shard before it.
    pub offset: u64,
}

impl Place {
    /// Where the first session of a stream begins.
    pub const START: Self = Self { shard: 1, offset: 0 };
}

/// What tells the processes of one launched job from those of every other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobKey {
    /// The name that the launcher gave, if it gave one.
    pub name: Option<String>,
    /// How many times the launcher had started it again.
    pub restart: u64,
    /// The launching process, or the address at which ranks of several hosts meet.
    pub launcher: Option<String>,
    /// The launching process of this very host.
    pub process: Option<String>,
    /// Which of the job's runs it is, from 1.
    pub number: u64,
}

/// A session on record.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// When it began, in microseconds since the epoch.
    pub started_micros: i64,
    /// Name of its host.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// The job that its process belonged to.
    pub job: Option<JobKey>,
    /// Hash of the configuration that it was opened with.
    pub config_hash: Option<String>,
    /// Where its rows begin; `None` in logs from before this was noted.
    pub at: Option<Place>,
    /// The step from which on it replaced earlier rows.
    pub rewind_to: Option<i64>,
    /// Where the other streams stood whose rows it replaced too.
    pub rewound: BTreeMap<String, Place>,
    /// How and when it ended, if it says so.
    pub finish: Option<(RunStatus, i64)>,
}

/// Gives `take` the sessions of `stream` in the order in which they began, one at a time: a record of any length takes no more memory
/// than its longest line. None if there is no record.
///
/// # Errors
/// If the file cannot be read.
pub fn each(directory: &Path, stream: &Stream, mut take: impl FnMut(Recorded)) -> Result<()> {
    let path = FileKind::Session.path(directory, stream);
    let file = match crate::fs::open_read(&path) {
        Ok(file) => file,
        Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut session: Option<Recorded> = None;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    let mut is_rest = false;
    loop {
        line.clear();
        let read = reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
        if read.map_err(|source| Error::io("read", &path, source))? == 0 {
            session.into_iter().for_each(take);
            return Ok(());
        }
        let is_whole = line.ends_with(b"\n");
        if !std::mem::replace(&mut is_rest, !is_whole)
            && let Ok(record) = serde_json::from_slice::<Value>(&line)
        {
            match text(&record, "record") {
                Some("start") => session.replace(Recorded::of(&record)).into_iter().for_each(&mut take),
                Some("finish") => {
                    let status = text(&record, "status").and_then(RunStatus::of_word).unwrap_or(RunStatus::Killed);
                    if let Some(session) = &mut session {
                        session.finish = Some((status, time(&record)));
                    }
                }
                _ => {}
            }
        }
    }
}

/// The first and the last session of `stream`; `None` if there is none on record.
///
/// # Errors
/// If the file cannot be read.
pub fn ends(directory: &Path, stream: &Stream) -> Result<Option<(Recorded, Recorded)>> {
    let (mut first, mut last) = (None, None);
    each(directory, stream, |session| {
        first.get_or_insert_with(|| session.clone());
        last = Some(session);
    })?;
    Ok(first.zip(last))
}

/// How the last session of `stream` ended and when, if it is not going on: without a finish it was killed, at the time of its
/// last row. `None` if there is no session on record.
///
/// # Errors
/// If the file cannot be read.
pub fn last_status(directory: &Path, stream: &Stream) -> Result<Option<(RunStatus, i64)>> {
    let Some((_, last)) = ends(directory, stream)? else { return Ok(None) };
    if last.finish.is_some() {
        return Ok(last.finish);
    }
    let written = FileKind::Metrics.path(directory, stream).symlink_metadata().ok();
    let micros = written.map(|metadata| metadata.mtime() * 1_000_000 + metadata.mtime_nsec() / 1000);
    let time = last.started_micros;
    Ok(Some((RunStatus::Killed, micros.unwrap_or(time).max(time))))
}

/// Whether the last session of `stream` has a finish record. It may still be open then: rows are accepted to the last.
///
/// # Errors
/// If the file cannot be read.
pub fn is_finished(directory: &Path, stream: &Stream) -> Result<bool> {
    Ok(ends(directory, stream)?.is_some_and(|(_, last)| last.finish.is_some()))
}

impl Recorded {
    fn of(record: &Value) -> Self {
        let rewound = record.get("rewound").and_then(Value::as_object);
        Self {
            started_micros: time(record),
            host: text(record, "host").map(kept).unwrap_or_default(),
            pid: number(record, "pid").and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default(),
            job: record.get("job").and_then(JobKey::of),
            config_hash: text(record, "config_hash").map(kept),
            at: record.get("at").and_then(Place::of),
            rewind_to: record.get("rewind_to").and_then(Value::as_i64),
            rewound: rewound
                .into_iter()
                .flatten()
                .filter_map(|(stream, place)| Some((stream.clone(), Place::of(place)?)))
                .collect(),
            finish: None,
        }
    }
}

impl Place {
    /// Shard and offset.
    #[must_use]
    pub fn parts(self) -> (u64, u64) {
        (self.shard, self.offset)
    }

    fn of(value: &Value) -> Option<Self> {
        Some(Self { shard: number(value, "shard")?, offset: number(value, "offset")? })
    }
}

impl JobKey {
    fn of(value: &Value) -> Option<Self> {
        let owned = |key| text(value, key).map(kept);
        value.is_object().then(|| Self {
            name: owned("name"),
            restart: number(value, "restart").unwrap_or_default(),
            launcher: owned("launcher"),
            process: owned("process"),
            number: number(value, "number").unwrap_or(1),
        })
    }
}

fn text<'a>(record: &'a Value, key: &str) -> Option<&'a str> {
    record.get(key).and_then(Value::as_str)
}

/// A text that is kept.
fn kept(text: &str) -> String {
    cut(text).0.to_owned()
}

fn number(record: &Value, key: &str) -> Option<u64> {
    record.get(key).and_then(Value::as_u64)
}

fn time(record: &Value) -> i64 {
    text(record, "timestamp").and_then(|text| timestamp::parse(text.as_bytes())).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(lines: &str) -> (tempfile::TempDir, Stream) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("run.ndjson"), lines).unwrap();
        (folder, Stream::main())
    }

    #[test]
    fn sessions_are_read_as_they_stand_and_what_is_none_is_passed_over() {
        let long = "x".repeat(MAX_LINE_BYTES as usize + 5);
        let (folder, stream) = written(&format!(
            concat!(
                "{{\"record\":\"start\",\"pid\":7,\"at\":{{\"shard\":3,\"offset\":9}},\"rewind_to\":5,",
                "\"rewound\":{{\"rank-1\":{{\"shard\":1,\"offset\":2}},\"x\":4}},",
                "\"job\":{{\"name\":\"n\",\"restart\":2,\"launcher\":null,\"number\":3}}}}\n",
                "{{\"record\":\"finish\",\"status\":\"failed\",\"timestamp\":\"1970-01-01T00:00:01.000000Z\"}}\n",
                "no json\n{{\"record\":\"start\",\"host\":\"{}\"}}\n[1]\n",
                "{{\"record\":\"retired\"}}\n{{\"record\":\"start\",\"job\":null}}\n{{\"record\":\"fin"
            ),
            long
        ));
        let mut found = Vec::new();
        each(folder.path(), &stream, |session| found.push(session)).unwrap();
        let [first, second] = &found[..] else { panic!("two sessions") };
        assert_eq!(ends(folder.path(), &stream).unwrap(), Some((first.clone(), second.clone())));
        assert_eq!((first.pid, first.at, first.rewind_to), (7, Some(Place { shard: 3, offset: 9 }), Some(5)));
        assert_eq!(first.rewound, BTreeMap::from([("rank-1".to_owned(), Place { shard: 1, offset: 2 })]));
        assert_eq!(first.finish, Some((RunStatus::Failed, 1_000_000)));
        let job = first.job.clone().unwrap();
        assert_eq!((job.name.as_deref(), job.restart, job.launcher, job.number), (Some("n"), 2, None, 3));
        assert_eq!((second.at, second.finish, second.job.is_none()), (None, None, true));
        assert_eq!(last_status(folder.path(), &stream).unwrap().unwrap().0, RunStatus::Killed);
    }

    #[test]
    fn a_stream_without_a_record_has_no_session() {
        let (folder, _) = written("");
        assert_eq!(ends(folder.path(), &Stream::main()).unwrap(), None);
        assert_eq!(last_status(folder.path(), &Stream::of_rank(1)).unwrap(), None);
    }
}
