//! Lines of the log as points.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::cursor::Cursor;
use super::follower::{Intake, Taken};
use super::point::{MAX_TEXTS, Point, Value};
use super::values::Values;
use crate::error::Result;
use crate::paths::Stream;
use crate::record::tags::RESERVED;
use crate::record::{DEFAULT_SPLIT, nonfinite};
use crate::scan::{self, Line, LineParser, Name};

/// Why a row is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unshown {
    /// Its value is structured, and the destination has no form for it, or it is not in the manifest any more.
    Structured,
    /// It has no step.
    WithoutStep,
    /// It has no value, or none that is a number.
    WithoutValue,
}

/// How many rows are not sent, by why.
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

    /// What came since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            structured: self.structured.saturating_sub(earlier.structured),
            without_step: self.without_step.saturating_sub(earlier.without_step),
            without_value: self.without_value.saturating_sub(earlier.without_value),
        }
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            structured: self.structured + other.structured,
            without_step: self.without_step + other.without_step,
            without_value: self.without_value + other.without_value,
        }
    }
}

/// What a line is to a destination.
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

/// What a destination asks of rows beside numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one of the things that can be asked for")]
pub struct Wanted {
    /// Structured values.
    pub values: bool,
    /// Of these only such as charts have a [form](crate::structured) for.
    pub charts_only: bool,
    /// Tags.
    pub tags: bool,
    /// Groups that are not parted: the longest runs of consecutive rows that are equal in timestamp, step, split, dataset and tags and
    /// repeat no metric.
    pub groups: bool,
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
    wanted: Wanted,
    values: Option<Values>,
    group: Group,
    /// What was read.
    pub points: Vec<Point>,
    /// Points that are taken at most, unless a group has more.
    pub most: usize,
    unshown: UnshownRows,
}

/// The group of the moment.
#[derive(Debug, Default)]
struct Group {
    /// Hash of what its rows have in common.
    common: Option<u64>,
    /// Hashes of its metrics, whose numbers end with the parser's texts.
    metrics: HashSet<u64>,
    /// Index of its first point.
    start: usize,
    /// The place in the manifest before it, and the rows that were not sent before it.
    before: (Option<Cursor>, UnshownRows),
}

impl Rows {
    /// Rows whose keys begin with `prefix`; those without a timestamp are of `default_micros`.
    #[must_use]
    pub fn new(prefix: &str, default_micros: i64) -> Self {
        Self {
            parser: LineParser::default(),
            texts: Vec::new(),
            prefix: prefix.into(),
            default_split: DEFAULT_SPLIT.into(),
            default_micros,
            wanted: Wanted::default(),
            values: None,
            group: Group::default(),
            points: Vec::new(),
            most: usize::MAX,
            unshown: UnshownRows::default(),
        }
    }

    /// As [`new`](Self::new), with what a destination asks for; of the manifest what is behind `manifest`.
    ///
    /// # Errors
    /// If the manifest cannot be read.
    pub fn wanting(self, wanted: Wanted, directory: &Path, stream: &Stream, manifest: Option<Cursor>) -> Result<Self> {
        let values = wanted.values.then(|| Values::open(directory, stream, manifest)).transpose()?;
        Ok(Self { wanted, values, ..self })
    }

    /// How many of the points may go: without `is_over` the last group waits for the line behind it.
    #[must_use]
    pub fn ready(&self, is_over: bool) -> usize {
        if self.wanted.groups && !is_over { self.group.start } else { self.points.len() }
    }

    /// Forgets the first points, which went.
    pub fn release(&mut self, count: usize) {
        self.points.drain(..count);
        self.group.start -= count.min(self.group.start);
        if self.points.is_empty() {
            self.group.common = None;
        }
    }

    /// What is noted with a place: that in the manifest behind the last structured value that was read, and how many rows were met
    /// that are not sent. Both as they are, or as they were `before_group`, the last one.
    #[must_use]
    pub fn noted(&self, before_group: bool) -> (Option<Cursor>, UnshownRows) {
        if before_group { self.group.before.clone() } else { (self.manifest().cloned(), self.unshown) }
    }

    fn manifest(&self) -> Option<&Cursor> {
        self.values.as_ref().and_then(Values::cursor)
    }

    /// Rows that were met and are not sent.
    #[must_use]
    pub fn unshown(&self) -> UnshownRows {
        self.unshown
    }

