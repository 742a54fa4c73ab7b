//! What passes between the writer thread and everyone else: wake-ups, progress, the wish to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
struct State {
    kicked: bool,
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
            .wait_timeout_while(state, timeout, |state| !state.kicked && !state.stop)
            .unwrap_or_else(PoisonError::into_inner);
        state.kicked = false;
        self.parked.store(false, Ordering::Relaxed);
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

    /// Waits until all before `position` is in the files, until `deadline` (`None`: for ever), or until an attempt to write
    /// made from now on fails.
    pub fn wait_until_written(&self, position: u64, deadline: Option<Instant>) -> Waited {
        let mut state = self.lock();
        let failures = state.failures;
        loop {
            if state.written >= position {
                return Waited::Written;
            }
            if state.failing && state.failures > failures {
                return Waited::Failing;
            }
            state.kicked = true;
            self.wake.notify_one();
            let rest = match deadline {
                Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
                    Some(rest) if !rest.is_zero() => rest,
                    _ => return Waited::TimedOut,
                },
                // A look now and then, in case the writer's thread was lost with a fork.
                None => Duration::from_millis(100),
            };
            state = self.progress.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
