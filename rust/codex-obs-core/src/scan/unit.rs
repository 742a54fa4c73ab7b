//! What one thread reads at a time: parts of sources, cut at fixed offsets.

use std::ops::Range;

use super::lines;
use super::segment::{self, Segment};
use super::source::Source;
use crate::limits::{SCAN_CHUNK_BYTES, SCAN_UNIT_BYTES, USUAL_COMPRESSION};

/// A part of a source: the lines that begin in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit {
    pub(super) source: usize,
    pub(super) range: lines::Range,
    pub(super) segment: Segment,
}

/// The units of `sources`, in order of position.
pub(super) fn units(sources: &[Source]) -> Vec<Unit> {
    let mut units = Vec::new();
    for (source, file) in sources.iter().enumerate() {
        let mut add = |range| {
            let parts = segment::parts(range, &file.segments).filter(|(range, _)| range.start < range.end);
            units.extend(parts.map(|(range, segment)| Unit { source, range, segment }));
        };
        let Some(length) = file.length() else {
            add(lines::Range { start: file.start, end: u64::MAX });
            continue;
        };
        for start in (file.start..length).step_by(SCAN_UNIT_BYTES as usize) {
            add(lines::Range { start, end: (start + SCAN_UNIT_BYTES).min(length) });
        }
    }
    units
}

/// Units that are read in a row: one large one, or small ones up to a size.
pub(super) fn chunks(sources: &[Source], units: &[Unit]) -> Vec<Range<usize>> {
    let weight = |unit: &Unit| match unit.range.end {
        u64::MAX => sources[unit.source].stored_length().saturating_mul(USUAL_COMPRESSION),
        end => end - unit.range.start,
    };
    let mut chunks = Vec::new();
    let (mut start, mut bytes) = (0, 0_u64);
    for (number, unit) in units.iter().enumerate() {
        bytes = bytes.saturating_add(weight(unit));
        if bytes >= SCAN_CHUNK_BYTES {
            chunks.push(start..number + 1);
            (start, bytes) = (number + 1, 0);
        }
    }
    if start < units.len() {
        chunks.push(start..units.len());
    }
    chunks
}
