//! Delivery of a run to a destination from outside of it: later, again, or while it goes on.
//!
//! The deliveries are those of a live run and go on where it stopped. They work on a thread of their own, so that a caller who
//! waits hears how far they are and may stop them.

mod account;
mod dry_run;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};

use self::account::{Account, Shown};
use crate::clock::Clock;
use crate::deliver::context::Context;
use crate::deliver::delivery::{Delivery, Step};
use crate::deliver::settings::DeliverySettings;
use crate::error::{Error, Result};
use crate::follow::backlog::bytes_left;
use crate::follow::cursor::{Cursor, Missing};
use crate::follow::points::UnshownRows;
use crate::limits::DEFAULT_FILE_MODE;
use crate::primitives::Instant;
use crate::recovery::run::{is_written, recover_directory};
use crate::run::ending::RunStatus;
use crate::run::identity::Home;
use crate::run::records::last_status;
use crate::scan::Snapshot;
use crate::shard::name::Stream;
use crate::stats::Stats;
use crate::wait::Wait;

/// Time between two calls of a [`Tick`].
const TICK: Duration = Duration::from_millis(50);
/// Time for a delivery that is stopped to end by itself.
const LEAVE: Duration = Duration::from_millis(200);
/// Time between two looks at a run that goes on.
const LOOK: Duration = Duration::from_millis(200);
/// Points looked at in one go when they are only counted.
const COUNT_POINTS: usize = 1 << 14;

/// Asked now and then whether to go on.
pub type Tick<'a> = &'a mut dyn FnMut(&SyncProgress) -> bool;

