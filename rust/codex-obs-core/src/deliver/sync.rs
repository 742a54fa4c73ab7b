//! Delivery of a run to a destination from outside of it: later, again, or while it goes on.
//!
//! The deliveries are those of a live run and go on where it stopped. They work on a thread of their own, so that a caller who
//! waits hears how far they are and may stop them.

mod account;
mod dry_run;
mod record;
mod streams;
mod task;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};

use self::account::{Account, Shown};
pub use self::record::note_aside;
use self::streams::streams;
use self::task::{Task, Watched};
use crate::clock::Clock;
use crate::deliver::context::Context;
use crate::deliver::delivery::Delivery;
use crate::deliver::destination::Destination;
use crate::deliver::settings::DeliverySettings;
use crate::error::{Error, Result};
use crate::follow::backlog::bytes_left;
use crate::follow::points::UnshownRows;
use crate::follow::progress::Missing;
use crate::limits::DEFAULT_FILE_MODE;
use crate::paths::{FileKind, Stream};
use crate::primitives::Instant;
use crate::problem::Problem;
use crate::recovery::run::{is_written, recover_directory};
use crate::run::ending::RunStatus;
use crate::run::identity::Home;
use crate::run::records::{is_finished, last_status};
use crate::stats::Stats;
use crate::wait::Wait;

/// Time between two calls of a [`Tick`].
const TICK: Duration = Duration::from_millis(50);
/// Time for a delivery that is stopped to end by itself.
const LEAVE: Duration = Duration::from_millis(200);
/// Time between two calls of a [`Tick`] of the sidecar, which has time.
const SLOW_TICK: Duration = Duration::from_millis(200);
/// Time between two looks at the lengths of the files of a run that goes on.
const GLANCE: Duration = Duration::from_millis(100);
/// Time between two looks at the run itself: who writes it, and which streams it has.
const LOOK: Duration = Duration::from_secs(1);
/// Points looked at in one go when they are only counted.
const COUNT_POINTS: usize = 1 << 14;

/// Asked now and then whether to go on.
pub type Tick<'a> = &'a mut dyn FnMut(&SyncProgress) -> bool;

/// How a delivery is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncOptions {
    /// Goes on until the run has ended.
    pub follow: bool,
    /// Counts what would be sent, and sends nothing.
    pub dry_run: bool,
    /// It is the sidecar's: see [`Aside`].
    pub aside: Option<Aside>,
}

/// What is different in a delivery beside a live run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    /// The stream as which it puts on record what its destination is like, as soon as that is known.
    pub stream: Stream,
    /// Whether a run that ended without a word is told to be killed: its next session may be about to begin.
    pub tells_killed: bool,
}

/// How far a delivery has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncProgress {
    /// The stream that is delivered at the moment.
    pub stream: String,
    /// Points that were accepted.
    pub delivered: u64,
    /// Points that were refused for good.
    pub rejected: u64,
    /// Bytes of the log that are still to be read, as they are stored.
    pub bytes_left: u64,
    /// Bytes that were to be read at the start.
    pub bytes_total: u64,
    /// How often everything was looked at and handed over, as far as that could be. Of a call that takes long nothing is known.
    pub looks: u64,
    /// Why it waits, if it does.
    pub waiting: Option<String>,
}

/// What came of a delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncOutcome {
    /// The streams, the main one first.
    pub streams: Vec<StreamOutcome>,
    /// Rows that were brought back from the journals of dead writers.
    pub rows_recovered: u64,
}

/// What came of the delivery of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamOutcome {
    /// The stream.
    pub stream: String,
    /// Points that were accepted; in a dry run those that would be sent.
    pub delivered: u64,
    /// Points that were refused for good.
    pub rejected: u64,
    /// Spans that were accepted; in a dry run those that would be sent.
    pub spans: u64,
    /// Parameters that were accepted; in a dry run those that would be sent.
    pub params: u64,
    /// In a dry run the tags that would be sent.
    pub tags: u64,
    /// Lines that are no rows.
    pub lines_skipped: u64,
    /// Rows that the destination has no form for, and which were not sent.
    pub unshown: UnshownRows,
    /// What the destination lacks since it was deleted before it was delivered.
    pub missing: Missing,
    /// The part of that which was not known before.
    pub missing_new: Missing,
    /// The remote run.
    pub remote_run: Option<String>,
    /// Where people look at the remote run.
    pub page: Option<String>,
    /// Whether everything was delivered.
    pub done: bool,
    /// Why not.
    pub problem: Option<Problem>,
    /// How the run ended, as the destination was told now or earlier; in a dry run what it would be told.
    pub status: Option<RunStatus>,
    /// What the user should hear.
    pub notices: Vec<Problem>,
}