    /// Reads one line, with its newline or without.
    ///
    /// # Errors
    /// If the structured value of the row cannot be read.
    pub fn read(&mut self, line: &[u8]) -> Result<Content> {
        if self.parser.names().texts().len() > MAX_TEXTS {
            self.parser = LineParser::default();
            self.texts.clear();
        }
        let wanted = self.wanted;
        let values = &mut self.values;
        // Of a row with a structured value: the place in the manifest before that.
        let mut manifest = None;
        let read = self.parser.read(line, |row, _| {
            let number = match row.value {
                scan::Value::Finite(value) | scan::Value::NonFinite(value) => Some(value),
                scan::Value::None => row.tags.nonfinite.and_then(nonfinite::number),
            };
            let structured = row.tags.manifest_id.filter(|_| number.is_none());
            let why = match (number, structured) {
                (None, None) => Some(Unshown::WithoutValue),
                (None, Some(_)) if values.is_none() => Some(Unshown::Structured),
                _ if row.step.is_none() => Some(Unshown::WithoutStep),
                _ => None,
            };
            if let Some(why) = why {
                return Ok(Err(why));
            }
            let value = match (number, structured, values) {
                (Some(number), ..) => Value::Number(number),
                (None, Some(id), Some(values)) => {
                    manifest = wanted.groups.then(|| values.cursor().cloned());
                    match values.find(id, row.timestamp)? {
                        Some(structured) if wanted.charts_only && !structured.has_form() => {
                            return Ok(Err(Unshown::Structured));
                        }
                        Some(structured) => Value::Structured(structured),
                        None => return Ok(Err(Unshown::Structured)),
                    }
                }
                _ => return Ok(Err(Unshown::Structured)),
            };
            let tags = if wanted.tags || wanted.groups { own_tags(row.tags.json) } else { None };
            let tags_hash = wanted.groups.then(|| tags.as_deref().map_or(0, |tags| xxh3_64(tags.as_bytes())));
            let tags = tags.filter(|_| wanted.tags);
            Ok(Ok((row.split, row.metric, value, row.timestamp, row.step, row.dataset, tags, tags_hash)))
        });
        let (split, metric, value, timestamp, step, dataset, tags, tags_hash) = match read {
            Line::Row(fields) => match fields? {
                Ok(fields) => fields,
                Err(why) => return Ok(Content::Unshown(why)),
            },
            Line::Blank => return Ok(Content::Blank),
            Line::Refused(_) => return Ok(Content::Refused),
        };
        let split = if split == Name::NONE { Arc::clone(&self.default_split) } else { self.text(split) };
        let dataset = (dataset != Name::NONE).then(|| self.text(dataset));
        let metric = self.text(metric);
        let begins_group = tags_hash.is_some_and(|tags| {
            let common = common(timestamp, step, &split, dataset.as_deref(), tags);
            self.group.begins(common, xxh3_64(metric.as_bytes()))
        });
        if begins_group {
            let manifest = manifest.unwrap_or_else(|| self.manifest().cloned());
            self.group.before = (manifest, self.unshown);
        }
        Ok(Content::Point(Point {
            stream_prefix: Arc::clone(&self.prefix),
            split,
            metric,
            value,
            timestamp_micros: timestamp.unwrap_or(self.default_micros),
            step: step.unwrap_or_default(),
            dataset,
            tags: tags.map(Into::into),
            begins_group,
        }))
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

impl Intake for Rows {
    fn take(&mut self, line: &[u8]) -> Result<Taken> {
        match self.read(line)? {
            Content::Point(point) => {
                let begins = point.begins_group;
                if begins {
                    self.group.start = self.points.len();
                }
                self.points.push(point);
                return Ok(if begins { Taken::GroupBegins } else { Taken::Line });
            }
            Content::Unshown(why) => self.unshown.add(why),
            Content::Blank => {}
            Content::Refused => return Ok(Taken::Refused),
        }
        Ok(Taken::Line)
    }

    fn is_full(&self) -> bool {
        self.ready(false) >= self.most
    }
}

impl Group {
    /// Adds a row. Gives whether it begins a group.
    fn begins(&mut self, common: u64, metric: u64) -> bool {
        if self.common == Some(common) && self.metrics.insert(metric) {
            return false;
        }
        self.common = Some(common);
        self.metrics.clear();
        self.metrics.insert(metric);
        true
    }
}

/// A hash of what the rows of a group have in common.
fn common(timestamp: Option<i64>, step: Option<i64>, split: &str, dataset: Option<&str>, tags: u64) -> u64 {
    let numbers = [
        timestamp.unwrap_or(i64::MIN).cast_unsigned(),
        step.unwrap_or(i64::MIN).cast_unsigned(),
        xxh3_64(split.as_bytes()),
        dataset.map_or(0, |dataset| xxh3_64(dataset.as_bytes())),
        tags,
    ];
    xxh3_64(numbers.map(u64::to_le_bytes).as_flattened())
}

/// The tags that the caller gave, as JSON; `None` if there are none.
fn own_tags(json: &str) -> Option<String> {
    if json.len() <= 2 {
        return None;
    }
    if !RESERVED.iter().any(|key| json.contains(key)) {
        return Some(json.to_owned());
    }
    let mut tags: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).ok()?;
    tags.retain(|key, _| !RESERVED.contains(&key.as_str()));
    (!tags.is_empty()).then(|| serde_json::Value::from(tags).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(value: f64) -> Content {
        Content::Point(Point {
            stream_prefix: "rank-1/".into(),
            split: "eval".into(),
            metric: "loss".into(),
            value: Value::Number(value),
            timestamp_micros: 1,
            step: 7,
            dataset: None,
            tags: None,
            begins_group: false,
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
            .unwrap()
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
        assert_eq!(rows.read(b"\n").unwrap(), Content::Blank);
        assert_eq!(rows.read(b"{\"torn\n").unwrap(), Content::Refused);
    }

    #[test]
    fn a_group_of_many_names_is_not_parted() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = Wanted { groups: true, ..Wanted::default() };
        let mut rows = Rows::new("", 9).wanting(wanted, folder.path(), &Stream::main(), None).unwrap();
        for index in 0..3 * MAX_TEXTS {
            let line = format!("{{\"step\":1,\"metric\":\"m{index}\",\"value\":1}}\n");
            let Content::Point(point) = rows.read(line.as_bytes()).unwrap() else { panic!("{line} is a point") };
            assert_eq!(point.begins_group, index == 0, "{index}");
        }
    }

    #[test]
    fn ever_new_names_do_not_grow_it() {
        let mut rows = Rows::new("", 9);
        for index in 0..3 * MAX_TEXTS {
            let line = format!("{{\"step\":1,\"metric\":\"m{index}\",\"value\":1}}\n");
            let Content::Point(point) = rows.read(line.as_bytes()).unwrap() else { panic!("{line} is a point") };
            assert_eq!((&*point.split, &*point.metric), ("train", &*format!("m{index}")));
            assert_eq!(point.timestamp_micros, 9, "a row without a time has the run's");
        }
        assert!(rows.texts.len() <= MAX_TEXTS + 8);
    }
}
