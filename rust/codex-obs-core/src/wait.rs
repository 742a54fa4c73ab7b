//! The exporter's patience: pauses that a close ends, and the deadline that a close sets.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::primitives::Instant;

/// The wishes to close and to fork, shared by the exporter's thread and whoever has them.
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
    place: Whereabouts,
    /// A fork is under way: whoever is outside stays there.
    held: bool,
}

/// Where the thread is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Whereabouts {
    /// It does nothing, or does not exist.
    #[default]
    Home,
    /// It works, perhaps with a lock that a forked child would find taken for ever.
    Working,
    /// It waits for others and holds nothing that a child could ask for.
    Outside,
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

    /// Notes whether the thread is at home.
    pub fn note_home(&self, is_home: bool) {
        self.lock().place = if is_home { Whereabouts::Home } else { Whereabouts::Working };
        self.changed.notify_all();
    }

    /// Goes outside until what is given is dropped: for work that waits for others and takes no lock of ours, such as a request.
    /// A fork does not wait for it; only the return from it waits for a fork.
    #[must_use]
    pub fn go_outside(&self) -> Outside<'_> {
        let place = std::mem::replace(&mut self.lock().place, Whereabouts::Outside);
        self.changed.notify_all();
        Outside { wait: self, place }
    }

    /// Waits until the thread is at home or outside, which it does not leave then before [`release`](Self::release); until
    /// `deadline` at most. Gives whether it is at home.
    pub fn hold(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        loop {
            match state.place {
                Whereabouts::Home => return true,
                Whereabouts::Outside => {
                    state.held = true;
                    return false;
                }
                Whereabouts::Working => {}
            }
            let rest = deadline.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero());
            let Some(rest) = rest else { return false };
            state = self.changed.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The fork is over: whoever was outside goes on as if nothing had been.
    pub fn release(&self) {
        let mut state = self.lock();
        if std::mem::take(&mut state.held) {
            state.halted = false;
        }
        self.changed.notify_all();
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

/// Outside: comes back when it is dropped, be it by a panic.
#[derive(Debug)]
pub struct Outside<'a> {
    wait: &'a Wait,
    place: Whereabouts,
}

impl Drop for Outside<'_> {
    fn drop(&mut self) {
        let mut state = self.wait.lock();
        while state.held {
            state = self.wait.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.place = self.place;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;

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
    fn who_is_outside_stays_there_while_the_process_forks() {
        let wait = Arc::new(Wait::default());
        assert!(wait.hold(Instant::now()), "at home");
        wait.note_home(false);
        assert!(!wait.hold(Instant::now()), "at work");
        let (leave, left) = channel();
        let (answer, answered) = channel();
        let (back, is_back) = channel();
        let working = std::thread::spawn({
            let wait = Arc::clone(&wait);
            move || {
                let outside = wait.go_outside();
                leave.send(()).unwrap();
                answered.recv().unwrap();
                drop(outside);
                back.send(wait.is_halted()).unwrap();
            }
        });
        left.recv().unwrap();
        wait.halt();
        assert!(!wait.hold(Instant::now() + LONG), "it does not wait for an hour");
        answer.send(()).unwrap();
        assert!(is_back.recv_timeout(Duration::from_millis(20)).is_err());
        wait.release();
        assert!(!is_back.recv().unwrap(), "it need not go home any more");
        working.join().unwrap();
        assert!(!wait.hold(Instant::now()), "at work again");
        wait.note_home(true);
        assert!(wait.hold(Instant::now()));
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
