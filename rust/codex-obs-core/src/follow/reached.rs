//! Up to where the logs of a stream are delivered, as a destination keeps it beside what it wrote.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::cursor::Cursor;

/// Up to where rows and other lines of a stream are delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// The place in the rows; `None` before the first.
    pub rows: Option<Cursor>,
    /// The places in other logs, by the first part of their files' names.
    pub records: BTreeMap<String, Cursor>,
}

impl Reached {
    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let records = self.records.iter().map(|(log, place)| (log.clone(), place.to_json()));
        let records: serde_json::Map<_, _> = records.collect();
        json!({"rows": self.rows.as_ref().map(Cursor::to_json), "records": records})
    }

    /// What [`to_json`](Self::to_json) gave. What cannot be read is the start.
    #[must_use]
    pub fn of_json(value: &Value) -> Self {
        let records = value.get("records").and_then(Value::as_object).into_iter().flatten();
        let records = records.filter_map(|(log, place)| Some((log.clone(), Cursor::of_json(place)?))).collect();
        Self { rows: value.get("rows").and_then(Cursor::of_json), records }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_reached_comes_back() {
        let cursor = Cursor { shard: u64::MAX, offset: 3, ..Cursor::default() };
        let reached = Reached { rows: Some(cursor.clone()), records: [("telemetry".to_owned(), cursor)].into() };
        assert_eq!(Reached::of_json(&reached.to_json()), reached);
        assert_eq!(Reached::of_json(&Reached::default().to_json()), Reached::default());
        assert_eq!(Reached::of_json(&Value::Null), Reached::default());
    }
}
