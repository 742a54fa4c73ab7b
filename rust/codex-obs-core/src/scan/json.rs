//! A strict JSON tokenizer (RFC 8259) over one line, without recursion and without memory of its own.
//!
//! Why not a library: the log's rules need the bytes of numbers (`1.0` is no step), the raw text of `tags`, the last of
//! repeated keys, nesting as deep as a line is long, lone surrogates that do not cost the row, and bare `NaN` at one place
//! but nowhere else. No maintained parser allows the last without allowing it everywhere. What is left after that is the
//! grammar, and it is checked against the public suite and against `serde_json`.

use std::ops::Range;

use crate::record::nonfinite;

/// A line is not JSON. Where and why is not kept: readers report the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

/// The text of a string between its quotes, as it stands in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    /// Bytes between the quotes. Escapes in it are valid.
    pub raw: &'a str,
    /// Whether there are escapes.
    pub escaped: bool,
}

/// One value. Objects and arrays are checked to their end and kept as text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Token<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number's text.
    Number(&'a str),
    /// A string.
    Text(Text<'a>),
    /// An object's text with its braces.
    Object(&'a str),
    /// An array's text with its brackets.
    Array(&'a str),
    /// `NaN`, `Infinity` or `-Infinity`: not JSON, given only where the caller allows it.
    Bare(f64),
}

impl<'a> Token<'a> {
    /// The text of an object; `None` for another type.
    #[inline]
    #[must_use]
    pub fn object(self) -> Option<&'a str> {
        match self {
            Self::Object(text) => Some(text),
            _ => None,
        }
    }
}

/// A place in a line.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At the start of `text`.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// At a place of `text` where a character begins.
    #[must_use]
    pub fn at(text: &'a str, at: usize) -> Self {
        Self { text, at }
    }

    /// The place in the text.
    #[inline]
    #[must_use]
    pub fn place(&self) -> usize {
        self.at
    }

    /// The next byte, if any.
    #[inline]
    #[must_use]
    pub fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Skips what JSON calls white space.
    #[inline]
    pub fn skip_space(&mut self) {
        // Mostly there is one blank or none.
        if self.peek() == Some(b' ') {
            self.at += 1;
        }
        if self.peek().is_some_and(|byte| byte > b' ') {
            return;
        }
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Skips `byte` if it is next.
    #[inline]
    pub fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Skips `literal` if it is next.
    #[inline]
    pub fn take_literal(&mut self, literal: &str) -> bool {
        let found = self.text.as_bytes()[self.at..].starts_with(literal.as_bytes());
        self.at += if found { literal.len() } else { 0 };
        found
    }

    /// Reads the members of an object whose brace was just taken, up to and with the closing one. `bare` names the key
    /// whose value may be `NaN` or infinite. Each is given as its key, its value and where the value stands.
    pub fn members(
        &mut self,
        bare: Option<&str>,
        mut member: impl FnMut(Text<'a>, Token<'a>, Range<usize>),
    ) -> Result<(), Invalid> {
        self.skip_space();
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let key = self.string()?;
            self.skip_space();
            if !self.take(b':') {
                return Err(Invalid);
            }
            self.skip_space();
            let start = self.at;
            let value = if bare.is_some_and(|bare| key.equals(bare)) { self.value_or_bare()? } else { self.value()? };
            member(key, value, start..self.at);
            self.skip_space();
            if self.take(b'}') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(Invalid);
            }
            self.skip_space();
        }
    }

    /// Reads one value, which may be `NaN` or infinite.
    #[inline]
    pub fn value_or_bare(&mut self) -> Result<Token<'a>, Invalid> {
        match self.peek() {
            Some(b'0'..=b'9') => self.number().map(Token::Number),
            _ => match self.bare() {
                Some(token) => Ok(token),
                None => self.value(),
            },
        }
    }

    /// Reads one value.
    #[expect(clippy::inline_always, reason = "a result that goes through memory makes the loads that follow wait")]
    #[inline(always)]
    pub fn value(&mut self) -> Result<Token<'a>, Invalid> {
        match self.peek() {
            Some(b'"') => self.string().map(Token::Text),
            Some(b'-' | b'0'..=b'9') => self.number().map(Token::Number),
            Some(b'{') => self.nested().map(Token::Object),
            Some(b'[') => self.nested().map(Token::Array),
            Some(b't') if self.take_literal("true") => Ok(Token::Bool(true)),
            Some(b'f') if self.take_literal("false") => Ok(Token::Bool(false)),
            Some(b'n') if self.take_literal("null") => Ok(Token::Null),
            _ => Err(Invalid),
        }
    }

    /// Reads `NaN`, `Infinity` or `-Infinity`, if one of them is next.
    fn bare(&mut self) -> Option<Token<'a>> {
        let next = nonfinite::WORDS.into_iter().find(|(word, _)| self.take_literal(word));
        next.map(|(_, number)| Token::Bare(number))
    }

    /// Reads a string.
    #[expect(clippy::inline_always, reason = "a result that goes through memory makes the loads that follow wait")]
    #[inline(always)]
    pub fn string(&mut self) -> Result<Text<'a>, Invalid> {
        if !self.take(b'"') {
            return Err(Invalid);
        }
        let bytes = self.text.as_bytes();
        let start = self.at;
        self.at += plain_length(&bytes[start..]);
        if self.peek() != Some(b'"') {
            return self.escaped_string(start);
        }
        let raw = &self.text[start..self.at];
        self.at += 1;
        Ok(Text { raw, escaped: false })
    }

    /// Reads the rest of a string that begins at `start` and has no quote at this place.
    #[cold]
    fn escaped_string(&mut self, start: usize) -> Result<Text<'a>, Invalid> {
        let bytes = self.text.as_bytes();
        loop {
            match *bytes.get(self.at).ok_or(Invalid)? {
                b'"' => {
                    let raw = &self.text[start..self.at];
                    self.at += 1;
                    return Ok(Text { raw, escaped: true });
                }
                b'\\' => {
                    self.at += match bytes.get(self.at + 1) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                        Some(b'u') if is_hex(bytes.get(self.at + 2..self.at + 6)) => 6,
                        _ => return Err(Invalid),
                    };
                }
                _ => return Err(Invalid),
            }
            self.at += plain_length(&bytes[self.at..]);
        }
    }

    /// Reads a number: `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
    pub fn number(&mut self) -> Result<&'a str, Invalid> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    #[inline]
    fn digits(&mut self) -> Result<(), Invalid> {
        let rest = &self.text.as_bytes()[self.at..];
        let length = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        self.at += length;
        if length > 0 { Ok(()) } else { Err(Invalid) }
    }

    /// Checks an object or array to its end. Which of the two each open level is, is kept in one bit.
    fn nested(&mut self) -> Result<&'a str, Invalid> {
        let start = self.at;
        let mut levels = Levels::default();
        loop {
            // A value is expected here.
            match self.peek() {
                Some(b'{') => {
                    self.at += 1;
                    self.skip_space();
                    levels.open(true);
                    if !self.take(b'}') {
                        self.key()?;
                        continue;
                    }
                    levels.close();
                }
                Some(b'[') => {
                    self.at += 1;
                    self.skip_space();
                    levels.open(false);
                    if !self.take(b']') {
                        continue;
                    }
                    levels.close();
                }
                _ => {
                    self.value()?;
                }
            }
            // A value has ended: close what it ends, up to where the next one begins.
            loop {
                let Some(in_object) = levels.last() else {
                    return Ok(&self.text[start..self.at]);
                };
                self.skip_space();
                if self.take(b',') {
                    self.skip_space();
                    if in_object {
                        self.key()?;
                    }
                    break;
                }
                if !self.take(if in_object { b'}' } else { b']' }) {
                    return Err(Invalid);
                }
                levels.close();
            }
        }
    }

    fn key(&mut self) -> Result<(), Invalid> {
        self.string()?;
        self.skip_space();
        if !self.take(b':') {
            return Err(Invalid);
        }
        self.skip_space();
        Ok(())
    }
}

