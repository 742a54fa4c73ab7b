//! Lines for the tracking summary from threads that must not wait for room in the journal.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::drain::Drain;
use crate::paths::FileKind;

/// Lines kept at most while nothing can be written; the oldest go first.
const MAX_LINES: usize = 64;

/// A queue that the writer works off between two batches.
#[derive(Debug, Default)]
pub struct Notes {
    waiting: AtomicBool,
    lines: Mutex<Vec<Vec<u8>>>,
}

impl Notes {
    /// Queues a finished line.
    pub fn push(&self, line: Vec<u8>) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= MAX_LINES {
            lines.remove(0);
        }
        lines.push(line);
        // Release: pairs with the acquire in `write`.
        self.waiting.store(true, Ordering::Release);
    }

    /// What is queued, for who has no writer.
    #[must_use]
    pub fn take(&self) -> Vec<Vec<u8>> {
        self.waiting.store(false, Ordering::Release);
        std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes what is queued; what cannot be written waits for the next time.
    #[inline]
    pub fn write(&self, drain: &mut Drain) {
        if self.waiting.load(Ordering::Acquire) {
            self.write_all(drain);
        }
    }

    #[cold]
    fn write_all(&self, drain: &mut Drain) {
        for line in self.take() {
            if let Err(error) = drain.write_line(FileKind::Summary, &line) {
                drain.note_error(&error);
                self.push(line);
            }
        }
    }
}
