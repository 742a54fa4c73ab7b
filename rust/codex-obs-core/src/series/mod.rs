//! Curves of a run for charts: what each pixel of a range of steps or of time shows of a metric.
//!
//! A [`Series`] reads a run once and keeps the numbers of its rows in memory, about 12 bytes a row. After that it reads only what has
//! been added, wherever rotation has moved it. Where single rows would take more than its limit, consecutive rows are taken
//! together: minimum and maximum stay true, and what a narrow range has is read again from its shards.

mod block;
mod bucket;
mod budget;
mod column;
mod gather;
mod picks;
mod pixel;
mod shard;

use std::collections::HashMap;
use std::sync::Arc;

pub use bucket::Axis;
pub use gather::Key;
pub use picks::{Pick, Picks};
pub use pixel::{Grid, Pixel, Values};

use crate::error::{Error, Result};
use crate::limits::{MAX_PIXELS, SERIES_BYTES, SERIES_ROWS_READ_AGAIN};
use crate::paths::MAIN;
use crate::scan::{self, Report, Snapshot, Source, Tick};
use block::Block;
use budget::Budget;
use column::Bounds;
use gather::{Filter, Gather, Piece};
use pixel::{Canvas, Visitor};
use shard::Shard;

/// What is known of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows with a number, finite or not.
    pub numbers: u64,
    /// Rows with a structured value.
    pub structured: u64,
    /// Rows with neither.
    pub empty: u64,
}

/// So many buckets make a pixel that its ends do not show.
const BUCKETS_A_PIXEL: usize = 2;

/// The curves of a run.
#[derive(Debug)]
pub struct Series {
    limit: usize,
    filter: Option<Filter>,
    /// The folder's own run: rows of others have curves of their own.
    own_run: Option<String>,
    /// How many rows are taken together.
    together: u64,
    keys: Vec<Key>,
    numbers: HashMap<Key, u32>,
    /// In order of position.
    shards: Vec<Shard>,
}

impl Default for Series {
    fn default() -> Self {
        Self::new(SERIES_BYTES)
    }
}

