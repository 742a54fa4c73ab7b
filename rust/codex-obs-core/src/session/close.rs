//! The end of a session: everything is written, or stays in the journal for whoever comes next.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Session, claim};
use crate::worker::drain::Drain;
use crate::worker::loss::Reporter;
use crate::worker::recover::journal_path;
use crate::worker::syncer::SyncPolicy;
use crate::worker::thread::Errands;

/// Time for the writer thread to end its batch, whatever the deadline.
const LAST_BATCH: Duration = Duration::from_millis(100);

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// Whether [`close`](Self::close) was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.ring.lock().closed
    }

    /// Refuses rows from now on, writes what waits, ends the threads, frees the stream and recovers siblings that died.
    /// `true` if every row is in the files; else the rest is in the journal. Further calls give the first one's result.
    pub fn close(&self, deadline: Option<Instant>) -> bool {
        let mut closed = lock(&self.closed);
        if let Some(drained) = *closed {
            return drained;
        }
        self.ring.lock().closed = true;
        let position = self.ring.published();
        let _ = self.wait_until_written(position, deadline);
        // Synced before the threads end, by the one that is there for it: a disk that hangs must not hold up the deadline.
        if self.settings.sync != SyncPolicy::Never {
            let _ = self.syncer.sync(deadline);
        }
        let patience = Instant::now() + LAST_BATCH;
        let home = self.end_threads(deadline.map_or(patience, |deadline| deadline.max(patience)));
        let drained = home && self.finish(position);
        *closed = Some(drained);
        if home {
            if drained {
                let _ = std::fs::remove_file(journal_path(&self.directory, &self.stream));
            }
            drop(lock(&self.owner).take());
        }
        drop(closed);
        if deadline.is_none_or(|deadline| Instant::now() < deadline) {
            self.recover_siblings();
        }
        drained
    }

    /// Writes what the thread left, now that it is gone. Gives whether nothing is left.
    fn finish(&self, position: u64) -> bool {
        let Some((mut drain, mut reporter)) = self.station.take() else { return false };
        let written = drain_all(&mut drain, &mut reporter) && drain.position() >= position;
        if written {
            self.control.note_written(drain.position());
            if self.settings.sync != SyncPolicy::Never {
                // Only what was written since the last sync, which is next to nothing.
                let _ = self.syncer.sync(Some(Instant::now()));
            }
        }
        written
    }

    fn recover_siblings(&self) {
        let (own, clock) = (Some(&self.stream), &self.settings.clock);
        if let Ok(recovered) = claim::recover_all(&self.directory, own, &self.process, clock, false) {
            self.stats.rows_recovered.add(recovered.rows_recovered);
        }
    }
}

fn drain_all(drain: &mut Drain, reporter: &mut Reporter) -> bool {
    loop {
        match drain.batch() {
            Ok(true) => reporter.after_batch(drain),
            Ok(false) => {
                reporter.after_batch(drain);
                return true;
            }
            Err(error) => {
                drain.note_error(&error);
                return false;
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.is_inherited() || lock(&self.owner).is_none() {
            return;
        }
        // Never closed, or the writer thread did not come back then.
        if !self.end_threads(Instant::now() + LAST_BATCH) {
            // It still works with the files: the stream stays ours until the process ends.
            std::mem::forget(lock(&self.owner).take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;
    use crate::journal::owner::{Attempt, Owner, Purpose};

    #[test]
    fn a_stream_stays_held_while_its_files_may_still_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let session = Session::open(folder.path(), None, None, Settings::default()).unwrap();
        let (lock_path, process) = (claim::lock_path(folder.path(), &session.stream), session.process.clone());
        let writing = session.station.take().unwrap();
        assert!(!session.close(Some(Instant::now())));
        drop(session);
        let attempt = Owner::acquire(&lock_path, &process, Purpose::Recover).unwrap();
        assert!(matches!(attempt, Attempt::Held(Purpose::Write)));
        drop(writing);
    }
}
