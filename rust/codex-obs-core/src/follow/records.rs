//! Lines as they are, for destinations that follow spans or samples of the machine.

use super::follower::{Intake, Taken};
use crate::error::Result;
use crate::limits::{RECORD_BATCH, RECORD_BATCH_BYTES};

/// Lines of a log, without their newlines.
#[derive(Debug, Default)]
pub struct Records {
    /// The lines.
    pub lines: Vec<Box<str>>,
    bytes: usize,
}

impl Records {
    /// Forgets the lines, which went.
    pub fn clear(&mut self) {
        (self.lines, self.bytes) = (Vec::new(), 0);
    }
}

impl Intake for Records {
    fn take(&mut self, line: &[u8]) -> Result<Taken> {
        let Ok(text) = std::str::from_utf8(line) else { return Ok(Taken::Refused) };
        let text = text.trim();
        if text.is_empty() {
            return Ok(Taken::Line);
        }
        // Valid, but not taken apart: what it says is between its writer and the destination.
        if !text.starts_with('{') || serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
            return Ok(Taken::Refused);
        }
        self.bytes += text.len();
        self.lines.push(text.into());
        Ok(Taken::Line)
    }

    fn is_full(&self) -> bool {
        self.lines.len() >= RECORD_BATCH || self.bytes >= RECORD_BATCH_BYTES
    }
}
