//! What `run.ndjson` says of a run's sessions.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::export::RunStatus;
use crate::record::timestamp;
use crate::shard::name::Stream;
use crate::shard::ordinal::RETIRED;
use crate::worker::files::FileKind;

/// How the last session of `stream` ended and when, if it is not going on: without a finish it was killed, at the time of its
/// last row. `None` if there is no session on record.
///
/// # Errors
/// If the file cannot be read.
pub fn last_status(directory: &Path, stream: &Stream) -> Result<Option<(RunStatus, i64)>> {
    let path = FileKind::Session.path(directory, stream);
    let file = match crate::fs::open_read(&path) {
        Ok(file) => file,
        Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut last = None;
    for line in BufReader::new(file).split(b'\n') {
        let line = line.map_err(|source| Error::io("read", &path, source))?;
        // A deletion says nothing of a session's end.
        let is_session = |record: &Value| record.get("record").is_some_and(|record| record != RETIRED);
        last = serde_json::from_slice::<Value>(&line).ok().filter(is_session).or(last);
    }
    let Some(record) = last else { return Ok(None) };
    let text = |key: &str| record.get(key).and_then(Value::as_str);
    let time = text("timestamp").and_then(|text| timestamp::parse(text.as_bytes())).unwrap_or(0);
    if text("record") == Some("finish") {
        return Ok(Some((text("status").and_then(RunStatus::of_word).unwrap_or(RunStatus::Killed), time)));
    }
    let written = FileKind::Metrics.path(directory, stream).symlink_metadata().ok();
    let micros = written.map(|metadata| metadata.mtime() * 1_000_000 + metadata.mtime_nsec() / 1000);
    Ok(Some((RunStatus::Killed, micros.unwrap_or(time).max(time))))
}
