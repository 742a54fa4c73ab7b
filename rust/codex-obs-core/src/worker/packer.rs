//! The thread that packs shards which rotation has left behind: there while there is something to pack, at low priority.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::passed::Passed;
use super::warnings::Warnings;
use crate::error::Result;
use crate::paths::FileKind;
use crate::primitives::{AtomicBool, Builder, Condvar, Instant, JoinHandle, Mutex, MutexGuard, join_by, survives};
use crate::shard::pack::{self, Job, Names};
use crate::stats::Stats;

/// Pauses after a shard that could not be packed, doubled each time. It stays plain meanwhile, which loses nothing.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_mins(1);
/// A tenth of what a thread at work gets: the loop's processor is the loop's.
#[cfg(not(loom))]
const NICENESS: i32 = 10;
/// Time for a thread that has ended its work to leave.
const LEAVE: Duration = Duration::from_millis(50);

/// A log whose oldest shards are packed.
#[derive(Debug)]
pub struct Log {
    /// Which of the stream's files.
    pub kind: FileKind,
    /// Its current file.
    pub base: PathBuf,
    /// Held while names of it change.
    pub names: Arc<Names>,
}

/// Packs the shards of a stream's logs beyond the count.
#[derive(Debug)]
pub struct Packer {
    logs: Vec<Log>,
    keep: u64,
    mode: u32,
    /// Says on disk by which rules shards are packed, so that others can do it.
    note: PathBuf,
    /// The note is there.
    is_noted: AtomicBool,
    /// What the journal has passed.
    passed: Arc<Passed>,
    state: Mutex<State>,
    changed: Condvar,
    /// The thread has left something undone.
    is_left: AtomicBool,
    /// The thread is to leave its work as it is.
    stop: AtomicBool,
    /// An archive was made since that was last asked.
    placed: AtomicBool,
    stats: Arc<Stats>,
    warnings: Arc<Warnings>,
}

#[derive(Debug, Default)]
struct State {
    /// Shards may have become due.
    asked: bool,
    running: bool,
    /// It waits for better times.
    failing: bool,
    /// What was left at the last stop, and whose it is.
    job: Option<(usize, Job)>,
    handle: Option<JoinHandle<()>>,
}

/// By what a stream's shards are packed, as it stands in its note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Rotated shards that stay plain.
    pub keep: u64,
    /// Mode of archives.
    pub mode: u32,
}

impl Rules {
    fn text(self) -> String {
        format!("{} {:o}\n", self.keep, self.mode)
    }

    /// Puts them into the note at `path`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn note(self, path: &Path) -> Result<()> {
        crate::fs::replace(path, self.text().as_bytes(), self.mode)
    }

    /// Back from the text; `None` if it is another.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (keep, mode) = text.strip_suffix('\n')?.split_once(' ')?;
        let mode = u32::from_str_radix(mode, 8).ok().filter(|mode| mode & 0o600 == 0o600 && *mode <= 0o777)?;
        Some(Self { keep: keep.parse().ok()?, mode })
    }
}

/// Why the thread stopped working.
enum Worked {
    Done,
    Stopped,
    Failed,
}