impl Series {
    /// Curves whose numbers take no more than about `limit` bytes of memory.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            filter: None,
            own_run: None,
            together: 1,
            keys: Vec::new(),
            numbers: HashMap::new(),
            shards: Vec::new(),
        }
    }

    /// Whether it is known whose rows are the folder's own.
    #[must_use]
    pub fn knows_own_run(&self) -> bool {
        self.own_run.is_some()
    }

    /// Notes whose rows are the folder's own, before any is read.
    pub fn set_own_run(&mut self, run_id: Option<String>) {
        self.own_run = run_id;
    }

    /// Reads what `snapshot`, which is one of the same run as all before it, has more than what was read. What it has no more is
    /// forgotten. The report counts what was read now. Gives nothing up if it fails.
    ///
    /// # Errors
    /// As [`scan::run`].
    pub fn refresh(
        &mut self,
        snapshot: Snapshot,
        is_written: impl Fn(&Source) -> bool,
        tick: Tick<'_>,
    ) -> Result<Report> {
        let Snapshot { sources, report } = snapshot;
        let known = shard::known(&self.shards, &sources);
        let nothing = sources.iter().map(Shard::new).collect::<Vec<_>>();
        let mut readings = Vec::with_capacity(sources.len());
        // Of each source that is read: which shard it is, and whether it is read again the next time.
        let mut targets = Vec::new();
        let mut wanted = Snapshot { sources: Vec::new(), report };
        let newest = newest(&sources);
        for (place, source) in sources.iter().enumerate() {
            let shard = known[place].map_or(&nothing[place], |known| &self.shards[known]);
            let mut reading = shard.reading(source, newest.get(&source.stream) == Some(&place))?;
            for (part, is_loose) in [(reading.kept.take(), false), (reading.loose.take(), true)] {
                targets.extend(part.is_some().then_some((place, is_loose)));
                wanted.sources.extend(part);
            }
            readings.push(reading);
        }
        let budget = Budget::new(self.limit, self.held(), self.together);
        let new_sink = || Gather::new(&budget, self.filter.as_ref(), self.own_run.as_deref());
        let outcome = scan::run(&wanted, new_sink, is_written, tick)?;
        let report = outcome.report.clone();
        let parts = outcome.parts.into_iter().map(|(gather, names)| gather.finish(&names)).collect();
        let together = budget.together();
        let mut pieces = self.take_over(parts);
        pieces.sort_unstable_by_key(|piece| piece.number);
        // Of each source what is kept and what is loose.
        let mut found: Vec<[Vec<Block>; 2]> = sources.iter().map(|_| Default::default()).collect();
        for Piece { source, block, .. } in pieces {
            let (place, is_loose) = targets[source];
            found[place][usize::from(is_loose)].push(block);
        }
        let mut old: Vec<Option<Shard>> = std::mem::take(&mut self.shards).into_iter().map(Some).collect();
        let places = known.into_iter().zip(nothing).zip(readings).zip(found);
        for (source, (((known, nothing), reading), [kept, loose])) in sources.iter().zip(places) {
            let mut shard = known.and_then(|known| old[known].take()).unwrap_or(nothing);
            shard.add(source, reading, kept, loose);
            self.shards.push(shard);
        }
        // What a thread read before the others had too much.
        if together > 1 {
            self.shards.iter_mut().for_each(|shard| shard.thin(together));
        }
        self.together = together;
        Ok(report)
    }

    /// Gives the keys of what each thread has read their numbers.
    fn take_over(&mut self, parts: Vec<(Vec<Piece>, Vec<Key>)>) -> Vec<Piece> {
        let mut all = Vec::new();
        for (mut pieces, keys) in parts {
            let numbers: Vec<u32> = keys.into_iter().map(|key| self.number(key)).collect();
            for piece in &mut pieces {
                piece.block.rename(&numbers);
            }
            all.append(&mut pieces);
        }
        all
    }

    fn number(&mut self, key: Key) -> u32 {
        if let Some(&number) = self.numbers.get(&key) {
            return number;
        }
        let number = self.keys.len() as u32;
        self.keys.push(key.clone());
        self.numbers.insert(key, number);
        number
    }

    /// What there is, in order of stream (the main one first), split, metric, dataset and run, and how many rows each has.
    #[must_use]
    pub fn keys(&self) -> Vec<(&Key, Counts)> {
        let mut counts = vec![Counts::default(); self.keys.len()];
        for entry in self.blocks().flat_map(Block::entries) {
            let sum = &mut counts[entry.key as usize];
            sum.numbers += u64::from(entry.count);
            sum.structured += u64::from(entry.blanks.structured);
            sum.empty += u64::from(entry.blanks.empty);
        }
        let mut keys: Vec<_> =
            self.keys.iter().zip(counts).filter(|(_, counts)| *counts != Counts::default()).collect();
        keys.sort_unstable_by_key(|&(key, _)| (key.stream != MAIN, key));
        keys
    }

    /// The first and the last x that `keys` have together; `None` if they have none.
    #[must_use]
    pub fn range(&self, keys: &[Key], axis: Axis) -> Option<(i64, i64)> {
        let mut bounds = Bounds::NONE;
        for number in keys.iter().filter_map(|key| self.numbers.get(key)) {
            self.blocks().for_each(|block| block.show(*number, axis, &mut bounds));
        }
        (bounds.low <= bounds.high).then_some((bounds.low, bounds.high))
    }

    /// The pixels of each of `keys` that have rows, in order, each with its number. Rows that have no number, or no x, are in none.
    ///
    /// Where steps repeat or fall, as after a resume without `rewind_to`, every row counts in the pixel of its step. Lines are drawn
    /// along the axis: the first value of a pixel is that with the smallest x, and of several rows there the one that was logged
    /// first; the last value is that with the largest x, and of several the one that was logged last.
    ///
    /// # Errors
    /// If there is no pixel, or there are more than [`MAX_PIXELS`].
    pub fn pixels(&self, keys: &[Key], axis: Axis, grid: Grid) -> Result<Vec<Vec<(u32, Pixel)>>> {
        if grid.pixels == 0 || grid.pixels > MAX_PIXELS {
            return Err(Error::setting("pixels", format!("{} is not between 1 and {MAX_PIXELS}", grid.pixels)));
        }
        let pixels = |key| {
            let mut canvas = Canvas::new(grid);
            let Some(&number) = self.numbers.get(key) else { return Vec::new() };
            for block in self.blocks().filter(|block| block.bounds(axis).meets(grid.start, grid.stop)) {
                block.show(number, axis, &mut canvas);
            }
            canvas.filled()
        };
        Ok(keys.iter().map(pixels).collect())
    }

    /// Whether rows of `keys` are taken together so that some pixels of `grid` may show too little of them.
    #[must_use]
    pub fn is_coarse(&self, keys: &[Key], axis: Axis, grid: Grid) -> bool {
        let buckets = |number: u32| -> usize {
            self.blocks().map(|block| block.buckets(number, axis, grid.start, grid.stop)).sum()
        };
        let coarse = |count: usize| 0 < count && count < BUCKETS_A_PIXEL * grid.pixels as usize;
        self.together > 1 && keys.iter().filter_map(|key| self.numbers.get(key)).any(|&number| coarse(buckets(number)))
    }

    /// The single rows of `keys` in the range of `grid`, read again from `snapshot`; `None` if they stand among too many others.
    ///
    /// # Errors
    /// As [`scan::run`].
    pub fn read_again(
        &self,
        mut snapshot: Snapshot,
        keys: &[Key],
        axis: Axis,
        grid: Grid,
        tick: Tick<'_>,
    ) -> Result<Option<Self>> {
        let meets = |block: &&Block| block.bounds(axis).meets(grid.start, grid.stop);
        let rows = |known: &Option<usize>| {
            known.map_or(0, |known| self.shards[known].blocks().filter(meets).map(Block::rows).sum::<usize>())
        };
        let rows: Vec<usize> = shard::known(&self.shards, &snapshot.sources).iter().map(rows).collect();
        if rows.iter().sum::<usize>() > SERIES_ROWS_READ_AGAIN {
            return Ok(None);
        }
        let mut has_rows = rows.iter().map(|&rows| rows > 0);
        snapshot.sources.retain(|_| has_rows.next() == Some(true));
        let filter = Filter { keys: keys.to_vec(), axis, start: grid.start, stop: grid.stop };
        let mut detail = Self { filter: Some(filter), own_run: self.own_run.clone(), ..Self::new(self.limit) };
        detail.refresh(snapshot, |_| true, tick)?;
        Ok(Some(detail))
    }

    fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.shards.iter().flat_map(Shard::blocks)
    }

    /// Bytes of memory that the numbers take.
    #[must_use]
    pub fn held(&self) -> usize {
        self.blocks().map(Block::held).sum()
    }
}

/// Of each stream the place of the file that may still grow.
fn newest(sources: &[Source]) -> HashMap<&Arc<str>, usize> {
    let files = sources.iter().enumerate().filter(|(_, source)| source.file_id().is_some());
    files.map(|(place, source)| (&source.stream, place)).collect()
}

impl Visitor for Bounds {
    fn row(&mut self, x: i64, _value: f64) {
        self.add(x);
    }

    fn rows(&mut self, xs: Bounds, _values: &Values) {
        self.add(xs.low);
        self.add(xs.high);
    }
}

#[cfg(test)]
mod tests;
