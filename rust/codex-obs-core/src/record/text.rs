//! Text of bounded length.

use crate::limits::MAX_TEXT_BYTES;

/// `text` cut at a character so that it has at most [`MAX_TEXT_BYTES`] bytes, and whether it was cut.
#[must_use]
#[inline]
pub fn cut(text: &str) -> (&str, bool) {
    if text.len() <= MAX_TEXT_BYTES {
        return (text, false);
    }
    (&text[..text.floor_char_boundary(MAX_TEXT_BYTES)], true)
}
