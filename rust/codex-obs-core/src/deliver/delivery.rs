//! Delivers one stream to one destination, a step at a time: the caller waits between the steps.

mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::command::SyncCommand;
pub use super::context::Context;
use crate::deliver::destination::{Answer, Destination, ROWS_MISSING_TAG, RunFacts};
use crate::error::Result;
use crate::follow::cursor::{Cursor, Missing, Progress, lock_path, progress_path};
use crate::follow::follower::{Follower, Losses, Stopped};
use crate::follow::holds;
use crate::follow::params::Params;
use crate::follow::point::Point;
use crate::follow::points::Rows;
use crate::journal::identity::Process;
use crate::journal::owner::{Attempt, Owner, Purpose, is_held_by};
use crate::primitives::Instant;
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
        /// What went wrong; ends with the remedy.
        why: String,
    },
}

/// What the tracking summary says of the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Unknown,
    Enabled,
    Degraded,
}

/// Everything that belongs to one delivery.
#[derive(Debug)]
pub struct Delivery {
    context: Arc<Context>,
    destination: Box<dyn Destination>,
    address: String,
    route: Option<Route>,
    params: Params,
    params_checked: Option<Instant>,
    health: Health,
    /// How the run ended, once that is known: to be told when everything is delivered.
    status: Option<(RunStatus, i64)>,
    counted: Losses,
    /// What the destination lacks of the streams that others deliver.
    missing_elsewhere: Missing,
}

/// A delivery whose remote run is known.
#[derive(Debug)]
struct Route {
    follower: Follower,
    progress: Progress,
    path: PathBuf,
    /// What was read and not delivered; the follower's cursor is behind it.
    points: Vec<Point>,
    /// When the first of it was read.
    since: Option<Instant>,
    /// It was handed over, so that the same has to be handed over again.
    sealed: bool,
    /// The cursor moved on without a delivery.
    unsaved: bool,
    /// What was missing before this delivery.
    missing: Missing,
}

impl Delivery {
    /// A delivery of which nothing is done yet.
    #[must_use]
    pub fn new(context: Arc<Context>, destination: Box<dyn Destination>) -> Self {
        let address = destination.address();
        let params = Params::new(&context.directory, &context.stream);
        Self {
            context,
            destination,
            address,
            route: None,
            params,
            params_checked: None,
            health: Health::Unknown,
            status: None,
            counted: Losses::default(),
            missing_elsewhere: Missing::default(),
        }
    }

    /// Says how the run ended, which the destination hears after the last point.
    pub fn end_as(&mut self, status: RunStatus, end_micros: i64) {
        self.status = Some((status, end_micros));
    }