/// Delivers what is missing of the run in `directory`.
///
/// # Errors
/// If there is no run, if it cannot be read, or if the set-up of the destination cannot work. What a destination does is no
/// error but a part of the outcome.
pub fn sync(
    directory: &Path,
    settings: &DeliverySettings,
    options: &SyncOptions,
    clock: &Clock,
    tick: Tick<'_>,
) -> Result<SyncOutcome> {
    let home = Home::of(directory)?;
    if options.dry_run {
        return dry_run::count(directory, settings, clock, &home, tick);
    }
    let rows_recovered = recover_directory(directory, false)?.rows_recovered;
    let mut runner = Runner::new(directory, settings, options.clone(), clock)?;
    let shared = Arc::clone(&runner.shared);
    let wait = Arc::clone(&runner.wait);
    let (sender, receiver) = bounded(1);
    // Not joined where it is stopped: it ends with its request, which may take as long as a server is silent.
    let thread = std::thread::Builder::new()
        .name("codex-obs-sync".to_owned())
        .spawn(move || {
            let outcome = runner.run();
            runner.tasks.iter_mut().for_each(|task| task.delivery.note_end());
            runner.put_on_record();
            runner.show_all();
            // Who hears of the end may begin another delivery at once.
            drop(runner);
            // Nobody receives it any more where it was stopped.
            let _ = sender.send(outcome);
        })
        .map_err(|source| Error::io("start a thread for", directory, source))?;
    let mut stopped: Option<Instant> = None;
    let tick_every = if options.aside.is_some() { SLOW_TICK } else { TICK };
    loop {
        match (receiver.recv_timeout(tick_every), stopped) {
            (Ok(outcome), _) => {
                outcome?;
                break;
            }
            (Err(RecvTimeoutError::Disconnected), _) => {
                if let Err(panic) = thread.join() {
                    std::panic::resume_unwind(panic);
                }
                break;
            }
            (Err(RecvTimeoutError::Timeout), None) => {
                let progress = lock(&shared).progress.clone();
                if !tick(&progress) {
                    wait.close(Some(Instant::now()));
                    stopped = Some(Instant::now());
                }
            }
            (Err(RecvTimeoutError::Timeout), Some(stopped)) if stopped.elapsed() >= LEAVE => break,
            (Err(RecvTimeoutError::Timeout), Some(_)) => {}
        }
    }
    let shown = lock(&shared).clone();
    tick(&shown.progress);
    Ok(SyncOutcome { streams: shown.accounts.iter().map(Account::outcome).collect(), rows_recovered })
}

/// The remote run that `run.json` names for the destination, without contacting it.
///
/// # Errors
/// If there is no run, if it cannot be read, or if the set-up of the destination cannot work.
pub fn known_run(directory: &Path, settings: &DeliverySettings, clock: &Clock) -> Result<Option<String>> {
    let home = Home::of(directory)?;
    let destination = context(directory, &Stream::main(), settings, clock, false).connect()?;
    Ok(home.destinations.get(&destination.address()).cloned())
}

fn lock(shared: &Mutex<Shown>) -> MutexGuard<'_, Shown> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn context(directory: &Path, stream: &Stream, settings: &DeliverySettings, clock: &Clock, is_live: bool) -> Context {
    Context {
        directory: directory.to_owned(),
        stream: stream.clone(),
        settings: settings.clone(),
        file_mode: DEFAULT_FILE_MODE,
        clock: clock.clone(),
        stats: Arc::default(),
        warnings: Arc::default(),
        notes: Arc::default(),
        hold: None,
        telemetry_hold: None,
        live: None,
        is_live,
        ended: None,
        leads: stream.is_main(),
        lock: Arc::default(),
    }
}

struct Runner {
    directory: PathBuf,
    settings: DeliverySettings,
    options: SyncOptions,
    clock: Clock,
    destination: Box<dyn Destination>,
    tasks: Vec<Task>,
    wait: Arc<Wait>,
    shared: Arc<Mutex<Shown>>,
    status: Option<RunStatus>,
    counted: Instant,
}

impl Runner {
    fn new(directory: &Path, settings: &DeliverySettings, options: SyncOptions, clock: &Clock) -> Result<Self> {
        let mut runner = Self {
            directory: directory.to_owned(),
            settings: settings.clone(),
            options,
            clock: clock.clone(),
            destination: context(directory, &Stream::main(), settings, clock, false).connect()?,
            tasks: Vec::new(),
            wait: Arc::default(),
            shared: Arc::default(),
            status: None,
            counted: Instant::now(),
        };
        runner.add_streams()?;
        runner.show_all();
        Ok(runner)
    }

