//! Stand-ins for a model.
//!
//! Time stands still but for waits that time out. A wait with a timeout of at most [`POLL`] is a look now and then: it ends
//! at once, after the others had their turn. A longer one never times out, so that a wake-up that is missed is found.

use std::cell::Cell;
use std::ops::{Add, Deref, DerefMut, Sub};
use std::sync::{Arc, LockResult, PoisonError, TryLockError, TryLockResult};
use std::time::Duration;

pub use loom::sync::atomic::{AtomicBool, AtomicU64};
pub use loom::thread::{Builder, JoinHandle, yield_now};

const POLL: Duration = Duration::from_secs(1);

thread_local! {
    /// The time of the model, all threads of which run on one real one.
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Tries every interleaving of `run` with at most `preemptions` moments at which a thread has to stop for another one, but not
/// more than `most`: threads that look at each other now and then have no end of them.
pub fn explore(preemptions: usize, most: usize, run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 100_000;
    builder.max_permutations = Some(most);
    // Whether there were enough is looked at after each so many.
    builder.checkpoint_interval = 1000;
    let tried = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = Arc::clone(&tried);
    builder.check(move || {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        NOW.set(Duration::ZERO);
        run();
    });
    println!("{} interleavings", tried.load(std::sync::atomic::Ordering::Relaxed));
}

/// A time of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(Duration);

impl Instant {
    /// What time it is.
    #[must_use]
    pub fn now() -> Self {
        Self(NOW.get())
    }

    /// The time that much later, unless no clock can show it.
    #[must_use]
    pub fn checked_add(&self, later: Duration) -> Option<Self> {
        self.0.checked_add(later).map(Self)
    }

    /// The time that much earlier, unless no clock can show it.
    #[must_use]
    pub fn checked_sub(&self, earlier: Duration) -> Option<Self> {
        self.0.checked_sub(earlier).map(Self)
    }

    /// The time from `earlier` to this, unless that is later.
    #[must_use]
    pub fn checked_duration_since(&self, earlier: Self) -> Option<Duration> {
        self.0.checked_sub(earlier.0)
    }

    /// The time from `earlier` to this, or none if that is later.
    #[must_use]
    pub fn saturating_duration_since(&self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The time since then.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Self::now().0 - self.0
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        Self(self.0 + later)
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.0 - earlier.0
    }
}

/// A lock.
#[derive(Debug, Default)]
pub struct Mutex<T>(loom::sync::Mutex<T>);

/// A lock that is held.
#[derive(Debug)]
pub struct MutexGuard<'a, T> {
    of: &'a Mutex<T>,
    /// `None` only while its holder waits.
    held: Option<loom::sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    /// A lock around `inside`.
    pub fn new(inside: T) -> Self {
        Self(loom::sync::Mutex::new(inside))
    }

    /// Takes the lock.
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(MutexGuard { of: self, held: Some(held) })
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(held) => Ok(MutexGuard { of: self, held: Some(held) }),
            Err(_) => Err(TryLockError::WouldBlock),
        }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect("the lock is held")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("the lock is held")
    }
}

/// A place to wait at.
#[derive(Debug, Default)]
pub struct Condvar(loom::sync::Condvar);

impl Condvar {
    /// A place where nobody waits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes one thread.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes all threads.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }

    /// Waits until woken.
    pub fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        let held = guard.held.take().expect("the lock is held");
        guard.held = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
        Ok(guard)
    }

    /// Waits until woken or, where that is meant to happen, until the time is up, of which the second part tells.
    pub fn wait_timeout<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, bool)> {
        if timeout > POLL {
            return Ok((self.wait(guard).unwrap_or_else(PoisonError::into_inner), false));
        }
        drop(guard.held.take());
        NOW.set(NOW.get() + timeout);
        yield_now();
        guard.held = Some(guard.of.0.lock().unwrap_or_else(PoisonError::into_inner));
        Ok((guard, true))
    }

    /// As [`wait_timeout`](Self::wait_timeout), for as long as `condition` holds.
    pub fn wait_timeout_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        timeout: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, bool)> {
        let mut timed_out = false;
        while !timed_out && condition(&mut guard) {
            (guard, timed_out) = self.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner);
        }
        Ok((guard, timed_out))
    }
}

/// Does not wait: nothing may depend on a thread being gone by a deadline.
pub fn join_by(_handle: JoinHandle<()>, _deadline: Instant) {}

/// Does `work`. A panic is what the model was made to find.
pub fn survives(work: impl FnOnce()) -> bool {
    work();
    true
}
