//! What is known of one group of rows, and how the knowledge of two threads becomes one.

use super::sum::ExactSum;
use crate::scan::{Position, Row, Value};

/// Statistics of the rows of one group.
#[derive(Clone, Debug)]
pub struct Statistics {
    /// All rows.
    pub count: u64,
    /// Rows with a finite number.
    pub numeric_count: u64,
    /// Rows with a non-finite number, or null and a `nonfinite` tag.
    pub nonfinite_count: u64,
    /// Smallest and largest step.
    pub steps: Option<(i64, i64)>,
    /// Smallest finite number.
    pub min: f64,
    /// Largest finite number.
    pub max: f64,
    /// Sum of the finite numbers.
    pub sum: ExactSum,
    /// The first row.
    pub first: End,
    /// The last row.
    pub last: End,
    /// Manifest ids of the first and the last row that have one.
    pub manifests: Option<Box<(Manifest, Manifest)>>,
}

/// What orders rows: the time, then the step, then the place in the files; what is missing comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Microseconds since the epoch.
    pub timestamp: Option<i64>,
    /// The step.
    pub step: Option<i64>,
    position: Position,
}

/// The first or last row of a group.
#[derive(Clone, Debug)]
pub struct End {
    /// Its place in the order.
    pub moment: Moment,
    /// Its value, if that is a finite number.
    pub value: Option<f64>,
    /// Its phase.
    pub phase: String,
}

/// A manifest id and its row.
#[derive(Clone, Debug)]
pub struct Manifest {
    moment: Moment,
    /// The id.
    pub id: String,
}

impl Statistics {
    /// Of one row.
    #[must_use]
    pub fn of(row: &Row<'_>, position: Position) -> Self {
        let moment = Moment { timestamp: row.timestamp, step: row.step, position };
        let end = End { moment, value: finite(row), phase: row.tags.phase.unwrap_or_default().to_owned() };
        let mut statistics = Self {
            count: 0,
            numeric_count: 0,
            nonfinite_count: 0,
            steps: None,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            sum: ExactSum::default(),
            first: end.clone(),
            last: end,
            manifests: None,
        };
        statistics.count_row(row, moment);
        statistics
    }

    /// Adds a row that stands behind all others so far.
    #[inline]
    pub fn add(&mut self, row: &Row<'_>, position: Position) {
        let moment = Moment { timestamp: row.timestamp, step: row.step, position };
        if moment >= self.last.moment {
            self.last.set(moment, row);
        }
        if moment < self.first.moment {
            self.first.set(moment, row);
        }
        self.count_row(row, moment);
    }

    #[inline]
    fn count_row(&mut self, row: &Row<'_>, moment: Moment) {
        self.count += 1;
        if let Some(step) = row.step {
            self.steps = Some(self.steps.map_or((step, step), |(low, high)| (low.min(step), high.max(step))));
        }
        match row.value {
            Value::Finite(value) => {
                self.numeric_count += 1;
                self.sum.add(value);
                self.extremes(value, value);
            }
            Value::NonFinite(_) => self.nonfinite_count += 1,
            Value::None => self.nonfinite_count += u64::from(row.tags.nonfinite.is_some()),
        }
        if let Some(id) = row.tags.manifest_id {
            self.manifest(&Manifest { moment, id: id.to_owned() });
        }
    }

    #[inline]
    fn extremes(&mut self, low: f64, high: f64) {
        // Negative zero is the smaller one, so that the result does not depend on the order.
        if low < self.min || (low == 0.0 && self.min == 0.0 && low.is_sign_negative()) {
            self.min = low;
        }
        if high > self.max || (high == 0.0 && self.max == 0.0 && high.is_sign_positive()) {
            self.max = high;
        }
    }

    #[cold]
    fn manifest(&mut self, manifest: &Manifest) {
        let Some(ends) = &mut self.manifests else {
            self.manifests = Some(Box::new((manifest.clone(), manifest.clone())));
            return;
        };
        if manifest.moment < ends.0.moment {
            ends.0.clone_from(manifest);
        }
        if manifest.moment > ends.1.moment {
            ends.1.clone_from(manifest);
        }
    }

    /// Adds the statistics of other rows of the group.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.numeric_count += other.numeric_count;
        self.nonfinite_count += other.nonfinite_count;
        self.steps = match (self.steps, other.steps) {
            (Some((low, high)), Some((other_low, other_high))) => Some((low.min(other_low), high.max(other_high))),
            (one, None) | (None, one) => one,
        };
        self.extremes(other.min, other.max);
        self.sum.merge(&other.sum);
        if other.first.moment < self.first.moment {
            self.first.clone_from(&other.first);
        }
        if other.last.moment > self.last.moment {
            self.last.clone_from(&other.last);
        }
        if let Some(ends) = &other.manifests {
            self.manifest(&ends.0);
            self.manifest(&ends.1);
        }
    }

    /// Mean of the finite numbers, if there are any.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.numeric_count > 0).then(|| self.sum.mean(self.numeric_count))
    }
}

impl End {
    #[inline]
    fn set(&mut self, moment: Moment, row: &Row<'_>) {
        self.moment = moment;
        self.value = finite(row);
        let phase = row.tags.phase.unwrap_or_default();
        // Two empty texts are not compared: a comparison of no bytes at an address that is none traps on some processors
        // (a masked load), which took half of the time of a pass.
        if !(phase.is_empty() && self.phase.is_empty()) && self.phase != phase {
            phase.clone_into(&mut self.phase);
        }
    }
}

#[inline]
fn finite(row: &Row<'_>) -> Option<f64> {
    match row.value {
        Value::Finite(value) => Some(value),
        Value::NonFinite(_) | Value::None => None,
    }
}
