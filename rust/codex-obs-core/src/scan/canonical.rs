//! The fast way to read a line: our own bytes, compared instead of parsed.
//!
//! Rows of one `log` call differ in metric and value only, and the next call has the same metrics in the same order. So
//! the part before the metric is compared with the line before, the metric with the one that followed last time, and
//! the part behind the value with the line before. Only what differs is looked at, and whatever is not exactly as our
//! encoder writes it is left to [`row::parse`](super::row::parse).

use super::faults::Faults;
use super::field::{bounded, from_double};
use super::json::{Cursor, Token};
use super::names::{Name, Names};
use super::row::{Row, Value};
use super::tags::{OwnedTags, Tags};
use crate::limits::MAX_TEXT_BYTES;
use crate::record::timestamp;

const START: &[u8] =
    br#"{"$schema":"https://codexml.ai/schemas/run_metrics.schema.json","schema_version":"v1","timestamp":""#;
const RUN_ID: &[u8] = br#"","run_id":""#;
const STEP: &[u8] = br#"","step":"#;
const SPLIT: &[u8] = br#","split":""#;
const METRIC: &[u8] = br#"","metric":""#;
const VALUE: &[u8] = br#"","value":"#;
const DATASET: &str = r#","dataset":"#;
const TAGS: &str = r#","tags":"#;
const BARE_END: &[u8; 27] = b",\"dataset\":null,\"tags\":{}}\n";

/// What the last lines looked like.
#[derive(Debug, Default)]
pub struct Canonical {
    /// From the brace to the quote before the metric, and what it says.
    head: Vec<u8>,
    timestamp: i64,
    step: Option<i64>,
    run_id: Memo,
    split: Memo,
    /// From the comma behind the value to the newline, and what it says.
    end: Vec<u8>,
    dataset: Name,
    tags: OwnedTags,
    /// The metrics by their numbers.
    metrics: Vec<Option<Metric>>,
    last: Name,
}

/// A metric's text with the quote, comma and key behind it.
#[derive(Clone, Debug)]
struct Metric {
    /// Its first bytes, with zeros behind, and which of them there are.
    start: [u8; COMPARED],
    mask: [u8; COMPARED],
    /// The others.
    rest: Box<[u8]>,
    length: usize,
    /// The metric that followed when this one was seen last, and the time before that it was another.
    next: [Name; 2],
}

/// A text with its number.
#[derive(Debug, Default)]
struct Memo {
    text: Vec<u8>,
    name: Name,
}

/// Longest dataset and tags that are kept to be compared with. Longer ones differ from row to row as a rule.
const MAX_END_BYTES: usize = 64 << 10;

/// Bytes of a metric that are compared at once, without asking how many there are.
const COMPARED: usize = 32;

impl Metric {
    fn new(text: &[u8]) -> Self {
        let (start, rest) = text.split_at(text.len().min(COMPARED));
        let mut metric = Self {
            start: [0; COMPARED],
            mask: [0; COMPARED],
            rest: rest.into(),
            length: text.len(),
            next: [Name::NONE; 2],
        };
        metric.start[..start.len()].copy_from_slice(start);
        metric.mask[..start.len()].fill(0xFF);
        metric
    }

    /// Whether `bytes` begin with the text. Says no where there is too little behind it to compare at once.
    #[inline]
    fn begins(&self, bytes: &[u8]) -> bool {
        let Some((first, behind)) = bytes.split_first_chunk::<COMPARED>() else { return false };
        let different = (0..COMPARED).fold(0, |all, at| all | ((first[at] ^ self.start[at]) & self.mask[at]));
        different == 0 && (self.rest.is_empty() || behind.starts_with(&self.rest))
    }
}

