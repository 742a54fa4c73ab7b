//! The session's threads: started when there is work, paused for a fork, ended by close.

use std::sync::atomic::Ordering;
use std::sync::{PoisonError, TryLockError};
use std::time::Duration;

use super::Session;
use crate::deliver::thread::DeliveryThread;
use crate::primitives::{Instant, JoinHandle, MutexGuard, join_by, yield_now};
use crate::worker::syncer::SyncPolicy;

/// Handles of the threads that were started.
#[derive(Debug, Default)]
pub(super) struct Threads {
    writer: Option<JoinHandle<()>>,
    syncer: Option<JoinHandle<()>>,
    /// No thread is started any more.
    pub(super) ended: bool,
}

/// Time for a thread that has nothing to do any more to leave.
const LEAVE: Duration = Duration::from_millis(50);

impl Session {
    fn lock_threads(&self) -> MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes sure that the writer thread runs. `false` if it cannot be started.
    #[inline]
    pub(super) fn ensure_writer(&self) -> bool {
        // Acquire: pairs with the release below. A thread that is being stopped right now is started again by the next call.
        self.running.load(Ordering::Acquire) || self.start_writer()
    }

    #[cold]
    fn start_writer(&self) -> bool {
        let mut threads = match self.threads.try_lock() {
            Ok(threads) => threads,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Someone starts them, or waits for them to stop, which may take as long as a disk hangs. A call of `log` waits
            // for neither: the next one looks again.
            Err(TryLockError::WouldBlock) => return true,
        };
        if threads.ended {
            return false;
        }
        if self.running.load(Ordering::Acquire) {
            return true;
        }
        self.control.clear_stop();
        match self.station.start(&self.control) {
            Ok(handle) => threads.writer = Some(handle),
            Err(error) => {
                self.warnings.push("thread", || {
                    format!("the writer thread cannot be started ({error}): rows are written by flush and close")
                });
                return false;
            }
        }
        if self.settings.sync != SyncPolicy::Never {
            threads.syncer = self.syncer.start().ok();
        }
        if let Some(packer) = &self.packer {
            packer.resume();
        }
        for exporter in &self.exporters {
            exporter.start();
        }
        self.running.store(true, Ordering::Release);
        true
    }

    /// Stops the threads, waiting for them until `deadline` at most. Gives whether the drain is back.
    pub(super) fn stop_threads(&self, deadline: Instant) -> bool {
        self.stop(self.lock_threads(), deadline)
    }

    /// As [`stop_threads`](Self::stop_threads), for a moment: the next call starts them again. Gives up at the deadline also
    /// if another thread is stopping them.
    pub(super) fn pause(&self, deadline: Instant) {
        loop {
            match self.threads.try_lock() {
                Ok(threads) => {
                    self.exporters.iter().for_each(DeliveryThread::halt);
                    self.stop(threads, deadline);
                    for exporter in &self.exporters {
                        exporter.wait_home(deadline.checked_duration_since(Instant::now()).unwrap_or_default());
                    }
                    return;
                }
                Err(TryLockError::Poisoned(_)) => return,
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return,
                Err(TryLockError::WouldBlock) => yield_now(),
            }
        }
    }

    /// After a fork, in the parent: an exporter that waits for an answer goes on.
    pub(super) fn release(&self) {
        self.exporters.iter().for_each(DeliveryThread::release);
    }

    /// Starts the threads again that a fork stopped, if the session exports: rows must arrive without another call.
    pub(super) fn resume(&self) {
        if self.exporters.iter().any(DeliveryThread::has_started) {
            self.ensure_writer();
        }
    }

    fn stop(&self, mut threads: MutexGuard<'_, Threads>, deadline: Instant) -> bool {
        self.running.store(false, Ordering::Release);
        self.control.request_stop();
        self.syncer.request_stop();
        if let Some(packer) = &self.packer {
            packer.request_stop();
        }
        let home = self.station.wait(deadline);
        if let Some(packer) = &self.packer {
            packer.wait_stopped(deadline);
        }
        let leaving = Instant::now() + LEAVE;
        for handle in [threads.writer.take(), threads.syncer.take()].into_iter().flatten() {
            // After a panic, which was a bug of the thread's own, the drain did not come back.
            join_by(handle, deadline.min(leaving));
        }
        home
    }

    /// As [`stop_threads`](Self::stop_threads), for good.
    pub(super) fn end_threads(&self, deadline: Instant) -> bool {
        self.lock_threads().ended = true;
        let home = self.stop_threads(deadline);
        if let Some(packer) = &self.packer {
            packer.end();
        }
        home
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    #[test]
    fn a_call_does_not_wait_for_threads_that_are_being_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let session = Session::open(folder.path(), None, None, Settings::default()).unwrap();
        let stopping = session.lock_threads();
        assert!(session.ensure_writer());
        assert!(!session.running.load(Ordering::Acquire));
        drop(stopping);
        assert!(session.ensure_writer() && session.running.load(Ordering::Acquire));
        assert!(session.close(None));
    }
}
