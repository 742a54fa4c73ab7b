//! The groups that one thread meets, and those of all threads together.

use std::collections::HashMap;
use std::sync::Arc;

use super::statistics::Statistics;
use super::table::Group;
use crate::scan::{Name, Names, Position, Row, Sink};

const UNKNOWN_RUN: &str = "unknown";

/// Statistics of the groups that one thread meets.
#[derive(Debug, Default)]
pub struct Totals {
    groups: Vec<Entry>,
    numbers: HashMap<Key, u32>,
    last: u32,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    /// The group of the row that followed when this one was met last: mostly it does so again.
    next: u32,
    statistics: Statistics,
}

/// Run id, split, metric and dataset.
type Key = [Name; 4];

impl Sink for Totals {
    fn begin(&mut self, _number: usize, _stream: &Arc<str>) {}

    #[inline]
    fn row(&mut self, row: &Row<'_>, _names: &Names, position: Position) {
        let key = [row.run_id, row.split, row.metric, row.dataset];
        let expected = self.groups.get(self.last as usize).map_or(0, |last| last.next);
        if let Some(entry) = self.groups.get_mut(expected as usize)
            && entry.key == key
        {
            self.last = expected;
            return entry.statistics.add(row, position);
        }
        self.other(key, row, position);
    }
}

impl Totals {
    /// A row of another group than expected.
    fn other(&mut self, key: Key, row: &Row<'_>, position: Position) {
        let new = self.groups.len() as u32;
        let number = *self.numbers.entry(key).or_insert(new);
        if number == new {
            self.groups.push(Entry { key, next: 0, statistics: Statistics::of(row, position) });
        } else {
            self.groups[number as usize].statistics.add(row, position);
        }
        self.groups[self.last as usize].next = number;
        self.last = number;
    }
}

/// The groups of all threads, in the order of the table: by the time of the first row (none first), then by name.
#[must_use]
pub fn merge(parts: Vec<(Totals, Names)>) -> Vec<Group> {
    let mut merged: HashMap<[Box<str>; 4], Statistics> = HashMap::new();
    for (totals, names) in parts {
        for entry in totals.groups {
            let [run_id, split, metric, dataset]: [Box<str>; 4] = entry.key.map(|name| names.text(name).into());
            let run_id = if run_id.is_empty() { UNKNOWN_RUN.into() } else { run_id };
            merged
                .entry([run_id, split, metric, dataset])
                .and_modify(|statistics| statistics.merge(&entry.statistics))
                .or_insert(entry.statistics);
        }
    }
    let mut groups: Vec<Group> = merged.into_iter().map(|(key, statistics)| Group { key, statistics }).collect();
    // UTF-8 sorts by code point.
    groups.sort_unstable_by(|one, other| {
        let time = |group: &Group| group.statistics.first.moment.timestamp;
        time(one).cmp(&time(other)).then_with(|| one.key.cmp(&other.key))
    });
    groups
}
