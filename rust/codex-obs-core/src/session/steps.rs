//! The largest step of a stream, for calls that leave theirs out.

use std::io::{BufRead, BufReader};
use std::path::Path;

use memchr::memmem::Finder;

use crate::error::{Error, Result};
use crate::shard::name::{Coding, Stream, shard_path};
use crate::shard::rotate::rotated_numbers;
use crate::shard::writer::last_bytes;
use crate::worker::files::FileKind;

const BLOCK_BYTES: usize = 256 << 10;

/// Whether `stream` has no row yet.
pub fn is_new(directory: &Path, stream: &Stream) -> Result<bool> {
    let base = FileKind::Metrics.path(directory, stream);
    let length = match base.symlink_metadata() {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(source) => return Err(Error::io("examine", &base, source)),
    };
    Ok(length == 0 && rotated_numbers(&base)?.is_empty())
}

/// The largest step in the plain shards of `stream`.
pub fn largest(directory: &Path, stream: &Stream) -> Result<Option<i64>> {
    let base = FileKind::Metrics.path(directory, stream);
    let mut largest = None;
    for number in std::iter::once(0).chain(rotated_numbers(&base)?) {
        let path = shard_path(&base, number, Coding::Plain);
        match crate::fs::open_read(&path) {
            Ok(file) => {
                let reader = BufReader::with_capacity(BLOCK_BYTES, file);
                largest = largest.max(largest_in(reader).map_err(|source| Error::io("read", &path, source))?);
            }
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(largest)
}

/// The largest step in the last rows of `stream`: what to tell people of a run that goes on, at the cost of one read.
pub fn recent(directory: &Path, stream: &Stream) -> Result<Option<i64>> {
    let base = FileKind::Metrics.path(directory, stream);
    for number in 0..=1 {
        let end = last_bytes(&shard_path(&base, number, Coding::Plain), BLOCK_BYTES)?;
        if !end.is_empty() {
            let path = shard_path(&base, number, Coding::Plain);
            return largest_in(end.as_slice()).map_err(|source| Error::io("read", &path, source));
        }
    }
    Ok(None)
}

fn largest_in(mut reader: impl BufRead) -> std::io::Result<Option<i64>> {
    // In a line of ours nothing before the step can contain this: a quote inside a text has a backslash before it.
    let key = Finder::new(br#","step":"#);
    let mut largest = None;
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(largest);
        }
        if let Some(at) = key.find(&line) {
            largest = largest.max(integer(&line[at + key.needle().len()..]));
        }
    }
}

/// The integer at the start of `bytes`, if one is there.
fn integer(bytes: &[u8]) -> Option<i64> {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'-').unwrap_or(bytes.len());
    if matches!(bytes.get(end), Some(b'.' | b'e' | b'E')) {
        return None;
    }
    std::str::from_utf8(&bytes[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_step_is_found_whatever_stands_around_it() {
        let lines = concat!(
            "{\"run_id\":\"r\",\"step\":-5,\"split\":\"a\"}\n",
            "{\"run_id\":\"a\\\",\\\"step\\\":99\",\"step\":7,\"split\":\"a\"}\n",
            "{\"run_id\":\"r\",\"step\":null,\"tags\":{}}\n",
            "{\"run_id\":\"r\",\"step\":12.5}\n",
            "no row\n",
        );
        assert_eq!(largest_in(lines.as_bytes()).unwrap(), Some(7));
        assert_eq!(largest_in(&b""[..]).unwrap(), None);
        assert_eq!(largest_in(&b"{\"a\":1,\"step\":9223372036854775807}"[..]).unwrap(), Some(i64::MAX));
        assert_eq!(largest_in(&b"{\"a\":1,\"step\":9223372036854775808}"[..]).unwrap(), None);
    }
}
