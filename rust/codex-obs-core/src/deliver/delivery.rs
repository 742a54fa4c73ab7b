//! Delivers one stream to one destination, a step at a time: the caller waits between the steps.

mod lines;
mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use report::Health;

use super::command::SyncCommand;
pub use super::context::Context;
use crate::deliver::destination::{Answer, Destination, Follows, Noted, RunFacts, Start, States};
use crate::error::Result;
use crate::follow::follower::{Follower, Losses};
use crate::follow::holds;
use crate::follow::params::Params;
use crate::follow::points::{Rows, UnshownRows};
use crate::follow::progress::{Missing, NO_RUN, Progress, Totals, lock_path, progress_path};
use crate::follow::reached::Reached;
use crate::follow::records::Records;
use crate::lock::{Attempt, Owner, Purpose, is_held_by};
use crate::paths::FileKind;
use crate::primitives::Instant;
use crate::problem::Problem;
use crate::process::Process;
use crate::run::ending::RunStatus;
use crate::run::identity::Home;
use crate::run::origin::Origin;
use crate::wait::Wait;
use crate::words::some_of;

/// Parameters that one warning names.
const SHOWN_PARAMETERS: usize = 10;
/// Time until a delivery by another process is looked at again, and until files that cannot be read are tried again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something was done; there may be more.
    Worked,
    /// There is nothing to do before this time, unless something is logged; `None`: nothing at all.
    Idle(Option<Instant>),
    /// The next step is due after a pause.
    Later {
        /// How long.
        pause: Duration,
        /// What went wrong.
        why: String,
    },
    /// Nothing more can be delivered.
    Stopped {
        /// What went wrong, and what the remedy is about.
        why: Problem,
    },
}

/// Everything that belongs to one delivery.
#[derive(Debug)]
pub struct Delivery {
    context: Arc<Context>,
    address: String,
    follows: Follows,
    /// Once it is known.
    remote_run: Option<String>,
    route: Option<Route>,
    params: Params,
    params_checked: Option<Instant>,
    artifacts_looked: Option<Instant>,
    health: Health,
    /// How the run ended, once that is known: to be told when everything is delivered.
    status: Option<(RunStatus, i64)>,
    counted: Losses,
    counted_unshown: UnshownRows,
    /// The stream gets no more rows.
    is_over: bool,
    /// What the destination lacks of the streams that others deliver.
    missing_elsewhere: Missing,
}

/// A delivery whose remote run is known.
#[derive(Debug)]
struct Route {
    progress: Progress,
    path: PathBuf,
    /// The rows, for a destination that follows them.
    rows: Option<RowTrack>,
    records: Vec<RecordTrack>,
    /// What was missing before this delivery.
    missing: Missing,
    /// What was delivered, and what was not before this delivery.
    totals: Totals,
}

/// Rows on their way.
#[derive(Debug)]
struct RowTrack {
    follower: Follower,
    /// What was read and not delivered; the follower's cursor is behind it.
    rows: Rows,
    /// When the first of it was read.
    since: Option<Instant>,
    /// So many points were handed over, and the same have to be handed over again.
    sealed: Option<usize>,
}

/// Lines of another log on their way.
#[derive(Debug)]
struct RecordTrack {
    log: FileKind,
    follower: Follower,
    records: Records,
    since: Option<Instant>,
    is_sealed: bool,
    /// When it was looked for last, and nothing was there.
    looked: Option<Instant>,
}

impl Delivery {
    /// A delivery of which nothing is done yet.
    #[must_use]
    pub fn new(context: Arc<Context>, destination: &dyn Destination) -> Self {
        let (address, follows) = (destination.address(), destination.follows());
        let params = Params::new(&context.directory, &context.stream).as_json(follows.params_as_json);
        Self {
            context,
            address,
            follows,
            remote_run: None,
            route: None,
            params,
            params_checked: None,
            artifacts_looked: None,
            health: Health::Unknown,
            status: None,
            counted: Losses::default(),
            counted_unshown: UnshownRows::default(),
            is_over: false,
            missing_elsewhere: Missing::default(),
        }
    }

    /// Says how the run ended, which the destination hears after the last point.
    pub fn end_as(&mut self, status: RunStatus, end_micros: i64) {
        self.status = Some((status, end_micros));
        self.is_over = true;
    }

    /// Says whether the stream gets no more rows, so that its last group is whole.
    pub fn note_over(&mut self, is_over: bool) {
        self.is_over = is_over;
    }

