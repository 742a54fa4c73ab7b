//! What a line says, and the general way to read it: any JSON object, its keys in any order.

use super::json::{Cursor, Text, Token};
use super::names::{Name, Names};
use crate::record::timestamp;

const MICROS_PER_SECOND: u128 = 1_000_000;

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

/// The tags of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tags<'a> {
    /// The whole object as it stands in the line.
    pub json: &'a str,
    /// `nonfinite`, if it is a text.
    pub nonfinite: Option<&'a str>,
    /// `manifest_id`, if it is a text.
    pub manifest_id: Option<&'a str>,
    /// `phase`, if it is a text.
    pub phase: Option<&'a str>,
}

impl Tags<'_> {
    /// No tags.
    pub const NONE: Self = Self { json: "{}", nonfinite: None, manifest_id: None, phase: None };
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

/// Decoded tag texts, kept from line to line so that their memory is reused.
#[derive(Debug, Default)]
pub struct Scratch {
    texts: [String; 3],
    name: String,
}

/// Top-level fields, in the order of [`KEYS`].
type Fields<'a> = [Option<Token<'a>>; KEYS.len()];

const KEYS: [&str; 9] = ["timestamp", "run_id", "step", "split", "metric", "value", "dataset", "tags", "key"];
const TIMESTAMP: usize = 0;
const RUN_ID: usize = 1;
const STEP: usize = 2;
const SPLIT: usize = 3;
const METRIC: usize = 4;
const VALUE: usize = 5;
const DATASET: usize = 6;
const TAGS: usize = 7;
const KEY: usize = 8;
const TAG_KEYS: [&str; 3] = ["nonfinite", "manifest_id", "phase"];

/// Reads one line without its newline.
pub fn parse<'a>(line: &'a [u8], names: &mut Names, scratch: &'a mut Scratch) -> Result<Row<'a>, Refusal> {
    let line = std::str::from_utf8(line).map_err(|_| Refusal::Encoding)?;
    let fields = fields(line)?;
    let Scratch { texts, name } = scratch;
    let mut number = |field: usize| match fields[field] {
        Some(Token::Text(text)) => names.number(plain(text, name)),
        _ => Name::NONE,
    };
    let metric = match number(METRIC) {
        Name::NONE => number(KEY),
        metric => metric,
    };
    if metric == Name::NONE {
        return Err(Refusal::Metric);
    }
    let (run_id, split, dataset) = (number(RUN_ID), number(SPLIT), number(DATASET));
    Ok(Row {
        timestamp: fields[TIMESTAMP].and_then(|token| read_timestamp(token, name)),
        run_id,
        step: match fields[STEP] {
            Some(Token::Number(text)) => text.parse().ok(),
            _ => None,
        },
        split,
        metric,
        value: fields[VALUE].map_or(Value::None, read_value),
        dataset,
        tags: match fields[TAGS] {
            Some(Token::Object(json)) => read_tags(json, texts),
            _ => Tags::NONE,
        },
    })
}

/// The top-level fields of an object that fills the line. Of repeated keys the last counts, whatever its type.
fn fields(line: &str) -> Result<Fields<'_>, Refusal> {
    let mut cursor = Cursor::new(line);
    let mut fields = Fields::default();
    cursor.skip_space();
    if !cursor.take(b'{') {
        cursor.value().map_err(|_| Refusal::Syntax)?;
        cursor.skip_space();
        return Err(if cursor.peek().is_none() { Refusal::Kind } else { Refusal::Syntax });
    }
    let members = cursor.members(Some(KEYS[VALUE]), |key, value| {
        if let Some(index) = KEYS.iter().position(|known| key.equals(known)) {
            fields[index] = Some(value);
        }
    });
    members.map_err(|_| Refusal::Syntax)?;
    cursor.skip_space();
    if cursor.peek().is_some() { Err(Refusal::Syntax) } else { Ok(fields) }
}

/// Picks the known tags from an object's text that is known to be valid.
pub(super) fn read_tags<'a>(json: &'a str, texts: &'a mut [String; 3]) -> Tags<'a> {
    let mut found: [Option<Token<'a>>; 3] = [None; 3];
    let mut cursor = Cursor::new(json);
    cursor.take(b'{');
    // The text was read as an object before, so this cannot fail.
    let _ = cursor.members(None, |key, value| {
        if let Some(index) = TAG_KEYS.iter().position(|known| key.equals(known)) {
            found[index] = Some(value);
        }
    });
    let [nonfinite, manifest_id, phase] = texts;
    let text = |token, scratch: &'a mut String| match token {
        Some(Token::Text(text)) => Some(plain(text, scratch)),
        _ => None,
    };
    Tags {
        json,
        nonfinite: text(found[0], nonfinite),
        manifest_id: text(found[1], manifest_id),
        phase: text(found[2], phase),
    }
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
        Token::Number(text) => from_double(text.parse().unwrap_or(f64::NAN)),
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
