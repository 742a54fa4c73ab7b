//! Whole lines out of a part of a file, in blocks that fit the cache.

use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use crate::limits::{LONG_LINE_BYTES, MAX_LINE_BYTES, SCAN_BLOCK_BYTES};

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Which lines are wanted: those that begin within the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// Byte behind the last.
    pub end: u64,
}

impl Range {
    /// Where reading must begin: one byte early, to see whether a line begins at `start`.
    #[must_use]
    pub fn read_from(&self) -> u64 {
        self.start.saturating_sub(1)
    }
}

/// What is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Lines, each with its newline; none where a long line is passed over, which is the time to say stop.
    Lines(&'a [u8]),
    /// The last line of a file that ends without a newline.
    Unfinished(&'a [u8]),
    /// A line longer than the cap.
    TooLong,
}

/// Gives every line that begins within `range`, in order. `input` stands at [`Range::read_from`]. `handle` ends the reading by
/// giving `false`. Who reads a long line holds `long_lines` meanwhile.
pub fn read(
    input: &mut impl Read,
    range: Range,
    buffer: &mut Vec<u8>,
    long_lines: &Mutex<()>,
    mut handle: impl FnMut(Piece<'_>) -> bool,
) -> io::Result<()> {
    // Offset in the file of the buffer's first byte, and bytes in it that are not handled yet.
    let mut base = range.read_from();
    let mut filled = 0;
    let mut state = if range.start > 0 { State::Before } else { State::Within };
    let mut at_start = range.start == 0;
    let mut turn = None;
    loop {
        let needed = filled + SCAN_BLOCK_BYTES;
        if needed > LONG_LINE_BYTES && turn.is_none() {
            // What a panic of another thread leaves is no state to worry about.
            turn = Some(long_lines.lock().unwrap_or_else(PoisonError::into_inner));
        }
        if needed <= LONG_LINE_BYTES && turn.take().is_some() {
            buffer.truncate(needed);
            buffer.shrink_to_fit();
        }
        if buffer.len() < needed {
            let roomy = (needed + needed / 2).min(MAX_LINE_BYTES + 2 * SCAN_BLOCK_BYTES).max(needed);
            buffer.reserve_exact(roomy - buffer.len());
            buffer.resize(roomy, 0);
        }
        // Behind the range only the end of one line is still needed.
        let wanted = usize::try_from(range.end.saturating_sub(base + filled as u64)).unwrap_or(usize::MAX);
        let wanted = wanted.clamp(LAST_LINE_BYTES, SCAN_BLOCK_BYTES);
        let count = match input.read(&mut buffer[filled..filled + wanted]) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let searched = filled;
        filled += count;
        let mut begin = 0;
        if at_start && (filled >= BYTE_ORDER_MARK.len() || count == 0) {
            at_start = false;
            begin = if buffer[..filled].starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        }
        if count == 0 {
            if state == State::Within {
                end(&buffer[begin..filled], &mut handle);
            }
            return Ok(());
        }
        if at_start {
            continue;
        }
        if state != State::Within {
            let Some(newline) = memchr::memchr(b'\n', &buffer[..filled]) else {
                base += filled as u64;
                filled = 0;
                let ended = state == State::Before && base >= range.end;
                // No lines, but a chance to stop: what is skipped may be long.
                if ended || !handle(Piece::Lines(&[])) {
                    return Ok(());
                }
                continue;
            };
            state = State::Within;
            begin = newline + 1;
        }
        if base + begin as u64 >= range.end {
            return Ok(());
        }
        let searched = searched.max(begin);
        let last = memchr::memrchr(b'\n', &buffer[searched..filled]).map(|at| searched + at + 1);
        // The line that holds the last byte of the range is the last one.
        let bound = usize::try_from(range.end - base - 1).unwrap_or(usize::MAX);
        let last = match last {
            Some(last) if last > bound.saturating_add(1) => {
                memchr::memchr(b'\n', &buffer[bound..filled]).map(|at| bound + at + 1)
            }
            other => other,
        };
        if let Some(last) = last {
            if !handle(Piece::Lines(&buffer[begin..last])) || last > bound {
                return Ok(());
            }
            begin = last;
        }
        buffer.copy_within(begin..filled, 0);
        base += begin as u64;
        filled -= begin;
        if filled > MAX_LINE_BYTES {
            if !handle(Piece::TooLong) {
                return Ok(());
            }
            base += filled as u64;
            filled = 0;
            state = State::Over;
        }
    }
}

/// The end of a file. There may be whole lines in it if the file is shorter than a byte order mark.
fn end(rest: &[u8], handle: &mut impl FnMut(Piece<'_>) -> bool) {
    let (lines, unfinished) = rest.split_at(memchr::memrchr(b'\n', rest).map_or(0, |newline| newline + 1));
    let goes_on = lines.is_empty() || handle(Piece::Lines(lines));
    if goes_on && !unfinished.is_empty() {
        handle(Piece::Unfinished(unfinished));
    }
}

/// Least that is read at once.
const LAST_LINE_BYTES: usize = 4 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In a line that began before the range.
    Before,
    /// At the start of a line that is wanted.
    Within,
    /// In a line that was given up for its length.
    Over,
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
