//! The clock, as an argument: real in a run, moved by hand in a test.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where wall-clock time comes from. Cloning shares the clock.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The operating system's realtime clock.
    #[default]
    System,
    /// Microseconds since the epoch, moved by whoever holds the other end.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// Microseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    #[inline]
    pub fn now_micros(&self) -> i64 {
        match self {
            Self::System => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
                Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
            },
            // Relaxed: the value stands alone, nothing else is published by it.
            Self::Manual(micros) => micros.load(Ordering::Relaxed),
        }
    }
}
