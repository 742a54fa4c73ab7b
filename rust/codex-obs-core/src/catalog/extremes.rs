//! The last, smallest and largest value of each metric, each with its step.

use std::collections::{BTreeMap, HashMap};

use crate::scan::names::Seeded;
use crate::scan::parser::Parser;
use crate::scan::{Name, Names, Part, Position, Row, Sink, Value};

/// Split and metric.
pub type MetricName = (String, String);

/// A value and the step that it was logged at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The value; `None` if that was no finite number.
    pub value: Option<f64>,
    /// The step.
    pub step: Option<i64>,
}

/// How a metric went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extremes {
    /// The last row's.
    pub last: Point,
    /// The smallest finite number, where it came up first.
    pub min: Option<Point>,
    /// The largest one.
    pub max: Option<Point>,
}

/// What orders rows: the time, then the step, then the place in the files; what is missing comes first.
type Moment = (Option<i64>, Option<i64>, Position);

/// Of the rows that one thread meets of one metric.
#[derive(Clone, Copy, Debug)]
struct Course {
    last: (Moment, f64),
    min: (f64, Moment),
    max: (f64, Moment),
}

/// What one thread finds out.
#[derive(Debug, Default)]
pub(super) struct Found {
    courses: Vec<((Name, Name), Course)>,
    places: HashMap<u64, u32, Seeded>,
    last: u32,
    /// The largest step.
    pub(super) largest_step: Option<i64>,
    /// The first and the last time.
    pub(super) times: Option<(i64, i64)>,
}

/// What a metric costs with its place in the map.
const BYTES_A_COURSE: usize = size_of::<((Name, Name), Course)>() + 2 * size_of::<(u64, u32)>();

impl Sink for Found {
    type Reader = Parser;

    fn begin(&mut self, _part: &Part<'_>) {}

    #[inline]
    fn row(&mut self, row: &Row<'_>, _names: &Names, position: Position) {
        self.largest_step = self.largest_step.max(row.step);
        if let Some(time) = row.timestamp {
            let (first, last) = self.times.unwrap_or((time, time));
            self.times = Some((first.min(time), last.max(time)));
        }
        let key = (row.split, row.metric);
        let moment = (row.timestamp, row.step, position);
        let value = if let Value::Finite(value) = row.value { value } else { f64::NAN };
        // The metrics of a call follow each other as they did in the call before.
        let next = if self.last as usize + 1 < self.courses.len() { self.last + 1 } else { 0 };
        let known = self.courses.get(next as usize).is_some_and(|(known, _)| *known == key).then_some(next);
        let place = known.or_else(|| self.places.get(&packed(key)).copied());
        if let Some(place) = place {
            self.courses[place as usize].1.add(moment, value);
            self.last = place;
        } else {
            self.last = self.courses.len() as u32;
            self.places.insert(packed(key), self.last);
            self.courses.push((key, Course { last: (moment, value), min: (value, moment), max: (value, moment) }));
        }
    }

    fn held(&self) -> usize {
        self.courses.len() * BYTES_A_COURSE
    }
}

fn packed((split, metric): (Name, Name)) -> u64 {
    u64::from(split.0) << u32::BITS | u64::from(metric.0)
}

impl Course {
    #[inline]
    fn add(&mut self, moment: Moment, value: f64) {
        if moment >= self.last.0 {
            self.last = (moment, value);
        }
        if !value.is_nan() {
            self.widen((value, moment), (value, moment));
        }
    }

    fn widen(&mut self, low: (f64, Moment), high: (f64, Moment)) {
        let is_before = |(one, at): (f64, Moment), (known, known_at): (f64, Moment), smaller: bool| {
            // Negative zero is the smaller one, so that the result does not depend on the order.
            let order = if smaller { one.total_cmp(&known) } else { known.total_cmp(&one) };
            known.is_nan() || order.is_lt() || (order.is_eq() && at < known_at)
        };
        if !low.0.is_nan() && is_before(low, self.min, true) {
            self.min = low;
        }
        if !high.0.is_nan() && is_before(high, self.max, false) {
            self.max = high;
        }
    }

    fn merge(&mut self, other: &Self) {
        if other.last.0 > self.last.0 {
            self.last = other.last;
        }
        self.widen(other.min, other.max);
    }

    fn extremes(&self) -> Extremes {
        let finite = |value: f64| (!value.is_nan()).then_some(value);
        let point = |(value, moment): (f64, Moment)| Some(Point { value: Some(finite(value)?), step: moment.1 });
        Extremes {
            last: Point { value: finite(self.last.1), step: self.last.0.1 },
            min: point(self.min),
            max: point(self.max),
        }
    }
}

/// Puts together what the threads found out.
pub(super) fn merge(parts: &[(Found, Names)]) -> BTreeMap<MetricName, Extremes> {
    let mut all: BTreeMap<(&str, &str), Course> = BTreeMap::new();
    for (found, names) in parts {
        for ((split, metric), course) in &found.courses {
            all.entry((names.text(*split), names.text(*metric)))
                .and_modify(|known| known.merge(course))
                .or_insert(*course);
        }
    }
    let named =
        |((split, metric), course): ((&str, &str), Course)| ((split.to_owned(), metric.to_owned()), course.extremes());
    all.into_iter().map(named).collect()
}
