//! The summary's columns.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};

use super::statistics::Statistics;
use super::totals::{Group, Groups};

/// The time zone of every timestamp.
const UTC: &str = "UTC";

/// Type of a column of times.
#[must_use]
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
}

/// The columns, which do not depend on the data.
#[must_use]
pub fn schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8View, true);
    let int = |name| Field::new(name, DataType::Int64, true);
    let float = |name| Field::new(name, DataType::Float64, true);
    let time = |name| Field::new(name, timestamp_type(), true);
    Arc::new(Schema::new(vec![
        text("run_id"),
        text("split"),
        text("metric"),
        text("dataset"),
        int("count"),
        int("first_step"),
        int("last_step"),
        time("first_timestamp"),
        time("last_timestamp"),
        float("first_value"),
        float("last_value"),
        float("min_value"),
        float("max_value"),
        float("mean_value"),
        text("first_manifest_id"),
        text("last_manifest_id"),
        text("first_phase"),
        text("last_phase"),
        int("numeric_count"),
        int("nonfinite_count"),
    ]))
}

/// The table.
///
/// # Errors
/// None that can happen: the columns are those of [`schema`].
pub fn to_batch(groups: &Groups) -> Result<RecordBatch, ArrowError> {
    let name = |at: usize| -> ArrayRef {
        Arc::new(groups.iter().map(|group| Some(groups.key(group)[at])).collect::<StringViewArray>())
    };
    let text =
        |get: fn(&Group) -> Option<&str>| -> ArrayRef { Arc::new(groups.iter().map(get).collect::<StringViewArray>()) };
    let int = |get: fn(&Statistics) -> Option<i64>| -> ArrayRef {
        Arc::new(groups.iter().map(|group| get(&group.statistics)).collect::<Int64Array>())
    };
    let float = |get: fn(&Statistics) -> Option<f64>| -> ArrayRef {
        Arc::new(groups.iter().map(|group| get(&group.statistics)).collect::<Float64Array>())
    };
    let time = |get: fn(&Statistics) -> Option<i64>| -> ArrayRef {
        let array: TimestampMicrosecondArray = groups.iter().map(|group| get(&group.statistics)).collect();
        Arc::new(array.with_timezone(UTC))
    };
    RecordBatch::try_new(
        schema(),
        vec![
            name(0),
            name(1),
            name(2),
            name(3),
            int(|statistics| Some(statistics.count as i64)),
            int(|statistics| statistics.steps().map(|(low, _)| low)),
            int(|statistics| statistics.last.moment.step.or(statistics.steps().map(|(_, high)| high))),
            time(|statistics| statistics.first.moment.timestamp),
            time(|statistics| statistics.last.moment.timestamp),
            float(|statistics| statistics.first.value()),
            float(|statistics| statistics.last.value()),
            float(|statistics| (statistics.numeric_count > 0).then_some(statistics.min)),
            float(|statistics| (statistics.numeric_count > 0).then_some(statistics.max)),
            float(Statistics::mean),
            text(|group| group.statistics.manifests.as_deref().map(|ends| ends.0.id.as_str())),
            text(|group| group.statistics.manifests.as_deref().map(|ends| ends.1.id.as_str())),
            text(|group| Some(group.statistics.first_phase())),
            text(|group| Some(group.statistics.last_phase())),
            int(|statistics| Some(statistics.numeric_count as i64)),
            int(|statistics| Some(statistics.nonfinite_count as i64)),
        ],
    )
}
