//! The fields of a row that are read, and what their values mean.

use super::json::{Text, Token};
use super::names::{Name, Names};
use crate::limits::MAX_TEXT_BYTES;
use crate::record::{nonfinite, text, timestamp};

/// Numbers of this size and beyond are milliseconds since the epoch, smaller ones seconds: 1e11 is the year 5138 in seconds and
/// 1973 in milliseconds.
const LEAST_MILLISECONDS: f64 = 1e11;
const MICROS_PER_SECOND: u32 = 1_000_000;
const MICROS_PER_MILLISECOND: u32 = 1_000;

/// A field.
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
    /// `$schema`, of which only counts whether it is there.
    Schema,
}

/// How many there are.
pub const FIELDS: usize = Field::Schema as usize + 1;

impl Field {
    /// All of them, in order.
    pub const ALL: [Self; FIELDS] = [
        Self::Timestamp,
        Self::RunId,
        Self::Step,
        Self::Split,
        Self::Metric,
        Self::Value,
        Self::Dataset,
        Self::Tags,
        Self::Key,
        Self::Schema,
    ];

    /// The field with this key.
    #[inline]
    pub(super) fn of(key: Text<'_>) -> Option<Self> {
        if !key.escaped {
            return Self::of_plain(key.raw);
        }
        let mut decoded = String::new();
        key.decode_up_to(LONGEST_KEY + 1, &mut decoded);
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
            b"$schema" => Self::Schema,
            _ => return None,
        })
    }

    /// That it cannot be read, in words.
    pub(super) fn unreadable(self) -> &'static str {
        match self {
            Self::Timestamp => "\"timestamp\" cannot be read",
            Self::RunId => "\"run_id\" is not text",
            Self::Step => "\"step\" is not a 64-bit integer",
            Self::Split => "\"split\" is not text",
            Self::Metric | Self::Key => "\"metric\" is not text",
            Self::Value => "\"value\" is not a number",
            Self::Dataset => "\"dataset\" is not text",
            Self::Tags => "\"tags\" is not an object",
            Self::Schema => "\"$schema\" cannot be read",
        }
    }
}

/// Bytes of the longest key above.
const LONGEST_KEY: usize = "timestamp".len();

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

/// The characters that a string means.
pub(super) fn plain<'a>(text: Text<'a>, scratch: &'a mut String) -> &'a str {
    if !text.escaped {
        return text.raw;
    }
    scratch.clear();
    text.decode_up_to(usize::MAX, scratch);
    scratch
}

/// The characters that a string means, cut as the writer cuts them, and whether they were cut.
#[inline]
pub(super) fn bounded<'a>(text: Text<'a>, scratch: &'a mut String) -> (&'a str, bool) {
    if !text.escaped {
        return text::cut(text.raw);
    }
    scratch.clear();
    // A character more than is kept, to see whether something has to be cut.
    text.decode_up_to(MAX_TEXT_BYTES + 1, scratch);
    text::cut(scratch)
}

/// What a field holds: null and what cannot be read are both nothing, but only the latter is a fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Held<T> {
    /// Something, and whether it had to be cut.
    Something(T, bool),
    /// Null.
    Null,
    /// Nothing that can be read.
    Unreadable,
}

/// The number of a text.
#[inline]
pub(super) fn name(token: Token<'_>, names: &mut Names, scratch: &mut String) -> Held<Name> {
    match token {
        Token::Text(text) => {
            let (text, cut) = bounded(text, scratch);
            Held::Something(names.number(text), cut)
        }
        Token::Null => Held::Null,
        _ => Held::Unreadable,
    }
}

/// An integer, however it is written: `6`, `6.0`, `"6"`.
#[inline]
pub(super) fn step(token: Token<'_>, scratch: &mut String) -> Held<i64> {
    let step = match token {
        Token::Number(text) => text.parse().ok().or_else(|| whole(text)),
        Token::Text(text) => {
            let text = bounded(text, scratch).0.trim_ascii();
            text.parse().ok().or_else(|| whole(text))
        }
        Token::Null => return Held::Null,
        _ => None,
    };
    step.map_or(Held::Unreadable, |step| Held::Something(step, false))
}

