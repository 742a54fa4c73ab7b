//! What a program holds of a run: the session of its process, which a forked child replaces by one of its own, and which a
//! stream other than the main one opens at its first row.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::claim::{self, Seat};
use super::open::Entry;
use super::{Session, Settings, fork};
use crate::error::Result;
use crate::generation;
use crate::paths::{FileKind, INTERNALS, Stream};
use crate::primitives::Instant;
use crate::run::ending::RunStatus;
use crate::run::identity::Home;
use crate::stats::Stats;
use crate::worker::loss::Loss;

/// A process that cannot open its stream tries again after this long.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);

/// A run in one process.
#[derive(Debug)]
pub struct Handle {
    /// Null before the first one. Stored with release, loaded with acquire. A parent's is never freed: it is not ours.
    session: AtomicPtr<Session>,
    /// What waits for a session in the process of one generation. Null before it is needed; a parent's is never freed, since
    /// its lock may be held by a thread that does not exist here.
    waiting: AtomicPtr<Waiting>,
    directory: PathBuf,
    run_id: String,
    name: String,
    settings: Settings,
    /// The stream that is asked for first.
    intended: Stream,
    seat: Seat,
    /// Of the process that made this. One forked from it takes nobody's seat.
    generation: u64,
    closed: AtomicBool,
    /// Whether nothing is ever opened, written or counted.
    is_disabled: bool,
}

/// What happens in a process while it has no session.
#[derive(Debug)]
struct Waiting {
    generation: u64,
    stats: Stats,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tried: Option<Instant>,
    /// Rows that found no session and are not on record.
    lost: Loss,
    next_step: Option<i64>,
}

