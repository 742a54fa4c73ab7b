//! The end of a session: everything is written, or stays in the journal for whoever comes next.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Session, shards};
use crate::follow::backlog::Backlog;
use crate::paths::journal_path;
use crate::primitives::{Condvar, Instant, Mutex, MutexGuard};
use crate::recovery::run::recover_all;
use crate::run::ending::RunStatus;
use crate::run::records::last_status;
use crate::worker::drain::Drain;
use crate::worker::loss::Reporter;
use crate::worker::syncer::SyncPolicy;
use crate::worker::thread::Errands;

/// Time for the writer thread to end its batch, whatever the deadline.
const LAST_BATCH: Duration = Duration::from_millis(100);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a session is being closed, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Closing {
    state: Mutex<(bool, Option<bool>)>,
    ended: Condvar,
    left: Mutex<Vec<Backlog>>,
}

impl Closing {
    /// Notes that closing begins. `false` if it had begun already.
    fn begin(&self) -> bool {
        !std::mem::replace(&mut lock(&self.state).0, true)
    }

    fn end(&self, drained: bool) {
        lock(&self.state).1 = Some(drained);
        self.ended.notify_all();
    }

    /// What destinations did not get.
    pub(super) fn left(&self) -> Vec<Backlog> {
        lock(&self.left).clone()
    }

