//! The tags of a row: some of them by name, all of them as text.

use super::field::bounded;
use super::json::{Cursor, Token};

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
    /// Whether one of these texts was longer than the writer keeps, and was cut.
    pub cut: bool,
}

impl Tags<'_> {
    /// No tags.
    pub const NONE: Self = Self { json: "{}", nonfinite: None, manifest_id: None, phase: None, cut: false };
}

/// Tags that outlive their line.
#[derive(Debug, Default)]
pub struct OwnedTags {
    json: String,
    texts: [Option<String>; KEYS.len()],
    cut: bool,
}

const KEYS: [&str; 3] = ["nonfinite", "manifest_id", "phase"];

impl OwnedTags {
    /// Keeps those of an object's text that is known to be valid.
    pub fn set(&mut self, json: &str) {
        json.clone_into(&mut self.json);
        let mut scratch = Default::default();
        let tags = read_tags(json, &mut scratch);
        self.cut = tags.cut;
        self.texts = [tags.nonfinite, tags.manifest_id, tags.phase].map(|text| text.map(str::to_owned));
    }

    /// The tags.
    #[inline]
    #[must_use]
    pub fn borrow(&self) -> Tags<'_> {
        let [nonfinite, manifest_id, phase] = &self.texts;
        Tags {
            json: &self.json,
            nonfinite: nonfinite.as_deref(),
            manifest_id: manifest_id.as_deref(),
            phase: phase.as_deref(),
            cut: self.cut,
        }
    }
}

/// Picks the known tags from an object's text that is known to be valid.
pub fn read_tags<'a>(json: &'a str, texts: &'a mut [String; 3]) -> Tags<'a> {
    if json == Tags::NONE.json {
        return Tags::NONE;
    }
    let mut found: [Option<Token<'a>>; 3] = [None; 3];
    let mut cursor = Cursor::new(json);
    cursor.take(b'{');
    // The text was read as an object before, so this cannot fail.
    let _ = cursor.members(None, |key, value, _| {
        if let Some(index) = KEYS.iter().position(|known| key.equals(known)) {
            found[index] = Some(value);
        }
    });
    let [nonfinite, manifest_id, phase] = texts;
    let mut cut = false;
    let mut text = |token, scratch: &'a mut String| match token {
        Some(Token::Text(text)) => {
            let (text, is_cut) = bounded(text, scratch);
            cut |= is_cut;
            Some(text)
        }
        _ => None,
    };
    let (nonfinite, manifest_id, phase) =
        (text(found[0], nonfinite), text(found[1], manifest_id), text(found[2], phase));
    Tags { json, nonfinite, manifest_id, phase, cut }
}
