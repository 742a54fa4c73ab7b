//! Rows of one call of `log` as one history record: names and values as JSON, beside which `NaN` and `Infinity` are allowed.

use crate::deliver::destination::Follows;
use crate::encode::number::{push_f64, push_i64};
use crate::follow::point::{Point, Value};
use crate::follow::points::Wanted;
use crate::record::nonfinite;
use crate::structured::{Histogram, Structured};

/// The metric that is every other one's horizontal axis: the training step.
pub const STEP: &str = "codex/step";
/// What W&B calls the time of a record, in seconds since the epoch.
pub const TIME: &str = "_timestamp";
/// What runs are made of.
pub const FOLLOWS: Follows = Follows {
    points: Some(Wanted { values: true, charts_only: true, tags: false, groups: true }),
    params_as_json: true,
    ..Follows::NUMBERS
};

/// Values that were logged together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Microseconds since the epoch.
    pub micros: i64,
    /// Training step.
    pub step: i64,
    /// Values as JSON, by their names.
    pub values: Vec<(String, String)>,
}

impl Group {
    /// All of it as one object. Of equal names the last counts.
    #[must_use]
    pub fn to_json(&self) -> String {
        let own = [(STEP, integer(self.step)), (TIME, number(seconds(self.micros)))];
        let values = self.values.iter().map(|(name, json)| (name.as_str(), json.as_str()));
        let own = own.iter().map(|(name, json)| (*name, json.as_str()));
        let items = values.chain(own).map(|(name, json)| format!("{}:{json}", serde_json::Value::from(name)));
        format!("{{{}}}", items.collect::<Vec<_>>().join(","))
    }
}

/// The groups that points are.
pub fn groups(points: &[Point]) -> impl Iterator<Item = Group> {
    points.chunk_by(|_, next| !next.begins_group).map(|rows| Group {
        micros: rows[0].timestamp_micros,
        step: rows[0].step,
        values: rows.iter().filter_map(named_value).collect(),
    })
}

/// A row's name and its value.
fn named_value(point: &Point) -> Option<(String, String)> {
    let json = match &point.value {
        Value::Number(value) => number(*value),
        Value::Structured(value) => structured(&value.form()?),
    };
    Some(([&*point.split, "/", &*point.metric].concat(), json))
}

/// A number.
#[must_use]
pub fn number(value: f64) -> String {
    if value.is_finite() { text(|out| push_f64(out, value)) } else { nonfinite::word(value).to_owned() }
}

/// A whole number.
#[must_use]
pub fn integer(value: i64) -> String {
    text(|out| push_i64(out, value))
}

fn text(push: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::with_capacity(24);
    push(&mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// A structured value.
#[must_use]
pub fn structured(form: &Structured) -> String {
    match form {
        Structured::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
        Structured::Histogram(Histogram { counts, edges }) => {
            let list = |values: &[f64]| values.iter().map(|&value| number(value)).collect::<Vec<_>>().join(",");
            format!(r#"{{"_type":"histogram","values":[{}],"bins":[{}]}}"#, list(counts), list(edges))
        }
    }
}

/// Seconds.
#[must_use]
pub fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_forms_are_what_python_and_wandb_read() {
        let texts = [0.1, 5.0, -0.0, 1e-5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(number);
        assert_eq!(texts, ["0.1", "5.0", "-0.0", "1e-05", "NaN", "Infinity", "-Infinity"]);
        assert_eq!(structured(&Structured::Text("a\"b".to_owned())), r#""a\"b""#);
        let histogram = Histogram { counts: vec![1.0], edges: vec![0.0, 2.5] };
        assert_eq!(
            structured(&Structured::Histogram(histogram)),
            r#"{"_type":"histogram","values":[1.0],"bins":[0.0,2.5]}"#
        );
    }

    #[test]
    fn a_group_is_one_object_with_its_step_and_time() {
        let values = [("train/a\"b", "NaN"), ("train/c", "1.5")].map(|(name, json)| (name.to_owned(), json.to_owned()));
        let group = Group { micros: 1_500_000, step: -3, values: values.into() };
        assert_eq!(group.to_json(), r#"{"train/a\"b":NaN,"train/c":1.5,"codex/step":-3,"_timestamp":1.5}"#);
    }
}
