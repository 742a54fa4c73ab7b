//! What has been read of one shard, and what of it is still to be read.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::block::Block;
use crate::error::{Error, Result};
use crate::limits::SERIES_BLOCK_ROWS;
use crate::paths::Coding;
use crate::scan::source::{Content, Identity};
use crate::scan::{Segment, Source};

/// Bytes before the place that reading has reached by which a file is known to be the one that was read.
const MARK_BYTES: u64 = 128;

/// Bytes in which the end of the last line is looked for at once.
const LOOK_BYTES: usize = 4 << 10;

/// The rows of one shard that were read.
#[derive(Debug, Default)]
pub(super) struct Shard {
    pub(super) stream: Arc<str>,
    ordinal: u64,
    id: Option<Identity>,
    /// Bytes that were read, without a line at the end that is not ended.
    reached: u64,
    /// What stands before that.
    mark: Vec<u8>,
    /// Whether nothing will come any more.
    is_whole: bool,
    /// From which offsets on which steps are superseded, up to `until`.
    superseded: Vec<(u64, Option<i64>)>,
    until: u64,
    /// What was read, in order.
    blocks: Vec<Block>,
    /// What may be read again: a line that is not ended, and lines that are in no file yet.
    loose: Vec<Block>,
}

/// What of a source is to be read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// What of what was read before no longer holds.
    pub(super) forget: bool,
    /// What is kept of it, if anything.
    pub(super) kept: Option<Source>,
    /// What is read again the next time.
    pub(super) loose: Option<Source>,
    reached: u64,
    mark: Vec<u8>,
    is_whole: bool,
}

impl Shard {
    /// A shard of which nothing was read.
    pub(super) fn new(source: &Source) -> Self {
        Self { stream: Arc::clone(&source.stream), ..Self::default() }
    }

    /// Whether `source` is this shard's file.
    pub(super) fn is_file_of(&self, source: &Source) -> bool {
        self.id.is_some() && self.id == identity(source)
    }

    /// Whether `source` is this shard by its ordinal: it has been packed.
    pub(super) fn is_packed_in(&self, source: &Source) -> bool {
        self.ordinal > 0 && self.ordinal == source.ordinal && self.stream == source.stream
    }

    /// What of `source`, which is this shard, is to be read. A shard that `is_last` of its stream may still grow.
    pub(super) fn reading(&self, source: &Source, is_last: bool) -> Result<Reading> {
        let Content::File { length, .. } = source.content else {
            return Ok(Reading { loose: Some(source.clone()), ..Reading::default() });
        };
        let mut reading = Reading {
            forget: superseded(&source.segments, self.until) != self.superseded,
            reached: self.reached,
            mark: self.mark.clone(),
            ..Reading::default()
        };
        if source.coding != Coding::Plain {
            reading.is_whole = true;
            if reading.forget || !self.is_whole {
                let start = if reading.forget { 0 } else { self.reached };
                reading.kept = Some(Source { start, ..source.clone() });
            }
            return Ok(reading);
        }
        reading.forget |= length < self.reached || (length > self.reached && !self.is_marked(source)?);
        if reading.forget {
            (reading.reached, reading.mark) = (0, Vec::new());
        }
        let start = reading.reached;
        reading.is_whole = !is_last;
        if start < length {
            let end = last_line_end(source, start, length)?;
            reading.kept = part(source, start, end);
            reading.loose = part(source, end, length);
            reading.reached = end;
            reading.mark = mark(source, end)?;
        }
        Ok(reading)
    }

    /// Whether the file has what was read last where it was.
    fn is_marked(&self, source: &Source) -> Result<bool> {
        Ok(mark(source, self.reached)? == self.mark)
    }

