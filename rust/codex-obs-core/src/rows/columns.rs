//! The rows' columns.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::builder::{Float64Builder, Int64Builder, StringViewBuilder, TimestampMicrosecondBuilder};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use super::dictionary::Dictionary;
use super::parts::{self, Named, Parts, exact};
use crate::limits::MAX_NAME_BYTES;
use crate::record::nonfinite;
use crate::scan::parser::Parser;
use crate::scan::{Name, Names, Part, Position, Row, Sink, Value};
use crate::summary::timestamp_type;

const UTC: &str = "UTC";

/// The first of the columns of texts that are numbers of the sink's own texts.
const TAG_COLUMNS: usize = 4;

/// The rows that one thread reads.
#[derive(Debug, Default)]
pub struct Columns {
    parts: Parts<Values>,
    /// Texts of tags. Those of fields are the parser's.
    tag_names: Names,
}

/// The columns that are no texts that repeat.
#[derive(Debug, Default)]
struct Values {
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

    const MAX_HELD: usize = MAX_NAME_BYTES;

    fn begin(&mut self, part: &Part<'_>) {
        self.parts.begin(part.number, part.stream, part.session);
    }

    fn row(&mut self, row: &Row<'_>, _names: &Names, _position: Position) {
        let Some(part) = self.parts.last() else { return };
        let mut tag = |text: Option<&str>| text.map_or(Name::NONE, |text| self.tag_names.number(text));
        let nonfinite = match row.value {
            Value::NonFinite(value) => Some(nonfinite::word(value)),
            Value::Finite(_) | Value::None => row.tags.nonfinite,
        };
        part.add([row.run_id, row.split, row.metric, row.dataset, tag(nonfinite), tag(row.tags.phase)]);
        let values = &mut part.columns;
        values.timestamp.append_option(row.timestamp);
        values.step.append_option(row.step);
        values.value.append_option(match row.value {
            Value::Finite(value) => Some(value),
            Value::NonFinite(_) | Value::None => None,
        });
        values.manifest_id.append_option(row.tags.manifest_id);
        values.tags.append_value(row.tags.json);
    }

    fn held(&self) -> usize {
        self.tag_names.held()
    }
}

/// The rows of all threads in order of position.
///
/// # Errors
/// None that can happen: the columns are those of [`schema`].
pub fn to_batches(threads: Vec<(Columns, Names)>) -> Result<Vec<RecordBatch>, ArrowError> {
    let threads = threads.into_iter().map(|(columns, names)| (columns.parts, [names, columns.tag_names])).collect();
    parts::batches(threads, TAG_COLUMNS, |part: Named<Values>| {
        let [run_id, split, metric, dataset, nonfinite, phase] = part.names;
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
                exact(values.value.finish()),
                dataset,
                nonfinite,
                exact(values.manifest_id.finish()),
                phase,
                exact(values.tags.finish()),
                part.session,
            ],
        )
    })
}