impl Canonical {
    /// Reads the line at the start of `bytes`, which end with a newline. Gives the row and the line's length, or `None` if
    /// the line is not one that this way can read.
    #[inline]
    pub fn parse<'a>(&'a mut self, bytes: &[u8], names: &mut Names) -> Option<(Row<'a>, usize)> {
        if self.head.is_empty() || !bytes.starts_with(&self.head) {
            self.read_head(bytes, names)?;
        }
        let mut at = self.head.len();
        let metric = self.metric(&bytes[at..], names)?;
        at += self.length(metric);
        let (value, used) = value(&bytes[at..])?;
        at += used;
        let rest = &bytes[at..];
        let (dataset, tags, used) = if rest.first_chunk() == Some(BARE_END) {
            (Name::NONE, Tags::NONE, BARE_END.len())
        } else {
            if self.end.is_empty() || !rest.starts_with(&self.end) {
                self.read_end(rest, names)?;
            }
            (self.dataset, self.tags.borrow(), self.end.len())
        };
        let row = Row {
            timestamp: Some(self.timestamp),
            run_id: self.run_id.name,
            step: self.step,
            split: self.split.name,
            metric,
            value,
            dataset,
            tags,
            faults: Faults::NONE,
            legacy: false,
        };
        Some((row, at + used))
    }

    /// Takes the part before the metric apart.
    fn read_head(&mut self, bytes: &[u8], names: &mut Names) -> Option<()> {
        self.head.clear();
        let rest = bytes.strip_prefix(START)?;
        let (text, rest) = rest.split_at_checked(timestamp::TEXT_BYTES)?;
        let timestamp = timestamp::parse(text)?;
        let rest = self.run_id.read(rest.strip_prefix(RUN_ID)?, names)?.strip_prefix(STEP)?;
        let (step, rest) = step(rest)?;
        let rest = self.split.read(rest.strip_prefix(SPLIT)?, names)?.strip_prefix(METRIC)?;
        (self.timestamp, self.step) = (timestamp, step);
        self.head.extend_from_slice(&bytes[..bytes.len() - rest.len()]);
        Some(())
    }

    /// The metric that `bytes` begin with.
    #[inline]
    fn metric(&mut self, bytes: &[u8], names: &mut Names) -> Option<Name> {
        let expected = self.entry(self.last).map_or(Name::NONE, |last| last.next[0]);
        if let Some(entry) = self.entry(expected)
            && entry.begins(bytes)
        {
            self.last = expected;
            return Some(expected);
        }
        self.other_metric(bytes, names)
    }

    /// The same without a guess.
    fn other_metric(&mut self, bytes: &[u8], names: &mut Names) -> Option<Name> {
        if let Some(Some(last)) = self.metrics.get_mut(self.last.0 as usize) {
            last.next.swap(0, 1);
            let expected = last.next[0];
            if self.entry(expected).is_some_and(|entry| entry.begins(bytes)) {
                self.last = expected;
                return Some(expected);
            }
        }
        let length = plain_length(bytes)?;
        if !bytes[length..].starts_with(VALUE) {
            return None;
        }
        let name = names.number(std::str::from_utf8(&bytes[..length]).ok()?);
        let index = name.0 as usize;
        if self.metrics.len() <= index {
            self.metrics.resize(index + 1, None);
        }
        if self.metrics[index].is_none() {
            self.metrics[index] = Some(Metric::new(&bytes[..length + VALUE.len()]));
        }
        if let Some(Some(last)) = self.metrics.get_mut(self.last.0 as usize) {
            last.next[0] = name;
        }
        self.last = name;
        Some(name)
    }

    #[inline]
    fn entry(&self, name: Name) -> Option<&Metric> {
        self.metrics.get(name.0 as usize)?.as_ref()
    }

    #[inline]
    fn length(&self, name: Name) -> usize {
        self.entry(name).map_or(0, |entry| entry.length)
    }

    /// Takes the part behind the value apart.
    fn read_end(&mut self, bytes: &[u8], names: &mut Names) -> Option<()> {
        self.end.clear();
        let length = memchr::memchr(b'\n', bytes).filter(|&length| length <= MAX_END_BYTES)?;
        let text = std::str::from_utf8(&bytes[..length]).ok()?;
        let mut cursor = Cursor::new(text);
        if !cursor.take_literal(DATASET) {
            return None;
        }
        let mut scratch = String::new();
        self.dataset = match cursor.value().ok()? {
            Token::Text(text) => match bounded(text, &mut scratch) {
                (text, false) => names.number(text),
                // What has to be cut is a matter for the general way.
                (_, true) => return None,
            },
            Token::Null => Name::NONE,
            _ => return None,
        };
        if !cursor.take_literal(TAGS) {
            return None;
        }
        let Token::Object(json) = cursor.value().ok()? else { return None };
        if !cursor.take(b'}') || cursor.peek().is_some() {
            return None;
        }
        self.tags.set(json);
        if self.tags.borrow().cut {
            return None;
        }
        self.end.extend_from_slice(&bytes[..=length]);
        Some(())
    }
}

