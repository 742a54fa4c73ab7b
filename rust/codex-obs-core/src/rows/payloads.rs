//! The manifest's columns.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::builder::{Int64Builder, ListBuilder, StringViewBuilder, TimestampMicrosecondBuilder};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use super::dictionary::Dictionary;
use super::parts::{self, NAME_COLUMNS, Named, Parts, exact};
use crate::limits::MAX_NAME_BYTES;
use crate::scan::{Names, Part, Payload, PayloadReader, Position, Sink};
use crate::summary::timestamp_type;

const UTC: &str = "UTC";

/// The structured values that one thread reads.
#[derive(Debug, Default)]
pub struct Payloads {
    parts: Parts<Values>,
}

/// The columns that are no texts that repeat.
#[derive(Debug, Default)]
struct Values {
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

    const MAX_HELD: usize = MAX_NAME_BYTES;

    fn begin(&mut self, part: &Part<'_>) {
        self.parts.begin(part.number, part.stream, part.session);
    }

    fn row(&mut self, row: &Payload<'_>, _names: &Names, _position: Position) {
        let Some(part) = self.parts.last() else { return };
        part.add([row.run_id, row.split, row.metric, row.dataset, row.class, row.version]);
        let values = &mut part.columns;
        values.timestamp.append_option(row.timestamp);
        values.step.append_option(row.step);
        values.manifest_id.append_value(row.manifest_id);
        values.shape.append_option(row.shape.and_then(lengths).map(|lengths| lengths.into_iter().map(Some)));
        values.payload.append_option(row.payload);
        values.path.append_option(row.path);
        values.truncated_bytes.append_option(row.truncated_bytes);
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
    let threads = threads.into_iter().map(|(payloads, names)| (payloads.parts, [names, Names::default()])).collect();
    parts::batches(threads, NAME_COLUMNS, |part: Named<Values>| {
        let [run_id, split, metric, dataset, class, version] = part.names;
        let mut values = part.columns;
        RecordBatch::try_new(
            schema(),
            vec![
                part.stream,
                run_id,
                exact(values.timestamp.finish().with_timezone(UTC)),
                exact(values.step.finish()),
                split,
                metric,
                dataset,
                exact(values.manifest_id.finish()),
                class,
                exact(values.shape.finish()),
                exact(values.payload.finish()),
                exact(values.path.finish()),
                exact(values.truncated_bytes.finish()),
                version,
            ],
        )
    })
}
