//! JSON strings in ASCII, escaped as Python's `json.dumps` does.

const HEX: &[u8; 16] = b"0123456789abcdef";
/// Bytes looked at together while nothing needs an escape.
const BLOCK: usize = 16;

/// Adds `text` as a JSON string with its quotes.
#[inline]
pub fn push_json_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_escaped(out, text);
    out.push(b'"');
}

/// Adds `text` as the inside of a JSON string.
#[inline]
pub fn push_escaped(out: &mut Vec<u8>, text: &str) {
    let plain = plain_prefix(text.as_bytes());
    out.extend_from_slice(&text.as_bytes()[..plain]);
    if plain < text.len() {
        push_rest(out, &text[plain..]);
    }
}

/// Whether a byte stands for itself: printable ASCII but for the quote and the backslash.
#[inline]
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

/// Length of the longest prefix in which every byte stands for itself.
#[inline]
fn plain_prefix(bytes: &[u8]) -> usize {
    let mut done = 0;
    // Without an early return inside a block the compiler tests it with vector instructions.
    for block in bytes.chunks_exact(BLOCK) {
        if !block.iter().fold(true, |plain, &byte| plain & is_plain(byte)) {
            break;
        }
        done += BLOCK;
    }
    done + bytes[done..].iter().take_while(|&&byte| is_plain(byte)).count()
}

#[cold]
fn push_rest(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + text.len() / 2);
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            _ => {
                for &mut unit in character.encode_utf16(&mut [0; 2]) {
                    push_unit(out, unit);
                }
            }
        }
        rest = &rest[character.len_utf8()..];
        let plain = plain_prefix(rest.as_bytes());
        out.extend_from_slice(&rest.as_bytes()[..plain]);
        rest = &rest[plain..];
    }
}

/// Adds `\u` and the four digits of one UTF-16 unit.
#[inline]
fn push_unit(out: &mut Vec<u8>, unit: u16) {
    let digit = |shift: u16| HEX[usize::from(unit >> shift & 15)];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use super::*;

    fn json(text: &str) -> String {
        let mut out = Vec::new();
        push_json_string(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    /// One character at a time, without the fast path.
    fn model(text: &str) -> String {
        let mut out = String::from("\"");
        for character in text.chars() {
            match character {
                '"' => out += "\\\"",
                '\\' => out += "\\\\",
                '\n' => out += "\\n",
                '\r' => out += "\\r",
                '\t' => out += "\\t",
                '\u{8}' => out += "\\b",
                '\u{c}' => out += "\\f",
                ' '..='~' => out.push(character),
                _ => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        write!(out, "\\u{unit:04x}").unwrap();
                    }
                }
            }
        }
        out + "\""
    }

    #[test]
    fn escapes_are_those_of_python() {
        assert_eq!(json("\"\\\n\r\t\u{8}\u{c}/'"), r#""\"\\\n\r\t\b\f/'""#);
        assert_eq!(json("\0\u{1f} ~\u{7f}\u{80}"), r#""\u0000\u001f ~\u007f\u0080""#);
        assert_eq!(json("é\u{2028}\u{ffff}\u{1f600}"), r#""\u00e9\u2028\uffff\ud83d\ude00""#);
    }

    proptest! {
        #[test]
        fn any_text_is_escaped_like_the_model(text in "(\\PC|[\\x00-\\x7f]){0,80}") {
            prop_assert_eq!(json(&text), model(&text));
        }
    }
}
