//! `fdatasync` on a thread of its own, so that a slow disk does not stop the draining.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::fs::Held;
use crate::primitives::{Builder, Condvar, Instant, JoinHandle, Mutex, MutexGuard};
use crate::stats::Stats;

/// When files are synced to the disk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SyncPolicy {
    /// This long after the first unsynced append.
    Interval(Duration),
    /// Only when asked to.
    Never,
    /// After each batch; nobody waits for it.
    Always,
}

/// Most unsynced files kept open where nothing is synced before somebody asks.
const MOST_UNSYNCED: usize = 64;

/// The list of unsynced files and the thread that works it off.
#[derive(Debug)]
pub struct Syncer {
    policy: SyncPolicy,
    state: Mutex<State>,
    changed: Condvar,
    stats: Arc<Stats>,
}

#[derive(Debug, Default)]
struct State {
    dirty: Vec<Arc<Held>>,
    folders: Vec<PathBuf>,
    /// When the oldest of them became dirty.
    since: Option<Instant>,
    /// Requests made, and how many of them are served.
    requested: u64,
    completed: u64,
    /// A sync failed: the kernel may have dropped those bytes, so that no later sync can vouch for them.
    failed: bool,
    /// How many threads are syncing right now: one, or also one that was stopped for a fork and still waits for the disk.
    working: u32,
    stop: bool,
    running: bool,
}

impl Syncer {
    /// A list without a thread.
    #[must_use]
    pub fn new(policy: SyncPolicy, stats: Arc<Stats>) -> Self {
        Self { policy, state: Mutex::default(), changed: Condvar::new(), stats }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the thread.
    pub fn start(self: &Arc<Self>) -> std::io::Result<JoinHandle<()>> {
        {
            let mut state = self.lock();
            state.stop = false;
            state.running = true;
        }
        let syncer = Arc::clone(self);
        let started = Builder::new().name("codex-obs-sync".into()).spawn(move || syncer.run());
        if started.is_err() {
            self.lock().running = false;
        }
        started
    }

    /// Says that `file` has unsynced bytes.
    pub fn note(&self, file: Arc<Held>) {
        let mut state = self.lock();
        if !state.dirty.iter().any(|known| Arc::ptr_eq(known, &file)) {
            state.dirty.push(file);
        }
        let oldest =
            (state.dirty.len() > MOST_UNSYNCED && self.policy == SyncPolicy::Never).then(|| state.dirty.remove(0));
        self.noted(state);
        // So many shards later the kernel has written it out already, as a rule.
        if oldest.is_some_and(|file| file.get().and_then(File::sync_data).is_err()) {
            self.stats.sync_errors.add(1);
            self.lock().failed = true;
        }
    }

    /// Says that names in `folder` changed.
    pub fn note_folder(&self, folder: PathBuf) {
        let mut state = self.lock();
        if !state.folders.contains(&folder) {
            state.folders.push(folder);
        }
        self.noted(state);
    }

    fn noted(&self, mut state: MutexGuard<'_, State>) {
        let first = state.since.is_none();
        state.since.get_or_insert_with(Instant::now);
        drop(state);
        if first && self.policy != SyncPolicy::Never {
            self.changed.notify_all();
        }
    }

    /// Syncs everything noted so far and waits for it until `deadline` (`None`: for ever). Gives whether all is on the disk,
    /// which it never is again once a sync has failed.
    pub fn sync(&self, deadline: Option<Instant>) -> bool {
        let mut state = self.lock();
        if state.since.is_none() && state.requested == state.completed && state.working == 0 {
            return !state.failed;
        }
        if !state.running {
            // Without a thread (it could not be started) the caller does the work.
            drop(state);
            return self.work();
        }
        state.requested += 1;
        let request = state.requested;
        self.changed.notify_all();
        while state.completed < request {
            if !state.running {
                drop(state);
                return self.work();
            }
            let rest = deadline.map_or(Some(Duration::from_millis(100)), |deadline| {
                deadline.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero())
            });
            let Some(rest) = rest else { return false };
            state = self.changed.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
        !state.failed
    }

    /// Asks the thread to end.
    pub fn request_stop(&self) {
        self.lock().stop = true;
        self.changed.notify_all();
    }

    fn run(&self) {
        loop {
            let mut state = self.lock();
            loop {
                if state.stop {
                    state.running = false;
                    drop(state);
                    self.changed.notify_all();
                    return;
                }
                if state.working > 0 {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                if state.requested > state.completed {
                    break;
                }
                let rest = match (self.policy, state.since) {
                    (SyncPolicy::Never, _) | (_, None) => None,
                    (SyncPolicy::Always, Some(_)) => Some(Duration::ZERO),
                    (SyncPolicy::Interval(interval), Some(since)) => Some(interval.saturating_sub(since.elapsed())),
                };
                state = match rest {
                    Some(Duration::ZERO) => break,
                    Some(rest) => self.changed.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0,
                    None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                };
            }
            drop(state);
            self.work();
        }
    }

    /// Syncs what is noted. Gives whether all is on the disk.
    fn work(&self) -> bool {
        let mut state = self.lock();
        let requested = state.requested;
        let files = std::mem::take(&mut state.dirty);
        let folders = std::mem::take(&mut state.folders);
        state.since = None;
        state.working += 1;
        drop(state);
        let mut failures = 0;
        for file in files {
            // A sync that failed is not tried again: the kernel may have dropped the pages and would call it a success.
            failures += u64::from(file.get().and_then(File::sync_data).is_err());
        }
        for folder in folders {
            failures += u64::from(crate::fs::sync_folder(&folder).is_err());
        }
        self.stats.sync_errors.add(failures);
        let mut state = self.lock();
        state.completed = state.completed.max(requested);
        state.failed |= failures > 0;
        state.working -= 1;
        let done = !state.failed && state.working == 0;
        drop(state);
        self.changed.notify_all();
        done
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn syncer() -> Syncer {
        Syncer::new(SyncPolicy::Interval(Duration::from_secs(1)), Arc::default())
    }

    fn held(file: File) -> Arc<Held> {
        Arc::new(Held::over(file, std::path::Path::new("")).unwrap())
    }

    #[test]
    fn what_could_not_be_synced_once_is_never_called_fine() {
        let syncer = syncer();
        assert!(syncer.sync(None), "nothing was noted");
        // A pipe cannot be synced.
        let (_reader, writer) = std::io::pipe().unwrap();
        syncer.note(held(File::from(std::os::fd::OwnedFd::from(writer))));
        assert!(!syncer.work());
        assert!(!syncer.sync(None));
        syncer.note(held(tempfile::tempfile().unwrap()));
        assert!(!syncer.sync(None));
        assert_eq!(syncer.stats.sync_errors.get(), 1);
    }

    #[test]
    fn files_do_not_pile_up_where_nothing_is_synced() {
        let syncer = Syncer::new(SyncPolicy::Never, Arc::default());
        for _ in 0..2 * MOST_UNSYNCED {
            syncer.note(held(tempfile::tempfile().unwrap()));
        }
        assert_eq!(syncer.lock().dirty.len(), MOST_UNSYNCED);
        assert!(syncer.sync(None));
    }

    #[test]
    fn a_sync_under_way_is_waited_for() {
        let syncer = syncer();
        {
            let mut state = syncer.lock();
            state.running = true;
            state.working = 1;
        }
        assert!(!syncer.sync(Some(Instant::now())), "not done at the deadline");
    }
}
