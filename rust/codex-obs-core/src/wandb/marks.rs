//! How many history records a stream's run has, and at which places of the log it had fewer.

use serde_json::{Value, json};

use crate::follow::cursor::Cursor;

/// Places that are kept: close to the last one they lie close together.
const MOST: usize = 8;

/// A place in the log, and the records before it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    records: i64,
    place: Option<Cursor>,
}

/// The places, the last one last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Records that were handed over.
    records: i64,
    marks: Vec<Mark>,
}

impl Marks {
    /// What [`to_json`](Self::to_json) gave; nothing if there is none, or it cannot be read.
    #[must_use]
    pub fn of_json(text: Option<&str>) -> Self {
        let value = text.and_then(|text| serde_json::from_str::<Value>(text).ok()).unwrap_or_default();
        let mark = |pair: &Value| {
            let place = pair.get(1)?;
            let place = if place.is_null() { None } else { Some(Cursor::of_json(place)?) };
            Some(Mark { records: pair.get(0)?.as_i64()?, place })
        };
        let marks: Vec<Mark> = value["marks"].as_array().into_iter().flatten().filter_map(mark).collect();
        let records = marks.last().map_or(0, |mark| mark.records);
        Self { records, marks }
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let pair = |mark: &Mark| json!([mark.records, mark.place.as_ref().map(Cursor::to_json)]);
        let marks: Vec<_> = self.marks.iter().map(pair).collect();
        json!({"history": self.records, "marks": marks}).to_string()
    }

    /// Records that were handed over.
    #[must_use]
    pub fn records(&self) -> i64 {
        self.records
    }

    /// Goes on to so many records.
    pub fn pass(&mut self, records: i64) {
        self.records = records;
    }

    /// Notes that the records so far are what stands before `place`.
    pub fn set(&mut self, place: Option<&Cursor>) {
        if self.marks.last().is_some_and(|last| last.records == self.records) {
            self.marks.pop();
        }
        self.marks.push(Mark { records: self.records, place: place.cloned() });
        if self.marks.len() > MOST {
            self.thin();
        }
    }

    /// Goes back to the last place that has at most so many records before it, and gives it; without one to the start.
    pub fn back_to(&mut self, records: i64) -> Option<Cursor> {
        self.marks.retain(|mark| mark.records <= records);
        let last = self.marks.last();
        self.records = last.map_or(0, |mark| mark.records);
        last.and_then(|mark| mark.place.clone())
    }

    /// Forgets the mark whose neighbours are closest together for their distance from the end.
    fn thin(&mut self) {
        let gap = |index: &usize| {
            let before = index.checked_sub(1).map_or(0, |before| self.marks[before].records);
            let after = self.marks[index + 1].records;
            (after - before) as f64 / (self.records - before).max(1) as f64
        };
        let closest = (0..self.marks.len() - 1).min_by(|one, other| gap(one).total_cmp(&gap(other)));
        if let Some(index) = closest {
            self.marks.remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(offset: u64) -> Cursor {
        Cursor { offset, shard: 7, ..Cursor::default() }
    }

    #[test]
    fn marks_come_back_and_nothing_is_the_start() {
        let mut marks = Marks::default();
        marks.set(None);
        marks.pass(3);
        marks.set(Some(&place(30)));
        marks.set(Some(&place(31)));
        assert_eq!(Marks::of_json(Some(&marks.to_json())), marks);
        assert_eq!((marks.records(), marks.marks.len()), (3, 2));
        for text in [None, Some(""), Some("{}"), Some("[]"), Some(r#"{"history":9,"marks":[[9,{}]]}"#)] {
            assert_eq!(Marks::of_json(text), Marks::default(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_place_never_has_more_records_before_it_than_asked_for(steps in prop::collection::vec(1..1000_i64, 1..200), back in 0..200_000_i64) {
            let mut marks = Marks::default();
            for step in steps {
                marks.pass(marks.records() + step);
                // The place of a record is ten times its number.
                let at = place(marks.records() as u64 * 10);
                marks.set(Some(&at));
                prop_assert!(marks.marks.len() <= MOST);
                prop_assert_eq!(marks.marks.last().unwrap().records, marks.records());
            }
            let all = marks.records();
            let found = marks.back_to(back);
            prop_assert!(marks.records() <= back);
            prop_assert_eq!(found.map_or(0, |place| place.offset), marks.records() as u64 * 10);
            prop_assert!(back < all || marks.records() == all);
        }
    }

    #[test]
    fn marks_reach_far_back_and_are_dense_at_the_end() {
        let mut marks = Marks::default();
        for records in 1..=10_000 {
            marks.pass(records);
            marks.set(Some(&place(records as u64)));
        }
        let behind: Vec<_> = marks.marks.iter().map(|mark| 10_000 - mark.records).collect();
        assert_eq!(behind.last(), Some(&0));
        assert!(behind[MOST - 2] <= 8 && behind[MOST - 3] <= 64, "{behind:?}");
        assert!(behind[0] >= 2000, "{behind:?}");
    }
}
