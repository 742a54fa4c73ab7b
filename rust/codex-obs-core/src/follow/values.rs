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
    /// The line that was read just now.
    next: Option<Structured>,
    /// In the order of the file: the number of each, and the place behind it.
    order: VecDeque<(String, Cursor)>,
    values: HashMap<String, Arc<Structured>>,
    bytes: usize,
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

    /// The value that a row calls `id`; `None` if its line is gone.
    ///
    /// # Errors
    /// If the manifest cannot be read.
    pub fn find(&mut self, id: &str) -> Result<Option<Arc<Structured>>> {
        while !self.ahead.values.contains_key(id) {
            if self.ahead.order.len() >= VALUES_AHEAD || self.ahead.bytes >= VALUES_AHEAD_BYTES {
                return Ok(None);
            }
            let stopped = self.follower.read(&mut self.ahead)?;
            let Some(value) = self.ahead.next.take() else {
                if stopped == Stopped::AtEnd {
                    return Ok(None);
                }
                continue;
            };
            self.ahead.bytes += value.payload.as_ref().map_or(0, String::len);
            self.ahead.order.push_back((value.manifest_id.clone(), self.follower.cursor().clone()));
            self.ahead.values.insert(value.manifest_id.clone(), Arc::new(value));
        }
        // Those before it belong to rows that were deleted or are read no more.
        while let Some((passed, behind)) = self.ahead.order.pop_front() {
            let Some(value) = self.ahead.values.remove(&passed) else { continue };
            self.ahead.bytes -= value.payload.as_ref().map_or(0, String::len);
            self.cursor = Some(behind);
            if passed == id {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }
}

impl Intake for Ahead {
    fn take(&mut self, line: &[u8]) -> Result<Taken> {
        if self.parser.names().texts().len() > MAX_TEXTS {
            self.parser = LineParser::default();
        }
        let read = self.parser.read(line, |payload, names| Structured {
            manifest_id: payload.manifest_id.to_owned(),
            class: names.text(payload.class).to_owned(),
            shape: payload.shape.map(str::to_owned),
            payload: payload.payload.map(str::to_owned),
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