impl Text<'_> {
    /// Whether the text is `other`, which has no character that needs an escape.
    #[inline]
    #[must_use]
    pub fn equals(&self, other: &str) -> bool {
        if !self.escaped {
            return self.raw == other;
        }
        let mut decoded = String::new();
        self.decode_up_to(other.len() + 1, &mut decoded);
        decoded == other
    }

    /// Adds the characters that the text means to `out`, until that has `limit` bytes or a few more. A lone surrogate becomes
    /// U+FFFD.
    pub fn decode_up_to(&self, limit: usize, out: &mut String) {
        let mut rest = self.raw;
        while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
            push_up_to(limit, &rest[..at], out);
            if out.len() >= limit {
                return;
            }
            let kind = rest.as_bytes()[at + 1];
            rest = &rest[at + 2..];
            out.push(match kind {
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                b'u' => {
                    let (character, used) = unicode_escape(rest);
                    rest = &rest[used..];
                    character
                }
                itself => char::from(itself),
            });
        }
        push_up_to(limit, rest, out);
    }
}

/// Adds `text` to `out` as long as that has less than `limit` bytes.
fn push_up_to(limit: usize, text: &str, out: &mut String) {
    let room = limit.saturating_sub(out.len());
    out.push_str(&text[..text.ceil_char_boundary(room)]);
}