/// How a delivery is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncOptions {
    /// Goes on until the run has ended.
    pub follow: bool,
    /// Counts what would be sent, and sends nothing.
    pub dry_run: bool,
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
    pub problem: Option<String>,
    /// How the run ended, as the destination was told now or earlier; in a dry run what it would be told.
    pub status: Option<RunStatus>,
    /// What the user should hear.
    pub notices: Vec<String>,
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
    let mut runner = Runner::new(directory, settings, *options, clock)?;
    let shared = Arc::clone(&runner.shared);
    let wait = Arc::clone(&runner.wait);
    let (sender, receiver) = bounded(1);
    // Not joined where it is stopped: it ends with its request, which may take as long as a server is silent.
    let thread = std::thread::Builder::new()
        .name("codex-obs-sync".to_owned())
        .spawn(move || {
            let outcome = runner.run();
            runner.show_all();
            // Who hears of the end may begin another delivery at once.
            drop(runner);
            // Nobody receives it any more where it was stopped.
            let _ = sender.send(outcome);
        })
        .map_err(|source| Error::io("start a thread for", directory, source))?;
    let mut stopped: Option<Instant> = None;
    loop {
        match (receiver.recv_timeout(TICK), stopped) {
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

/// The streams to deliver, which are some. The first one is the main one where there is one.
fn streams(directory: &Path, settings: &DeliverySettings) -> Result<Vec<Stream>> {
    let (found, others): (Vec<_>, Vec<_>) =
        Snapshot::streams(directory)?.into_iter().partition(|stream| settings.includes(stream));
    if !found.is_empty() {
        return Ok(found);
    }
    let directory = directory.display();
    Err(Error::no_log(match others.first() {
        None => format!("{directory} holds no metrics to deliver"),
        Some(other) => format!(
            "{directory} holds no metrics of the main stream, only of others such as {other}: `--export-ranks all` delivers them"
        ),
    }))
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
        live: None,
        is_live,
        ended: None,
        leads: stream.is_main(),
        lock: Arc::default(),
    }
}

/// One stream's delivery and what became of it.
struct Task {
    stream: Stream,
    delivery: Delivery,
    context: Arc<Context>,
    /// Not before this.
    pause_until: Option<Instant>,
    problem: Option<String>,
    /// There was nothing more at the last look.
    is_idle: bool,
    /// Nothing can be delivered any more.
    has_ended: bool,
}

struct Runner {
    directory: std::path::PathBuf,
    settings: DeliverySettings,
    options: SyncOptions,
    clock: Clock,
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
        let streams = streams(&self.directory, &self.settings)?;
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
            let delivery = Delivery::new(Arc::clone(&context), context.connect()?);
            let task =
                Task { stream, delivery, context, pause_until: None, problem: None, is_idle: false, has_ended: false };
            self.tasks.push(task);
        }
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        loop {
            // Looked at first: what was written before a run ended is there at the look that follows.
            let goes_on =
                self.options.follow && self.tasks.iter().any(|task| is_written(&self.directory, &task.stream));
            if self.options.follow && !goes_on {
                recover_directory(&self.directory, false)?;
                self.note_end()?;
            }
            self.deliver(!goes_on);
            // What one stream cannot be delivered for is no better for the others.
            let is_hopeless = goes_on && self.tasks.iter().any(|task| task.has_ended);
            if self.wait.is_closing() || is_hopeless {
                return Ok(());
            }
            if !goes_on {
                break;
            }
            self.wait.pause(LOOK);
            self.add_streams()?;
        }
        self.finish();
        Ok(())
    }

    /// Deliveries that have not begun hear that the run is not written any more.
    fn note_end(&mut self) -> Result<()> {
        for task in self.tasks.iter_mut().filter(|task| task.delivery.is_held_elsewhere()) {
            task.context = Arc::new(Context { is_live: false, ..Context::clone(&task.context) });
            task.delivery = Delivery::new(Arc::clone(&task.context), task.context.connect()?);
        }
        Ok(())
    }

    /// Steps until there is nothing to do right now or, with `flush`, nothing at all.
    fn deliver(&mut self, flush: bool) {
        self.tasks.iter_mut().for_each(|task| task.is_idle = false);
        while !self.wait.is_closing() {
            let mut next: Option<Instant> = None;
            let mut worked = false;
            for index in 0..self.tasks.len() {
                let task = &mut self.tasks[index];
                if task.has_ended || task.is_idle {
                    continue;
                }
                if task.pause_until.is_none_or(|until| until <= Instant::now()) {
                    let step = task.delivery.step(&self.wait, flush);
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

    /// Tells the destination how the run ended, once everything of all streams is there.
    fn finish(&mut self) {
        // The main stream may have come later than the one that stood in for it.
        let main = self.tasks.iter().position(|task| task.stream.is_main()).unwrap_or(0);
        let leader = self.tasks[main].stream.clone();
        if is_written(&self.directory, &leader) || self.tasks.iter().any(|task| !task.is_idle) {
            return;
        }
        let Ok(Some((status, end_micros))) = last_status(&self.directory, &leader) else { return };
        let others = self.tasks.iter().enumerate().filter(|(index, _)| *index != main);
        let elsewhere = others.fold(Missing::default(), |sum, (_, task)| sum.and(task.delivery.missing()));
        self.tasks[main].delivery.note_missing_elsewhere(elsewhere);
        self.tasks[main].delivery.end_as(status, end_micros);
        self.tasks[main].is_idle = false;
        self.deliver(true);
        self.status = self.tasks[main].delivery.told().filter(|told| *told == status);
    }

    fn bytes_left(&self) -> u64 {
        let left = |task: &Task| {
            let cursor: Option<Cursor> = match task.delivery.delivered() {
                Some(cursor) => Some(cursor.clone()),
                None => task.delivery.known_progress().ok().and_then(|progress| progress.cursor),
            };
            bytes_left(&self.directory, &task.stream, cursor.as_ref()).unwrap_or(0)
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
        let account = self.tasks[index].account(self.status);
        let mut shared = lock(&self.shared);
        let progress = &mut shared.progress;
        account.stream.as_str().clone_into(&mut progress.stream);
        (progress.delivered, progress.rejected) = (delivered, rejected);
        progress.waiting = account.problem.clone().filter(|_| !self.tasks[index].has_ended);
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
        let accounts = self.tasks.iter().map(|task| task.account(self.status)).collect();
        let left = self.bytes_left();
        let mut shared = lock(&self.shared);
        shared.accounts = accounts;
        shared.progress.bytes_left = left;
        shared.progress.bytes_total = shared.progress.bytes_total.max(left);
    }
}

impl Task {
    fn account(&self, status: Option<RunStatus>) -> Account {
        Account {
            stream: self.stream.clone(),
            context: Arc::clone(&self.context),
            remote_run: self.delivery.remote_run().map(str::to_owned),
            page: self.delivery.page(),
            missing: self.delivery.missing(),
            done: self.is_idle && self.problem.is_none(),
            problem: self.problem.clone(),
            status: status.filter(|told| self.delivery.told() == Some(*told)),
        }
    }

    /// Notes what came of a step. Gives whether another may follow at once. A run that is followed is waited for where another
    /// process delivers it.
    fn take(&mut self, step: Step, follow: bool) -> bool {
        self.pause_until = None;
        match step {
            Step::Worked => {
                self.problem = None;
                return true;
            }
            Step::Idle(_) => {
                self.problem = None;
                self.is_idle = true;
            }
            Step::Later { why, .. } if !follow && self.delivery.is_held_elsewhere() => {
                self.problem = Some(format!("{why}; deliver the rest after it ends, or wait for it with `--follow`"));
                self.has_ended = true;
            }
            Step::Later { pause, why } => {
                self.problem = Some(why);
                self.pause_until = Some(Instant::now() + pause);
            }
            Step::Stopped { why } => {
                self.problem = Some(why);
                self.has_ended = true;
            }
        }
        false
    }
}