    /// The remote run, once it is known.
    #[must_use]
    pub fn remote_run(&self) -> Option<&str> {
        self.remote_run.as_deref()
    }

    /// What the destination lacks of the stream since it was deleted before it was delivered.
    #[must_use]
    pub fn missing(&self) -> Missing {
        self.route.as_ref().map_or_else(Missing::default, |route| route.progress.missing)
    }

    /// Hears what the destination lacks of the other streams, which it is told together.
    pub fn note_missing_elsewhere(&mut self, missing: Missing) {
        self.missing_elsewhere = missing;
    }

    /// Whether another delivery, of this process or of another, has the stream.
    #[must_use]
    pub fn is_held_elsewhere(&self) -> bool {
        self.context.lock().is_none()
    }

    /// How far it is, once that is known.
    #[must_use]
    pub fn progress(&self) -> Option<&Progress> {
        self.route.as_ref().map(|route| &route.progress)
    }

    /// Whether it follows rows.
    #[must_use]
    pub fn follows_rows(&self) -> bool {
        self.follows.points.is_some()
    }

    /// The progress of an earlier delivery, as far as the remote run is known without asking.
    pub fn known_progress(&self, destination: &dyn Destination) -> Result<Progress> {
        if destination.remote_run().is_none() && destination.makes_new_run() {
            return Ok(Progress::default());
        }
        let run = destination.remote_run().or(destination.meant_run());
        let known = Progress::known(&self.context.directory, &self.context.stream, &self.address, run)?;
        Ok(Progress { is_without_rows: !self.follows_rows(), ..known })
    }

    /// How the run ended, as the destination knows it from us, now or earlier.
    #[must_use]
    pub fn told(&self) -> Option<RunStatus> {
        self.route.as_ref().and_then(|route| route.progress.told).map(|(status, _)| status)
    }

    /// Throws the batches away that wait: what they hold is read from the files.
    pub fn forget_live(&self) {
        if let Some((_, live)) = &self.context.live {
            live.try_iter().for_each(drop);
        }
    }

    /// Does the next thing. With `flush` nothing waits for more to go with it.
    pub fn step(&mut self, destination: &mut dyn Destination, wait: &Wait, flush: bool) -> Step {
        if destination.wants_again(&self.context.stream) {
            self.open_again();
        }
        let step = self.try_step(destination, wait, flush).unwrap_or_else(|error| {
            self.context.stats.export_errors.add(1);
            if error.is_conflict() {
                Step::Stopped { why: error.problem() }
            } else {
                Step::Later { pause: LOOK_AGAIN, why: error.to_string() }
            }
        });
        if matches!(step, Step::Later { .. }) && destination.has_lost(&self.context.stream) {
            self.open_again();
        }
        self.context.stats.spans_exported.add(destination.take_spans());
        for notice in destination.notices() {
            self.context.warnings.say(notice);
        }
        self.count_losses();
        self.report(&step);
        step
    }

    fn try_step(&mut self, destination: &mut dyn Destination, wait: &Wait, flush: bool) -> Result<Step> {
        if self.is_held_elsewhere() {
            let path = lock_path(&self.context.directory, &self.context.stream, &self.address);
            let process = Process::current();
            match Owner::acquire(&path, &process, Purpose::Write)? {
                Attempt::Taken(owner) => *self.context.lock() = Some(owner),
                Attempt::Held(_) => {
                    let stream = &self.context.stream;
                    let why = if is_held_by(&path, &process) {
                        format!(
                            "this process delivers the stream {stream} already: a session that is open, or a delivery that was \
                             stopped and ends with the answer to its last request"
                        )
                    } else {
                        format!("another process delivers the stream {stream} right now")
                    };
                    return Ok(Step::Later { pause: LOOK_AGAIN, why });
                }
            }
        }
        if self.route.is_none() {
            return self.prepare(destination, wait);
        }
        // A part of them may have been taken: nothing else is noted before they are.
        if self.has_sealed_rows() {
            return self.send_points(destination, wait, flush);
        }
        if let Some(step) = self.send_params(destination, wait, flush)? {
            return Ok(step);
        }
        let mut until: Option<Instant> = None;
        for index in 0..self.route.as_ref().map_or(0, |route| route.records.len()) {
            match self.send_records(index, destination, wait, flush)? {
                Step::Idle(due) => until = until.into_iter().chain(due).min(),
                step => return Ok(step),
            }
        }
        match self.send_points(destination, wait, flush)? {
            Step::Idle(due) => {
                let sent = self.send_artifacts(destination, wait, flush)?;
                Ok(sent.unwrap_or_else(|| Step::Idle(until.into_iter().chain(due).min())))
            }
            step => Ok(step),
        }
    }