/// The character of an escape whose `\u` was just read, and the bytes it took. A pair of surrogates is one character.
fn unicode_escape(rest: &str) -> (char, usize) {
    let first = hex_value(&rest.as_bytes()[..4]);
    if let Some(character) = char::from_u32(first) {
        return (character, 4);
    }
    if first < 0xDC00
        && let Some(b"\\u") = rest.as_bytes().get(4..6)
    {
        let second = hex_value(&rest.as_bytes()[6..10]);
        if (0xDC00..0xE000).contains(&second) {
            let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
            return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 10);
        }
    }
    (char::REPLACEMENT_CHARACTER, 4)
}

/// Bytes before the first quote, backslash or control character, or all of them.
#[inline]
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    // The high bit of each byte below `limit`, and perhaps of some behind the first such byte.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGH;
    let (words, _) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found =
            below(word, 0x20) | below(word ^ (ONES * u64::from(b'"')), 1) | below(word ^ (ONES * u64::from(b'\\')), 1);
        if found != 0 {
            return index * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let checked = words.len() * 8;
    let special = |&byte: &u8| byte == b'"' || byte == b'\\' || byte < 0x20;
    bytes[checked..].iter().position(special).map_or(bytes.len(), |length| checked + length)
}

fn is_hex(digits: Option<&[u8]>) -> bool {
    digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

fn hex_value(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |value, &digit| value * 16 + char::from(digit).to_digit(16).unwrap_or(0))
}

/// Open objects and arrays, one bit each.
#[derive(Default)]
struct Levels {
    /// The innermost 64 levels; the lowest bit is the last.
    recent: u64,
    depth: usize,
    /// Full words of levels further out.
    outer: Vec<u64>,
}

impl Levels {
    #[inline]
    fn open(&mut self, is_object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.outer.push(self.recent);
        }
        self.recent = self.recent << 1 | u64::from(is_object);
        self.depth += 1;
    }

    #[inline]
    fn close(&mut self) {
        self.depth -= 1;
        self.recent >>= 1;
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.recent = self.outer.pop().unwrap_or(0);
        }
    }

    /// Whether the innermost level is an object; `None` if nothing is open.
    #[inline]
    fn last(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.recent & 1 == 1)
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
