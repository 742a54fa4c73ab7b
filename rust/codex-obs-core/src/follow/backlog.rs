//! What is still to be delivered, for people to see.

use std::io::Read;
use std::path::Path;

use super::cursor::Cursor;
use super::locate::place;
use super::params::Params;
use super::progress::Progress;
use crate::error::{Error, Result};
use crate::limits::SCAN_BLOCK_BYTES;
use crate::paths::{Coding, FileKind, Stream};
use crate::problem::Facts;
use crate::run::ending::RunStatus;
use crate::scan::{Snapshot, Source};
use crate::words::count;

/// Bytes in which rows are counted; counting more would hold up whoever asks.
const MAX_COUNTED_BYTES: u64 = 64 << 20;

/// What is still to be delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Rows of the log behind the cursor; `None` if they are too many to count.
    pub rows: Option<u64>,
    /// The bytes that they take as they are stored.
    pub bytes: u64,
    /// Whether they are lines of telemetry, of a destination that gets no rows.
    pub is_telemetry: bool,
    /// Parameters.
    pub params: u64,
    /// Tags.
    pub tags: u64,
    /// How the run ended.
    pub status: bool,
    /// The command that delivers them, as facts.
    pub command: Facts,
}

impl Backlog {
    /// What of `stream` is behind `progress`. With `status`, which says how the run ended, also of what only the stream that
    /// leads the others delivers.
    pub fn of(
        directory: &Path,
        stream: &Stream,
        progress: &Progress,
        status: Option<(RunStatus, i64)>,
    ) -> Result<Self> {
        let parts = behind(directory, stream, progress, true)?;
        let bytes = parts.iter().map(|(source, start)| source.stored_length() - start).sum();
        let countable = bytes <= MAX_COUNTED_BYTES && parts.iter().all(|(source, _)| source.coding == Coding::Plain);
        let count = || parts.iter().map(|(source, start)| lines(source, *start)).sum::<Result<u64>>();
        let is_telemetry = progress.is_without_rows;
        let mut left = Self { rows: countable.then(count).transpose()?, bytes, is_telemetry, ..Self::default() };
        if status.is_some() && !is_telemetry {
            (left.params, left.tags) = Params::new(directory, stream).count(progress.params_offset)?;
            left.status = progress.told != status;
        }
        Ok(left)
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.bytes == 0 && self.params == 0 && self.tags == 0 && !self.status
    }

    /// What it is, in words.
    #[must_use]
    pub fn words(&self) -> String {
        let many = |number: u64, what: &str| (number > 0).then(|| count(number, what));
        let rows = match self.rows {
            None => Some(format!("{} bytes of {}", self.bytes, if self.is_telemetry { "telemetry" } else { "rows" })),
            Some(rows) if self.is_telemetry => many(rows, "line").map(|lines| format!("{lines} of telemetry")),
            Some(rows) => many(rows, "row"),
        };
        let status = self.status.then(|| "the run status".to_owned());
        let mut words: Vec<String> =
            [rows, many(self.params, "parameter"), many(self.tags, "tag"), status].into_iter().flatten().collect();
        match (words.pop(), words.is_empty()) {
            (Some(last), false) => format!("{} and {last}", words.join(", ")),
            (last, _) => last.unwrap_or_default(),
        }
    }
}

/// The stored bytes of `stream` behind `progress`, quickly.
pub fn bytes_left(directory: &Path, stream: &Stream, progress: &Progress) -> Result<u64> {
    let parts = behind(directory, stream, progress, false)?;
    Ok(parts.iter().map(|(source, start)| source.stored_length() - start).sum())
}

/// The shards from the one on in which the cursor is, and where in them what is left begins.
fn behind(directory: &Path, stream: &Stream, progress: &Progress, patience: bool) -> Result<Vec<(Source, u64)>> {
    let log = if progress.is_without_rows { FileKind::Telemetry } else { FileKind::Metrics };
    let cursor: Option<&Cursor> =
        if progress.is_without_rows { progress.records.get(log.base()) } else { progress.cursor.as_ref() };
    let sources = Snapshot::of_stream(log, directory, stream)?.sources;
    let (first, offset) = cursor.map_or(Ok((0, 0)), |cursor| place(&sources, cursor, patience))?;
    let parts = sources.into_iter().enumerate().skip(first);
    let with_start = |(index, source): (usize, Source)| {
        let start = if index == first { offset.min(source.stored_length()) } else { 0 };
        (source, start)
    };
    Ok(parts.map(with_start).collect())
}