    /// Finds or creates the remote run, and the place where its delivery goes on.
    fn prepare(&mut self, destination: &mut dyn Destination, wait: &Wait) -> Result<Step> {
        let Context { directory, stream, .. } = &*self.context;
        let home = Home::of(directory)?;
        let known = home.destinations.get(&self.address).cloned();
        let facts = RunFacts {
            run_id: home.run_id,
            name: home.name,
            start_micros: home.created_micros,
            origin: Origin::of(directory, stream)?,
            remote_run: known.clone(),
            may_create: self.context.leads,
            is_live: self.context.is_live,
            sync_command: SyncCommand::new(&self.context, destination).plain(),
            states: States { directory: directory.clone(), address: self.address.clone() },
        };
        if let Err(step) = settle(destination.prepare(&facts, wait)) {
            return Ok(step);
        }
        self.remote_run = destination.remote_run().map(str::to_owned);
        if let Some(remote_run) = &self.remote_run {
            let other = known.filter(|known| known != remote_run);
            let is_noted = facts.remote_run.is_some() && other.is_none();
            if self.context.leads && !is_noted {
                Home::note_destination(directory, &self.address, remote_run)?;
                if let Some(other) = other {
                    self.note_saved(holds::supersede(directory, &self.address, &other));
                    self.context.warnings.say(format!(
                        "{}: run.json names the run {remote_run} from now on, no longer {other}",
                        self.address
                    ));
                }
            }
        }
        let path = progress_path(directory, stream, &self.address, self.remote_run.as_deref().unwrap_or(NO_RUN));
        let mut progress = Progress::load(&path)?;
        let (cursor, state) = (progress.cursor.as_ref(), progress.state.as_deref());
        let noted = Noted { cursor, state, told: progress.told.map(|(status, _)| status) };
        match destination.open(stream, &noted) {
            Start::AsNoted => {}
            Start::At(Reached { rows, records }) => {
                if rows.is_none() {
                    // All of it begins anew, parameters and the end too.
                    progress = Progress::default();
                } else if rows != progress.cursor {
                    (progress.cursor, progress.rows, progress.manifest) = (rows, None, None);
                    progress.totals = Totals::default();
                }
                progress.records = records;
            }
            Start::Not(answer) => return Ok(settle(answer).err().unwrap_or(Step::Worked)),
        }
        self.note_saved(holds::rename(directory, stream, &self.address, &path));
        // A run that is written again is running there again.
        let was_ended = self.context.is_live && progress.told.take().is_some();
        // Someone came back to it.
        let was_superseded = std::mem::take(&mut progress.is_superseded);
        progress.address = Some(self.address.clone());
        progress.is_without_rows = !self.follows_rows();
        progress.follows = self.follows.logs();
        let (missing, totals) = (progress.missing, progress.totals);
        let rows = self.follow_rows(&progress, facts.start_micros)?;
        let records: Vec<RecordTrack> =
            self.follows.records().map(|log| self.follow_records(log, &progress)).collect::<Result<_>>()?;
        if let Some(hold) = &self.context.telemetry_hold {
            hold.note_progress(&path);
            let track = records.iter().find(|track| track.log == FileKind::Telemetry);
            if let Some((ordinal, offset)) = track.and_then(|track| track.follower.place()) {
                hold.note(ordinal, offset);
            }
        }
        if let Some(hold) = self.context.hold.as_ref().filter(|_| self.follows.holds) {
            hold.note_progress(&path);
            if let Some((ordinal, offset)) = rows.as_ref().and_then(|track| track.follower.place()) {
                hold.note(ordinal, offset);
            }
        }
        self.route = Some(Route { progress, path, rows, records, missing, totals });
        if was_ended || was_superseded {
            self.save();
        }
        Ok(Step::Worked)
    }

