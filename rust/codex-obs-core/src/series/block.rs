//! The numbers of consecutive rows, metric by metric.

use std::collections::BTreeMap;

use super::bucket::{Axis, Bucket};
use super::column::{Bounds, Column, Store};
use super::pixel::Visitor;

/// One row of a metric that has a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Logged {
    /// Number of its key.
    pub(super) key: u32,
    /// The step, or [`ABSENT`].
    pub(super) step: i64,
    /// Microseconds since the epoch, or [`ABSENT`].
    pub(super) time: i64,
    /// The number, which may be `NaN` or infinite.
    pub(super) value: f64,
}

/// Rows of a metric that have no number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Blanks {
    /// With a structured value.
    pub(super) structured: u32,
    /// With nothing.
    pub(super) empty: u32,
}

/// What a row that is kept for itself takes as a rule: its value, and a time that is near the others.
const BYTES_A_ROW: usize = size_of::<f64>() + size_of::<u32>();

/// What a block has of one key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) key: u32,
    /// Rows with a number.
    pub(super) count: u32,
    pub(super) blanks: Blanks,
    rows: Rows,
}

/// Where the rows of an entry are.
#[derive(Clone, Copy, Debug)]
enum Rows {
    /// Each for itself; where their values begin.
    Single { at: u32, steps: Column, times: Column },
    /// Taken together; where the buckets begin, and how many they are.
    Together { at: u32, buckets: u32 },
}

/// The numbers of consecutive rows of one shard, metric by metric, in order of position within each.
#[derive(Debug)]
pub(super) struct Block {
    /// In order of their keys.
    entries: Vec<Entry>,
    values: Vec<f64>,
    store: Store,
    buckets: Vec<Bucket>,
    steps: Bounds,
    times: Bounds,
    /// How many rows are taken together where that saves memory.
    together: u64,
}

impl Block {
    /// Of `rows` in order of position, and of the rows of each key that have no number.
    pub(super) fn new(rows: &[Logged], blanks: &BTreeMap<u32, Blanks>) -> Self {
        let steps = Bounds::of(rows.iter().map(|row| row.step));
        let times = Bounds::of(rows.iter().map(|row| row.time));
        let keys = rows.iter().map(|row| row.key).chain(blanks.keys().copied()).max();
        let mut ends = vec![0_u32; keys.map_or(0, |largest| largest as usize + 1)];
        for row in rows {
            ends[row.key as usize] += 1;
        }
        let mut blanks_of = vec![Blanks::default(); ends.len()];
        for (&key, &blanks) in blanks {
            blanks_of[key as usize] = blanks;
        }
        let counts = ends.clone();
        let mut before = 0;
        for end in &mut ends {
            before += std::mem::replace(end, before);
        }
        // What is the end of a key's rows afterwards is the place of its next one meanwhile.
        let mut order = vec![0_u32; rows.len()];
        for (place, row) in (0..).zip(rows) {
            let end = &mut ends[row.key as usize];
            order[*end as usize] = place;
            *end += 1;
        }
        let column = |of: fn(&Logged) -> i64| order.iter().map(|&row| of(&rows[row as usize])).collect::<Vec<_>>();
        let (all_steps, all_times) = (column(|row| row.step), column(|row| row.time));
        let mut block = Self {
            entries: Vec::new(),
            values: order.iter().map(|&row| rows[row as usize].value).collect(),
            store: Store::default(),
            buckets: Vec::new(),
            steps,
            times,
            together: 1,
        };
        for (key, count) in (0..).zip(counts) {
            let blanks = blanks_of[key as usize];
            if count > 0 || blanks != Blanks::default() {
                let at = ends[key as usize] - count;
                let range = at as usize..(at + count) as usize;
                let (steps, times) = (block.store.keep(&all_steps[range.clone()]), block.store.keep(&all_times[range]));
                block.entries.push(Entry { key, count, blanks, rows: Rows::Single { at, steps, times } });
            }
        }
        block.shrink();
        block
    }

    /// Renames its keys: `numbers` has the new number of each.
    pub(super) fn rename(&mut self, numbers: &[u32]) {
        self.entries.iter_mut().for_each(|entry| entry.key = numbers[entry.key as usize]);
        self.entries.sort_unstable_by_key(|entry| entry.key);
    }

