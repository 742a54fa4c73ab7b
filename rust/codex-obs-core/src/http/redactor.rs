//! Takes secrets out of words that others said, however they spell them.
//!
//! A server may repeat what it was sent as it was, or as its log writes it: percent-encoded, as hexadecimal digits, with
//! escapes of JSON, C, HTML or mail, in Base64. So a secret is looked for byte by byte, and each byte in every spelling.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use super::secret::{Credentials, Secret};

/// Shorter secrets than this are not looked for in others' words: they would be found in every sentence.
const SHORTEST_HIDDEN: usize = 4;
/// Of a secret that is cut off at the end of the words, so many bytes tell it from a word that begins alike.
const SHORTEST_CUT: usize = 8;
/// What stands where a secret stood.
const HIDDEN: &str = "***";

/// Takes secrets out of words that others said.
#[derive(Clone, Debug, Default)]
pub struct Redactor(Vec<Secret>);

impl Redactor {
    /// Learns every form in which `credentials` go over the wire.
    pub fn learn(&mut self, credentials: &Credentials) {
        let header = credentials.header();
        let encoded = header.reveal().split_once(' ').map_or("", |(_, value)| value.trim_end_matches('='));
        let texts = match credentials {
            Credentials::Token(token) => vec![token],
            // A username alone is often the secret: a token in front of an empty password.
            Credentials::Basic { username, password } => vec![username, password],
        };
        let mut forms = vec![encoded.to_owned()];
        for text in texts.into_iter().map(Secret::reveal) {
            forms.push(text.to_owned());
            // What is too short to be looked for is no less so in Base64.
            forms.extend(in_base64(text).filter(|_| text.len() >= SHORTEST_HIDDEN));
        }
        for form in forms {
            if form.len() >= SHORTEST_HIDDEN && !self.0.iter().any(|known| known.reveal() == form) {
                self.0.push(Secret::new(form));
            }
        }
        // The longest first: what contains another must go as a whole.
        self.0.sort_by_key(|secret| std::cmp::Reverse(secret.reveal().len()));
    }

    /// The words in one line, without secrets and without characters that steer a terminal, at most `longest` characters.
    #[must_use]
    pub fn clean(&self, words: &str, longest: usize) -> String {
        let mut words = words.to_owned();
        for secret in &self.0 {
            words = hide(&words, secret.reveal().as_bytes());
        }
        let plain = words.chars().map(|character| if is_plain(character) { character } else { ' ' });
        let line = plain.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ");
        match line.char_indices().nth(longest) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }
}

/// What a text's Base64 has in common wherever in a longer text it stands: at each of three offsets, without the digits that
/// depend on its neighbours.
fn in_base64(text: &str) -> impl Iterator<Item = String> {
    (0..3).map(move |offset| {
        let bytes = [&[0; 2][..offset], text.as_bytes()].concat();
        let digits = STANDARD_NO_PAD.encode(&bytes[..bytes.len() / 3 * 3]);
        digits.get([0, 2, 3][offset]..).unwrap_or_default().to_owned()
    })
}

/// Whether a character shows itself and steers nothing: no control, no mark of direction, no invisible joiner.
fn is_plain(character: char) -> bool {
    !matches!(
        character.general_category(),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
    )
}

/// `words` without `secret`.
fn hide(words: &str, secret: &[u8]) -> String {
    let bytes = words.as_bytes();
    let mut shown = String::with_capacity(words.len());
    let mut kept = 0;
    let mut at = 0;
    while at < bytes.len() {
        match found(&bytes[at..], secret) {
            Some(length) => {
                shown.push_str(&words[kept..at]);
                shown.push_str(HIDDEN);
                at += length;
                // Padding of Base64 says how long a secret is.
                at += bytes[at..].iter().take_while(|&&byte| byte == b'=').count();
                // An escape ends at a character's end, and so does a text of ours.
                while !words.is_char_boundary(at) {
                    at += 1;
                }
                kept = at;
            }
            None => at += words[at..].chars().next().map_or(1, char::len_utf8),
        }
    }
    shown.push_str(&words[kept..]);
    shown
}

