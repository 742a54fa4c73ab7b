//! One value on its way to a destination.

use std::sync::Arc;

/// One value on its way to a destination. Rows without a step or without a number never become one.
#[derive(Clone, Debug)]
pub struct Point {
    /// Part of the key before the split: empty, or `rank-<R>/` for the streams of other ranks.
    pub stream_prefix: Arc<str>,
    /// Part of the data, such as `train`; the key is `<stream_prefix><split>/<metric>`.
    pub split: Arc<str>,
    /// Name of the metric.
    pub metric: Arc<str>,
    /// The value; may be NaN or infinite.
    pub value: f64,
    /// Time of the row, in microseconds since the epoch.
    pub timestamp_micros: i64,
    /// Training step.
    pub step: i64,
}

impl PartialEq for Point {
    /// Bit for bit, so that NaN equals itself.
    fn eq(&self, other: &Self) -> bool {
        (&self.stream_prefix, &self.split, &self.metric) == (&other.stream_prefix, &other.split, &other.metric)
            && self.value.to_bits() == other.value.to_bits()
            && (self.timestamp_micros, self.step) == (other.timestamp_micros, other.step)
    }
}

impl Eq for Point {}