impl Packer {
    /// For logs of which `keep` rotated shards stay plain. From the first rotation on `note` says so on disk, until nothing is
    /// left to pack at the end.
    #[must_use]
    pub fn new(
        logs: Vec<Log>,
        keep: u64,
        mode: u32,
        note: PathBuf,
        passed: Arc<Passed>,
        stats: Arc<Stats>,
        warnings: Arc<Warnings>,
    ) -> Self {
        Self {
            logs,
            keep,
            mode,
            note,
            is_noted: AtomicBool::new(false),
            passed,
            state: Mutex::default(),
            changed: Condvar::new(),
            is_left: AtomicBool::new(false),
            // Until the session's threads start.
            stop: AtomicBool::new(true),
            placed: AtomicBool::new(false),
            stats,
            warnings,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks whether an earlier session left something to do, for the threads to start with.
    pub fn look(&self) {
        // What cannot be read now is looked at by the thread, which says so.
        let is_due = |log: &Log| pack::is_due(&log.base, self.keep).unwrap_or(true);
        if self.logs.iter().any(is_due) {
            self.announce();
            self.lock().asked = true;
        }
    }

    /// Says on disk, before shards become due, by which rules they are packed: whoever comes after the death of this process
    /// does it by them. Called by one thread at a time.
    pub fn announce(&self) {
        // Relaxed: whoever announces is alone, and whoever asks has waited for that.
        if !self.is_noted.load(Ordering::Relaxed) {
            // Without it the next session of the stream packs what is left.
            let written = Rules { keep: self.keep, mode: self.mode }.note(&self.note);
            self.is_noted.store(written.is_ok(), Ordering::Relaxed);
        }
    }

    /// Says that shards may have become due.
    pub fn request(self: &Arc<Self>) {
        let mut state = self.lock();
        state.asked = true;
        if state.running {
            drop(state);
            self.changed.notify_all();
        } else {
            self.start(state);
        }
    }

    /// Goes on with what there is to do, if there is something.
    pub fn resume(self: &Arc<Self>) {
        // Under the lock, as in `stop`: whoever stops it then finds the thread.
        let state = self.lock();
        self.stop.store(false, Ordering::Relaxed);
        if !state.running && (state.asked || state.job.is_some()) {
            self.start(state);
        }
    }

    fn start(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if self.stop.load(Ordering::Relaxed) {
            return;
        }
        let packer = Arc::clone(self);
        // Without a thread the shards stay plain until the next request.
        if let Ok(handle) = Builder::new().name("codex-obs-pack".into()).spawn(move || packer.run()) {
            state.running = true;
            state.handle = Some(handle);
        }
    }

    /// Waits until there is nothing left to pack, or it cannot be packed, until `deadline` at most.
    pub fn wait(&self, deadline: Option<Instant>) {
        let mut state = self.lock();
        while state.running && !state.failing {
            let rest = deadline.map_or(Some(LAST_RETRY), |deadline| deadline.checked_duration_since(Instant::now()));
            let Some(rest) = rest.filter(|rest| !rest.is_zero()) else { return };
            state = self.changed.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Asks the thread to leave its work as it is.
    pub fn request_stop(&self) {
        let state = self.lock();
        self.stop.store(true, Ordering::Relaxed);
        drop(state);
        self.changed.notify_all();
    }

    /// Waits for that until `deadline` at most.
    pub fn wait_stopped(&self, deadline: Instant) {
        let mut state = self.lock();
        while state.running {
            let Some(rest) = deadline.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) else {
                return;
            };
            state = self.changed.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
        let handle = state.handle.take();
        drop(state);
        if let Some(handle) = handle {
            join_by(handle, Instant::now() + LEAVE);
        }
    }

    /// Lets go of what was begun, once the thread has stopped for good, and of the note if nothing is left to pack.
    pub fn end(&self) {
        let (job, is_done) = {
            let mut state = self.lock();
            if state.running {
                return;
            }
            // Relaxed: stored under the lock too.
            (state.job.take(), !state.asked && !self.is_left.load(Ordering::Relaxed))
        };
        // Else the next packer does both.
        if let Some((index, _)) = job {
            let _ = Job::discard(&self.logs[index].base);
        } else if is_done && self.is_noted.swap(false, Ordering::Relaxed) {
            let _ = crate::fs::remove(&self.note);
        }
    }

    /// Whether an archive was made since this was last asked.
    #[must_use]
    #[inline]
    pub fn take_placed(&self) -> bool {
        // Relaxed: what is in the folder is looked at by who asks.
        self.placed.load(Ordering::Relaxed) && self.placed.swap(false, Ordering::Relaxed)
    }

    fn must_stop(&self) -> bool {
        // Relaxed: looked at again at the next block, and under the lock before the thread ends.
        self.stop.load(Ordering::Relaxed)
    }

    fn run(&self) {
        #[cfg(not(loom))]
        {
            // Of this thread alone; a system that refuses it loses nothing but politeness.
            let _ = rustix::process::setpriority_process(None, NICENESS);
        }
        let mut retry = FIRST_RETRY;
        let mut is_tidy = false;
        loop {
            let mut outcome = Worked::Failed;
            // A panic is a bug of ours; what was begun is begun anew.
            if !survives(|| outcome = self.work(&mut is_tidy)) {
                self.stats.pack_errors.add(1);
            }
            let mut state = self.lock();
            state.failing = matches!(outcome, Worked::Failed);
            self.is_left.store(!matches!(outcome, Worked::Done), Ordering::Relaxed);
            if state.failing && !self.must_stop() {
                self.changed.notify_all();
                let wait = self.changed.wait_timeout(state, retry);
                state = wait.unwrap_or_else(PoisonError::into_inner).0;
                state.failing = false;
                state.asked = true;
                retry = (retry * 2).min(LAST_RETRY);
            } else {
                retry = FIRST_RETRY;
            }
            if self.must_stop() || !state.asked {
                state.running = false;
                drop(state);
                self.changed.notify_all();
                return;
            }
        }
    }

    fn work(&self, is_tidy: &mut bool) -> Worked {
        let left = {
            let mut state = self.lock();
            state.asked = false;
            state.job.take()
        };
        let outcome = left.map_or(Ok(true), |(index, job)| {
            *is_tidy = true;
            self.pack(index, job)
        });
        let outcome = outcome.and_then(|goes_on| if goes_on { self.pack_all(is_tidy) } else { Ok(false) });
        match outcome {
            Ok(true) => Worked::Done,
            Ok(false) => Worked::Stopped,
            Err(error) => {
                self.stats.pack_errors.add(1);
                self.warnings.push("pack", || {
                    format!("{error}; the oldest shards stay unpacked (nothing is lost) and packing will be retried")
                });
                Worked::Failed
            }
        }
    }

    /// `Ok(false)`: it was stopped.
    fn pack_all(&self, is_tidy: &mut bool) -> Result<bool> {
        if !*is_tidy {
            for log in &self.logs {
                pack::tidy(&log.base)?;
            }
            *is_tidy = true;
        }
        for (index, log) in self.logs.iter().enumerate() {
            while !self.must_stop() {
                let Some(job) = Job::begin(&log.base, self.keep, self.mode, &log.names)? else { break };
                if !self.pack(index, job)? {
                    return Ok(false);
                }
            }
        }
        Ok(!self.must_stop())
    }

    /// `Ok(false)`: it was stopped, and the rest is kept for later.
    fn pack(&self, index: usize, mut job: Job) -> Result<bool> {
        let log = &self.logs[index];
        let finished = loop {
            if self.must_stop() {
                self.lock().job = Some((index, job));
                return Ok(false);
            }
            match job.step() {
                Ok(false) => {}
                Ok(true) => break job.finish(),
                Err(error) => break Err(error),
            }
        };
        let secure = |id, number| self.passed.secure(log.kind, Some(id), number);
        let placed = finished.and_then(|packed| packed.place(&log.names, &secure)).inspect_err(|_| {
            // So that its room is free; who is asked again begins with that as well.
            let _ = Job::discard(&log.base);
        })?;
        if placed {
            self.stats.shards_packed.add(1);
            self.placed.store(true, Ordering::Relaxed);
        }
        Ok(true)
    }
}
