//! The manifest's columns.

use std::sync::Arc;

use arrow_array::builder::{
    ArrayBuilder as _, Int64Builder, ListBuilder, StringViewBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use super::dictionary::{Dictionary, column};
use crate::scan::{Name, Names, Payload, PayloadReader, Position, Sink};
use crate::summary::timestamp_type;

const UTC: &str = "UTC";

/// Columns of texts that repeat, by their place in [`Part::names`].
const NAME_COLUMNS: usize = 6;
const RUN_ID: usize = 0;
const SPLIT: usize = 1;
const METRIC: usize = 2;
const DATASET: usize = 3;
const CLASS: usize = 4;
const VERSION: usize = 5;

/// The structured values that one thread reads.
#[derive(Debug, Default)]
pub struct Payloads {
    parts: Vec<Part>,
}

/// Those of a part of a shard.
#[derive(Debug)]
struct Part {
    number: usize,
    stream: Arc<str>,
    names: [Vec<Name>; NAME_COLUMNS],
    timestamp: TimestampMicrosecondBuilder,
    step: Int64Builder,
    manifest_id: StringViewBuilder,
    shape: ListBuilder<Int64Builder>,
    payload: StringViewBuilder,
    path: StringViewBuilder,
    truncated_bytes: Int64Builder,
}

/// The columns, which do not depend on the data.
#[must_use]
pub fn schema() -> SchemaRef {
    let dictionary = |name| Field::new(name, Dictionary::data_type(), true);
    let text = |name| Field::new(name, DataType::Utf8View, true);
    let number = |name| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(vec![
        dictionary("stream"),
        dictionary("run_id"),
        Field::new("timestamp", timestamp_type(), true),
        number("step"),
        dictionary("split"),
        dictionary("metric"),
        dictionary("dataset"),
        text("manifest_id"),
        dictionary("type"),
        Field::new_list("shape", Field::new_list_field(DataType::Int64, true), true),
        text("payload"),
        text("path"),
        number("truncated_bytes"),
        dictionary("version"),
    ]))
}

impl Sink for Payloads {
    type Reader = PayloadReader;

    fn begin(&mut self, number: usize, stream: &Arc<str>, _session: Option<u64>) {
        self.parts.push(Part {
            number,
            stream: Arc::clone(stream),
            names: Default::default(),
            timestamp: TimestampMicrosecondBuilder::new(),
            step: Int64Builder::new(),
            manifest_id: StringViewBuilder::new(),
            shape: ListBuilder::new(Int64Builder::new()),
            payload: StringViewBuilder::new(),
            path: StringViewBuilder::new(),
            truncated_bytes: Int64Builder::new(),
        });
    }

    fn row(&mut self, row: &Payload<'_>, _names: &Names, _position: Position) {
        let Some(part) = self.parts.last_mut() else { return };
        part.names[RUN_ID].push(row.run_id);
        part.names[SPLIT].push(row.split);
        part.names[METRIC].push(row.metric);
        part.names[DATASET].push(row.dataset);
        part.names[CLASS].push(row.class);
        part.names[VERSION].push(row.version);
        part.timestamp.append_option(row.timestamp);
        part.step.append_option(row.step);
        part.manifest_id.append_value(row.manifest_id);
        part.shape.append_option(row.shape.and_then(lengths).map(|lengths| lengths.into_iter().map(Some)));
        part.payload.append_option(row.payload);
        part.path.append_option(row.path);
        part.truncated_bytes.append_option(row.truncated_bytes);
    }

    fn held(&self) -> usize {
        0
    }
}

/// A shape: a flat array of integers.
fn lengths(json: &str) -> Option<Vec<i64>> {
    let inner = json.strip_prefix('[')?.strip_suffix(']')?;
    if inner.trim_ascii().is_empty() {
        return Some(Vec::new());
    }
    inner.split(',').map(|length| length.trim_ascii().parse().ok()).collect()
}

/// The structured values of all threads in order of position.
///
/// # Errors
/// None that can happen: the columns are those of [`schema`].
pub fn to_batches(threads: Vec<(Payloads, Names)>) -> Result<Vec<RecordBatch>, ArrowError> {
    let mut streams = Dictionary::default();
    let mut dictionaries: [Dictionary; NAME_COLUMNS] = Default::default();
    let mut parts = Vec::new();
    for (payloads, names) in threads {
        let mut known: [Vec<Option<u32>>; NAME_COLUMNS] = Default::default();
        for part in payloads.parts.into_iter().filter(|part| !part.step.is_empty()) {
            let stream = streams.number(&part.stream);
            let mut keys = Vec::with_capacity(NAME_COLUMNS);
            for (index, column) in part.names.iter().enumerate() {
                keys.push(dictionaries[index].translate(column, &names, &mut known[index]));
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
    let stream = column(UInt32Array::from_value(stream, part.step.len()), streams)?;
    let mut names = Vec::with_capacity(NAME_COLUMNS);
    for (keys, texts) in keys.into_iter().zip(texts) {
        names.push(column(keys, texts)?);
    }
    let name = |index: usize| Arc::clone(&names[index]);
    RecordBatch::try_new(
        schema(),
        vec![
            stream,
            name(RUN_ID),
            Arc::new(part.timestamp.finish().with_timezone(UTC)),
            Arc::new(part.step.finish()),
            name(SPLIT),
            name(METRIC),
            name(DATASET),
            Arc::new(part.manifest_id.finish()),
            name(CLASS),
            Arc::new(part.shape.finish()),
            Arc::new(part.payload.finish()),
            Arc::new(part.path.finish()),
            Arc::new(part.truncated_bytes.finish()),
            name(VERSION),
        ],
    )
}
