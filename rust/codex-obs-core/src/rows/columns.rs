//! The rows' columns.

use std::sync::Arc;

use arrow_array::builder::{
    ArrayBuilder as _, Float64Builder, Int64Builder, StringViewBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use super::dictionary::{Dictionary, column};
use crate::scan::parser::Parser;
use crate::scan::{Name, Names, Position, Row, Sink, Value};
use crate::summary::timestamp_type;

const UTC: &str = "UTC";

/// Columns of texts that repeat, by their place in [`Part::names`]. The last two are numbers of the sink's own texts.
const NAME_COLUMNS: usize = 6;
const RUN_ID: usize = 0;
const SPLIT: usize = 1;
const METRIC: usize = 2;
const DATASET: usize = 3;
const NONFINITE: usize = 4;
const PHASE: usize = 5;

/// The rows that one thread reads.
#[derive(Debug, Default)]
pub struct Columns {
    parts: Vec<Part>,
    /// Texts of tags. Those of fields are the parser's.
    tag_names: Names,
}

/// The rows of a part of a shard.
#[derive(Debug)]
struct Part {
    number: usize,
    stream: Arc<str>,
    session: Option<i64>,
    names: [Vec<Name>; NAME_COLUMNS],
    timestamp: TimestampMicrosecondBuilder,
    step: Int64Builder,
    value: Float64Builder,
    manifest_id: StringViewBuilder,
    tags: StringViewBuilder,
}

/// The columns, which do not depend on the data.
#[must_use]
pub fn schema() -> SchemaRef {
    let dictionary = |name| Field::new(name, Dictionary::data_type(), true);
    Arc::new(Schema::new(vec![
        dictionary("stream"),
        dictionary("run_id"),
        Field::new("timestamp", timestamp_type(), true),
        Field::new("step", DataType::Int64, true),
        dictionary("split"),
        dictionary("metric"),
        Field::new("value", DataType::Float64, true),
        dictionary("dataset"),
        dictionary("nonfinite"),
        Field::new("manifest_id", DataType::Utf8View, true),
        dictionary("phase"),
        Field::new("tags", DataType::Utf8View, true),
        Field::new("session", DataType::Int64, true),
    ]))
}

impl Sink for Columns {
    type Reader = Parser;

    fn begin(&mut self, number: usize, stream: &Arc<str>, session: Option<u64>) {
        self.parts.push(Part {
            number,
            stream: Arc::clone(stream),
            session: session.map(|session| session as i64),
            names: Default::default(),
            timestamp: TimestampMicrosecondBuilder::new(),
            step: Int64Builder::new(),
            value: Float64Builder::new(),
            manifest_id: StringViewBuilder::new(),
            tags: StringViewBuilder::new(),
        });
    }

    fn row(&mut self, row: &Row<'_>, _names: &Names, _position: Position) {
        let Some(part) = self.parts.last_mut() else { return };
        let mut tag = |text: Option<&str>| text.map_or(Name::NONE, |text| self.tag_names.number(text));
        let nonfinite = match row.value {
            Value::NonFinite(value) => Some(spelling(value)),
            Value::Finite(_) | Value::None => row.tags.nonfinite,
        };
        part.names[RUN_ID].push(row.run_id);
        part.names[SPLIT].push(row.split);
        part.names[METRIC].push(row.metric);
        part.names[DATASET].push(row.dataset);
        part.names[NONFINITE].push(tag(nonfinite));
        part.names[PHASE].push(tag(row.tags.phase));
        part.timestamp.append_option(row.timestamp);
        part.step.append_option(row.step);
        part.value.append_option(match row.value {
            Value::Finite(value) => Some(value),
            Value::NonFinite(_) | Value::None => None,
        });
        part.manifest_id.append_option(row.tags.manifest_id);
        part.tags.append_value(row.tags.json);
    }

    fn held(&self) -> usize {
        self.tag_names.held()
    }
}

/// How the log spells a number that is not finite.
fn spelling(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

/// The rows of all threads in order of position.
///
/// # Errors
/// None that can happen: the columns are those of [`schema`].
pub fn to_batches(threads: Vec<(Columns, Names)>) -> Result<Vec<RecordBatch>, ArrowError> {
    let mut streams = Dictionary::default();
    let mut dictionaries: [Dictionary; NAME_COLUMNS] = Default::default();
    let mut parts = Vec::new();
    for (columns, names) in threads {
        let mut known: [Vec<Option<u32>>; NAME_COLUMNS] = Default::default();
        for part in columns.parts {
            if part.step.is_empty() {
                continue;
            }
            let stream = streams.number(&part.stream);
            let mut keys = Vec::with_capacity(NAME_COLUMNS);
            for (index, column) in part.names.iter().enumerate() {
                let names = if index < NONFINITE { &names } else { &columns.tag_names };
                keys.push(dictionaries[index].translate(column, names, &mut known[index]));
            }
            parts.push((Part { names: Default::default(), ..part }, stream, keys));
        }
    }
    parts.sort_unstable_by_key(|(part, ..)| part.number);
    let stream_texts = streams.texts();
    let texts = dictionaries.map(|dictionary| dictionary.texts());
    parts.into_iter().map(|(part, stream, keys)| batch(part, stream, keys, &stream_texts, &texts)).collect()
}

fn batch(
    mut part: Part,
    stream: u32,
    keys: Vec<UInt32Array>,
    streams: &ArrayRef,
    texts: &[ArrayRef; NAME_COLUMNS],
) -> Result<RecordBatch, ArrowError> {
    let session: ArrayRef = Arc::new(std::iter::repeat_n(part.session, part.step.len()).collect::<Int64Array>());
    let stream = column(UInt32Array::from_value(stream, part.step.len()), streams)?;
    let mut columns = Vec::with_capacity(NAME_COLUMNS);
    for (keys, texts) in keys.into_iter().zip(texts) {
        columns.push(Some(column(keys, texts)?));
    }
    let mut name = |index: usize| columns[index].take().unwrap_or_else(|| Arc::clone(&stream));
    RecordBatch::try_new(
        schema(),
        vec![
            Arc::clone(&stream),
            name(RUN_ID),
            Arc::new(part.timestamp.finish().with_timezone(UTC)),
            Arc::new(part.step.finish()),
            name(SPLIT),
            name(METRIC),
            Arc::new(part.value.finish()),
            name(DATASET),
            name(NONFINITE),
            Arc::new(part.manifest_id.finish()),
            name(PHASE),
            Arc::new(part.tags.finish()),
            session,
        ],
    )
}
