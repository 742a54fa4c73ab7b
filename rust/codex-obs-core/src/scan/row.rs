//! What a line says, and the general way to read it: any JSON object, its keys in any order.

use super::json::{Cursor, Text, Token};
use super::names::{Name, Names};
use super::tags::{Tags, read_tags};
use crate::limits::MAX_SHAPE_MEMBERS;
use crate::record::timestamp;

const MICROS_PER_SECOND: u128 = 1_000_000;
/// The one key whose value may be `NaN` or infinite.
const VALUE_KEY: &str = "value";

/// One row. The texts that have few distinct values in a run are numbers of the thread's [`Names`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row<'a> {
    /// Microseconds since the epoch.
    pub timestamp: Option<i64>,
    /// The run.
    pub run_id: Name,
    /// The step.
    pub step: Option<i64>,
    /// The split.
    pub split: Name,
    /// The metric.
    pub metric: Name,
    /// The value.
    pub value: Value,
    /// The dataset.
    pub dataset: Name,
    /// Some of the tags.
    pub tags: Tags<'a>,
}

/// The value of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A finite number, or a boolean as 0 or 1.
    Finite(f64),
    /// `NaN`, an infinity or a number beyond a double.
    NonFinite(f64),
    /// Null, missing or of a wrong type.
    None,
}

impl Default for Row<'_> {
    fn default() -> Self {
        Self {
            timestamp: None,
            run_id: Name::NONE,
            step: None,
            split: Name::NONE,
            metric: Name::NONE,
            value: Value::None,
            dataset: Name::NONE,
            tags: Tags::NONE,
        }
    }
}

impl Row<'_> {
    /// The row without its tags, which needs the line no more.
    #[must_use]
    pub fn without_tags(&self) -> Row<'static> {
        let Self { timestamp, run_id, step, split, metric, value, dataset, tags: _ } = *self;
        Row { timestamp, run_id, step, split, metric, value, dataset, tags: Tags::NONE }
    }

    /// Takes one field from what stands for it in another line. `None` if the line must be looked at as a whole: a metric
    /// that is no text may be replaced by another field.
    #[inline]
    pub fn set(&mut self, field: Field, token: Token<'_>, names: &mut Names, scratch: &mut String) -> Option<()> {
        match field {
            Field::Timestamp => self.timestamp = read_timestamp(token, scratch),
            Field::RunId => self.run_id = read_name(token, names, scratch),
            Field::Step => self.step = read_step(token),
            Field::Split => self.split = read_name(token, names, scratch),
            Field::Value => self.value = read_value(token),
            Field::Dataset => self.dataset = read_name(token, names, scratch),
            Field::Metric | Field::Key => {
                let Token::Text(text) = token else { return None };
                self.metric = names.number_after(self.metric, plain(text, scratch));
            }
            Field::Tags => {}
        }
        Some(())
    }
}

/// Why a line is no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not UTF-8.
    Encoding,
    /// Not JSON.
    Syntax,
    /// JSON, but no object.
    Kind,
    /// No text `metric`, nor `key`.
    Metric,
    /// The file ends within the line.
    Torn,
    /// Longer than any row.
    TooLong,
    /// The rest of a compressed file cannot be read.
    Archive,
    /// The name leads to a folder, a pipe or a device.
    NoFile,
}

impl Refusal {
    /// The reason in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Encoding => "not UTF-8",
            Self::Syntax => "not JSON",
            Self::Kind => "not a JSON object",
            Self::Metric => "no text \"metric\"",
            Self::Torn => "cut off at the end of the file",
            Self::TooLong => "longer than 64 MiB",
            Self::Archive => "the rest of the compressed file is damaged",
            Self::NoFile => "not a regular file",
        }
    }
}

/// What is kept from line to line so that its memory is reused.
#[derive(Debug, Default)]
pub struct Scratch {
    texts: [String; 3],
    name: String,
}

/// Where the value of a top-level member stands in its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its field, unless it is none of ours.
    pub field: Option<Field>,
    /// First byte of the value.
    pub start: usize,
    /// The byte behind it.
    pub end: usize,
}

/// The fields that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `timestamp`
    Timestamp,
    /// `run_id`
    RunId,
    /// `step`
    Step,
    /// `split`
    Split,
    /// `metric`
    Metric,
    /// `value`
    Value,
    /// `dataset`
    Dataset,
    /// `tags`
    Tags,
    /// `key`, which stands for the metric where that is missing.
    Key,
}

const FIELDS: usize = Field::Key as usize + 1;

impl Field {
    /// The field with this key.
    #[inline]
    fn of(key: Text<'_>) -> Option<Self> {
        if !key.escaped {
            return Self::of_plain(key.raw);
        }
        let mut decoded = String::new();
        key.decode(&mut decoded);
        Self::of_plain(&decoded)
    }

    #[inline]
    fn of_plain(key: &str) -> Option<Self> {
        // Matched by length first.
        Some(match key.as_bytes() {
            b"timestamp" => Self::Timestamp,
            b"run_id" => Self::RunId,
            b"step" => Self::Step,
            b"split" => Self::Split,
            b"metric" => Self::Metric,
            b"value" => Self::Value,
            b"dataset" => Self::Dataset,
            b"tags" => Self::Tags,
            b"key" => Self::Key,
            _ => return None,
        })
    }
}

