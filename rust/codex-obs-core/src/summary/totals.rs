//! The groups that one thread meets, and those of all threads together.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
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
    let mut texts = Names::default();
    let unknown_run = texts.number(UNKNOWN_RUN);
    let mut merged: Vec<(Key, Statistics)> = Vec::new();
    let mut numbers: HashMap<Key, usize> = HashMap::new();
    for (totals, names) in parts {
        // A text that is missing and one that is empty are the same here.
        let common: Vec<Name> =
            names.texts().map(|text| if text.is_empty() { Name::NONE } else { texts.number(text) }).collect();
        merged.reserve(totals.groups.len());
        numbers.reserve(totals.groups.len());
        for entry in totals.groups {
            let mut key = entry.key.map(|name| common[name.0 as usize]);
            if key[0] == Name::NONE {
                key[0] = unknown_run;
            }
            match numbers.entry(key) {
                Occupied(known) => merged[*known.get()].1.merge(&entry.statistics),
                Vacant(vacant) => {
                    vacant.insert(merged.len());
                    merged.push((key, entry.statistics));
                }
            }
        }
    }
    // The places are sorted, not the statistics, which are large.
    let mut places: Vec<usize> = (0..merged.len()).collect();
    places.sort_unstable_by(|&one, &other| {
        let ((one_key, one), (other_key, other)) = (&merged[one], &merged[other]);
        let by_time = one.first.moment.timestamp.cmp(&other.first.moment.timestamp);
        // UTF-8 sorts by code point.
        by_time.then_with(|| one_key.map(|name| texts.text(name)).cmp(&other_key.map(|name| texts.text(name))))
    });
    let mut merged: Vec<Option<(Key, Statistics)>> = merged.into_iter().map(Some).collect();
    let group =
        |(key, statistics): (Key, Statistics)| Group { key: key.map(|name| texts.text(name).into()), statistics };
    places.into_iter().filter_map(|place| merged[place].take()).map(group).collect()
}
