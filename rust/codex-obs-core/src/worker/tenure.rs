//! The hold on a stream while it is written. Somebody may delete the internals under an open run: then nothing keeps another
//! process from writing the same files, until the lock is made anew.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::warnings::Warnings;
use crate::error::Result;
use crate::fs;
use crate::lock::{Attempt, Owner, Purpose};
use crate::process::Process;
use crate::stats::Stats;

/// A stream's lock, which its session and its writer thread look after.
#[derive(Debug)]
pub struct Tenure {
    state: Mutex<State>,
    process: Process,
    /// Mode of files, from which that of a folder follows.
    file_mode: u32,
    stats: Arc<Stats>,
    warnings: Arc<Warnings>,
}

#[derive(Debug)]
struct State {
    owner: Option<Owner>,
    /// The lock is gone and could not be made anew so far.
    is_lost: bool,
}

impl Tenure {
    /// Looks after `owner`.
    #[must_use]
    pub fn new(owner: Owner, process: Process, file_mode: u32, stats: Arc<Stats>, warnings: Arc<Warnings>) -> Self {
        let first = State { owner: Some(owner), is_lost: false };
        Self { state: Mutex::new(first), process, file_mode, stats, warnings }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes folder and lock anew if somebody deleted them. Gives whether the stream is still this process's own.
    pub fn look(&self) -> bool {
        let mut state = self.lock();
        let State { owner: Some(owner), is_lost } = &mut *state else { return false };
        // What cannot be looked at is not known to be gone.
        if owner.still_holds().unwrap_or(true) {
            return true;
        }
        if !*is_lost {
            self.stats.files_disturbed.add(1);
        }
        let renewed = self.renew(owner);
        let path = owner.path().display().to_string();
        let (fresh, text) = match renewed {
            Ok(Attempt::Taken(fresh)) => {
                (Some(fresh), format!("{path} was deleted under the open run and was created again"))
            }
            Ok(Attempt::Held(_)) => (
                None,
                format!(
                    "{path} was deleted under the open run, and another process has taken the stream since: \
                     close one of the two"
                ),
            ),
            Err(error) => (None, format!("{path} was deleted under the open run and cannot be created again: {error}")),
        };
        self.warnings.push("internals", || text);
        *is_lost = fresh.is_none();
        if let Some(fresh) = fresh {
            *owner = fresh;
        }
        !*is_lost
    }

    fn renew(&self, owner: &Owner) -> Result<Attempt> {
        if let Some(folder) = owner.path().parent() {
            fs::create_folder(folder, self.file_mode)?;
        }
        Owner::acquire(owner.path(), &self.process, Purpose::Write)
    }

    /// Frees the stream.
    pub fn end(&self) {
        drop(self.lock().owner.take());
    }

    /// Whether the stream was freed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.lock().owner.is_none()
    }

    /// Keeps the stream until the process ends.
    pub fn keep_for_ever(&self) {
        std::mem::forget(self.lock().owner.take());
    }

    /// In a forked child: lets go of the parent's descriptor, unless a thread that is not here was at work with it.
    pub fn abandon(&self) {
        let state = match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        if let Some(mut state) = state {
            // Dropped in a child, it only closes the descriptor.
            drop(state.owner.take());
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn tenure(folder: &std::path::Path) -> (Tenure, std::path::PathBuf) {
        let internals = folder.join(crate::paths::INTERNALS);
        fs::create_folder(&internals, 0o600).unwrap();
        let (path, process) = (internals.join("lock-main"), Process::current());
        let Attempt::Taken(owner) = Owner::acquire(&path, &process, Purpose::Write).unwrap() else { panic!("held") };
        (Tenure::new(owner, process, 0o600, Arc::default(), Arc::default()), path)
    }

    #[test]
    fn a_lock_that_was_deleted_is_made_anew_and_said_once() {
        let folder = tempfile::tempdir().unwrap();
        let (tenure, path) = tenure(folder.path());
        tenure.look();
        assert_eq!((tenure.stats.files_disturbed.get(), tenure.warnings.take()), (0, vec![]));
        for (round, whole) in [true, false].into_iter().enumerate() {
            if whole {
                std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
            } else {
                std::fs::remove_file(&path).unwrap();
            }
            tenure.look();
            tenure.look();
            assert_eq!(tenure.stats.files_disturbed.get(), round as u64 + 1);
            let again = Owner::acquire(&path, &tenure.process, Purpose::Write).unwrap();
            assert!(matches!(again, Attempt::Held(Purpose::Write)));
        }
        let said = tenure.warnings.take();
        assert!(said.len() == 1 && said[0].what.contains("was created again"), "{said:?}");
        tenure.end();
        assert!(tenure.is_over() && !path.exists());
    }

    #[test]
    fn a_stream_that_another_process_took_meanwhile_is_not_taken_from_it() {
        let folder = tempfile::tempdir().unwrap();
        let (tenure, path) = tenure(folder.path());
        std::fs::remove_file(&path).unwrap();
        let theirs = Owner::acquire(&path, &tenure.process, Purpose::Write).unwrap();
        tenure.look();
        tenure.look();
        assert_eq!(tenure.stats.files_disturbed.get(), 1, "counted once");
        assert!(tenure.warnings.take()[0].what.contains("another process"));
        let Attempt::Taken(theirs) = theirs else { panic!("held") };
        assert!(theirs.still_holds().unwrap());
        drop(theirs);
        tenure.look();
        assert!(path.exists(), "once it is free it is taken");
    }
}