/// Reads one line without its newline. `members` are then those of the line, no more than one too many for a shape.
pub fn parse<'a>(
    line: &'a str,
    names: &mut Names,
    scratch: &'a mut Scratch,
    members: &mut Vec<Member>,
) -> Result<Row<'a>, Refusal> {
    let Scratch { texts, name } = scratch;
    let fields = fields(line, members)?;
    let field = |field: Field| fields[field as usize];
    let mut number = |field: Field| fields[field as usize].map_or(Name::NONE, |token| read_name(token, names, name));
    let metric = match number(Field::Metric) {
        Name::NONE => number(Field::Key),
        metric => metric,
    };
    if metric == Name::NONE {
        return Err(Refusal::Metric);
    }
    let (run_id, split, dataset) = (number(Field::RunId), number(Field::Split), number(Field::Dataset));
    Ok(Row {
        timestamp: field(Field::Timestamp).and_then(|token| read_timestamp(token, name)),
        run_id,
        step: field(Field::Step).and_then(read_step),
        split,
        metric,
        value: field(Field::Value).map_or(Value::None, read_value),
        dataset,
        tags: match field(Field::Tags) {
            Some(Token::Object(json)) => read_tags(json, texts),
            _ => Tags::NONE,
        },
    })
}

/// The fields of an object that fills the line. Of repeated keys the last counts, whatever its type.
fn fields<'a>(line: &'a str, members: &mut Vec<Member>) -> Result<[Option<Token<'a>>; FIELDS], Refusal> {
    members.clear();
    let mut cursor = Cursor::new(line);
    let mut fields = [None; FIELDS];
    cursor.skip_space();
    if !cursor.take(b'{') {
        cursor.value().map_err(|_| Refusal::Syntax)?;
        cursor.skip_space();
        return Err(if cursor.peek().is_none() { Refusal::Kind } else { Refusal::Syntax });
    }
    let read = cursor.members(Some(VALUE_KEY), |key, value, range| {
        let field = Field::of(key);
        if let Some(field) = field {
            fields[field as usize] = Some(value);
        }
        if members.len() <= MAX_SHAPE_MEMBERS {
            members.push(Member { field, start: range.start, end: range.end });
        }
    });
    read.map_err(|_| Refusal::Syntax)?;
    cursor.skip_space();
    if cursor.peek().is_some() { Err(Refusal::Syntax) } else { Ok(fields) }
}

/// The characters that a string means.
pub(super) fn plain<'a>(text: Text<'a>, scratch: &'a mut String) -> &'a str {
    if !text.escaped {
        return text.raw;
    }
    scratch.clear();
    text.decode(scratch);
    scratch
}

/// The number of a text; none for another type.
#[inline]
fn read_name(token: Token<'_>, names: &mut Names, scratch: &mut String) -> Name {
    match token {
        Token::Text(text) => names.number(plain(text, scratch)),
        _ => Name::NONE,
    }
}

#[inline]
fn read_step(token: Token<'_>) -> Option<i64> {
    match token {
        Token::Number(text) => text.parse().ok(),
        _ => None,
    }
}

fn read_timestamp(token: Token<'_>, scratch: &mut String) -> Option<i64> {
    match token {
        Token::Text(text) => timestamp::parse(plain(text, scratch).as_bytes()),
        Token::Number(text) => seconds_to_micros(text),
        _ => None,
    }
}

/// Seconds as microseconds, half to even. The double that the text means is taken as it is, without another rounding.
fn seconds_to_micros(text: &str) -> Option<i64> {
    let seconds: f64 = text.parse().ok()?;
    // Beyond this no time has a text, and below it the mantissa times a million fits into 128 bits at any power.
    if seconds.abs() > 1e12 {
        return None;
    }
    let bits = seconds.to_bits();
    let biased = (bits >> 52 & 0x7FF) as u32;
    let mantissa = u128::from(bits & ((1 << 52) - 1) | u64::from(biased != 0) << 52) * MICROS_PER_SECOND;
    // The lowest bit of the mantissa is 2^-places; at most 2^40 seconds leave at least 12 places.
    let places = (1075 - biased.max(1)).min(127);
    let (whole, rest, half) = (mantissa >> places, mantissa & ((1 << places) - 1), 1 << (places - 1));
    let rounded = (whole + u128::from(rest > half || (rest == half && whole & 1 == 1))) as i64;
    let micros = if seconds < 0.0 { -rounded } else { rounded };
    (timestamp::MIN..=timestamp::MAX).contains(&micros).then_some(micros)
}

pub(super) fn read_value(token: Token<'_>) -> Value {
    match token {
        Token::Number(text) => from_double(fast_float2::parse(text).unwrap_or(f64::NAN)),
        Token::Bool(flag) => Value::Finite(f64::from(u8::from(flag))),
        Token::Bare(value) => Value::NonFinite(value),
        Token::Null | Token::Text(_) | Token::Object(_) | Token::Array(_) => Value::None,
    }
}

#[inline]
pub(super) fn from_double(value: f64) -> Value {
    if value.is_finite() { Value::Finite(value) } else { Value::NonFinite(value) }
}

#[cfg(test)]
#[path = "row_tests.rs"]
mod tests;