/// What came of asking for a session.
#[derive(Debug)]
pub enum Asked<'a> {
    /// It was there, or another thread has just opened it.
    There(&'a Session),
    /// It was opened by this call: its first records are to be written.
    Opened(&'a Session),
    /// There is none, and the rows are counted. If opening it was tried, this says why it failed.
    Missing(Option<String>),
}

impl Handle {
    /// Begins a session of the run in `directory`. The main stream is opened; any other stream makes no file before its
    /// first row.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub fn init(directory: &Path, run_id: Option<&str>, name: Option<&str>, settings: Settings) -> Result<Self> {
        settings.ring_size()?;
        let rank = settings.rank;
        // One whose rank cannot be told takes nobody's stream.
        let mut seat = if settings.own_stream { Seat::Process } else { Seat::Rank };
        if rank == 0 && !settings.own_stream {
            let entry = Entry { run_id, name, seat: Seat::Main, parent: None };
            if let Some(session) = Session::enter(directory, &entry, settings.clone())? {
                let home = session.home().clone();
                let handle = Self::of(directory, home.run_id, home.name, settings, Stream::main(), Seat::Rank);
                handle.session.store(Arc::into_raw(session).cast_mut(), Ordering::Release);
                return Ok(handle);
            }
            seat = Seat::Process;
        }
        let pid = std::process::id();
        let intended = if rank == 0 { Stream::of_process(0, pid, 0) } else { Stream::of_rank(rank) };
        fork::settle();
        let internals = directory.join(INTERNALS);
        crate::fs::create_folder(directory, settings.file_mode)?;
        // The run's identity is made there. A folder is no file.
        crate::fs::create_folder(&internals, settings.file_mode)?;
        crate::fs::require_folder(&internals)?;
        let home = Home::open(directory, run_id, name, settings.file_mode, &settings.clock)?;
        // What cannot be used is refused now, and not when the first row comes.
        crate::fs::require_writable(directory)?;
        for kind in FileKind::ALL {
            crate::fs::require_usable(&kind.path(directory, &intended))?;
        }
        Ok(Self::of(directory, home.run_id, home.name, settings, intended, seat))
    }

    /// A handle on the run `run_id` that touches nothing before its first row. One that `is_worker` takes no seat that
    /// another process of the job may want.
    #[must_use]
    pub fn dormant(directory: &Path, run_id: String, name: String, settings: Settings, is_worker: bool) -> Self {
        let seat = if is_worker { Seat::Process } else { Seat::Rank };
        let intended = match seat {
            Seat::Process => Stream::of_process(settings.rank, std::process::id(), 0),
            Seat::Rank | Seat::Main => Stream::of_rank(settings.rank),
        };
        Self::of(directory, run_id, name, settings, intended, seat)
    }

    fn of(directory: &Path, run_id: String, name: String, settings: Settings, intended: Stream, seat: Seat) -> Self {
        Self {
            session: AtomicPtr::default(),
            waiting: AtomicPtr::default(),
            directory: directory.to_owned(),
            run_id,
            name,
            settings,
            intended,
            seat,
            generation: generation::current(),
            closed: AtomicBool::new(false),
            is_disabled: false,
        }
    }

    /// Switches the run off, or not: then it touches nothing, ever, and counts nothing.
    #[must_use]
    pub fn switched_off(mut self, is_disabled: bool) -> Self {
        self.is_disabled = is_disabled;
        self
    }

    /// The session of this process, if it has one.
    #[inline]
    #[must_use]
    pub fn session(&self) -> Option<&Session> {
        self.known().filter(|session| !session.is_inherited())
    }

    /// The session, perhaps a parent's.
    #[inline]
    fn known(&self) -> Option<&Session> {
        // Acquire: pairs with the release where it is stored.
        // SAFETY: null, or made from an Arc that is given up only when this handle is dropped, or never.
        unsafe { self.session.load(Ordering::Acquire).as_ref() }
    }

    /// The run directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Part of every row.
    #[must_use]
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// What people call the run.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The stream of this process's session, or the one that it would ask for.
    #[must_use]
    pub fn stream(&self) -> &Stream {
        self.known().map_or(&self.intended, Session::stream)
    }

    /// What the stream is, or will be, opened with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether rows are refused.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Refuses rows that come before a session.
    pub fn refuse(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// The present time for a row that is about to be logged.
    #[inline]
    #[must_use]
    pub fn now_micros(&self) -> i64 {
        // A parent's goes on in its child.
        self.known().map_or_else(|| self.settings.clock.now_micros(), Session::now_micros)
    }

    /// Longest frame that a call may be put into.
    #[inline]
    #[must_use]
    pub fn max_frame_bytes(&self) -> usize {
        self.known().map_or_else(|| self.settings.max_frame_bytes(), Session::max_frame_bytes)
    }

    /// The counters, of the session or of what was lost without one.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        self.session().map_or_else(|| &self.waiting().stats, Session::stats)
    }

    /// Whether rows were lost for want of a session and are not on record yet.
    #[must_use]
    pub fn has_lost(&self) -> bool {
        self.session().is_none() && self.lock().lost.rows > 0
    }

    /// Steps given by the user take the place of those in the files: the next one left out is `step`.
    pub fn set_next_step(&self, step: i64) {
        match self.session() {
            Some(session) => session.set_next_step(step),
            None => self.lock().next_step = Some(step),
        }
    }

    /// The session, which is opened if there is none, for a call whose rows are lost if that fails. It may wait for other
    /// processes and for the disk, and for another thread that opens it already.
    #[cold]
    pub fn ask(&self, call: Loss) -> Asked<'_> {
        self.ask_after(call, REOPEN_PAUSE)
    }

    /// As [`ask`](Self::ask) for no rows, once more before it is too late.
    #[cold]
    pub fn ask_at_once(&self) -> Asked<'_> {
        self.ask_after(Loss::default(), Duration::ZERO)
    }

    fn ask_after(&self, call: Loss, pause: Duration) -> Asked<'_> {
        if self.is_disabled {
            return Asked::Missing(None);
        }
        let waiting = self.waiting();
        let mut state = self.lock();
        if let Some(session) = self.session() {
            return Asked::There(session);
        }
        if self.is_closed() && pause > Duration::ZERO {
            waiting.stats.rows_logged.add(call.rows);
            waiting.stats.rows_dropped_closed.add(call.rows);
            return Asked::Missing(None);
        }
        let why = if state.tried.is_some_and(|tried| tried.elapsed() < pause) {
            None
        } else {
            match self.open(&mut state) {
                Ok(session) => return Asked::Opened(session),
                Err(error) => Some(error.to_string()),
            }
        };
        if why.is_some() {
            state.tried = Some(Instant::now());
        }
        waiting.stats.rows_logged.add(call.rows);
        waiting.stats.rows_dropped_unopened.add(call.rows);
        state.lost.add(&call);
        Asked::Missing(why)
    }

    /// Opens a session and hands over what waits for one.
    fn open(&self, state: &mut State) -> Result<&Session> {
        let seat = if generation::current() == self.generation { self.seat } else { Seat::Process };
        let entry = Entry { run_id: Some(&self.run_id), name: Some(&self.name), seat, parent: self.known() };
        let session = Session::enter(&self.directory, &entry, self.settings.clone())?
            .ok_or_else(|| claim::nothing_free(&self.directory))?;
        if let Some(step) = state.next_step.take() {
            session.set_next_step(step);
        }
        session.adopt(std::mem::take(&mut state.lost), self.waiting().stats.rows_dropped_closed.get());
        // Release: pairs with the acquire in `known`. What was there is a parent's, or nothing.
        let pointer = Arc::into_raw(session);
        self.session.store(pointer.cast_mut(), Ordering::Release);
        // SAFETY: made from an Arc just above, which is given up when this handle is dropped, or never.
        Ok(unsafe { &*pointer })
    }

    /// Ends the session, if there is one. See [`Session::close_with`].
    pub fn close(&self, status: RunStatus, deadline: Option<Instant>) -> bool {
        self.refuse();
        self.session().is_none_or(|session| session.close_with(status, deadline))
    }

    /// Writes everything out and tells destinations how the run ended, at the end of a process in which threads may still
    /// log: what they do stays in the journal until [`close_ended`](super::close_ended). See [`Session::end`].
    pub fn end(&self, status: RunStatus, deadline: Option<Instant>) -> bool {
        let Some(session) = self.session() else { return true };
        let pointer: *const Session = session;
        // SAFETY: made by `Arc::into_raw`, and alive as long as this handle.
        let session = unsafe {
            Arc::increment_strong_count(pointer);
            Arc::from_raw(pointer)
        };
        session.end(status, deadline)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.waiting().state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits in this process.
    fn waiting(&self) -> &Waiting {
        let generation = generation::current();
        let known = self.waiting.load(Ordering::Acquire);
        // SAFETY: null, or made from a box that is freed only when this handle is dropped.
        if let Some(waiting) = unsafe { known.as_ref() }
            && waiting.generation == generation
        {
            return waiting;
        }
        let fresh = Box::into_raw(Box::new(Waiting { generation, stats: Stats::default(), state: Mutex::default() }));
        // AcqRel: pairs with the acquire above and with that of whoever loses the race here.
        match self.waiting.compare_exchange(known, fresh, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: as above.
            Ok(_) => unsafe { &*fresh },
            // SAFETY: `fresh` was given to nobody; `winner` is of this generation, which only its threads can store.
            Err(winner) => unsafe {
                drop(Box::from_raw(fresh));
                &*winner
            },
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.session().is_some() {
            // SAFETY: made from an Arc, and nobody can get at it any more.
            drop(unsafe { Arc::from_raw(self.session.load(Ordering::Acquire)) });
        }
        let waiting = self.waiting.load(Ordering::Acquire);
        // SAFETY: null, or made from a box, and nobody can get at it any more. A parent's stays.
        if unsafe { waiting.as_ref() }.is_some_and(|waiting| waiting.generation == generation::current()) {
            // SAFETY: as above.
            drop(unsafe { Box::from_raw(waiting) });
        }
    }
}

#[cfg(all(test, not(loom)))]
#[path = "handle_tests.rs"]
mod tests;
