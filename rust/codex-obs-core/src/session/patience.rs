//! How long a call waits for room: only time in which the writer could work and did nothing counts.
//!
//! Ctrl-Z, a suspended laptop, a frozen control group, a debugger and a processor that others have taken stop the writer as
//! well as the caller. So time is counted in the short waits that the caller is seen to make, each up to its own length,
//! and not while the writer is ready to run.

use std::time::Duration;

use super::Session;
use crate::primitives::Instant;

/// A look at the writer now and then while waiting, in case its wake-up was missed.
const LOOK: Duration = Duration::from_millis(5);

/// So many looks at the writer at least before a caller gives up.
const LEAST_LOOKS: u32 = 4;

/// A wait that took longer than this many times what was asked for was interrupted.
const LONGEST_WAITS: u32 = 2;

/// How long a call has waited without a sign of life of the writer.
pub(super) struct Patience {
    progress: u64,
    silence: Duration,
}

impl Patience {
    fn new(progress: u64) -> Self {
        Self { progress, silence: Duration::ZERO }
    }

    /// Whether to wait on after a wait that counts as `silence` if the writer did not get beyond `progress`.
    fn goes_on(&mut self, progress: u64, silence: Duration, most: Duration) -> bool {
        if progress != self.progress {
            *self = Self::new(progress);
            return true;
        }
        self.silence += silence;
        self.silence < most
    }
}

impl Session {
    pub(super) fn patience(&self) -> Patience {
        Patience::new(self.progress())
    }

    /// What grows with everything that the writer does for those who wait.
    pub(super) fn progress(&self) -> u64 {
        self.ring.consumed().wrapping_add(self.pulse.beats())
    }

    /// Waits a moment for the writer. `false` once it has been silent for too long.
    pub(super) fn wait_for_room(&self, patience: &mut Patience) -> bool {
        let look = LOOK.min(self.settings.max_block / LEAST_LOOKS);
        let began = Instant::now();
        let mut longest = look * LONGEST_WAITS;
        if self.ensure_writer() {
            self.control.kick();
            self.control.wait_for_progress(look);
        } else if !self.station.work_here(&self.control) {
            // Nobody else does the work, so all of the time that it takes is the writer's.
            longest = Duration::MAX;
            self.control.wait_for_progress(look);
        }
        let progress = self.progress();
        let waited = if self.pulse.is_held_up() { Duration::ZERO } else { began.elapsed().min(longest) };
        if patience.goes_on(progress, waited, self.settings.max_block) {
            return true;
        }
        // Relaxed: a hint for the next call, which looks at the writer itself.
        self.stalled_at.store(progress, std::sync::atomic::Ordering::Relaxed);
        false
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::{Settings, Step, Time};
    use super::*;
    use crate::journal::frame::{Call, FrameBuilder};
    use crate::record::Tags;

    const MAX_BLOCK: Duration = Duration::from_millis(300);

    /// Logs until a row is dropped. Gives how long the last call took.
    fn log_until_dropped(session: &Session) -> Duration {
        loop {
            let (mut frames, began) = (FrameBuilder::default(), Instant::now());
            let call = Call { timestamp: 0, step: Some(0), split: "s", dataset: None, tags: &Tags::default() };
            frames.begin(&call, session.max_frame_bytes());
            (0..100).for_each(|_| frames.float("m", 0.5));
            frames.finish();
            if !session.try_log(&mut frames, Step::Given, Time::Now) {
                session.log_slowly(&mut frames, Step::Given, Time::Now);
            }
            if session.stats().rows_dropped_full.get() > 0 {
                return began.elapsed();
            }
        }
    }

    #[test]
    fn a_writer_that_is_stuck_is_given_up_and_one_that_shows_signs_of_life_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { ring_bytes: 256 << 10, max_block: MAX_BLOCK, ..Settings::default() };
        let session = Session::open(folder.path(), None, None, settings).unwrap();
        // The writer's thread cannot work, and waits.
        let work = session.station.take().unwrap();
        let pulse = &session.pulse;
        std::thread::scope(|scope| {
            let logger = scope.spawn(|| log_until_dropped(&session));
            let alive = Instant::now();
            while alive.elapsed() < MAX_BLOCK * 5 {
                pulse.beat();
                std::thread::sleep(MAX_BLOCK / 20);
            }
            assert_eq!(session.stats().rows_dropped_full.get(), 0, "it was alive all the time");
            let waited = logger.join().unwrap();
            assert!(waited >= MAX_BLOCK * 5 && waited < MAX_BLOCK * 100, "{waited:?}");
        });
        assert_eq!(session.stats().rows_dropped_full.get(), 100);
        session.station.put(work);
        assert!(session.close(None));
        assert_eq!(session.stats().rows_written.get() + 100, session.stats().rows_logged.get());
    }

    #[test]
    fn only_silence_without_any_progress_uses_patience_up() {
        let most = Duration::from_millis(10);
        let (mut patience, step) = (Patience::new(7), Duration::from_millis(4));
        assert!(patience.goes_on(7, step, most) && patience.goes_on(7, step, most));
        assert!(patience.goes_on(7, Duration::ZERO, most), "the writer was not allowed to work");
        assert!(patience.goes_on(8, Duration::from_secs(9), most), "it got on");
        assert!(patience.goes_on(8, step, most) && patience.goes_on(8, step, most));
        assert!(!patience.goes_on(8, step, most));
        assert!(!Patience::new(0).goes_on(0, Duration::ZERO, Duration::ZERO), "without any patience");
    }
}