    /// What came of the closing; `false` if it has not ended by the deadline.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> bool {
        let mut state = lock(&self.state);
        loop {
            if let Some(drained) = state.1 {
                return drained;
            }
            let rest = deadline.map_or(Some(LAST_BATCH), |deadline| deadline.checked_duration_since(Instant::now()));
            let Some(rest) = rest.filter(|rest| !rest.is_zero()) else { return false };
            state = self.ended.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Session {
    /// Whether [`close`](Self::close) was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.ring.lock().closed
    }

    /// Refuses rows from now on, writes what waits, ends the threads, frees the stream and recovers siblings that died.
    /// `true` if every row is in the files; else the rest is in the journal. Further calls give the first one's result, for
    /// which they wait until their own deadline.
    pub fn close(&self, deadline: Option<Instant>) -> bool {
        self.close_with(RunStatus::Finished, deadline)
    }

    /// As [`close`](Self::close); destinations hear how the run ended, once they have everything.
    pub fn close_with(&self, status: RunStatus, deadline: Option<Instant>) -> bool {
        if !self.closing.begin() {
            return self.closing.wait(deadline);
        }
        self.ring.lock().closed = true;
        let position = self.ring.published();
        let _ = self.write_out(position, deadline);
        self.deliver(status, deadline);
        if let Some(packer) = &self.packer {
            // What is not packed by then is packed by the next session.
            packer.wait(deadline.and_then(|deadline| deadline.checked_sub(LAST_BATCH)));
        }
        let home = loop {
            let patience = Instant::now() + LAST_BATCH;
            if self.end_threads(deadline.map_or(patience, |deadline| deadline.max(patience))) {
                break true;
            }
            if deadline.is_some() {
                break false;
            }
        };
        let drained = home && self.finish(position);
        if home {
            if drained {
                let _ = crate::fs::remove(&journal_path(&self.directory, &self.stream));
            } else {
                self.count_unsaved();
            }
            self.ring.memory().release();
            self.tenure.end();
        }
        self.closing.end(drained);
        if deadline.is_none_or(|deadline| Instant::now() < deadline) {
            self.recover_siblings(deadline);
        }
        // Nothing more is looked up in it.
        drop(lock(&self.folder).take());
        drained
    }

    /// Waits until everything before `position` is in the files and on the disk. Gives whether it is in the files.
    pub(super) fn write_out(&self, position: u64, deadline: Option<Instant>) -> bool {
        let written = self.wait_until_written(position, deadline);
        // Synced while the threads run, by the one that is there for it: a disk that hangs must not hold up the deadline.
        if self.settings.sync != SyncPolicy::Never {
            let _ = self.syncer.sync(deadline);
        }
        written
    }

    /// Tells destinations how the run ended, once.
    pub(super) fn deliver(&self, status: RunStatus, deadline: Option<Instant>) {
        // Relaxed: what is told is behind locks of its own.
        if self.delivered.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(sidecar) = &self.sidecar {
            sidecar.retire();
        }
        if self.exporters.is_empty() {
            return;
        }
        let end_micros = self.end_micros(status);
        let until = deadline.map(|deadline| Instant::now() + before_the_end(deadline));
        // All of them hear of the end before one of them is waited for.
        for exporter in &self.exporters {
            exporter.begin_close(status, end_micros, until);
        }
        *lock(&self.closing.left) = self.exporters.iter().filter_map(|exporter| exporter.close(until)).collect();
    }

    /// When the session ended: what its record says, so that a later delivery has nothing else to tell, or now.
    fn end_micros(&self, status: RunStatus) -> i64 {
        match last_status(&self.directory, &self.stream) {
            Ok(Some((known, end_micros))) if known == status => end_micros,
            _ => self.timeline.present_micros(),
        }
    }

    /// Writes what the thread left, now that it is gone. Gives whether nothing is left.
    fn finish(&self, position: u64) -> bool {
        let Some((mut drain, mut reporter)) = self.station.take() else { return false };
        let mut drained = drain_all(&mut drain, &mut reporter);
        if !drained && drain.leave_journal(&journal_path(&self.directory, &self.stream)) {
            // This is the last chance of rows that are in memory only.
            drained = drain_all(&mut drain, &mut reporter);
        }
        let written = drained && drain.position() >= position;
        if written {
            self.control.note_written(drain.position());
            if self.settings.sync != SyncPolicy::Never {
                // Only what was written since the last sync, which is next to nothing.
                let _ = self.syncer.sync(Some(Instant::now()));
            }
        }
        written
    }

    /// Counts the rows that end with this process, because neither the log nor the journal could be written to the last.
    fn count_unsaved(&self) {
        let waiting = self.stats.rows_waiting();
        let lost = if self.ring.memory().is_detached() { waiting } else { self.ring.save_last().min(waiting) };
        if lost > 0 {
            self.stats.rows_dropped_journal.add(lost);
            self.warnings.push("dropped", || {
                let directory = self.directory.display();
                format!("rows are dropped: neither the log nor the journal of {directory} could be written")
            });
        }
    }

    pub(super) fn recover_siblings(&self, deadline: Option<Instant>) {
        if self.is_helper {
            return;
        }
        let (own, clock) = (Some(&self.stream), &self.settings.clock);
        if let Ok(recovered) = recover_all(&self.directory, own, &self.process, clock, false, deadline) {
            self.stats.rows_recovered.add(recovered.rows_recovered);
        }
        // What cannot be packed stays plain, which loses nothing.
        let goes_on = || deadline.is_none_or(|deadline| Instant::now() < deadline);
        let _ = shards::pack_left(&self.directory, &self.process, &goes_on);
    }
}

/// The time in which destinations get what they can: what follows has to be done by `deadline` as well.
fn before_the_end(deadline: Instant) -> Duration {
    deadline.checked_duration_since(Instant::now()).unwrap_or_default().saturating_sub(LAST_BATCH)
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
                reporter.after_failure(drain);
                return false;
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.is_inherited() || self.tenure.is_over() {
            return;
        }
        // Never closed, or the writer thread did not come back then.
        if !self.end_threads(Instant::now() + LAST_BATCH) {
            // It still works with the files: the stream stays ours until the process ends.
            self.tenure.keep_for_ever();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;
    use crate::lock::{Attempt, Owner, Purpose};
    use crate::paths::lock_path;

    #[test]
    fn a_stream_stays_held_while_its_files_may_still_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let session = Session::open(folder.path(), None, None, Settings::default()).unwrap();
        let (lock_path, process) = (lock_path(folder.path(), &session.stream), session.process.clone());
        let writing = session.station.take().unwrap();
        assert!(!session.close(Some(Instant::now())));
        drop(session);
        let attempt = Owner::acquire(&lock_path, &process, Purpose::Recover).unwrap();
        assert!(matches!(attempt, Attempt::Held(Purpose::Write)));
        drop(writing);
    }
}
