//! The groups that one thread meets, and those of all threads together.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};

use super::statistics::Statistics;
use crate::prefetch::prefetch;
use crate::scan::names::Seeded;
use crate::scan::parser::Parser;
use crate::scan::{Name, Names, Part, Position, Row, Sink};

const UNKNOWN_RUN: &str = "unknown";
/// As many groups stay in the nearest caches, so that asking for the next one in time would only cost.
const CACHED_GROUPS: usize = 512;
/// How much room is made for groups at once, in times of those there are: copying them costs more than room that is
/// never touched.
const GROWTH: usize = 4;

/// Statistics of the groups that one thread meets.
#[derive(Debug, Default)]
pub struct Totals {
    groups: Vec<Group>,
    numbers: HashMap<u128, u32, Seeded>,
    last: u32,
    held: usize,
}

/// A group.
#[derive(Debug)]
pub struct Group {
    key: Key,
    /// The groups of the rows that followed when this one was met last, and the time before that it was another: mostly
    /// one of them does so again.
    next: [u32; 2],
    /// Bytes that its statistics took beyond themselves when they were last looked at.
    held: u32,
    /// Of its rows.
    pub statistics: Statistics,
}

/// What a group costs with its place in the map.
const BYTES_A_GROUP: usize = size_of::<Group>() + 2 * (size_of::<u128>() + size_of::<u32>());

/// Run id, split, metric and dataset.
type Key = [Name; 4];

/// A key as one number, which is hashed at once.
#[inline]
fn packed(key: Key) -> u128 {
    key.iter().fold(0, |all, name| all << u32::BITS | u128::from(name.0))
}

impl Sink for Totals {
    type Reader = Parser;

    fn begin(&mut self, _part: &Part<'_>) {}

    #[inline]
    fn row(&mut self, row: &Row<'_>, _names: &Names, position: Position) {
        let key = [row.run_id, row.split, row.metric, row.dataset];
        let expected = self.groups.get(self.last as usize).map_or(0, |last| last.next[0]);
        if let Some(entry) = self.groups.get_mut(expected as usize)
            && entry.key == key
        {
            self.last = expected;
            let next = entry.next[0];
            if entry.statistics.add(row, position) {
                self.held += entry.more_held();
            }
            if self.groups.len() > CACHED_GROUPS
                && let Some(next) = self.groups.get(next as usize)
            {
                prefetch(next);
            }
            return;
        }
        self.other(key, row, position);
    }

    fn held(&self) -> usize {
        self.held
    }
}

impl Group {
    /// Bytes that its statistics have taken since this was asked last.
    #[cold]
    fn more_held(&mut self) -> usize {
        let now = self.statistics.held();
        let more = now.saturating_sub(self.held as usize);
        self.held = self.held.max(u32::try_from(now).unwrap_or(u32::MAX));
        more
    }
}

impl Totals {
    /// A row of another group than expected.
    fn other(&mut self, key: Key, row: &Row<'_>, position: Position) {
        if let Some(last) = self.groups.get_mut(self.last as usize) {
            last.next.swap(0, 1);
            let expected = last.next[0];
            if let Some(entry) = self.groups.get_mut(expected as usize)
                && entry.key == key
            {
                self.last = expected;
                if entry.statistics.add(row, position) {
                    self.held += entry.more_held();
                }
                return;
            }
        }
        let new = self.groups.len() as u32;
        let number = *self.numbers.entry(packed(key)).or_insert(new);
        if number == new {
            if self.groups.len() == self.groups.capacity() {
                self.groups.reserve_exact((GROWTH - 1) * self.groups.len().max(CACHED_GROUPS));
            }
            self.groups.push(Group { key, next: [0; 2], held: 0, statistics: Statistics::of(row, position) });
            self.held += BYTES_A_GROUP;
        } else {
            self.groups[number as usize].statistics.add(row, position);
        }
        self.held += self.groups[number as usize].more_held();
        self.groups[self.last as usize].next[0] = number;
        self.last = number;
    }
}

/// The groups of all threads, in the order of the table: by the time of the first row (none first), then by name.
#[derive(Debug)]
pub struct Groups {
    texts: Names,
    found: Vec<Group>,
    order: Vec<u32>,
}

impl Groups {
    /// The groups.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Group> {
        self.order.iter().map(|&place| &self.found[place as usize])
    }

    /// A group's run id, split, metric and dataset.
    #[must_use]
    pub fn key(&self, group: &Group) -> [&str; 4] {
        group.key.map(|name| self.texts.text(name))
    }
}

/// A key in the texts of all threads, as the table shows it.
fn of_the_table(key: Key, common: impl Fn(Name) -> Name, unknown_run: Name) -> Key {
    let mut key = key.map(common);
    if key[0] == Name::NONE {
        key[0] = unknown_run;
    }
    key
}

/// Puts together what the threads found. The largest part is taken over as it stands, so that no table is there twice.
#[must_use]
pub fn merge(mut parts: Vec<(Totals, Names)>) -> Groups {
    parts.sort_by_key(|(totals, _)| std::cmp::Reverse(totals.groups.len()));
    let mut parts = parts.into_iter();
    let (Totals { mut groups, mut numbers, .. }, mut texts) = parts.next().unwrap_or_default();
    let unknown_run = texts.number(UNKNOWN_RUN);
    // A text that is missing and one that is empty are the same here.
    let empty = texts.number("");
    let common = |name: Name| if name == empty { Name::NONE } else { name };
    numbers.clear();
    let mut place = 0;
    while place < groups.len() {
        let key = of_the_table(groups[place].key, common, unknown_run);
        groups[place].key = key;
        match numbers.entry(packed(key)) {
            Occupied(known) => {
                let double = groups.swap_remove(place);
                groups[*known.get() as usize].statistics.merge(&double.statistics);
            }
            Vacant(vacant) => {
                vacant.insert(place as u32);
                place += 1;
            }
        }
    }
    for (totals, names) in parts {
        let common: Vec<Name> =
            names.texts().map(|text| if text.is_empty() { Name::NONE } else { texts.number(text) }).collect();
        for group in totals.groups {
            let key = of_the_table(group.key, |name| common[name.0 as usize], unknown_run);
            match numbers.entry(packed(key)) {
                Occupied(known) => groups[*known.get() as usize].statistics.merge(&group.statistics),
                Vacant(vacant) => {
                    vacant.insert(groups.len() as u32);
                    groups.push(Group { key, ..group });
                }
            }
        }
    }
    // The places are sorted, not the groups, which are large.
    let mut order: Vec<u32> = (0..groups.len() as u32).collect();
    order.sort_unstable_by(|&one, &other| {
        let (one, other) = (&groups[one as usize], &groups[other as usize]);
        let by_time = one.statistics.first.moment.timestamp.cmp(&other.statistics.first.moment.timestamp);
        // UTF-8 sorts by code point.
        by_time.then_with(|| one.key.map(|name| texts.text(name)).cmp(&other.key.map(|name| texts.text(name))))
    });
    Groups { texts, found: groups, order }
}