fn lines(source: &Source, start: u64) -> Result<u64> {
    let Some(mut bytes) = source.bytes(start)? else { return Ok(0) };
    let mut block = vec![0; SCAN_BLOCK_BYTES];
    let mut lines = 0;
    loop {
        match bytes.read(&mut block) {
            Ok(0) => return Ok(lines),
            Ok(length) => lines += memchr::memchr_iter(b'\n', &block[..length]).count() as u64,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("read", &source.path, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::follow::cursor::hash;
    use crate::fs::FileId;

    fn line(step: u64) -> String {
        format!("{{\"step\":{step},\"metric\":\"m\",\"value\":1}}\n")
    }

    /// Writes `steps` to `path` and gives the cursor behind the first `delivered` of them.
    fn write(path: &Path, steps: std::ops::Range<u64>, delivered: usize) -> Cursor {
        let lines: Vec<String> = steps.map(line).collect();
        std::fs::write(path, lines.concat()).unwrap();
        let mut cursor = Cursor::default();
        cursor.enter(hash(lines[0].as_bytes()), 0, FileId::at(path).unwrap().unwrap());
        let offset: usize = lines[..delivered].iter().map(String::len).sum();
        cursor.pass(offset as u64, lines[delivered - 1].as_bytes());
        cursor
    }

    fn left(folder: &Path, cursor: &Cursor) -> Backlog {
        let progress = Progress { cursor: Some(cursor.clone()), ..Progress::default() };
        Backlog::of(folder, &Stream::main(), &progress, None).unwrap()
    }

    fn rows(folder: &Path, cursor: &Cursor) -> Option<u64> {
        left(folder, cursor).rows
    }

    #[test]
    fn the_inode_of_a_deleted_shard_that_another_file_has_got_is_not_taken_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.ndjson");
        let mut cursor = write(&path, 0..10, 8);
        assert_eq!(rows(folder.path(), &cursor), Some(2));
        std::fs::remove_file(&path).unwrap();
        write(&path, 100..120, 1);
        cursor.file = FileId::at(&path).unwrap().unwrap();
        assert_eq!(rows(folder.path(), &cursor), Some(20));
        assert_eq!(
            bytes_left(
                folder.path(),
                &Stream::main(),
                &Progress { cursor: Some(cursor.clone()), ..Progress::default() }
            )
            .unwrap(),
            std::fs::metadata(&path).unwrap().len()
        );
    }

    #[test]
    fn a_shard_that_was_packed_or_copied_is_the_one_that_was_delivered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.ndjson");
        let cursor = write(&path, 0..10, 10);
        let text = std::fs::read(&path).unwrap();
        std::fs::write(folder.path().join("metrics.ndjson.1"), &text).unwrap();
        write(&path, 10..13, 1);
        assert_eq!(rows(folder.path(), &cursor), Some(3), "copied");
        let packed = zstd::encode_all(&text[..], 1).unwrap();
        std::fs::write(folder.path().join("metrics.ndjson.1.zst"), packed).unwrap();
        std::fs::remove_file(folder.path().join("metrics.ndjson.1")).unwrap();
        assert_eq!(left(folder.path(), &cursor).bytes, std::fs::metadata(&path).unwrap().len(), "packed");
    }

    #[test]
    fn what_is_left_is_said_in_words() {
        let left =
            |rows, params, tags, status| Backlog { rows, params, tags, status, bytes: 9, ..Backlog::default() }.words();
        assert_eq!(left(Some(1), 0, 0, false), "1 row");
        assert_eq!(left(Some(0), 0, 0, true), "the run status");
        assert_eq!(left(Some(0), 2, 1, false), "2 parameters and 1 tag");
        assert_eq!(left(None, 1, 3, true), "9 bytes of rows, 1 parameter, 3 tags and the run status");
        let telemetry = Backlog { rows: Some(2), is_telemetry: true, ..Backlog::default() };
        assert_eq!(telemetry.words(), "2 lines of telemetry");
    }
}