/// The integer that a decimal number with a fraction or an exponent means, exactly; none if it is not whole.
#[cold]
fn whole(text: &str) -> Option<i64> {
    let (negative, magnitude) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = magnitude.split_once(['e', 'E']).unwrap_or((magnitude, "0"));
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_number = integer.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
    if !is_number || integer.is_empty() {
        return None;
    }
    let mut digits = integer.bytes().chain(fraction.bytes()).map(|byte| i128::from(byte - b'0'));
    let size = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if digits.clone().all(|digit| digit == 0) {
        // Whatever its exponent, which may be too large for a number.
        return Some(0);
    }
    // Digits that stand before the point once the exponent has moved it.
    let before = i64::try_from(integer.len()).ok()?.checked_add(exponent.parse().ok()?)?;
    let mut number = 0_i128;
    let mut place = 0;
    while place < before {
        number = number * 10 + digits.next().unwrap_or(0);
        if number > 1 << 64 {
            return None;
        }
        place += 1;
    }
    if digits.any(|digit| digit != 0) {
        return None;
    }
    i64::try_from(if negative { -number } else { number }).ok()
}

/// Microseconds since the epoch.
pub(super) fn time(token: Token<'_>, scratch: &mut String) -> Held<i64> {
    let time = match token {
        Token::Text(text) => timestamp::parse(plain(text, scratch).as_bytes()),
        Token::Number(text) => since_epoch(text),
        Token::Null => return Held::Null,
        _ => None,
    };
    time.map_or(Held::Unreadable, |time| Held::Something(time, false))
}

/// Seconds or milliseconds as microseconds, half to even. The double that the text means is taken as it is, without another
/// rounding.
fn since_epoch(text: &str) -> Option<i64> {
    let number: f64 = text.parse().ok()?;
    let is_milliseconds = number.abs() >= LEAST_MILLISECONDS;
    // Beyond this no time has a text, and below it the mantissa times a million fits into 128 bits at any power.
    if number.abs() > 1e15 {
        return None;
    }
    let micros_per_unit = u128::from(if is_milliseconds { MICROS_PER_MILLISECOND } else { MICROS_PER_SECOND });
    let bits = number.to_bits();
    let biased = (bits >> 52 & 0x7FF) as u32;
    let mantissa = u128::from(bits & ((1 << 52) - 1) | u64::from(biased != 0) << 52) * micros_per_unit;
    // The lowest bit of the mantissa is 2^-places; at most 2^50 leave at least 2 places.
    let places = (1075 - biased.max(1)).min(127);
    let (whole, rest, half) = (mantissa >> places, mantissa & ((1 << places) - 1), 1 << (places - 1));
    let rounded = (whole + u128::from(rest > half || (rest == half && whole & 1 == 1))) as i64;
    let micros = if number < 0.0 { -rounded } else { rounded };
    (timestamp::MIN..=timestamp::MAX).contains(&micros).then_some(micros)
}

/// A number, also as a word. In a legacy row structured values stand where others have their number, and are no fault.
pub(super) fn value(token: Token<'_>, legacy: bool) -> Held<Value> {
    let value = match token {
        Token::Number(text) => from_double(fast_float2::parse(text).unwrap_or(f64::NAN)),
        Token::Bool(flag) => Value::Finite(f64::from(u8::from(flag))),
        Token::Bare(value) => Value::NonFinite(value),
        Token::Null => return Held::Null,
        Token::Text(text) => match nonfinite::WORDS.into_iter().find(|(word, _)| text.equals(word)) {
            Some((_, number)) => Value::NonFinite(number),
            None if legacy => return Held::Null,
            None => return Held::Unreadable,
        },
        Token::Object(_) | Token::Array(_) if legacy => return Held::Null,
        Token::Object(_) | Token::Array(_) => return Held::Unreadable,
    };
    Held::Something(value, false)
}

#[inline]
pub(super) fn from_double(value: f64) -> Value {
    if value.is_finite() { Value::Finite(value) } else { Value::NonFinite(value) }
}