impl Memo {
    /// Reads a text up to its quote and gives what follows, from the quote on.
    #[inline]
    fn read<'a>(&mut self, bytes: &'a [u8], names: &mut Names) -> Option<&'a [u8]> {
        if self.name != Name::NONE
            && let Some(rest @ [b'"', ..]) = bytes.strip_prefix(self.text.as_slice())
        {
            return Some(rest);
        }
        let (text, rest) = bytes.split_at(plain_length(bytes)?);
        self.name = names.number(std::str::from_utf8(text).ok()?);
        self.text.clear();
        self.text.extend_from_slice(text);
        Some(rest)
    }
}

/// Length of the text that begins `bytes`, up to its quote, if it is ASCII without escapes and no longer than texts are kept.
#[inline]
fn plain_length(bytes: &[u8]) -> Option<usize> {
    let special = |&byte: &u8| byte == b'"' || byte == b'\\' || !(0x20..0x80).contains(&byte);
    let length = bytes.iter().take(MAX_TEXT_BYTES + 1).position(special)?;
    (bytes[length] == b'"').then_some(length)
}

/// The integer or null that `bytes` begin with, and what follows.
#[inline]
fn step(bytes: &[u8]) -> Option<(Option<i64>, &[u8])> {
    if let Some(rest) = bytes.strip_prefix(b"null") {
        return Some((None, rest));
    }
    let negative = bytes.first() == Some(&b'-');
    let digits = &bytes[usize::from(negative)..];
    let mut length = 0;
    let mut magnitude = 0_i64;
    // 18 digits cannot overflow. Longer ones, and zeros in front, are left to the general way.
    while length < 18
        && let Some(digit @ b'0'..=b'9') = digits.get(length)
    {
        magnitude = magnitude * 10 + i64::from(digit - b'0');
        length += 1;
    }
    if length == 0 || (digits[0] == b'0' && length > 1) || digits.get(length) != Some(&b',') {
        return None;
    }
    Some((Some(if negative { -magnitude } else { magnitude }), &digits[length..]))
}

/// The number or null that `bytes` begin with, and its length.
#[inline]
fn value(bytes: &[u8]) -> Option<(Value, usize)> {
    if bytes.starts_with(b"null,") {
        return Some((Value::None, 4));
    }
    let (number, length) = number(bytes)?;
    (bytes.get(length) == Some(&b',')).then_some((from_double(number), length))
}

/// The number that `bytes` begin with as far as it is one in JSON, and its length.
#[inline]
pub(super) fn number(bytes: &[u8]) -> Option<(f64, usize)> {
    let (number, length) = fast_float2::parse_partial(bytes).ok()?;
    let text = &bytes[..length];
    // What the parser takes beyond JSON: a plus sign, words, zeros in front, a point without digits on both sides.
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let [b'0'..=b'9', rest @ ..] = digits else { return None };
    if digits[0] == b'0' && rest.first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    if let Some(point) = rest.iter().position(|&byte| byte == b'.')
        && !rest.get(point + 1).is_some_and(u8::is_ascii_digit)
    {
        return None;
    }
    Some((number, length))
}

#[cfg(test)]
#[path = "canonical_tests.rs"]
mod tests;
