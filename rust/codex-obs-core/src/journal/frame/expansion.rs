//! How much larger than a frame its lines may be: each of its rows repeats what they share, its tags above all.

use super::{MAX_ROWS, MetricsFrame};
use crate::limits::{MAX_FRAME_EXPANSION, MAX_FRAME_LINES_BYTES, WRITTEN_FRAME_EXPANSION};

/// A row takes at least this much of its frame.
pub const LEAST_ROW_BYTES: u64 = 3;
/// A byte of text becomes six in JSON at most. Tags are JSON already.
const LONGEST_ESCAPE: u64 = 6;
/// Calls that share no more may have as many rows as a frame holds.
const ALWAYS_FEW: usize = (MAX_FRAME_LINES_BYTES / MAX_ROWS as u64) as usize;

/// Most rows of a frame of which each repeats so many bytes of tags and of other text.
#[inline]
#[must_use]
pub fn most_rows(tags: usize, texts: usize) -> u32 {
    if tags + texts <= ALWAYS_FEW { MAX_ROWS } else { most_of_many(tags as u64, texts as u64) }
}

fn most_of_many(tags: u64, texts: u64) -> u32 {
    let (in_frame, in_line) = (tags + texts, tags + LONGEST_ESCAPE * texts);
    // rows * in_line <= expansion * (in_frame + rows * least)
    let free = WRITTEN_FRAME_EXPANSION * LEAST_ROW_BYTES;
    let by_expansion = if in_line > free { WRITTEN_FRAME_EXPANSION * in_frame / (in_line - free) } else { u64::MAX };
    let rows = by_expansion.min(MAX_FRAME_LINES_BYTES / in_frame).min(MAX_ROWS.into());
    u32::try_from(rows).unwrap_or(MAX_ROWS).max(1)
}

/// Whether `call`, in a frame of `length` bytes, becomes no more lines than a writer would have it, in a run whose id takes
/// `run_id` bytes of each line.
#[must_use]
pub fn is_within(call: &MetricsFrame<'_>, length: u64, run_id: u64) -> bool {
    let (tags, texts) = (call.tags.len() as u64, (call.split.len() + call.dataset.unwrap_or("").len()) as u64);
    let rows = u64::from(call.rows);
    let repeated = rows.saturating_mul(tags + LONGEST_ESCAPE * texts + run_id);
    // A row with all that it repeats is never split.
    rows <= 1
        || rows.saturating_mul(tags + texts) <= MAX_FRAME_LINES_BYTES
            && repeated <= length.saturating_mul(MAX_FRAME_EXPANSION)
}

/// Bytes that the lines of `call` take at most, as a rule: what each repeats, its fixed part, and what stands in the frame.
#[must_use]
pub fn lines_bytes(call: &MetricsFrame<'_>, length: u64, run_id: u64) -> u64 {
    let shared = (call.tags.len() + call.split.len() + call.dataset.unwrap_or("").len()) as u64;
    u64::from(call.rows).saturating_mul(shared + run_id + LINE_BYTES).saturating_add(length)
}

/// A row without its texts.
const LINE_BYTES: u64 = 256;
