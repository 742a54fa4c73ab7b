//! What is known of one group of rows, and how the knowledge of two threads becomes one.

use super::sum::ExactSum;
use crate::scan::{Position, Row, Value};

/// Statistics of the rows of one group. A log may have many groups, so they are kept small.
#[derive(Clone, Debug)]
pub struct Statistics {
    /// All rows.
    pub count: u64,
    /// Rows with a finite number.
    pub numeric_count: u64,
    /// Rows with a non-finite number, or null and a `nonfinite` tag.
    pub nonfinite_count: u64,
    /// Smallest and largest step; the other way round while there is none.
    steps: (i64, i64),
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
    /// Phases of the first and the last row; none while both are empty.
    phases: Option<Box<[String; 2]>>,
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
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// Its place in the order.
    pub moment: Moment,
    /// Its value; `NaN` if that is no finite number.
    value: f64,
}

/// Places of [`Statistics::phases`].
const FIRST: usize = 0;
const LAST: usize = 1;

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
        let end = End { moment, value: finite(row) };
        let mut statistics = Self {
            count: 0,
            numeric_count: 0,
            nonfinite_count: 0,
            steps: (i64::MAX, i64::MIN),
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            sum: ExactSum::default(),
            first: end,
            last: end,
            phases: None,
            manifests: None,
        };
        statistics.set_phase(FIRST, row);
        statistics.set_phase(LAST, row);
        statistics.count_row(row, moment);
        statistics
    }

    /// Bytes beyond the statistics themselves.
    #[must_use]
    pub fn held(&self) -> usize {
        let phases = self
            .phases
            .as_ref()
            .map_or(0, |phases| size_of::<[String; 2]>() + phases.iter().map(String::capacity).sum::<usize>());
        let manifests = self
            .manifests
            .as_ref()
            .map_or(0, |ends| size_of::<(Manifest, Manifest)>() + ends.0.id.capacity() + ends.1.id.capacity());
        self.sum.held() + phases + manifests
    }

    /// Adds a row that stands behind all others so far. Gives whether that may have taken memory.
    #[inline]
    pub fn add(&mut self, row: &Row<'_>, position: Position) -> bool {
        let moment = Moment { timestamp: row.timestamp, step: row.step, position };
        if moment >= self.last.moment {
            self.last = End { moment, value: finite(row) };
            self.set_phase(LAST, row);
        }
        if moment < self.first.moment {
            self.first = End { moment, value: finite(row) };
            self.set_phase(FIRST, row);
        }
        self.count_row(row, moment)
    }

    #[inline]
    fn count_row(&mut self, row: &Row<'_>, moment: Moment) -> bool {
        let mut grown = row.tags.phase.is_some();
        self.count += 1;
        if let Some(step) = row.step {
            self.widen_steps(step, step);
        }
        match row.value {
            Value::Finite(value) => {
                self.numeric_count += 1;
                grown |= self.sum.add(value);
                self.extremes(value, value);
            }
            Value::NonFinite(_) => self.nonfinite_count += 1,
            Value::None => self.nonfinite_count += u64::from(row.tags.nonfinite.is_some()),
        }
        if let Some(id) = row.tags.manifest_id {
            self.manifest(&Manifest { moment, id: id.to_owned() });
            grown = true;
        }
        grown
    }

    #[inline]
    fn widen_steps(&mut self, low: i64, high: i64) {
        self.steps = (self.steps.0.min(low), self.steps.1.max(high));
    }

    #[inline]
    fn set_phase(&mut self, end: usize, row: &Row<'_>) {
        if self.phases.is_some() || row.tags.phase.is_some() {
            self.change_phase(end, row.tags.phase.unwrap_or_default());
        }
    }

    fn change_phase(&mut self, end: usize, phase: &str) {
        if self.phases.is_none() && phase.is_empty() {
            return;
        }
        let known = &mut self.phases.get_or_insert_default()[end];
        if known != phase {
            phase.clone_into(known);
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
        self.widen_steps(other.steps.0, other.steps.1);
        self.extremes(other.min, other.max);
        self.sum.merge(&other.sum);
        if other.first.moment < self.first.moment {
            self.first = other.first;
            self.change_phase(FIRST, other.phase(FIRST));
        }
        if other.last.moment > self.last.moment {
            self.last = other.last;
            self.change_phase(LAST, other.phase(LAST));
        }
        if let Some(ends) = &other.manifests {
            self.manifest(&ends.0);
            self.manifest(&ends.1);
        }
    }

    /// Smallest and largest step, if any row has one.
    #[must_use]
    pub fn steps(&self) -> Option<(i64, i64)> {
        (self.steps.0 <= self.steps.1).then_some(self.steps)
    }

    /// Phase of the first row.
    #[must_use]
    pub fn first_phase(&self) -> &str {
        self.phase(FIRST)
    }

    /// Phase of the last row.
    #[must_use]
    pub fn last_phase(&self) -> &str {
        self.phase(LAST)
    }

    fn phase(&self, end: usize) -> &str {
        self.phases.as_ref().map_or("", |phases| &phases[end])
    }

    /// Mean of the finite numbers, if there are any.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.numeric_count > 0).then(|| self.sum.mean(self.numeric_count))
    }
}

impl End {
    /// Its value, if that is a finite number.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        (!self.value.is_nan()).then_some(self.value)
    }
}

#[inline]
fn finite(row: &Row<'_>) -> f64 {
    match row.value {
        Value::Finite(value) => value,
        Value::NonFinite(_) | Value::None => f64::NAN,
    }
}