    /// Deliveries for the streams that have none yet.
    fn add_streams(&mut self) -> Result<()> {
        let streams = streams(&self.directory, &self.settings, self.destination.follows())?;
        let is_live = is_written(&self.directory, &streams[0]);
        for stream in streams {
            if self.tasks.iter().any(|task| task.stream == stream) {
                continue;
            }
            let mut context = context(&self.directory, &stream, &self.settings, &self.clock, is_live);
            // Without a main stream the first one stands in for it.
            context.leads = stream.is_main() || self.tasks.is_empty();
            context.ended = if is_live { None } else { last_status(&self.directory, &stream)? };
            let context = Arc::new(context);
            let mut delivery = Delivery::new(Arc::clone(&context), &*self.destination);
            delivery.note_over(!is_written(&self.directory, &stream));
            let task = Task {
                metrics: Watched::new(FileKind::Metrics.path(&self.directory, &stream)),
                records: Watched::new(FileKind::Session.path(&self.directory, &stream)),
                looked_at: Watched::new(FileKind::Session.path(&self.directory, &stream)),
                is_finished: false,
                stream,
                delivery,
                context,
                pause_until: None,
                problem: None,
                is_idle: false,
                has_ended: false,
            };
            self.tasks.push(task);
        }
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        loop {
            // Looked at first: what was written before a run ended is there at the look that follows.
            let is_written = |task: &Task| !task.stream.is_sidecar() && is_written(&self.directory, &task.stream);
            let goes_on = self.options.follow && self.tasks.iter().any(is_written);
            if self.options.follow && !goes_on {
                recover_directory(&self.directory, false)?;
                self.note_end();
            }
            self.note_finishes();
            self.deliver(!goes_on);
            lock(&self.shared).progress.looks += 1;
            if self.options.aside.is_some() {
                self.put_on_record();
            }
            // What one stream cannot be delivered for is no better for the others.
            let is_hopeless = goes_on && self.tasks.iter().any(|task| task.has_ended);
            if self.wait.is_closing() || is_hopeless {
                return Ok(());
            }
            if !goes_on {
                break;
            }
            self.rest();
            self.add_streams()?;
        }
        self.finish();
        Ok(())
    }

    /// Deliveries that have not begun hear that the run is not written any more.
    fn note_end(&mut self) {
        for task in self.tasks.iter_mut().filter(|task| task.delivery.is_held_elsewhere()) {
            task.context = Arc::new(Context { is_live: false, ..Context::clone(&task.context) });
            task.delivery = Delivery::new(Arc::clone(&task.context), &*self.destination);
        }
        self.tasks.iter_mut().for_each(|task| task.delivery.note_over(true));
    }

    /// Waits until something is written, or it is time to look at the run. One that has put its end on record is about to go.
    fn rest(&mut self) {
        let until = Instant::now() + LOOK;
        let is_ending = self.tasks.iter().any(|task| task.is_finished);
        loop {
            self.wait.pause(GLANCE);
            let has_grown = self.tasks.iter_mut().filter_map(|task| task.has_grown().then_some(())).count() > 0;
            if has_grown || is_ending || self.wait.is_closing() || Instant::now() >= until {
                return;
            }
        }
    }

    /// What follows a finish record is of another session, so what stands before it is whole.
    fn note_finishes(&mut self) {
        for task in &mut self.tasks {
            if task.has_new_records() {
                task.is_finished = is_finished(&self.directory, &task.stream).unwrap_or(false);
                let is_over = task.is_finished || !is_written(&self.directory, &task.stream);
                task.delivery.note_over(is_over);
            }
        }
    }

    /// Steps until there is nothing to do right now or, with `flush`, nothing at all.
    fn deliver(&mut self, flush: bool) {
        self.tasks.iter_mut().for_each(|task| task.is_idle = false);
        while !self.wait.is_closing() {
            let mut next: Option<Instant> = None;
            let mut worked = false;
            for index in 0..self.tasks.len() {
                let task = &mut self.tasks[index];
                task.is_idle &= !self.destination.wants_again(&task.stream);
                if task.has_ended || task.is_idle {
                    continue;
                }
                if task.pause_until.is_none_or(|until| until <= Instant::now()) {
                    let step = task.delivery.step(&mut *self.destination, &self.wait, flush);
                    worked |= task.take(step, self.options.follow);
                }
                next = next.into_iter().chain(task.pause_until).min();
                self.show(index);
            }
            if worked {
                continue;
            }
            // What waits for a destination is waited for only where this is the last chance.
            let Some(until) = next.filter(|_| flush) else { return };
            self.wait.pause(until.saturating_duration_since(Instant::now()));
        }
    }

