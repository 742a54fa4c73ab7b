//! The tags of one call, as canonical JSON text, with the places where the writer may add a key of its own.

/// Keys of `tags` that the log itself sets, in key order. A caller's own are dropped.
pub const RESERVED: [&str; 3] = ["manifest_id", "nonfinite", "unreadable"];

/// A JSON object in canonical form (keys sorted by code point, ASCII) without the reserved keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// The object's text with its braces; empty for no tags.
    pub text: Vec<u8>,
    /// For each of [`RESERVED`]: the offset in `text` of the first key greater than it, or of the closing brace.
    pub marks: [u32; 3],
}

impl Tags {
    /// Forgets the tags but keeps the allocation.
    pub fn clear(&mut self) {
        self.text.clear();
        self.marks = [0; 3];
    }

    /// Whether there is no tag.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}
