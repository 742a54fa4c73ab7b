//! The times of a session's rows: those of the clock, except that they never go back.
//!
//! If the clock is set back, they go on at the rate of the clock that nobody sets. They stay ahead by as much until the clock
//! is set forward again, of which they then skip as much as they were ahead. The clocks are compared by whoever finds that
//! time has jumped, and by the writer thread whenever it looks at the ring, so a call of `log` costs two comparisons.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::clock::{Clock, Moment};
use crate::stats::Stats;

/// Clocks that differ by less than this have not been set: the two are not read in one instant.
const TOLERANCE_MICROS: i64 = 1_000;

/// The clocks were not compared yet.
const UNKNOWN: i64 = i64::MIN;

/// A clock that is corrected by slowing it down loses at most this part of the time that passes: 500 millionths by the kernel,
/// twice as much to be sure.
const LARGEST_SLEW: i64 = 1_000;

/// Nor is more than this taken for such a correction, however long ago the clocks were compared.
const LONGEST_SLEW_MICROS: i64 = 500_000;

/// Rows that follow each other within this time are taken to be in order without comparing the clocks.
const USUAL_GAP_MICROS: u64 = 1_000_000;

/// The times of one session. Relaxed throughout: who needs the order of two times holds the journal's lock.
#[derive(Debug)]
pub struct Timeline {
    clock: Clock,
    stats: Arc<Stats>,
    /// How far it is ahead of the clock.
    ahead: AtomicI64,
    /// What the clock was ahead of the time that had passed at the last comparison.
    offset: AtomicI64,
    /// The time that had passed then.
    compared_at: AtomicI64,
    /// The latest time of a row.
    last: AtomicI64,
}

impl Timeline {
    /// Begins with what the clock shows.
    #[must_use]
    pub fn new(clock: Clock, stats: Arc<Stats>) -> Self {
        let moment = clock.moment();
        Self {
            clock,
            stats,
            ahead: AtomicI64::new(0),
            offset: AtomicI64::new(
                moment.map_or(UNKNOWN, |moment| moment.wall_micros.wrapping_sub(moment.passed_micros)),
            ),
            compared_at: AtomicI64::new(moment.map_or(0, |moment| moment.passed_micros)),
            last: AtomicI64::new(i64::MIN),
        }
    }

    /// Goes on where `parent` was when this process was forked from its own.
    #[must_use]
    pub fn after(parent: &Self, stats: Arc<Stats>) -> Self {
        let copy = |value: &AtomicI64| AtomicI64::new(value.load(Ordering::Relaxed));
        Self {
            clock: parent.clock.clone(),
            stats,
            ahead: copy(&parent.ahead),
            offset: copy(&parent.offset),
            compared_at: copy(&parent.compared_at),
            last: copy(&parent.last),
        }
    }

    /// The present time. It is only [`settle`](Self::settle)d that it is not before that of a row.
    #[must_use]
    #[inline]
    pub fn now_micros(&self) -> i64 {
        self.clock.now_micros().saturating_add(self.ahead.load(Ordering::Relaxed))
    }

    /// The present time, not before that of any row.
    #[must_use]
    pub fn present_micros(&self) -> i64 {
        self.compare();
        self.now_micros().max(self.last.load(Ordering::Relaxed))
    }

    /// The time of a row that was logged at `micros` and stands behind all others: that one, unless time went back. The
    /// caller holds the journal's lock.
    #[inline]
    pub fn settle(&self, micros: i64) -> i64 {
        let last = self.last.load(Ordering::Relaxed);
        // One comparison for both: a time before the last is far beyond it as a number without a sign.
        let settled =
            if micros.wrapping_sub(last) as u64 <= USUAL_GAP_MICROS { micros } else { self.check(micros, last) };
        self.last.store(settled, Ordering::Relaxed);
        settled
    }

    /// As [`settle`](Self::settle), where time seems to have jumped.
    #[cold]
    fn check(&self, micros: i64, last: i64) -> i64 {
        match self.look() {
            // What the caller read was a clock that has been set since.
            Some(true) => return self.now_micros().max(last),
            Some(false) => {}
            None => return micros.max(last),
        }
        // A row that got its time while the clock was being set may be far ahead. The others go on from there.
        let behind = last.saturating_sub(self.now_micros());
        if last > i64::MIN && behind > USUAL_GAP_MICROS as i64 {
            self.ahead.fetch_add(behind, Ordering::Relaxed);
        }
        // Else another thread was faster between its look at the clock and the journal.
        micros.max(last)
    }

    /// Compares the clocks. Gives whether one was set since the last comparison, by anyone.
    pub fn compare(&self) -> bool {
        self.look() == Some(true)
    }

    /// As [`compare`](Self::compare); `None` if they could not be compared just now.
    fn look(&self) -> Option<bool> {
        let known = self.offset.load(Ordering::Relaxed);
        let Moment { wall_micros, passed_micros: passed } = self.clock.moment()?;
        let offset = wall_micros.wrapping_sub(passed);
        let moved = offset.wrapping_sub(known);
        let slept = passed.wrapping_sub(self.compared_at.load(Ordering::Relaxed)).max(0);
        let is_set = known != UNKNOWN
            && moved.unsigned_abs() > (TOLERANCE_MICROS + (slept / LARGEST_SLEW).min(LONGEST_SLEW_MICROS)) as u64;
        // Who is slower leaves the same step of the clock to the other.
        if self.offset.compare_exchange(known, offset, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return Some(true);
        }
        self.compared_at.store(passed, Ordering::Relaxed);
        if !is_set {
            return Some(false);
        }
        if moved < 0 {
            self.stats.clock_steps_back.add(1);
        }
        let catch_up =
            |ahead: i64| Some(if moved < 0 { ahead.saturating_sub(moved) } else { ahead.saturating_sub(moved).max(0) });
        let _ = self.ahead.fetch_update(Ordering::Relaxed, Ordering::Relaxed, catch_up);
        Some(true)
    }
}

#[cfg(test)]
#[path = "timeline_tests.rs"]
mod tests;