/// How many bytes at the start of `bytes` spell `secret`, if they do. One that the end of the words cuts off counts as well.
fn found(bytes: &[u8], secret: &[u8]) -> Option<usize> {
    spelled(bytes, secret, &[literal, escape]).max(spelled(bytes, secret, &[in_hexadecimal]))
}

/// Reads one byte of a text in some spelling: the byte, and how many it took.
type Spelling = fn(&[u8]) -> Option<(u8, usize)>;

/// As [`found`], where each byte is in one of the `spellings`.
fn spelled(bytes: &[u8], secret: &[u8], spellings: &[Spelling]) -> Option<usize> {
    let mut ends = vec![0];
    for (index, &expected) in secret.iter().enumerate() {
        if let Some(&end) = ends.iter().find(|&&end| end >= bytes.len()) {
            return (index >= SHORTEST_CUT).then_some(end);
        }
        let read = |&end: &usize| {
            let read = spellings.iter().filter_map(move |spelling| spelling(&bytes[end..]));
            read.filter(|(byte, _)| is_same(*byte, expected)).map(move |(_, length)| end + length)
        };
        ends = ends.iter().flat_map(read).collect();
        ends.dedup();
        if ends.is_empty() {
            return None;
        }
    }
    ends.into_iter().max()
}

/// Case is no difference, since names of headers and hosts change theirs, nor is the alphabet of Base64 or a form's `+`.
fn is_same(byte: u8, expected: u8) -> bool {
    byte.eq_ignore_ascii_case(&expected) || matches!((byte, expected), (b'-', b'+') | (b'_', b'/') | (b'+', b' '))
}

/// `61`, also behind a separator as in `61:62` or `61 62`.
fn in_hexadecimal(bytes: &[u8]) -> Option<(u8, usize)> {
    let skipped = usize::from(matches!(bytes.first(), Some(b':' | b' ' | b'-')));
    Some((number(bytes.get(skipped..skipped + 2)?, 16)?, skipped + 2))
}

fn literal(bytes: &[u8]) -> Option<(u8, usize)> {
    bytes.first().map(|&byte| (byte, 1))
}

/// An escape. What was escaped twice begins with an escaped `%` or `\`.
fn escape(bytes: &[u8]) -> Option<(u8, usize)> {
    match bytes.first()? {
        b'%' if bytes.starts_with(b"%25") => digits(bytes, 3, 2, 16).or(Some((b'%', 3))),
        b'%' | b'=' => digits(bytes, 1, 2, 16),
        b'&' => entity(bytes),
        b'\\' => backslash(bytes),
        _ => None,
    }
}

/// `\x61`, `\u0061`, `\u{61}`, `\141`, and a character that is its own escape.
fn backslash(bytes: &[u8]) -> Option<(u8, usize)> {
    let start = bytes.iter().take_while(|&&byte| byte == b'\\').count();
    match bytes.get(start)? {
        b'x' => digits(bytes, start + 1, 2, 16),
        b'u' if bytes.get(start + 1) == Some(&b'{') => {
            let length = bytes[start + 2..].iter().position(|&byte| byte == b'}')?;
            let value = number(&bytes[start + 2..start + 2 + length], 16)?;
            Some((value, start + length + 3))
        }
        b'u' => digits(bytes, start + 1, 4, 16),
        b'U' => digits(bytes, start + 1, 8, 16),
        b'0'..=b'7' => digits(bytes, start, 3, 8),
        &byte @ (b'"' | b'\'' | b'/') => Some((byte, start + 1)),
        // Backslashes that escape each other, once or twice.
        _ if start > 1 => Some((b'\\', start)),
        _ => None,
    }
}

/// `&#97;`, `&#x61;`, and the names of the five characters that HTML gives one.
fn entity(bytes: &[u8]) -> Option<(u8, usize)> {
    let end = bytes.iter().take(12).position(|&byte| byte == b';')?;
    let value = match &bytes[1..end] {
        [b'#', b'x' | b'X', rest @ ..] => number(rest, 16)?,
        [b'#', rest @ ..] => number(rest, 10)?,
        b"amp" => b'&',
        b"lt" => b'<',
        b"gt" => b'>',
        b"quot" => b'"',
        b"apos" => b'\'',
        _ => return None,
    };
    Some((value, end + 1))
}

