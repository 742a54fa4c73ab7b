//! What passes between the writer thread and everyone else: wake-ups, progress, the wish to stop.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::primitives::{AtomicBool, Condvar, Instant, Mutex, MutexGuard};

/// The shared state.
#[derive(Debug, Default)]
pub struct Control {
    state: Mutex<State>,
    wake: Condvar,
    progress: Condvar,
    /// Set while the writer waits: only then a wake-up is worth a system call.
    parked: AtomicBool,
}

#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent wishes of several threads, not one state")]
struct State {
    /// There is much to write.
    kicked: bool,
    /// Someone waits for an attempt to write.
    awaited: bool,
    stop: bool,
    /// Everything published before this position is in the files.
    written: u64,
    /// Whether the last attempt to write failed.
    failing: bool,
    /// Attempts that failed, ever.
    failures: u64,
}

/// Why a wait for the writer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// What was waited for is in the files.
    Written,
    /// The writer cannot write.
    Failing,
    /// The time is up.
    TimedOut,
}

impl Control {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the writer if it sleeps.
    pub fn kick(&self) {
        self.lock().kicked = true;
        self.wake.notify_one();
    }

    /// Wakes the writer if it sleeps; costs one load if it does not.
    #[inline]
    pub fn kick_if_parked(&self) {
        // Relaxed: a wake-up missed here only waits for the writer's next look by itself.
        if self.parked.load(Ordering::Relaxed) {
            self.kick();
        }
    }

    /// Asks the writer to end after its current batch.
    pub fn request_stop(&self) {
        self.lock().stop = true;
        self.wake.notify_one();
    }

    /// Takes the request back, so that a writer can be started again.
    pub fn clear_stop(&self) {
        self.lock().stop = false;
    }

    /// Whether the writer is to end.
    #[must_use]
    pub fn must_stop(&self) -> bool {
        self.lock().stop
    }

    /// The writer's sleep: at most `timeout`, shorter if someone asks for it. Gives whether to stop.
    pub fn sleep(&self, timeout: Duration) -> bool {
        self.parked.store(true, Ordering::Relaxed);
        let state = self.lock();
        let (mut state, _) = self
            .wake
            .wait_timeout_while(state, timeout, |state| !state.kicked && !state.awaited && !state.stop)
            .unwrap_or_else(PoisonError::into_inner);
        state.kicked = false;
        state.awaited = false;
        self.parked.store(false, Ordering::Relaxed);
        state.stop
    }

    /// The writer's pause after a failure: at most `timeout`, shorter only for someone who waits for an attempt, or the wish
    /// to stop. Gives whether to stop.
    pub fn pause(&self, timeout: Duration) -> bool {
        let state = self.lock();
        let (mut state, _) = self
            .wake
            .wait_timeout_while(state, timeout, |state| !state.awaited && !state.stop)
            .unwrap_or_else(PoisonError::into_inner);
        state.awaited = false;
        state.stop
    }

    /// The writer says how far the files are.
    pub fn note_written(&self, position: u64) {
        let mut state = self.lock();
        state.written = position;
        state.failing = false;
        drop(state);
        self.progress.notify_all();
    }

    /// The writer says that an attempt failed.
    pub fn note_failure(&self) {
        let mut state = self.lock();
        state.failing = true;
        state.failures += 1;
        drop(state);
        self.progress.notify_all();
    }

    /// Waits at most `timeout` for any sign of life of the writer.
    pub fn wait_for_progress(&self, timeout: Duration) {
        let state = self.lock();
        drop(self.progress.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until all before `position` is in the files, until `deadline`, or until an attempt to write made from now on
    /// fails.
    pub fn wait_until_written(&self, position: u64, deadline: Instant) -> Waited {
        let mut state = self.lock();
        let failures = state.failures;
        state.awaited = true;
        self.wake.notify_one();
        loop {
            if state.written >= position {
                return Waited::Written;
            }
            if state.failing && state.failures > failures {
                return Waited::Failing;
            }
            let Some(rest) = deadline.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) else {
                return Waited::TimedOut;
            };
            state = self.progress.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(all(test, loom))]
#[path = "control_model.rs"]
mod model;
