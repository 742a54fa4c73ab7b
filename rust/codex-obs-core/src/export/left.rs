//! What is still to be delivered, for people to see.

use std::io::Read;
use std::path::Path;

use super::cursor::Cursor;
use crate::error::{Error, Result};
use crate::limits::SCAN_BLOCK_BYTES;
use crate::scan::{Snapshot, Source};
use crate::shard::name::{Coding, Stream};

/// Bytes in which rows are counted; counting more would hold up whoever asks.
const MAX_COUNTED_BYTES: u64 = 64 << 20;

/// What is still to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Rows of the log behind the cursor; `None` if they are too many to count.
    pub rows: Option<u64>,
    /// The bytes that they take as they are stored.
    pub bytes: u64,
    /// The command that delivers them.
    pub command: String,
}

/// What of `stream` is behind `cursor`; `None` if nothing is.
pub fn left(directory: &Path, stream: &Stream, cursor: Option<&Cursor>, command: String) -> Result<Option<Left>> {
    let sources = Snapshot::of_stream(directory, stream)?.sources;
    let here = |cursor: &Cursor| sources.iter().position(|source| source.file_id() == Some(cursor.file));
    // Without the cursor's shard it is not known what was delivered: everything may have to be sent again.
    let place = cursor.and_then(|cursor| Some((here(cursor)?, cursor.offset)));
    let (first, offset) = place.unwrap_or((0, 0));
    let mut bytes = 0;
    let mut rows = Some(0);
    for (index, source) in sources.iter().enumerate().skip(first) {
        let start = if index == first { offset.min(source.stored_length()) } else { 0 };
        bytes += source.stored_length() - start;
        let countable = source.coding == Coding::Plain && bytes <= MAX_COUNTED_BYTES;
        rows = match rows {
            Some(rows) if countable => Some(rows + lines(source, start)?),
            _ => None,
        };
    }
    Ok((bytes > 0).then_some(Left { rows, bytes, command }))
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
