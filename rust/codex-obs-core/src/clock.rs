//! The clock, as an argument: real in a run, moved by hand in a test.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where time comes from. Cloning shares the clock.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The operating system's clocks.
    #[default]
    System,
    /// Times that whoever holds the other end moves.
    Manual(Arc<ManualTime>),
}

/// A clock's time and the time that has passed, both moved by hand. Relaxed throughout: they publish nothing but themselves.
#[derive(Debug, Default)]
pub struct ManualTime {
    wall_micros: AtomicI64,
    passed_micros: AtomicI64,
}

impl ManualTime {
    /// A clock that shows `micros` since the epoch.
    #[must_use]
    pub fn new(micros: i64) -> Self {
        Self { wall_micros: AtomicI64::new(micros), passed_micros: AtomicI64::new(0) }
    }

    /// What the clock shows.
    #[must_use]
    pub fn micros(&self) -> i64 {
        self.wall_micros.load(Ordering::Relaxed)
    }

    /// Time passes; a negative time sets the clock back instead.
    pub fn advance(&self, micros: i64) {
        self.passed_micros.fetch_add(micros.max(0), Ordering::Relaxed);
        self.wall_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Lets time pass until the clock shows `micros`, or sets the clock back to it.
    pub fn set(&self, micros: i64) {
        self.advance(micros.saturating_sub(self.micros()));
    }

    /// Changes what the clock shows without any time passing.
    pub fn step(&self, micros: i64) {
        self.wall_micros.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Clock {
    /// Microseconds since 1970-01-01T00:00:00Z, as the clock is set.
    #[must_use]
    #[inline]
    pub fn now_micros(&self) -> i64 {
        match self {
            Self::System => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
                Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
            },
            Self::Manual(time) => time.micros(),
        }
    }

    /// Microseconds since some moment of this boot, whatever the clock is set to, with the time that the machine slept.
    #[must_use]
    pub fn passed_micros(&self) -> i64 {
        match self {
            Self::System => {
                let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
                // SAFETY: the pointer is to a value of the right type. Without that clock, which Linux has had since 2.6.39,
                // no time passes.
                unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
                time.tv_sec * 1_000_000 + time.tv_nsec / 1_000
            }
            Self::Manual(time) => time.passed_micros.load(Ordering::Relaxed),
        }
    }
}
