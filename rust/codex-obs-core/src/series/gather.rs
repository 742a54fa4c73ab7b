//! What one thread takes from the rows that it reads.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::block::{Blanks, Block, Logged};
use super::bucket::Axis;
use super::budget::Budget;
use super::column::ABSENT;
use crate::record::nonfinite;
use crate::scan::names::Seeded;
use crate::scan::parser::Parser;
use crate::scan::{Name, Names, Part, Position, Row, Sink, Value};

/// What a curve is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The stream.
    pub stream: String,
    /// The split; empty where rows have none.
    pub split: String,
    /// The metric.
    pub metric: String,
    /// The dataset.
    pub dataset: Option<String>,
    /// The run, where it is another than the folder's own.
    pub run_id: Option<String>,
}

impl Key {
    /// What a thread's key stands for, of `stream` in a folder of the run `own_run`.
    pub(super) fn of(
        stream: &str,
        [_, split, metric, dataset, run_id]: LocalKey,
        names: &Names,
        own_run: Option<&str>,
    ) -> Self {
        let text = |number: u32| names.text(Name(number)).to_owned();
        let known = |number| Some(text(number)).filter(|text| !text.is_empty());
        let run_id = known(run_id).filter(|run_id| own_run != Some(run_id));
        Self { stream: stream.to_owned(), split: text(split), metric: text(metric), dataset: known(dataset), run_id }
    }
}

/// Which rows are wanted, where not all of them are.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    /// Of these curves,
    pub(super) keys: Vec<Key>,
    /// with an x on this axis
    pub(super) axis: Axis,
    /// between this one
    pub(super) start: i64,
    /// and this one.
    pub(super) stop: i64,
}

/// Stream, as a number of the sink's own, split, metric, dataset and run.
pub(super) type LocalKey = [u32; 5];

/// A part of a source, read.
#[derive(Debug)]
pub(super) struct Piece {
    /// Index of the source.
    pub(super) source: usize,
    /// The number of the part.
    pub(super) number: usize,
    /// Its rows. Keys are numbers of the thread's own.
    pub(super) block: Block,
}

/// A metric of a stream as one thread knows it.
#[derive(Clone, Copy, Debug)]
struct Met {
    key: LocalKey,
    /// The one whose row followed last time: mostly it does so again.
    next: u32,
    /// Whether its rows are wanted.
    is_wanted: bool,
}

/// The rows that one thread reads.
#[derive(Debug)]
pub(super) struct Gather<'a> {
    budget: &'a Budget,
    /// How many rows are taken together in what was read.
    together: u64,
    filter: Option<&'a Filter>,
    /// The folder's own run.
    own_run: Option<&'a str>,
    streams: Vec<Arc<str>>,
    stream: u32,
    keys: Vec<Met>,
    numbers: HashMap<LocalKey, u32, Seeded>,
    last: u32,
    /// Source and number of the part that is being read.
    part: (usize, usize),
    rows: Vec<Logged>,
    blanks: BTreeMap<u32, Blanks>,
    pieces: Vec<Piece>,
}

/// What a key costs with its place in the map.
const BYTES_A_KEY: usize = size_of::<Met>() + 2 * (size_of::<LocalKey>() + size_of::<u32>());

impl Sink for Gather<'_> {
    type Reader = Parser;

    fn begin(&mut self, part: &Part<'_>) {
        self.end();
        self.part = (part.source, part.number);
        let known = self.streams.iter().position(|stream| stream == part.stream);
        self.stream = known.unwrap_or_else(|| {
            self.streams.push(Arc::clone(part.stream));
            self.streams.len() - 1
        }) as u32;
    }

    #[inline]
    fn row(&mut self, row: &Row<'_>, names: &Names, _position: Position) {
        let key = [self.stream, row.split.0, row.metric.0, row.dataset.0, row.run_id.0];
        let expected = self.keys.get(self.last as usize).map_or(0, |last| last.next);
        let key = match self.keys.get(expected as usize) {
            Some(met) if met.key == key => expected,
            _ => self.other(key, names),
        };
        self.last = key;
        if self.filter.is_some() && !self.is_wanted(key, row) {
            return;
        }
        let value = match row.value {
            Value::Finite(value) | Value::NonFinite(value) => value,
            Value::None => match row.tags.nonfinite.and_then(nonfinite::number) {
                Some(value) => value,
                None => return self.blank(key, row.tags.manifest_id.is_some()),
            },
        };
        let (step, time) = (row.step.unwrap_or(ABSENT), row.timestamp.unwrap_or(ABSENT));
        self.rows.push(Logged { key, step, time, value });
    }

    fn held(&self) -> usize {
        self.keys.len() * BYTES_A_KEY
    }
}

impl<'a> Gather<'a> {
    pub(super) fn new(budget: &'a Budget, filter: Option<&'a Filter>, own_run: Option<&'a str>) -> Self {
        Self {
            budget,
            together: budget.together(),
            filter,
            own_run,
            streams: Vec::new(),
            stream: 0,
            keys: Vec::new(),
            numbers: HashMap::default(),
            last: 0,
            part: (0, 0),
            rows: Vec::new(),
            blanks: BTreeMap::new(),
            pieces: Vec::new(),
        }
    }

    fn is_wanted(&self, key: u32, row: &Row<'_>) -> bool {
        let is_within = |filter: &Filter| {
            let x = match filter.axis {
                Axis::Step => row.step,
                Axis::Time => row.timestamp,
            };
            x.is_some_and(|x| filter.start <= x && x <= filter.stop)
        };
        self.keys[key as usize].is_wanted && self.filter.is_none_or(is_within)
    }

    /// The number of a key that was not expected.
    fn other(&mut self, key: LocalKey, names: &Names) -> u32 {
        let new = self.keys.len() as u32;
        let number = *self.numbers.entry(key).or_insert(new);
        if number == new {
            let is_wanted = self.filter.is_none_or(|filter| filter.keys.contains(&self.named(key, names)));
            self.keys.push(Met { key, next: 0, is_wanted });
        }
        self.keys[self.last as usize].next = number;
        number
    }

    /// Counts a row without a number.
    #[cold]
    fn blank(&mut self, key: u32, structured: bool) {
        let blanks = self.blanks.entry(key).or_default();
        blanks.structured += u32::from(structured);
        blanks.empty += u32::from(!structured);
    }

    /// Puts away the rows of the part that has been read.
    fn end(&mut self) {
        if self.rows.is_empty() && self.blanks.is_empty() {
            return;
        }
        let mut block = Block::new(&self.rows, &self.blanks);
        self.rows.clear();
        self.blanks.clear();
        if self.together > 1 {
            block.thin(self.together);
        }
        self.budget.take(block.held());
        self.pieces.push(Piece { source: self.part.0, number: self.part.1, block });
        self.budget.keep(self.together);
        if self.budget.together() != self.together {
            self.together = self.budget.together();
            for piece in &mut self.pieces {
                self.budget.thin(&mut piece.block);
            }
        }
    }

    /// What a key stands for.
    fn named(&self, key: LocalKey, names: &Names) -> Key {
        Key::of(&self.streams[key[0] as usize], key, names, self.own_run)
    }

    /// What was read: the parts, and what each key of the thread stands for.
    pub(super) fn finish(mut self, names: &Names) -> (Vec<Piece>, Vec<Key>) {
        self.end();
        let keys = self.keys.iter().map(|met| self.named(met.key, names)).collect();
        (self.pieces, keys)
    }
}
