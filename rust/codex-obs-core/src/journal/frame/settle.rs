//! What a call learns only when it holds the journal's lock: its step and its time.

use super::{FrameBuilder, OFFSET_STEP, OFFSET_TIMESTAMP, first_length};

impl FrameBuilder {
    /// The time of the call.
    #[must_use]
    #[inline]
    pub fn timestamp(&self) -> i64 {
        let bytes = self.bytes.get(OFFSET_TIMESTAMP..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| i64::from_le_bytes(*bytes))
    }

    /// Replaces the time of finished frames.
    #[cold]
    pub fn set_timestamp(&mut self, micros: i64) {
        self.replace(OFFSET_TIMESTAMP, micros);
    }

    /// Replaces the step of finished frames.
    pub fn set_step(&mut self, step: i64) {
        self.step = Some(step);
        self.replace(OFFSET_STEP, step);
    }

    /// Replaces a number at `offset` in each frame.
    #[inline]
    fn replace(&mut self, offset: usize, number: i64) {
        let bytes = number.to_le_bytes();
        let mut at = 0;
        while let Some(length) = first_length(&self.bytes[at..]) {
            self.bytes[at + offset..at + offset + 8].copy_from_slice(&bytes);
            at += length;
        }
    }
}
