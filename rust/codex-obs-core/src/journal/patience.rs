//! How long to wait for other processes that are taking locks: they may stand still.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// An end to all waiting of one piece of work, however many locks it asks for.
#[derive(Debug)]
pub struct Patience {
    until: Instant,
    stopped: AtomicBool,
}

impl Patience {
    /// For so long from now on.
    #[must_use]
    pub fn of(wait: Duration) -> Self {
        Self { until: Instant::now() + wait, stopped: AtomicBool::new(false) }
    }

    /// Ends it now: the user wants no more of it.
    pub fn stop(&self) {
        // Relaxed: the flag guards nothing but itself.
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether it was ended by [`stop`](Self::stop).
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Whether nothing is waited for any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_stopped() || Instant::now() >= self.until
    }
}