    fn follow_rows(&self, progress: &Progress, start_micros: i64) -> Result<Option<RowTrack>> {
        let Some(wanted) = self.follows.points else { return Ok(None) };
        let Context { directory, stream, .. } = &*self.context;
        let prefix = if stream.is_main() { String::new() } else { format!("{stream}/") };
        let rows = Rows::new(&prefix, start_micros).wanting(wanted, directory, stream, progress.manifest.clone())?;
        let live = self.context.live.as_ref().map(|(_, receiver)| receiver.clone());
        let cursor = progress.cursor.clone();
        let mut follower = Follower::open(FileKind::Metrics, directory, stream, live, cursor, progress.rows)?;
        // Everything was delivered before the end was told, and nothing was written since.
        if progress.told.is_some() && progress.told == self.context.ended {
            follower.miss_nothing();
        }
        if let (Some((feed, _)), Some(hold)) = (&self.context.live, &self.context.hold) {
            follower.ask(Arc::clone(feed), hold.clone());
        }
        Ok(Some(RowTrack { follower, rows, since: None, sealed: None }))
    }

    fn follow_records(&self, log: FileKind, progress: &Progress) -> Result<RecordTrack> {
        let Context { directory, stream, .. } = &*self.context;
        let cursor = progress.records.get(log.base()).cloned();
        let follower = Follower::open(log, directory, stream, None, cursor, None)?;
        Ok(RecordTrack { log, follower, records: Records::default(), since: None, is_sealed: false, looked: None })
    }

    /// Sends parameters and tags that were written meanwhile, if it is time to look.
    fn send_params(&mut self, destination: &mut dyn Destination, wait: &Wait, flush: bool) -> Result<Option<Step>> {
        let Some(route) = &mut self.route else { return Ok(None) };
        let interval = self.context.settings.flush_interval;
        // Before the first rows they are looked for in any case: those of the run's start come first wherever order is kept.
        let due = self.params_checked.is_none_or(|checked| checked.elapsed() >= interval)
            || route.progress.cursor.is_none()
            || flush;
        if !due || !self.context.leads || !self.follows.params {
            return Ok(None);
        }
        let Some(news) = self.params.read(route.progress.params_offset)? else {
            self.params_checked = Some(Instant::now());
            return Ok(None);
        };
        let mut handed = Ok(0);
        if !news.params.is_empty() {
            handed = settle(destination.params(&self.context.stream, &news.params, wait));
        }
        if handed.is_ok() && !news.tags.is_empty() {
            handed = settle(destination.tags(&self.context.stream, &news.tags, wait)).and(handed);
        }
        match handed {
            Err(step) => {
                self.forget_params();
                Ok(Some(step))
            }
            Ok(rejected) => {
                let taken = (news.params.len() as u64).saturating_sub(rejected);
                self.context.stats.params_exported.add(taken);
                route.totals.params += taken;
                route.progress.totals.params = route.totals.params;
                self.context.stats.params_changed.add(news.changed.len() as u64);
                if !news.changed.is_empty() {
                    self.context.warnings.say(format!(
                        "parameters changed when the run was resumed ({}): {} keeps their first values, params.ndjson has all",
                        some_of(&news.changed, SHOWN_PARAMETERS),
                        self.address
                    ));
                }
                route.progress.params_offset = news.end;
                self.save();
                Ok(Some(Step::Worked))
            }
        }
    }

    fn open_again(&mut self) {
        // Who reads it again counts from nothing.
        self.count_losses();
        (self.counted, self.counted_unshown) = (Losses::default(), UnshownRows::default());
        self.route = None;
        self.forget_params();
    }

    fn forget_params(&mut self) {
        let Context { directory, stream, .. } = &*self.context;
        self.params = Params::new(directory, stream).as_json(self.follows.params_as_json);
    }

    /// Puts the progress on disk. If that fails, what was delivered is delivered again one day, which does no harm.
    fn save(&mut self) {
        let Some(route) = &self.route else { return };
        self.note_saved(route.progress.save(&route.path));
    }

    fn note_saved(&self, outcome: Result<()>) {
        if let Err(error) = outcome {
            self.context.stats.export_errors.add(1);
            self.context.warnings.push_about("export_cursor", &self.address, || {
                format!("{error}: delivered rows may be sent to {} again, which is harmless", self.address)
            });
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.context.unlock();
    }
}

/// How many were rejected, or the step that a delivery which was not taken makes.
fn settle(answer: Answer) -> std::result::Result<u64, Step> {
    match answer {
        Answer::Taken { rejected } => Ok(rejected),
        Answer::Later { pause, why } => Err(Step::Later { pause, why }),
        Answer::Never { why } => Err(Step::Stopped { why }),
    }
}
