//! Shards that stand under two names.
//!
//! A run directory that was copied while its writer rotated has a shard under the name that it had when the copy reached that, and
//! again under the next one. The one is the beginning of the other, or all of it. Rows carry a timestamp in microseconds, so
//! shards that begin with the same row are the same shard; rows of the legacy form have none and tell nothing.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;

use memchr::memmem::find;

use super::source::{Bytes, Source};
use crate::error::{Error, Result};
use crate::limits::SCAN_BLOCK_BYTES;

/// Most bytes of a first line that is looked at.
const HEAD_BYTES: usize = 64 << 10;

/// Shards that begin alike and go on in another way, with which a further one is compared. Rotation makes none, and whoever makes
/// thousands of them shall not hold up a reader.
const MOST_ALIKE: usize = 8;

/// Takes the sources out that are the beginning of another one of the same stream, or all of it. Gives each with the one that
/// stays.
pub(super) fn leave_out(sources: &mut Vec<Source>) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut left_out = Vec::new();
    if sources.len() < 2 {
        return Ok(left_out);
    }
    let mut stays = vec![true; sources.len()];
    // Those that stay, by stream and first line: one, unless someone made more.
    let mut alike: HashMap<(Arc<str>, Vec<u8>), Vec<usize>> = HashMap::new();
    for index in 0..sources.len() {
        let Some(head) = head(&sources[index])? else { continue };
        let known = alike.entry((Arc::clone(&sources[index].stream), head)).or_default();
        if known.len() == MOST_ALIKE {
            continue;
        }
        let mut is_out = false;
        let mut kept = Vec::with_capacity(known.len() + 1);
        for &other in known.iter() {
            let overlap = if is_out { Overlap::None } else { compare(&sources[other], &sources[index])? };
            let (out, whole) = match overlap {
                Overlap::None => {
                    kept.push(other);
                    continue;
                }
                Overlap::FirstInSecond => (other, index),
                Overlap::SecondInFirst => {
                    kept.push(other);
                    is_out = true;
                    (index, other)
                }
            };
            stays[out] = false;
            left_out.push((sources[out].path.clone(), sources[whole].path.clone()));
        }
        if !is_out {
            kept.push(index);
        }
        *known = kept;
    }
    let mut stays = stays.into_iter();
    sources.retain(|_| stays.next().unwrap_or(true));
    Ok(left_out)
}

/// The first line, if it is a row with a timestamp and not repeated: a program may give all of its rows the same time.
fn head(source: &Source) -> Result<Option<Vec<u8>>> {
    let Some(bytes) = source.bytes(0)? else { return Ok(None) };
    let mut reader = BufReader::with_capacity(4 << 10, bytes.take(2 * HEAD_BYTES as u64));
    let (mut first, mut second) = (Vec::new(), Vec::new());
    // What cannot be unpacked is found by who reads it.
    if reader.read_until(b'\n', &mut first).is_err() || reader.read_until(b'\n', &mut second).is_err() {
        return Ok(None);
    }
    let is_row = first.ends_with(b"\n") && find(&first, br#""timestamp":""#).is_some();
    Ok((is_row && first != second).then_some(first))
}

/// Which of two sources holds the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overlap {
    None,
    FirstInSecond,
    SecondInFirst,
}

/// Compares two sources from their first bytes on. Of equal ones the first is taken to be in the second.
fn compare(first: &Source, second: &Source) -> Result<Overlap> {
    let (Some(mut left), Some(mut right)) = (first.bytes(0)?, second.bytes(0)?) else { return Ok(Overlap::None) };
    let (mut one, mut other) = (vec![0; SCAN_BLOCK_BYTES], vec![0; SCAN_BLOCK_BYTES]);
    loop {
        let here = fill(&mut left, &mut one).map_err(|source| Error::io("read", &first.path, source))?;
        let there = fill(&mut right, &mut other).map_err(|source| Error::io("read", &second.path, source))?;
        let both = here.min(there);
        if one[..both] != other[..both] {
            return Ok(Overlap::None);
        }
        if here < one.len() && here <= there {
            return Ok(Overlap::FirstInSecond);
        }
        if there < other.len() {
            return Ok(Overlap::SecondInFirst);
        }
    }
}

/// Fills `block` as far as there are bytes. A compressed source that cannot be unpacked to its end ends where it breaks.
fn fill(bytes: &mut Bytes<'_>, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match bytes.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if matches!(bytes, Bytes::Stream(_)) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
#[path = "doubles_tests.rs"]
mod tests;
