//! The exporter's patience: pauses that a close ends, and the deadline that a close sets.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::sync::Instant;

/// The wish to close and its deadline, shared by the exporter's thread and whoever closes it.
#[derive(Debug, Default)]
pub struct Wait {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    closing: bool,
    /// Nothing is tried after this; `None` is for ever.
    deadline: Option<Instant>,
    /// The thread has to go home for a moment.
    halted: bool,
}

impl Wait {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the pause of the moment and sets the time for what is still tried. A later call can only shorten it.
    pub fn close(&self, deadline: Option<Instant>) {
        let mut state = self.lock();
        state.deadline = match (state.closing, state.deadline, deadline) {
            (true, Some(known), Some(deadline)) => Some(known.min(deadline)),
            (true, Some(known), None) => Some(known),
            (_, _, deadline) => deadline,
        };
        state.closing = true;
        self.changed.notify_all();
    }

    /// Ends the pause of the moment and those to come: the process forks.
    pub fn halt(&self) {
        self.lock().halted = true;
        self.changed.notify_all();
    }

    /// Takes [`halt`](Self::halt) back.
    pub fn resume(&self) {
        self.lock().halted = false;
    }

    /// Whether [`halt`](Self::halt) was called.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.lock().halted
    }

    /// Whether [`close`](Self::close) was called.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// Time that is left; `None` while there is no deadline.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.lock().deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Whether the deadline has passed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.remaining().is_some_and(|rest| rest.is_zero())
    }

    /// The time that an attempt may take which would take `longest` if there were no deadline.
    #[must_use]
    pub fn at_most(&self, longest: Duration) -> Duration {
        self.remaining().map_or(longest, |rest| rest.min(longest))
    }

    /// A back-off. A close that begins meanwhile ends it at once; one that began before does not, but its deadline does.
    /// Gives whether there is time for another attempt.
    pub fn pause(&self, duration: Duration) -> bool {
        let until = Instant::now() + duration;
        let mut state = self.lock();
        let began_closing = state.closing;
        loop {
            let now = Instant::now();
            if state.deadline.is_some_and(|deadline| now >= deadline) {
                return false;
            }
            if now >= until || state.halted || state.closing != began_closing {
                return true;
            }
            let end = state.deadline.map_or(until, |deadline| deadline.min(until));
            state = self.changed.wait_timeout(state, end - now).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const LONG: Duration = Duration::from_hours(1);

    #[test]
    fn a_close_ends_a_pause_and_bounds_the_next() {
        let wait = Arc::new(Wait::default());
        let paused = std::thread::spawn({
            let wait = Arc::clone(&wait);
            move || wait.pause(LONG)
        });
        wait.close(Some(Instant::now() + LONG / 2));
        // The pause may have begun after the close, which then bounds it by the deadline only.
        wait.close(Some(Instant::now()));
        paused.join().unwrap();
        assert!(wait.is_closing() && wait.is_over());
        assert!(!wait.pause(LONG));
        assert_eq!(wait.at_most(LONG), Duration::ZERO);
        wait.close(None);
        assert!(wait.is_over(), "a close does not lengthen the time of an earlier one");
    }

    #[test]
    fn a_halt_ends_pauses_until_it_is_taken_back() {
        let wait = Wait::default();
        wait.halt();
        assert!(wait.pause(LONG) && wait.is_halted());
        wait.resume();
        wait.close(None);
        assert!(!wait.is_halted());
        assert_eq!((wait.remaining(), wait.at_most(LONG)), (None, LONG));
    }
}
