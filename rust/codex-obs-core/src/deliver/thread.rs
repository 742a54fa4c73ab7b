//! The exporter's thread: drives a delivery, waits between its steps, goes home for a fork, ends with a deadline.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Select, Sender, bounded};

use super::command::SyncCommand;
use super::context::Context;
use super::delivery::{Delivery, Step};
use crate::deliver::destination::Destination;
use crate::follow::backlog::Backlog;
use crate::follow::progress::Progress;
use crate::problem::Problem;
use crate::run::ending::RunStatus;
use crate::wait::Wait;

use crate::limits::EXPORT_PATIENCE;
use crate::primitives::Instant;

/// Longest time between two looks at the files, in case a wake-up was missed.
const LOOK: Duration = Duration::from_secs(1);
/// Pause after a bug of ours or of the destination's, which then begins anew.
const AFTER_PANIC: Duration = Duration::from_secs(1);
/// Time for the thread to come back behind a deadline that it keeps itself.
const GRACE: Duration = Duration::from_millis(50);
/// Whoever closes looks this often whether a fork has stopped the thread meanwhile.
const CLOSE_LOOK: Duration = Duration::from_millis(100);

/// A stream on its way to a destination, for as long as its session lives.
#[derive(Debug)]
pub struct DeliveryThread {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    address: String,
    /// The remote run that was asked for.
    meant_run: Option<String>,
    /// Whether only lines of other logs are delivered.
    is_without_rows: bool,
    command: SyncCommand,
}

#[derive(Debug)]
struct Shared {
    context: Arc<Context>,
    station: Mutex<Station>,
    changed: Condvar,
    wait: Wait,
    ring_bell: Sender<()>,
    bell: Receiver<()>,
}

/// A delivery and where it goes.
type Work = (Delivery, Box<dyn Destination>);

/// Where the delivery is while no thread works with it.
#[derive(Debug)]
struct Station {
    delivery: Option<Work>,
    /// A thread works with it.
    is_out: bool,
    has_started: bool,
    /// Why nothing is delivered any more.
    end: Option<Leave>,
    /// The end of a back-off that a fork interrupted.
    not_before: Option<Instant>,
    /// How the run ended and when.
    status: Option<(RunStatus, i64)>,
}

