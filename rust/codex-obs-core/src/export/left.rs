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
    let parts = behind(directory, stream, cursor)?;
    let bytes = parts.iter().map(|(source, start)| source.stored_length() - start).sum();
    let countable = bytes <= MAX_COUNTED_BYTES && parts.iter().all(|(source, _)| source.coding == Coding::Plain);
    let count = || parts.iter().map(|(source, start)| lines(source, *start)).sum::<Result<u64>>();
    let rows = countable.then(count).transpose()?;
    Ok((bytes > 0).then_some(Left { rows, bytes, command }))
}

/// The stored bytes of `stream` behind `cursor`.
pub fn bytes_left(directory: &Path, stream: &Stream, cursor: Option<&Cursor>) -> Result<u64> {
    let parts = behind(directory, stream, cursor)?;
    Ok(parts.iter().map(|(source, start)| source.stored_length() - start).sum())
}

/// The shards from the one on in which the cursor is, and where in them what is left begins.
fn behind(directory: &Path, stream: &Stream, cursor: Option<&Cursor>) -> Result<Vec<(Source, u64)>> {
    let sources = Snapshot::of_stream(directory, stream)?.sources;
    let here = |cursor: &Cursor| sources.iter().position(|source| source.file_id() == Some(cursor.file));
    // Without the cursor's shard it is not known what was delivered: everything may have to be sent again.
    let (first, offset) = cursor.and_then(|cursor| Some((here(cursor)?, cursor.offset))).unwrap_or((0, 0));
    let start = |index: usize, length: u64| if index == first { offset.min(length) } else { 0 };
    let with_start = |(index, source): (usize, Source)| {
        let start = start(index, source.stored_length());
        (source, start)
    };
    Ok(sources.into_iter().enumerate().skip(first).map(with_start).collect())
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