    /// Puts on record what the destination was like. Where that cannot be, nothing of the delivery is less true.
    fn put_on_record(&self) {
        for Task { stream, context, .. } in &self.tasks {
            let aside = self.options.aside.as_ref().map(|aside| &aside.stream);
            let (stream, lines) = (aside.unwrap_or(stream), context.notes.take());
            if let Err(error) = record::append(&self.directory, stream, aside.is_some(), &lines, &self.clock) {
                context.warnings.push("export_record", || format!("{error}: the tracking summary lacks this delivery"));
            }
        }
    }

    /// Tells the destination how the run ended, once everything of all streams is there.
    fn finish(&mut self) {
        // The main stream may have come later than the one that stood in for it.
        let main = self.tasks.iter().position(|task| task.stream.is_main()).unwrap_or(0);
        let leader = self.tasks[main].stream.clone();
        if is_written(&self.directory, &leader) || self.tasks.iter().any(|task| !task.is_idle) {
            return;
        }
        let Ok(Some((status, end_micros))) = last_status(&self.directory, &leader) else { return };
        let is_patient = self.options.aside.as_ref().is_some_and(|aside| !aside.tells_killed);
        if is_patient && !is_finished(&self.directory, &leader).unwrap_or(false) {
            return;
        }
        let others = self.tasks.iter().enumerate().filter(|(index, _)| *index != main);
        let elsewhere = others.fold(Missing::default(), |sum, (_, task)| sum.and(task.delivery.missing()));
        self.tasks[main].delivery.note_missing_elsewhere(elsewhere);
        self.tasks[main].delivery.end_as(status, end_micros);
        self.tasks[main].is_idle = false;
        if self.destination.ends_each_stream() {
            self.end_others(main);
        }
        self.deliver(true);
        self.status = self.tasks[main].delivery.told().filter(|told| *told == status);
    }

    /// The streams beside the main one end as their own last sessions did.
    fn end_others(&mut self, main: usize) {
        for (_, task) in self.tasks.iter_mut().enumerate().filter(|(index, _)| *index != main) {
            let ended = last_status(&self.directory, &task.stream).ok().flatten();
            if let Some((status, end_micros)) = ended.filter(|_| !is_written(&self.directory, &task.stream)) {
                task.delivery.end_as(status, end_micros);
                task.is_idle = false;
            }
        }
    }

    fn bytes_left(&self) -> u64 {
        let left = |task: &Task| {
            let progress = match task.delivery.progress() {
                Some(progress) => progress.clone(),
                None => task.delivery.known_progress(&*self.destination).unwrap_or_default(),
            };
            bytes_left(&self.directory, &task.stream, &progress).unwrap_or(0)
        };
        self.tasks.iter().map(left).sum()
    }

    /// Lets others see how far a stream is.
    fn show(&mut self, index: usize) {
        let sum = |count: fn(&Stats) -> u64| self.tasks.iter().map(|task| count(&task.context.stats)).sum();
        let (delivered, rejected) =
            (sum(|stats| stats.metrics_exported.get()), sum(|stats| stats.metrics_rejected.get()));
        let bytes_left = (self.counted.elapsed() >= TICK).then(|| self.bytes_left());
        if bytes_left.is_some() {
            self.counted = Instant::now();
        }
        let account = self.tasks[index].account(self.status, self.destination.page());
        let mut shared = lock(&self.shared);
        let progress = &mut shared.progress;
        account.stream.as_str().clone_into(&mut progress.stream);
        (progress.delivered, progress.rejected) = (delivered, rejected);
        progress.waiting = account.problem.as_ref().filter(|_| !self.tasks[index].has_ended).map(Problem::to_string);
        if let Some(left) = bytes_left {
            progress.bytes_left = left;
            progress.bytes_total = progress.bytes_total.max(left);
        }
        match shared.accounts.get_mut(index) {
            Some(known) => *known = account,
            None => shared.accounts.push(account),
        }
    }

    /// Lets others see how far everything is.
    fn show_all(&mut self) {
        let accounts = self.tasks.iter().map(|task| task.account(self.status, self.destination.page())).collect();
        let left = self.bytes_left();
        let mut shared = lock(&self.shared);
        shared.accounts = accounts;
        shared.progress.bytes_left = left;
        shared.progress.bytes_total = shared.progress.bytes_total.max(left);
    }
}