    /// The remote run, once it is known.
    #[must_use]
    pub fn remote_run(&self) -> Option<&str> {
        self.destination.remote_run()
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

    /// Where people look at the remote run, if it is known.
    #[must_use]
    pub fn page(&self) -> Option<String> {
        self.destination.page()
    }

    /// Whether another delivery, of this process or of another, has the stream.
    #[must_use]
    pub fn is_held_elsewhere(&self) -> bool {
        self.context.lock().is_none()
    }

    /// Up to where everything is delivered.
    #[must_use]
    pub fn delivered(&self) -> Option<&Cursor> {
        self.route.as_ref().and_then(|route| route.progress.cursor.as_ref())
    }

    /// The progress of an earlier delivery, as far as the remote run is known without asking.
    pub fn known_progress(&self) -> Result<Progress> {
        if self.destination.remote_run().is_none() && self.destination.makes_new_run() {
            return Ok(Progress::default());
        }
        let run = self.destination.remote_run().or(self.destination.meant_run());
        Progress::known(&self.context.directory, &self.context.stream, &self.address, run)
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
    pub fn step(&mut self, wait: &Wait, flush: bool) -> Step {
        let step = self.try_step(wait, flush).unwrap_or_else(|error| {
            self.context.stats.export_errors.add(1);
            Step::Later { pause: LOOK_AGAIN, why: error.to_string() }
        });
        for notice in self.destination.notices() {
            self.context.warnings.say(notice);
        }
        self.count_losses();
        self.report(&step);
        step
    }

    fn try_step(&mut self, wait: &Wait, flush: bool) -> Result<Step> {
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
            return self.prepare(wait);
        }
        if let Some(step) = self.send_params(wait, flush)? {
            return Ok(step);
        }
        self.send_points(wait, flush)
    }

    /// Finds or creates the remote run, and the place where its delivery goes on.
    fn prepare(&mut self, wait: &Wait) -> Result<Step> {
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
            sync_command: SyncCommand::new(&self.context, &*self.destination).plain(),
        };
        if let Err(step) = settle(self.destination.prepare(&facts, wait)) {
            return Ok(step);
        }
        let remote_run = self.destination.remote_run().unwrap_or_default().to_owned();
        let other = known.filter(|known| *known != remote_run);
        let is_noted =
            facts.remote_run.is_some() && other.as_ref().is_none_or(|known| !self.destination.replaces(known, wait));
        if self.context.leads && !is_noted {
            Home::note_destination(directory, &self.address, &remote_run)?;
            if let Some(other) = other {
                self.note_saved(holds::supersede(directory, &self.address, &other));
                self.context.warnings.say(format!(
                    "{}: run.json names the run {remote_run} from now on, no longer {other}",
                    self.address
                ));
            }
        }
        let path = progress_path(directory, stream, &self.address, &remote_run);
        let mut progress = Progress::load(&path)?;
        self.note_saved(holds::rename(directory, stream, &self.address, &path));
        // A run that is written again is running there again.
        let was_ended = self.context.is_live && progress.told.take().is_some();
        // Someone came back to it.
        let was_superseded = std::mem::take(&mut progress.is_superseded);
        progress.address = Some(self.address.clone());
        let prefix = if stream.is_main() { String::new() } else { format!("{stream}/") };
        let rows = Rows::new(&prefix, facts.start_micros);
        let live = self.context.live.as_ref().map(|(_, receiver)| receiver.clone());
        let mut follower = Follower::open(directory, stream, rows, live, progress.cursor.clone(), progress.rows)?;
        // Everything was delivered before the end was told, and nothing was written since.
        if progress.told.is_some() && progress.told == self.context.ended {
            follower.miss_nothing();
        }
        if let (Some((feed, _)), Some(hold)) = (&self.context.live, &self.context.hold) {
            follower.ask(Arc::clone(feed), Arc::clone(hold));
        }
        let missing = progress.missing;
        let route =
            Route { follower, progress, path, points: Vec::new(), since: None, sealed: false, unsaved: false, missing };
        if let Some(hold) = &self.context.hold {
            hold.note_progress(&route.path);
            if let Some((ordinal, offset)) = route.follower.place() {
                hold.note(ordinal, offset);
            }
        }
        self.route = Some(route);
        if was_ended || was_superseded {
            self.save();
        }
        Ok(Step::Worked)
    }