    /// Takes over what was read.
    pub(super) fn add(&mut self, source: &Source, reading: Reading, kept: Vec<Block>, loose: Vec<Block>) {
        if reading.forget {
            self.blocks.clear();
        }
        for block in kept {
            let last = self.blocks.last_mut().filter(|last| last.rows() + block.rows() <= SERIES_BLOCK_ROWS);
            match last.and_then(|last| Some((last.and(&block)?, last))) {
                Some((both, last)) => *last = both,
                None => self.blocks.push(block),
            }
        }
        self.loose = loose;
        self.ordinal = if source.ordinal > 0 { source.ordinal } else { self.ordinal };
        self.id = identity(source);
        self.reached = reading.reached;
        self.mark = reading.mark;
        self.is_whole = reading.is_whole;
        self.until = if source.coding == Coding::Plain { self.reached } else { u64::MAX };
        self.superseded = superseded(&source.segments, self.until);
    }

    /// Takes up to `together` rows together.
    pub(super) fn thin(&mut self, together: u64) {
        self.blocks.iter_mut().chain(&mut self.loose).for_each(|block| block.thin(together));
    }

    /// Every block, in order.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter().chain(&self.loose)
    }
}

/// Which of `shards` each source is.
pub(super) fn known(shards: &[Shard], sources: &[Source]) -> Vec<Option<usize>> {
    let mut free = vec![true; shards.len()];
    let mut find = |is_it: &dyn Fn(&Shard) -> bool| {
        let found = (0..shards.len()).find(|&place| free[place] && is_it(&shards[place]))?;
        free[found] = false;
        Some(found)
    };
    let mut known: Vec<Option<usize>> = sources.iter().map(|source| find(&|shard| shard.is_file_of(source))).collect();
    for (known, source) in known.iter_mut().zip(sources) {
        if known.is_none() {
            *known = find(&|shard| shard.is_packed_in(source));
        }
    }
    known
}

fn identity(source: &Source) -> Option<Identity> {
    match &source.content {
        Content::File { id, .. } => Some(*id),
        Content::Lines(_) => None,
    }
}

/// From which offsets before `until` on which steps are superseded.
fn superseded(segments: &[Segment], until: u64) -> Vec<(u64, Option<i64>)> {
    let mut changes: Vec<(u64, Option<i64>)> = Vec::new();
    for segment in segments.iter().filter(|segment| segment.start < until) {
        if changes.last().and_then(|&(_, from)| from) != segment.superseded_from {
            changes.push((segment.start, segment.superseded_from));
        }
    }
    changes
}

/// The bytes of a plain source from `start` up to `end`, if there are any.
fn part(source: &Source, start: u64, end: u64) -> Option<Source> {
    let Content::File { id, file, .. } = &source.content else { return None };
    let content = Content::File { id: *id, length: end, file: file.clone() };
    (start < end).then(|| Source { content, start, ..source.clone() })
}

/// What stands before `end` in a plain source.
fn mark(source: &Source, end: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; end.min(MARK_BYTES) as usize];
    let Some(file) = source.file()? else { return Ok(Vec::new()) };
    let start = end - bytes.len() as u64;
    match file.read_exact_at(&mut bytes, start) {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Vec::new()),
        Err(error) => Err(Error::io("read", &source.path, error)),
    }
}

/// Where the last line that is ended ends, between `start` and `length`.
fn last_line_end(source: &Source, start: u64, length: u64) -> Result<u64> {
    let Some(file) = source.file()? else { return Ok(start) };
    let mut bytes = vec![0; LOOK_BYTES];
    let mut end = length;
    while end > start {
        let begin = end.saturating_sub(LOOK_BYTES as u64).max(start);
        let bytes = &mut bytes[..(end - begin) as usize];
        match file.read_exact_at(bytes, begin) {
            Ok(()) => {}
            // It has been truncated since.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(start),
            Err(error) => return Err(Error::io("read", &source.path, error)),
        }
        if let Some(newline) = memchr::memrchr(b'\n', bytes) {
            return Ok(begin + newline as u64 + 1);
        }
        end = begin;
    }
    Ok(start)
}
