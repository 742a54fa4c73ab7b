//! Consecutive rows of one metric taken together, where single ones would take too much memory.

use super::column::Bounds;
use super::pixel::Values;

/// What an x axis shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Steps. Rows without one are left out.
    Step,
    /// Microseconds since the epoch. Rows without a time are left out.
    Time,
}

/// Rows that follow each other, whose steps and times do not fall. Either all of them have a step, or none, and so with times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    pub(super) steps: Bounds,
    pub(super) times: Bounds,
    pub(super) values: Values,
}

impl Bucket {
    /// Of one row.
    pub(super) fn of(step: i64, time: i64, value: f64) -> Self {
        let mut values = Values::NONE;
        values.count(value);
        if value.is_finite() {
            (values.first, values.last) = (value, value);
        }
        Self { steps: Bounds::of([step].into_iter()), times: Bounds::of([time].into_iter()), values }
    }

    /// Its first and last x.
    pub(super) fn on(&self, axis: Axis) -> Bounds {
        match axis {
            Axis::Step => self.steps,
            Axis::Time => self.times,
        }
    }

    /// Takes the rows of `other` in, if they follow these and there are no more than `most` then.
    pub(super) fn join(&mut self, other: &Self, most: u64) -> bool {
        let is_after = |here: Bounds, next: Bounds| match (here == Bounds::NONE, next == Bounds::NONE) {
            (true, true) => true,
            (false, false) => here.high <= next.low,
            _ => false,
        };
        let joins = self.values.count + other.values.count <= most
            && is_after(self.steps, other.steps)
            && is_after(self.times, other.times);
        if joins {
            self.steps.high = other.steps.high;
            self.times.high = other.times.high;
            self.values.count_all(&other.values);
            if self.values.first.is_nan() {
                self.values.first = other.values.first;
            }
            if !other.values.last.is_nan() {
                self.values.last = other.values.last;
            }
        }
        joins
    }
}
