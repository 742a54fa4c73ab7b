//! One value on its way to a destination.

use std::sync::Arc;

use crate::structured;

/// Distinct texts of points kept at most, so that a run with ever new names does not grow a delivery.
pub(super) const MAX_TEXTS: usize = 4096;

/// One value on its way to a destination: a row that has a step and a value.
#[derive(Clone, Debug)]
pub struct Point {
    /// Part of the key before the split: empty, or `rank-<R>/` for the streams of other ranks.
    pub stream_prefix: Arc<str>,
    /// Part of the data, such as `train`; the key is `<stream_prefix><split>/<metric>`.
    pub split: Arc<str>,
    /// Name of the metric.
    pub metric: Arc<str>,
    /// The value.
    pub value: Value,
    /// Time of the row, in microseconds since the epoch.
    pub timestamp_micros: i64,
    /// Training step.
    pub step: i64,
    /// The dataset.
    pub dataset: Option<Arc<str>>,
    /// The tags as JSON, if the row has some and the destination asks for them.
    pub tags: Option<Arc<str>>,
    /// Whether a [group](super::points::Wanted::groups) begins with it.
    pub begins_group: bool,
}

/// What a row says.
#[derive(Clone, Debug)]
pub enum Value {
    /// A number; may be NaN or infinite.
    Number(f64),
    /// A structured value, for destinations that ask for them.
    Structured(Arc<Structured>),
}

/// A structured value: what the manifest has of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Structured {
    /// What the row calls it.
    pub manifest_id: String,
    /// Name of its class.
    pub class: String,
    /// Its shape as JSON.
    pub shape: Option<String>,
    /// The value as JSON; none if it was too long to be kept.
    pub payload: Option<String>,
}

impl Structured {
    /// What charts make of it.
    #[must_use]
    pub fn form(&self) -> Option<structured::Structured> {
        self.payload.as_deref().and_then(structured::Structured::of)
    }

    /// Whether charts make anything of it.
    #[must_use]
    pub fn has_form(&self) -> bool {
        self.form().is_some()
    }
}

impl Point {
    /// The number that it is; NaN if it is none.
    #[must_use]
    pub fn number(&self) -> f64 {
        match self.value {
            Value::Number(number) => number,
            Value::Structured(_) => f64::NAN,
        }
    }
}

impl PartialEq for Value {
    /// Bit for bit, so that NaN equals itself.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(one), Self::Number(two)) => one.to_bits() == two.to_bits(),
            (Self::Structured(one), Self::Structured(two)) => one == two,
            _ => false,
        }
    }
}

impl PartialEq for Point {
    fn eq(&self, other: &Self) -> bool {
        (&self.stream_prefix, &self.split, &self.metric) == (&other.stream_prefix, &other.split, &other.metric)
            && (&self.value, self.timestamp_micros, self.step) == (&other.value, other.timestamp_micros, other.step)
            && (&self.dataset, &self.tags, self.begins_group) == (&other.dataset, &other.tags, other.begins_group)
    }
}

impl Eq for Point {}