    /// Both as one: `other` stands behind this one. `None` if rows of them are taken together.
    pub(super) fn and(&self, other: &Self) -> Option<Self> {
        let mut rows = Vec::with_capacity(self.values.len() + other.values.len());
        let mut blanks: BTreeMap<u32, Blanks> = BTreeMap::new();
        for block in [self, other] {
            for entry in &block.entries {
                let Rows::Single { at, steps, times } = entry.rows else { return None };
                let (key, count) = (entry.key, entry.count as usize);
                let (steps, times) = (block.store.all(steps, count), block.store.all(times, count));
                let each = steps.into_iter().zip(times).zip(&block.values[at as usize..]);
                rows.extend(each.map(|((step, time), &value)| Logged { key, step, time, value }));
                if entry.blanks != Blanks::default() {
                    let sum = blanks.entry(key).or_default();
                    sum.structured += entry.blanks.structured;
                    sum.empty += entry.blanks.empty;
                }
            }
        }
        Some(Self::new(&rows, &blanks))
    }

    /// Takes up to `most` rows of a key together, where that saves memory.
    pub(super) fn thin(&mut self, most: u64) {
        if most <= self.together {
            return;
        }
        self.together = most;
        let (values, store, buckets) =
            (std::mem::take(&mut self.values), std::mem::take(&mut self.store), std::mem::take(&mut self.buckets));
        for entry in &mut self.entries {
            let count = entry.count as usize;
            let mut joined: Vec<Bucket> = Vec::new();
            let mut add = |bucket: &Bucket| {
                if !joined.last_mut().is_some_and(|last| last.join(bucket, most)) {
                    joined.push(*bucket);
                }
            };
            let mut single = None;
            match entry.rows {
                Rows::Single { at, steps, times } => {
                    let (steps, times) = (store.all(steps, count), store.all(times, count));
                    let values = &values[at as usize..at as usize + count];
                    for ((&step, &time), &value) in steps.iter().zip(&times).zip(values) {
                        add(&Bucket::of(step, time, value));
                    }
                    single = Some((steps, times, values));
                }
                Rows::Together { at, buckets: count } => {
                    buckets[at as usize..(at + count) as usize].iter().for_each(add);
                }
            }
            match single {
                Some((steps, times, kept)) if joined.len() * size_of::<Bucket>() >= kept.len() * BYTES_A_ROW => {
                    let at = self.values.len() as u32;
                    self.values.extend_from_slice(kept);
                    let (steps, times) = (self.store.keep(&steps), self.store.keep(&times));
                    entry.rows = Rows::Single { at, steps, times };
                }
                _ => {
                    entry.rows = Rows::Together { at: self.buckets.len() as u32, buckets: joined.len() as u32 };
                    self.buckets.append(&mut joined);
                }
            }
        }
        self.shrink();
    }

    fn shrink(&mut self) {
        self.entries.shrink_to_fit();
        self.values.shrink_to_fit();
        self.buckets.shrink_to_fit();
        self.store.near.shrink_to_fit();
        self.store.far.shrink_to_fit();
    }

    /// Rows with a number.
    pub(super) fn rows(&self) -> usize {
        self.entries.iter().map(|entry| entry.count as usize).sum()
    }

    /// What it has of each key.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The smallest and the largest number on an axis, of all keys.
    pub(super) fn bounds(&self, axis: Axis) -> Bounds {
        match axis {
            Axis::Step => self.steps,
            Axis::Time => self.times,
        }
    }

    fn entry(&self, key: u32) -> Option<&Entry> {
        self.entries.binary_search_by_key(&key, |entry| entry.key).ok().map(|place| &self.entries[place])
    }

    /// Shows the rows of `key` that have a number and an x.
    #[inline]
    pub(super) fn show(&self, key: u32, axis: Axis, visitor: &mut impl Visitor) {
        let Some(entry) = self.entry(key) else { return };
        match entry.rows {
            Rows::Single { at, steps, times } => {
                let values = &self.values[at as usize..(at + entry.count) as usize];
                let column = match axis {
                    Axis::Step => steps,
                    Axis::Time => times,
                };
                self.store.each(column, values.len(), |index, x| visitor.row(x, values[index]));
            }
            Rows::Together { at, buckets } => {
                for bucket in &self.buckets[at as usize..(at + buckets) as usize] {
                    let xs = bucket.on(axis);
                    if xs != Bounds::NONE {
                        visitor.rows(xs, &bucket.values);
                    }
                }
            }
        }
    }

    /// How many buckets `key` has between `start` and `stop`.
    pub(super) fn buckets(&self, key: u32, axis: Axis, start: i64, stop: i64) -> usize {
        let Some(Entry { rows: Rows::Together { at, buckets }, .. }) = self.entry(key) else { return 0 };
        let buckets = &self.buckets[*at as usize..(at + buckets) as usize];
        buckets.iter().filter(|bucket| bucket.on(axis).meets(start, stop)).count()
    }

    /// Bytes of memory.
    pub(super) fn held(&self) -> usize {
        size_of::<Self>()
            + self.entries.capacity() * size_of::<Entry>()
            + self.values.capacity() * size_of::<f64>()
            + self.buckets.capacity() * size_of::<Bucket>()
            + self.store.held()
    }
}
