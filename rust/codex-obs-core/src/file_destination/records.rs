//! Whole records on their way to a file.

/// Encoded records, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    /// Where the last record begins.
    last: usize,
}

impl Records {
    /// Begins a record; what is pushed until the next one belongs to it.
    pub fn begin(&mut self) -> &mut Vec<u8> {
        self.last = self.bytes.len();
        &mut self.bytes
    }

    /// Goes on with the last record.
    pub fn more(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// All of them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The last one.
    #[must_use]
    pub fn last(&self) -> &[u8] {
        &self.bytes[self.last..]
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Forgets them; their memory is used again.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.last = 0;
    }
}