fn digits(bytes: &[u8], start: usize, length: usize, radix: u32) -> Option<(u8, usize)> {
    Some((number(bytes.get(start..start + length)?, radix)?, start + length))
}

fn number(digits: &[u8], radix: u32) -> Option<u8> {
    let is_number = !digits.is_empty() && digits.iter().all(|&byte| char::from(byte).is_digit(radix));
    u8::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| is_number)?, radix).ok()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    fn redactor() -> Redactor {
        let mut redactor = Redactor::default();
        redactor.learn(&Credentials::Token(Secret::new("canary/1+\"é")));
        let (username, password) = (Secret::new("canary-user"), Secret::new("canary-2\\?"));
        redactor.learn(&Credentials::Basic { username, password });
        redactor
    }

    fn each(text: &str, form: impl Fn(u8) -> String) -> String {
        text.bytes().map(form).collect()
    }

    #[test]
    fn a_secret_is_in_no_words() {
        let token = Credentials::Token(Secret::new("canary-1"));
        let basic = Credentials::Basic { username: Secret::new("canary-user"), password: Secret::new("canary-2") };
        let mut redactor = Redactor::default();
        redactor.learn(&token);
        redactor.learn(&basic);
        assert!(!format!("{redactor:?}").contains("canary"));
        let echoed = format!("no {} and {}\r\n\tnor canary-2.", token.header().reveal(), basic.header().reveal());
        assert_eq!(redactor.clean(&echoed, 100), "no Bearer *** and Basic *** nor ***.");
    }

    #[test]
    fn a_secret_is_found_in_every_spelling() {
        for secret in ["canary/1+\"é", "canary-user", "canary-2\\?"] {
            let json = serde_json::to_string(secret).unwrap();
            let json = &json[1..json.len() - 1];
            for spelled in [
                secret.to_owned(),
                secret.to_ascii_uppercase(),
                each(secret, |byte| format!("%{byte:02x}")),
                each(secret, |byte| format!("%{byte:02X}")),
                each(secret, |byte| format!("%25{byte:02x}")),
                each(secret, |byte| {
                    if byte.is_ascii_alphanumeric() { char::from(byte).into() } else { format!("%{byte:02X}") }
                }),
                each(secret, |byte| format!("{byte:02x}")),
                each(secret, |byte| format!("{byte:02X}:")),
                each(secret, |byte| format!("\\x{byte:02x}")),
                each(secret, |byte| format!("\\{byte:03o}")),
                each(secret, |byte| format!("={byte:02X}")),
                each(secret, |byte| format!("&#{byte};")),
                each(secret, |byte| format!("&#x{byte:x};")),
                json.to_owned(),
                json.replace('\\', "\\\\"),
                secret.replace('"', "&quot;"),
                STANDARD.encode(secret),
                URL_SAFE.encode(secret),
            ] {
                let clean = redactor().clean(&format!("it said <{spelled}> to us"), 200);
                assert!(clean.starts_with("it said <***") && clean.ends_with("> to us"), "{spelled}: {clean}");
            }
        }
        let embedded = STANDARD.encode("Bearer canary-user");
        assert_eq!(redactor().clean(&embedded, 200), "QmVhcmVyIG***");
        let mut escaped = String::new();
        for unit in "canary-user".encode_utf16() {
            let _ = write!(escaped, "\\u{unit:04x}");
        }
        assert_eq!(redactor().clean(&escaped, 200), "***");
        assert_eq!(redactor().clean("got canary-us", 200), "got ***", "cut off by the end of the reply");
        assert_eq!(redactor().clean("a canary-bird sings 6361", 200), "a canary-bird sings 6361");
    }

    #[test]
    fn words_are_one_short_line() {
        assert_eq!(Redactor::default().clean("a\n\u{1b}[31mb\0  c", 100), "a [31mb c");
        assert_eq!(Redactor::default().clean("a\u{202e}b\u{2066}c\u{200b}\u{feff}d\u{2028}e", 100), "a b c d e");
        assert_eq!(Redactor::default().clean("äöü", 2), "äö…");
        let mut redactor = Redactor::default();
        redactor.learn(&Credentials::Token(Secret::new("a")));
        assert_eq!(redactor.clean("banana", 6), "banana", "too short to be looked for");
    }
}
