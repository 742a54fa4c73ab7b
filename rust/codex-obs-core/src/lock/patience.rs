//! How long to wait for other processes that are taking locks: they may stand still.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// An end to all waiting of one piece of work, however many locks it asks for.
#[derive(Debug)]
pub struct Patience {
    until: Mutex<Instant>,
    /// What [`begin_again`](Self::begin_again) gives.
    each: Option<Duration>,
    stopped: AtomicBool,
}

impl Patience {
    /// For so long from now on.
    #[must_use]
    pub fn of(wait: Duration) -> Self {
        Self { until: Mutex::new(Instant::now() + wait), each: None, stopped: AtomicBool::new(false) }
    }

    /// For so long with each of those that are waited for: that they are many is no sign that one of them stands still.
    #[must_use]
    pub fn of_each(wait: Duration) -> Self {
        Self { each: Some(wait), ..Self::of(wait) }
    }

    /// Says that another one is waited for now.
    pub fn begin_again(&self) {
        if let Some(wait) = self.each {
            *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + wait;
        }
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
        self.is_stopped() || Instant::now() >= *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
