//! The rows that a thread reads, in parts of a snapshot, and what is done with the parts of all threads alike: their texts get
//! one dictionary a column, and they are put in order.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow_schema::ArrowError;

use super::dictionary::{Dictionary, column};
use crate::scan::{Name, Names};

/// Parts that follow each other become one batch up to so many rows: each batch has its columns looked at one by one.
const MANY_ROWS: usize = 1 << 16;

/// Columns of texts that repeat: run id, split, metric, dataset and two others.
pub const NAME_COLUMNS: usize = 6;

/// Rows of one stream and session.
#[derive(Debug)]
struct Run {
    stream: Arc<str>,
    session: Option<i64>,
    rows: usize,
}

/// The rows of a part of a shard, or of parts that follow each other.
#[derive(Debug)]
pub struct Part<C> {
    /// Of the first part.
    number: usize,
    /// Of the last part.
    last: usize,
    runs: Vec<Run>,
    rows: usize,
    names: [Vec<Name>; NAME_COLUMNS],
    /// The other columns.
    pub columns: C,
}

impl<C> Part<C> {
    /// Adds a row with these texts; the rest of it goes to the columns.
    #[inline]
    pub fn add(&mut self, names: [Name; NAME_COLUMNS]) {
        self.rows += 1;
        if let Some(run) = self.runs.last_mut() {
            run.rows += 1;
        }
        for (column, name) in self.names.iter_mut().zip(names) {
            column.push(name);
        }
    }
}

/// The parts that one thread reads.
#[derive(Debug)]
pub struct Parts<C>(Vec<Part<C>>);

impl<C> Default for Parts<C> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<C: Default> Parts<C> {
    /// Rows of the part `number` follow.
    pub fn begin(&mut self, number: usize, stream: &Arc<str>, session: Option<u64>) {
        match self.0.last_mut() {
            Some(part) if part.last + 1 == number && part.rows < MANY_ROWS => part.last = number,
            _ => self.0.push(Part {
                number,
                last: number,
                runs: Vec::new(),
                rows: 0,
                names: Default::default(),
                columns: C::default(),
            }),
        }
        if let Some(part) = self.0.last_mut() {
            let session = session.map(|session| session as i64);
            part.runs.push(Run { stream: Arc::clone(stream), session, rows: 0 });
        }
    }

    /// The part that is being read.
    #[inline]
    pub fn last(&mut self) -> Option<&mut Part<C>> {
        self.0.last_mut()
    }
}

/// A part whose texts are columns.
pub struct Named<C> {
    /// The stream.
    pub stream: ArrayRef,
    /// The session.
    pub session: ArrayRef,
    /// Columns of texts.
    pub names: [ArrayRef; NAME_COLUMNS],
    /// The other columns.
    pub columns: C,
}

/// A column without the room that its builder had left: that is a third of it as a rule.
pub fn exact(mut array: impl Array + 'static) -> ArrayRef {
    array.shrink_to_fit();
    Arc::new(array)
}

/// The parts of all threads in order of position, each made a batch. Of a thread, `texts` are those that its numbers stand for: of
/// the columns before and from `others` on.
pub fn batches<C>(
    threads: Vec<(Parts<C>, [Names; 2])>,
    others: usize,
    batch: impl Fn(Named<C>) -> Result<RecordBatch, ArrowError>,
) -> Result<Vec<RecordBatch>, ArrowError> {
    let mut streams = Dictionary::default();
    let mut dictionaries: [Dictionary; NAME_COLUMNS] = Default::default();
    let mut parts = Vec::new();
    for (thread, texts) in threads {
        let mut known: [Vec<Option<u32>>; NAME_COLUMNS] = Default::default();
        for part in thread.0.into_iter().filter(|part| part.rows > 0) {
            let stream = part.runs.iter().flat_map(|run| std::iter::repeat_n(streams.number(&run.stream), run.rows));
            let stream: UInt32Array = stream.collect::<Vec<_>>().into();
            let session = part.runs.iter().flat_map(|run| std::iter::repeat_n(run.session, run.rows));
            let session: Int64Array = session.collect();
            let keys: [UInt32Array; NAME_COLUMNS] = std::array::from_fn(|index| {
                let texts = &texts[usize::from(index >= others)];
                dictionaries[index].translate(&part.names[index], texts, &mut known[index])
            });
            parts.push((part.number, stream, session, keys, part.columns));
        }
    }
    parts.sort_unstable_by_key(|(number, ..)| *number);
    let streams = streams.texts();
    let texts = dictionaries.map(|dictionary| dictionary.texts());
    let mut batches = Vec::with_capacity(parts.len());
    for (_, stream, session, keys, columns) in parts {
        let stream = column(stream, &streams)?;
        let mut names = std::array::from_fn(|_| Arc::clone(&stream));
        for ((name, keys), texts) in names.iter_mut().zip(keys).zip(&texts) {
            *name = column(keys, texts)?;
        }
        batches.push(batch(Named { stream, session: exact(session), names, columns })?);
    }
    Ok(batches)
}
