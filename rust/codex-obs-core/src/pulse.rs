//! Signs of life of a writer thread, for those who wait for it and want to know a thread that is stuck from one that works,
//! or that is not allowed to.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// What one writer shows of itself. Relaxed throughout: it publishes nothing but itself.
#[derive(Debug, Default)]
pub struct Pulse {
    /// Steps of work that take no byte out of the journal, such as a rename.
    beats: AtomicU64,
    /// The thread that works, as the kernel calls it; 0 if none does.
    thread: AtomicI32,
}

impl Pulse {
    /// A step was done.
    #[inline]
    pub fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Steps done so far.
    #[must_use]
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// The calling thread works from now on.
    pub fn begin(&self) {
        self.thread.store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::Relaxed);
    }

    /// No thread works any more.
    pub fn end(&self) {
        self.thread.store(0, Ordering::Relaxed);
    }

    /// Whether the thread would work if it were allowed to: it is ready to run, though nobody gives it a processor, or a
    /// debugger has stopped it. One that waits for a disk is not, nor one of which nothing can be learned.
    #[must_use]
    pub fn is_held_up(&self) -> bool {
        let thread = self.thread.load(Ordering::Relaxed);
        if thread == 0 {
            return false;
        }
        let Ok(stat) = std::fs::read(format!("/proc/self/task/{thread}/stat")) else { return false };
        // The name in parentheses may itself hold some; the state stands behind the last one.
        let state = stat.iter().rposition(|byte| *byte == b')').and_then(|at| stat.get(at + 2));
        matches!(state, Some(b'R' | b'T' | b't'))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_thread_that_waits_is_told_from_one_that_is_ready_to_run() {
        let (pulse, stop) = (Arc::new(Pulse::default()), Arc::new(AtomicBool::new(false)));
        assert!(!pulse.is_held_up(), "there is no thread");
        let ((begun, has_begun), (wake, is_woken)) = (channel(), channel::<()>());
        let thread = std::thread::spawn({
            let (pulse, stop) = (Arc::clone(&pulse), Arc::clone(&stop));
            move || {
                pulse.begin();
                begun.send(()).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
                begun.send(()).unwrap();
                is_woken.recv().unwrap();
            }
        });
        has_begun.recv().unwrap();
        assert!(pulse.is_held_up());
        stop.store(true, Ordering::Relaxed);
        has_begun.recv().unwrap();
        while pulse.is_held_up() {
            std::thread::yield_now();
        }
        wake.send(()).unwrap();
        thread.join().unwrap();
        pulse.end();
        assert!(!pulse.is_held_up());
    }
}
