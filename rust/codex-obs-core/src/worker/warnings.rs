//! What a user should hear of, queued until a thread that may speak comes by.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::problem::Problem;
use crate::words::count;

/// At most one warning of a kind in this time.
const INTERVAL: Duration = Duration::from_secs(10);

/// Problems kept at most until somebody takes them.
const MAX_PROBLEMS: usize = 256;

/// A queue of warnings, at most one of a kind per ten seconds.
#[derive(Debug, Default)]
pub struct Warnings {
    /// What stands before each text: which run it is about.
    about: String,
    waiting: AtomicBool,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    problems: Vec<Problem>,
    /// By kind, and by what it is about.
    last: HashMap<(&'static str, String), (Instant, u64)>,
}

impl Warnings {
    /// A queue for the warnings about the run called `name`.
    #[must_use]
    pub fn about_run(name: &str) -> Self {
        Self { about: format!("run {name}: "), ..Self::default() }
    }

    /// Queues `text` unless one of its `kind` was queued a moment ago; then it is counted for the next one.
    pub fn push(&self, kind: &'static str, text: impl FnOnce() -> String) {
        self.push_about(kind, "", text);
    }

    /// As [`push`](Self::push), but each that it is `about` counts by itself: a destination, say.
    pub fn push_about(&self, kind: &'static str, about: &str, text: impl FnOnce() -> String) {
        let key = (kind, about.to_owned());
        let now = Instant::now();
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let text = match queue.last.get_mut(&key) {
            Some((since, suppressed)) if now.duration_since(*since) < INTERVAL => {
                *suppressed += 1;
                return;
            }
            Some((_, 0)) | None => text(),
            Some((_, suppressed)) => {
                format!("{} (and {} more since the last warning)", text(), count(*suppressed, "time"))
            }
        };
        queue.last.insert(key, (now, 0));
        queue.problems.push(text.into());
        // Release: pairs with the acquire in `waiting`.
        self.waiting.store(true, Ordering::Release);
    }

    /// Queues what is said once anyway.
    pub fn say(&self, problem: impl Into<Problem>) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.problems.len() < MAX_PROBLEMS {
            queue.problems.push(problem.into());
        }
        self.waiting.store(true, Ordering::Release);
    }

    /// Whether there is something to take. One load.
    #[must_use]
    #[inline]
    pub fn waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// Takes what is queued.
    #[must_use]
    pub fn take(&self) -> Vec<Problem> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.store(false, Ordering::Release);
        let problems = std::mem::take(&mut queue.problems);
        problems.into_iter().map(|problem| problem.in_words(|what| format!("{}{what}", self.about))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_warning_of_a_kind_at_a_time() {
        let warnings = Warnings::default();
        assert!(!warnings.waiting());
        for _ in 0..3 {
            warnings.push("full", || "the ring is full".into());
        }
        warnings.push("disk", || "the disk is full".into());
        for about in ["a", "b", "a"] {
            warnings.push_about("export", about, || format!("{about} is down"));
        }
        assert!(warnings.waiting());
        let said = ["the ring is full", "the disk is full", "a is down", "b is down"];
        assert_eq!(warnings.take(), said.map(Problem::from));
        assert!(!warnings.waiting());
    }
}