/// Why a thread leaves its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    /// For a moment.
    Halted,
    /// For good.
    Ended,
    /// For good, since nothing can be delivered; it was said why, and what can be done.
    Stopped,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DeliveryThread {
    /// An exporter that has not begun.
    #[must_use]
    pub fn new(context: Context, destination: Box<dyn Destination>) -> Self {
        let context = Arc::new(context);
        let (address, command) = (destination.address(), SyncCommand::new(&context, &*destination));
        let meant_run = destination.meant_run().map(str::to_owned);
        let is_without_rows = destination.follows().points.is_none();
        let (ring_bell, bell) = bounded(1);
        let delivery = Some((Delivery::new(Arc::clone(&context), &*destination), destination));
        let station =
            Station { delivery, is_out: false, has_started: false, end: None, not_before: None, status: None };
        let shared = Shared {
            context,
            station: Mutex::new(station),
            changed: Condvar::new(),
            wait: Wait::default(),
            ring_bell,
            bell,
        };
        Self { shared: Arc::new(shared), thread: Mutex::default(), address, meant_run, is_without_rows, command }
    }

    /// Makes sure that the thread runs, unless it has ended for good. `false` if it cannot be started.
    pub fn start(&self) -> bool {
        let mut station = lock(&self.shared.station);
        station.has_started = true;
        self.shared.wait.resume();
        if station.is_out || station.end.is_some() || station.delivery.is_none() {
            return true;
        }
        let shared = Arc::clone(&self.shared);
        match std::thread::Builder::new().name("codex-obs-send".into()).spawn(move || shared.work()) {
            Ok(handle) => {
                station.is_out = true;
                self.shared.wait.note_home(false);
                drop(station);
                *lock(&self.thread) = Some(handle);
                true
            }
            Err(error) => {
                self.shared.context.stats.export_errors.add(1);
                self.shared.context.warnings.push("export_thread", || {
                    format!("the exporter's thread cannot be started ({error}): rows wait in the files")
                });
                false
            }
        }
    }

    /// Sends the thread home for a fork.
    pub fn halt(&self) {
        self.shared.wait.halt();
        self.shared.ring();
    }

    /// Waits until the thread that was [`halt`](Self::halt)ed has gone, for `longest` at most. One that waits for an answer goes
    /// on with that, and with nothing else before [`release`](Self::release).
    pub fn wait_home(&self, longest: Duration) {
        let deadline = Instant::now() + longest;
        if self.shared.wait.hold(deadline)
            && let Some(handle) = lock(&self.thread).take()
        {
            while !handle.is_finished() && Instant::now() < deadline {
                std::thread::yield_now();
            }
            if handle.is_finished() {
                // Its panics are caught where they are of interest.
                let _ = handle.join();
            }
        }
    }

    /// After a fork, in the parent: the thread goes on if it is still there.
    pub fn release(&self) {
        self.shared.wait.release();
    }

    /// Whether it was [`start`](Self::start)ed once.
    #[must_use]
    pub fn has_started(&self) -> bool {
        lock(&self.shared.station).has_started
    }

    /// In a forked child: lets go of what the child must not hold, and touches nothing else. What the thread works with is
    /// never touched: of its locks and its connection the child has copies that nobody will ever let go of.
    pub fn abandon(&self) {
        self.shared.context.unlock();
    }

    /// Lets it hear how the run ended and when, and that it has until `deadline`.
    pub fn begin_close(&self, status: RunStatus, end_micros: i64, deadline: Option<Instant>) {
        let mut station = lock(&self.shared.station);
        if station.has_started {
            station.status = Some((status, end_micros));
            drop(station);
            self.shared.wait.close(deadline);
            self.shared.ring();
        }
    }

    /// After [`begin_close`](Self::begin_close): delivers what it can until `deadline`, tells the destination how the run ended if
    /// that was everything, and ends the thread. Gives what is left.
    pub fn close(&self, deadline: Option<Instant>) -> Option<Backlog> {
        if !lock(&self.shared.station).has_started {
            return None;
        }
        loop {
            if !self.start() {
                // Every attempt keeps the deadline by itself, but for a look-up of a name that hangs.
                lock(&self.shared.station).is_out = true;
                self.shared.wait.note_home(false);
                self.shared.work();
            }
            self.shared.ring();
            let look = Instant::now() + CLOSE_LOOK;
            let patience = deadline.map_or(look, |deadline| look.min(deadline + GRACE));
            if self.wait_until(patience, |station| station.end.is_some()) {
                break;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline + GRACE) {
                break;
            }
        }
        self.shared.context.want_live(false);
        let left = self.left();
        if let Some(left) = &left {
            let (directory, address) = (self.shared.context.directory.display(), &self.address);
            let what = format!("not delivered to {address}: {} ({directory})", left.words());
            let problem = if lock(&self.shared.station).end == Some(Leave::Stopped) {
                Problem::from(format!("{what}; see the earlier warning for the remedy"))
            } else {
                Problem::new("undelivered", what, left.command.clone())
            };
            self.shared.context.warnings.say(problem);
        }
        left
    }

    /// What is left by the progress on disk: the thread may not have come back.
    fn left(&self) -> Option<Backlog> {
        let status = lock(&self.shared.station).status.filter(|_| self.shared.context.leads);
        let Context { directory, stream, .. } = &*self.shared.context;
        let known = Progress::known(directory, stream, &self.address, self.meant_run.as_deref()).unwrap_or_default();
        let progress = Progress { is_without_rows: self.is_without_rows, ..known };
        let left = Backlog::of(directory, stream, &progress, status).ok().filter(|left| !left.is_nothing())?;
        Some(Backlog { command: self.command.now(), ..left })
    }

    fn wait_until(&self, deadline: Instant, condition: impl Fn(&Station) -> bool) -> bool {
        let mut station = lock(&self.shared.station);
        while !condition(&station) {
            let rest = deadline.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero());
            let Some(rest) = rest else { return false };
            station = self.shared.changed.wait_timeout(station, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Shared {
    fn ring(&self) {
        // A bell that was rung already is heard anyway.
        let _ = self.ring_bell.try_send(());
    }

    /// The thread: takes the delivery out, works with it and brings it back, or ends.
    fn work(&self) {
        let (delivery, mut not_before) = {
            let mut station = lock(&self.station);
            (station.delivery.take(), station.not_before.take())
        };
        let Some(mut delivery) = delivery else { return };
        loop {
            // Unwind safe: a delivery that met a bug is thrown away.
            match catch_unwind(AssertUnwindSafe(|| self.run(&mut delivery, &mut not_before))) {
                Ok(Leave::Halted) => {
                    let mut station = lock(&self.station);
                    // Whoever started it again meanwhile saw that it was out.
                    if self.wait.is_halted() {
                        station.not_before = not_before;
                        return self.come_home(station, Ok(delivery));
                    }
                }
                Ok(leave) => {
                    delivery.0.note_end();
                    drop(delivery);
                    return self.come_home(lock(&self.station), Err(leave));
                }
                Err(_) => {
                    self.context.stats.export_errors.add(1);
                    self.context.warnings.push("export_panic", || {
                        "internal error in the exporter; it restarts after the last delivered row".to_owned()
                    });
                    let _ = catch_unwind(AssertUnwindSafe(move || drop(delivery)));
                    match self.context.connect() {
                        Ok(destination) => {
                            delivery = (Delivery::new(Arc::clone(&self.context), &*destination), destination);
                        }
                        Err(_) => return self.come_home(lock(&self.station), Err(Leave::Ended)),
                    }
                    if !self.wait.pause(AFTER_PANIC) {
                        return self.come_home(lock(&self.station), Err(Leave::Ended));
                    }
                }
            }
        }
    }

    /// Brings the delivery back; without one nothing is delivered any more.
    fn come_home(&self, mut station: MutexGuard<'_, Station>, delivery: Result<Work, Leave>) {
        self.context.want_live(false);
        station.end = delivery.as_ref().err().copied();
        station.delivery = delivery.ok();
        station.is_out = false;
        self.wait.note_home(true);
        drop(station);
        self.changed.notify_all();
    }

    fn run(&self, (delivery, destination): &mut Work, not_before: &mut Option<Instant>) -> Leave {
        let mut is_wanted = false;
        // Until when a destination that takes nothing is waited for, once the run is closed.
        let mut patience: Option<Instant> = None;
        loop {
            let is_closing = self.wait.is_closing();
            if is_closing && patience.is_none() {
                patience = Some(Instant::now() + EXPORT_PATIENCE);
                *not_before = None;
                if let Some((status, end_micros)) = lock(&self.station).status {
                    delivery.end_as(status, end_micros);
                }
            }
            if self.wait.is_halted() {
                return Leave::Halted;
            }
            if self.wait.is_over() {
                return Leave::Ended;
            }
            if let Some(rest) = not_before.map(|time| time.saturating_duration_since(Instant::now()))
                && !rest.is_zero()
            {
                self.wait.pause(rest);
                continue;
            }
            match delivery.step(&mut **destination, &self.wait, is_closing) {
                Step::Worked => patience = patience.map(|_| Instant::now() + EXPORT_PATIENCE),
                Step::Idle(_) if is_closing => return Leave::Ended,
                Step::Idle(until) => {
                    // Whoever did not see the wish had appended before it: the files are looked at once more.
                    // Batches of rows that nobody takes would wake it again and again.
                    if !delivery.follows_rows() || std::mem::replace(&mut is_wanted, true) {
                        self.rest(until);
                    } else {
                        self.context.want_live(true);
                    }
                }
                Step::Later { pause, .. } => {
                    let rest = patience.map(|patience| {
                        let patience = patience.saturating_duration_since(Instant::now());
                        self.wait.remaining().unwrap_or(patience)
                    });
                    if rest.is_some_and(|rest| pause >= rest) {
                        return Leave::Ended;
                    }
                    if std::mem::take(&mut is_wanted) {
                        self.context.want_live(false);
                        delivery.forget_live();
                    }
                    *not_before = Some(Instant::now() + pause);
                }
                Step::Stopped { .. } => return Leave::Stopped,
            }
        }
    }

    /// Waits until something was logged, at most until `until`.
    fn rest(&self, until: Option<Instant>) {
        let longest = until.map_or(LOOK, |until| until.saturating_duration_since(Instant::now()).min(LOOK));
        let mut select = Select::new();
        let bell = select.recv(&self.bell);
        if let Some((_, live)) = &self.context.live {
            select.recv(live);
        }
        if select.ready_timeout(longest) == Ok(bell) {
            let _ = self.bell.try_recv();
        }
    }
}

impl Drop for DeliveryThread {
    fn drop(&mut self) {
        // Never closed: what is not delivered waits in the files. The thread ends by itself.
        self.shared.wait.close(Some(Instant::now()));
        // Whoever forks right now does not find it any more, and nobody else would let the thread go on.
        self.shared.wait.release();
        self.shared.ring();
    }
}