    /// Sends parameters and tags that were written meanwhile, if it is time to look.
    fn send_params(&mut self, wait: &Wait, flush: bool) -> Result<Option<Step>> {
        let Some(route) = &mut self.route else { return Ok(None) };
        let interval = self.context.settings.flush_interval;
        let due = self.params_checked.is_none_or(|checked| checked.elapsed() >= interval) || flush;
        if !due || !self.context.leads {
            return Ok(None);
        }
        let Some(news) = self.params.read(route.progress.params_offset)? else {
            self.params_checked = Some(Instant::now());
            return Ok(None);
        };
        let mut handed = Ok(0);
        if !news.params.is_empty() {
            handed = settle(self.destination.params(&news.params, wait));
        }
        if handed.is_ok() && !news.tags.is_empty() {
            handed = settle(self.destination.tags(&news.tags, wait)).and(handed);
        }
        match handed {
            Err(step) => {
                // Read again from the start: what was known before is learnt anew.
                self.params = Params::new(&self.context.directory, &self.context.stream);
                Ok(Some(step))
            }
            Ok(rejected) => {
                self.context.stats.params_exported.add((news.params.len() as u64).saturating_sub(rejected));
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

    fn send_points(&mut self, wait: &Wait, flush: bool) -> Result<Step> {
        let Some(route) = &mut self.route else { return Ok(Step::Worked) };
        let settings = &self.context.settings;
        let mut stopped = Stopped::Full;
        if !route.sealed {
            let most = self.destination.most_points().max(1);
            let passed = route.follower.passed();
            stopped = route.follower.read(&mut route.points, most)?;
            if passed != route.follower.passed() {
                route.unsaved = true;
                route.since.get_or_insert_with(Instant::now);
            }
        }
        let due_at = route.since.map(|since| since + settings.flush_interval);
        let due = flush
            || route.sealed
            || route.points.len() >= settings.flush_points
            || due_at.is_some_and(|due_at| Instant::now() >= due_at);
        if !due {
            return Ok(if stopped == Stopped::AtEnd { Step::Idle(due_at) } else { Step::Worked });
        }
        if !route.unsaved {
            return Ok(if stopped == Stopped::AtEnd { self.finish(wait, flush) } else { Step::Worked });
        }
        if !route.points.is_empty() {
            route.sealed = true;
            let rejected = match settle(self.destination.deliver(&route.points, wait)) {
                Ok(rejected) => rejected,
                Err(step) => return Ok(step),
            };
            let rejected = rejected.min(route.points.len() as u64);
            self.context.stats.metrics_exported.add(route.points.len() as u64 - rejected);
            self.context.stats.metrics_rejected.add(rejected);
            route.points.clear();
        }
        (route.sealed, route.since, route.unsaved) = (false, None, false);
        route.progress.cursor = Some(route.follower.cursor().clone());
        route.progress.rows = route.follower.position();
        let losses = route.follower.losses();
        route.progress.missing = route.missing.and(Missing { rows: losses.missing, gaps: losses.gaps });
        if let (Some(hold), Some((ordinal, offset))) = (&self.context.hold, route.follower.place()) {
            hold.note(ordinal, offset);
        }
        self.save();
        Ok(Step::Worked)
    }

    /// Everything is delivered: says how the run ended, if that is known.
    fn finish(&mut self, wait: &Wait, flush: bool) -> Step {
        let Some((status, end_micros)) = self.status.filter(|_| flush && self.context.leads) else {
            return Step::Idle(None);
        };
        let elsewhere = self.missing_elsewhere;
        let Some(route) = self.route.as_mut() else { return Step::Idle(None) };
        let missing = route.progress.missing.and(elsewhere);
        if missing.is_some() && route.progress.told_missing != missing {
            let tag = (ROWS_MISSING_TAG.to_owned(), missing.words());
            return match settle(self.destination.tags(&[tag], wait)) {
                Ok(_) => {
                    route.progress.told_missing = missing;
                    self.save();
                    Step::Worked
                }
                Err(step) => step,
            };
        }
        if route.progress.told == self.status {
            return Step::Idle(None);
        }
        match settle(self.destination.finish(status, end_micros, wait)) {
            Ok(_) => {
                route.progress.told = self.status;
                self.save();
                Step::Worked
            }
            Err(step) => step,
        }
    }

    /// Puts the progress on disk. If that fails, what was delivered is delivered again one day, which does no harm.
    fn save(&mut self) {
        let Some(route) = &self.route else { return };
        self.note_saved(route.progress.save(&route.path));
    }

    fn note_saved(&self, outcome: Result<()>) {
        if let Err(error) = outcome {
            self.context.stats.export_errors.add(1);
            self.context.warnings.push("export_cursor", || {
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
