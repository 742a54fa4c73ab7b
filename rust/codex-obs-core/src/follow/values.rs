//! Structured values of rows, out of the manifest beside them.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use super::cursor::Cursor;
use super::follower::{Follower, Intake, Stopped, Taken};
use super::point::{MAX_TEXTS, Structured};
use crate::error::Result;
use crate::limits::{VALUES_AHEAD, VALUES_AHEAD_BYTES};
use crate::paths::{FileKind, Stream};
use crate::scan::{Line, LineParser, PayloadReader};

/// The manifest of one stream, read as far as its rows ask for. Its lines stand in the order of their rows, each before its row.
#[derive(Debug)]
pub struct Values {
    follower: Follower,
    ahead: Ahead,
    /// The place behind the last value that a row had.
    cursor: Option<Cursor>,
}

/// Values that were read and that no row has asked for yet. A row whose line is gone makes the reader look ahead, so it is bounded.
#[derive(Debug, Default)]
struct Ahead {
    parser: LineParser<PayloadReader>,
    /// The line that was read just now, and its time.
    next: Option<(Structured, Option<i64>)>,
    /// In the order of the file.
    order: VecDeque<Passed>,
    values: HashMap<String, Arc<Structured>>,
    bytes: usize,
}

/// A line that was read.
#[derive(Debug)]
struct Passed {
    manifest_id: String,
    micros: Option<i64>,
    /// The place behind it.
    behind: Cursor,
}

impl Values {
    /// The values behind `cursor`.
    ///
    /// # Errors
    /// If the manifest cannot be read.
    pub fn open(directory: &Path, stream: &Stream, cursor: Option<Cursor>) -> Result<Self> {
        let follower = Follower::open(FileKind::Manifest, directory, stream, None, cursor.clone(), None)?;
        Ok(Self { follower, ahead: Ahead::default(), cursor })
    }

    /// The place behind the last value that a row had.
    #[must_use]
    pub fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// The value that a row of this time calls `id`; `None` if its line is gone.
    ///
    /// # Errors
    /// If the manifest cannot be read.
    pub fn find(&mut self, id: &str, micros: Option<i64>) -> Result<Option<Arc<Structured>>> {
        while !self.ahead.values.contains_key(id) {
            if self.ahead.order.len() >= VALUES_AHEAD || self.ahead.bytes >= VALUES_AHEAD_BYTES {
                // A line that is older than the row is of a row that was deleted.
                if self.ahead.order.front().is_none_or(|oldest| oldest.micros >= micros) {
                    return Ok(None);
                }
                self.pass();
                continue;
            }
            let stopped = self.follower.read(&mut self.ahead)?;
            let Some((value, micros)) = self.ahead.next.take() else {
                if stopped == Stopped::AtEnd {
                    return Ok(None);
                }
                continue;
            };
            self.ahead.bytes += value.payload.as_ref().map_or(0, String::len);
            let (manifest_id, behind) = (value.manifest_id.clone(), self.follower.cursor().clone());
            self.ahead.order.push_back(Passed { manifest_id, micros, behind });
            self.ahead.values.insert(value.manifest_id.clone(), Arc::new(value));
        }
        // Those before it belong to rows that were deleted or are read no more.
        while !self.ahead.order.is_empty() {
            if let Some(value) = self.pass().filter(|value| value.manifest_id == id) {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Moves behind the oldest value that was read. `None`: there is none, or another line had the same number.
    fn pass(&mut self) -> Option<Arc<Structured>> {
        let Passed { manifest_id, behind, .. } = self.ahead.order.pop_front()?;
        self.cursor = Some(behind);
        let value = self.ahead.values.remove(&manifest_id)?;
        self.ahead.bytes -= value.payload.as_ref().map_or(0, String::len);
        Some(value)
    }
}

impl Intake for Ahead {
    fn take(&mut self, line: &[u8]) -> Result<Taken> {
        if self.parser.names().texts().len() > MAX_TEXTS {
            self.parser = LineParser::default();
        }
        let read = self.parser.read(line, |payload, names| {
            let value = Structured {
                manifest_id: payload.manifest_id.to_owned(),
                class: names.text(payload.class).to_owned(),
                shape: payload.shape.map(str::to_owned),
                payload: payload.payload.map(str::to_owned),
            };
            (value, payload.timestamp)
        });
        match read {
            Line::Row(value) => self.next = Some(value),
            Line::Blank => {}
            Line::Refused(_) => return Ok(Taken::Refused),
        }
        Ok(Taken::Line)
    }

    fn is_full(&self) -> bool {
        self.next.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> String {
        format!("manifest-{number:032x}")
    }

    fn manifest(numbers: impl Iterator<Item = usize>) -> (tempfile::TempDir, Values) {
        let folder = tempfile::tempdir().unwrap();
        let lines: Vec<String> = numbers
            .map(|number| {
                let time = String::from_utf8(crate::record::timestamp::format(number as i64).to_vec()).unwrap();
                let id = id(number);
                format!(
                    "{{\"timestamp\":\"{time}\",\"run_id\":\"r\",\"manifest_id\":\"{id}\",\"metric\":\"h\",\"step\":1,\
                     \"split\":\"train\",\"dataset\":null,\"descriptor\":{{\"payload\":[1],\"type\":\"list\",\"version\":\"v1\"}}}}\n"
                )
            })
            .collect();
        std::fs::write(folder.path().join("metrics_manifest.ndjson"), lines.concat()).unwrap();
        let values = Values::open(folder.path(), &Stream::main(), None).unwrap();
        (folder, values)
    }

    #[test]
    fn values_of_rows_that_were_deleted_are_passed_however_many_there_are() {
        let count = 2 * VALUES_AHEAD + 3;
        let (_folder, mut values) = manifest(0..count + 2);
        for number in [count, count + 1] {
            let found = values.find(&id(number), Some(number as i64)).unwrap();
            assert_eq!(found.map(|value| value.manifest_id.clone()), Some(id(number)));
        }
    }

    #[test]
    fn a_row_whose_line_is_gone_keeps_no_other_from_its_value() {
        let first = 10;
        let (_folder, mut values) = manifest(first..first + 2 * VALUES_AHEAD);
        assert!(values.find(&id(0), Some(0)).unwrap().is_none());
        for number in [first, first + 1] {
            assert!(values.find(&id(number), Some(number as i64)).unwrap().is_some(), "{number}");
        }
    }
}
