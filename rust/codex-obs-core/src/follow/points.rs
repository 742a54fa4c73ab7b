//! Lines of the log as points.

use std::sync::Arc;

use super::point::Point;
use crate::scan::{Line, LineParser, Name, Value};

/// Distinct texts kept at most, so that a run with ever new names does not grow the exporter.
const MAX_TEXTS: usize = 4096;

/// Why a row is not exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unshown {
    /// Its value is structured, and in the manifest.
    Structured,
    /// It has no step.
    WithoutStep,
    /// It has no value, or none that is a number.
    WithoutValue,
}

/// How many rows are not exported, by why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnshownRows {
    /// See [`Unshown::Structured`].
    pub structured: u64,
    /// See [`Unshown::WithoutStep`].
    pub without_step: u64,
    /// See [`Unshown::WithoutValue`].
    pub without_value: u64,
}

impl UnshownRows {
    /// Counts one more.
    pub fn add(&mut self, why: Unshown) {
        let count = match why {
            Unshown::Structured => &mut self.structured,
            Unshown::WithoutStep => &mut self.without_step,
            Unshown::WithoutValue => &mut self.without_value,
        };
        *count += 1;
    }
}

/// What a line is to an exporter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A point.
    Point(Point),
    /// A row that has no form there.
    Unshown(Unshown),
    /// No text at all.
    Blank,
    /// No row.
    Refused,
}

/// Turns the lines of one stream into points.
#[derive(Debug)]
pub struct Rows {
    parser: LineParser,
    /// By number, the texts that points share.
    texts: Vec<Option<Arc<str>>>,
    prefix: Arc<str>,
    default_split: Arc<str>,
    /// The time of rows that have none.
    default_micros: i64,
}

impl Rows {
    /// Rows whose keys begin with `prefix`; those without a timestamp are of `default_micros`.
    #[must_use]
    pub fn new(prefix: &str, default_micros: i64) -> Self {
        Self {
            parser: LineParser::default(),
            texts: Vec::new(),
            prefix: prefix.into(),
            default_split: "train".into(),
            default_micros,
        }
    }

    /// Reads one line, with its newline or without.
    pub fn read(&mut self, line: &[u8]) -> Content {
        if self.parser.names().texts().len() > MAX_TEXTS {
            self.parser = LineParser::default();
            self.texts.clear();
        }
        let read = self.parser.read(line, |row, _| {
            let value = match row.value {
                Value::Finite(value) | Value::NonFinite(value) => Some(value),
                Value::None => row.tags.nonfinite.and_then(nonfinite),
            };
            let Some(value) = value else {
                let is_structured = row.tags.manifest_id.is_some();
                return Err(if is_structured { Unshown::Structured } else { Unshown::WithoutValue });
            };
            let step = row.step.ok_or(Unshown::WithoutStep)?;
            Ok((row.split, row.metric, value, row.timestamp, step))
        });
        let (split, metric, value, timestamp, step) = match read {
            Line::Row(Ok(fields)) => fields,
            Line::Row(Err(why)) => return Content::Unshown(why),
            Line::Blank => return Content::Blank,
            Line::Refused(_) => return Content::Refused,
        };
        let split = if split == Name::NONE { Arc::clone(&self.default_split) } else { self.text(split) };
        let metric = self.text(metric);
        Content::Point(Point {
            stream_prefix: Arc::clone(&self.prefix),
            split,
            metric,
            value,
            timestamp_micros: timestamp.unwrap_or(self.default_micros),
            step,
        })
    }

    fn text(&mut self, name: Name) -> Arc<str> {
        let index = name.0 as usize;
        if self.texts.len() <= index {
            self.texts.resize(index + 1, None);
        }
        let parser = &self.parser;
        Arc::clone(self.texts[index].get_or_insert_with(|| parser.names().text(name).into()))
    }
}

/// The value that a null stands for, by its tag.
fn nonfinite(tag: &str) -> Option<f64> {
    match tag {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(value: f64) -> Content {
        Content::Point(Point {
            stream_prefix: "rank-1/".into(),
            split: "eval".into(),
            metric: "loss".into(),
            value,
            timestamp_micros: 1,
            step: 7,
        })
    }

    #[test]
    fn numbers_with_a_step_are_points_and_nothing_else_is() {
        let mut rows = Rows::new("rank-1/", 9);
        let mut read = |step: &str, value: &str, tags: &str| {
            rows.read(
                format!(
                    "{{\"$schema\":\"s\",\"timestamp\":\"1970-01-01T00:00:00.000001Z\",\"run_id\":\"r\",\"step\":{step},\
                     \"split\":\"eval\",\"metric\":\"loss\",\"value\":{value},\"dataset\":null,\"tags\":{tags}}}\n"
                )
                .as_bytes(),
            )
        };
        assert_eq!(read("7", "0.5", "{}"), point(0.5));
        assert_eq!(read("7", "true", "{}"), point(1.0));
        assert_eq!(read("7", "null", r#"{"nonfinite":"NaN"}"#), point(f64::NAN));
        assert_eq!(read("7", "null", r#"{"nonfinite":"-Infinity"}"#), point(f64::NEG_INFINITY));
        for (step, value, tags, why) in [
            ("null", "0.5", "{}", Unshown::WithoutStep),
            ("7", "null", "{}", Unshown::WithoutValue),
            ("7", "null", r#"{"manifest_id":"manifest-1"}"#, Unshown::Structured),
            ("null", "null", r#"{"manifest_id":"manifest-1"}"#, Unshown::Structured),
            ("7", "\"text\"", "{}", Unshown::WithoutValue),
            ("7", "[1]", "{}", Unshown::WithoutValue),
            ("7.5", "1", "{}", Unshown::WithoutStep),
        ] {
            assert_eq!(read(step, value, tags), Content::Unshown(why), "{step} {value} {tags}");
        }
        assert_eq!(rows.read(b"\n"), Content::Blank);
        assert_eq!(rows.read(b"{\"torn\n"), Content::Refused);
    }

    #[test]
    fn ever_new_names_do_not_grow_it() {
        let mut rows = Rows::new("", 9);
        for index in 0..3 * MAX_TEXTS {
            let line = format!("{{\"step\":1,\"metric\":\"m{index}\",\"value\":1}}\n");
            let Content::Point(point) = rows.read(line.as_bytes()) else { panic!("{line} is a point") };
            assert_eq!((&*point.split, &*point.metric), ("train", &*format!("m{index}")));
            assert_eq!(point.timestamp_micros, 9, "a row without a time has the run's");
        }
        assert!(rows.texts.len() <= MAX_TEXTS + 8);
    }
}
