//! The writer thread: drains until it is told to stop, backs off while the disk refuses.

use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::control::Control;
use super::drain::Drain;
use crate::primitives::{Builder, Condvar, Instant, JoinHandle, Mutex, MutexGuard, survives};

/// The writer's look at the ring without being asked, while there was something lately: what `tail -f` lags behind.
const POLL: Duration = Duration::from_millis(20);
/// The same in a run that has been quiet for [`QUIET`].
const SLOW_POLL: Duration = Duration::from_millis(100);
/// A waiting thread's look at whether it is still wanted.
const HANDOVER_LOOK: Duration = Duration::from_millis(100);
const QUIET: Duration = Duration::from_secs(2);
/// Pauses after a write that failed, doubled each time.
const FIRST_RETRY: Duration = Duration::from_millis(25);
const LAST_RETRY: Duration = Duration::from_millis(800);

/// What is done beside draining: losses are reported once writing works.
pub trait Errands: Send {
    /// Called after a batch was written, and when there is nothing to write.
    fn after_batch(&mut self, drain: &mut Drain);

    /// Called after a batch that could not be written.
    fn after_failure(&mut self, _drain: &mut Drain) {}
}

/// Where the drain waits while no thread works with it.
#[derive(Debug)]
pub struct Station<E> {
    inside: Mutex<Option<(Drain, E)>>,
    changed: Condvar,
}

impl<E: Errands + 'static> Station<E> {
    /// A station with `drain` inside.
    #[must_use]
    pub fn new(drain: Drain, errands: E) -> Self {
        Self { inside: Mutex::new(Some((drain, errands))), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Drain, E)>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the drain out if it is there.
    #[must_use]
    pub fn take(&self) -> Option<(Drain, E)> {
        self.lock().take()
    }

    /// Takes the drain out to work with it. The wish to stop is looked at under the lock: whoever made it and then finds the
    /// drain here can rely on it.
    fn take_to_work(&self, control: &Control) -> ControlFlow<(), Option<(Drain, E)>> {
        let mut inside = self.lock();
        if control.must_stop() { ControlFlow::Break(()) } else { ControlFlow::Continue(inside.take()) }
    }

    /// Brings the drain back.
    pub fn put(&self, drain: (Drain, E)) {
        *self.lock() = Some(drain);
        self.changed.notify_all();
    }

    /// Waits until the drain is back, at most until `deadline`. Gives whether it is.
    #[must_use]
    pub fn wait(&self, deadline: Instant) -> bool {
        let mut inside = self.lock();
        while inside.is_none() {
            let Some(rest) = deadline.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) else {
                return false;
            };
            inside = self.changed.wait_timeout(inside, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Starts a thread that takes the drain out, works until [`Control::request_stop`] and brings it back.
    pub fn start(self: &Arc<Self>, control: &Arc<Control>) -> std::io::Result<JoinHandle<()>> {
        let (station, control) = (Arc::clone(self), Arc::clone(control));
        Builder::new().name("codex-obs-writer".into()).spawn(move || {
            while let ControlFlow::Continue(taken) = station.take_to_work(&control) {
                if let Some((mut drain, mut errands)) = taken {
                    run_on(&mut drain, &mut errands, &control);
                    return station.put((drain, errands));
                }
                // A thread before this one, stopped for a fork, still waits for the disk.
                let _ = station.wait(Instant::now() + HANDOVER_LOOK);
            }
        })
    }

    /// Does a writer thread's work on this thread, for a process that may not start one: drains until there is nothing left
    /// or writing fails. Gives whether everything is written.
    #[must_use]
    pub fn work_here(&self, control: &Control) -> bool {
        let ControlFlow::Continue(Some((mut drain, mut errands))) = self.take_to_work(control) else { return false };
        let done = loop {
            match drain.batch() {
                Ok(true) => {
                    errands.after_batch(&mut drain);
                    control.note_written(drain.position());
                }
                Ok(false) => {
                    errands.after_batch(&mut drain);
                    control.note_written(drain.position());
                    break true;
                }
                Err(error) => {
                    drain.note_error(&error);
                    errands.after_failure(&mut drain);
                    control.note_failure();
                    break false;
                }
            }
        };
        self.put((drain, errands));
        done
    }
}

/// Runs until told to stop. A panic is a bug of ours that must not stop the log: what was begun is taken back by the next
/// batch, which is tried after a pause like any other that failed.
fn run_on<E: Errands>(drain: &mut Drain, errands: &mut E, control: &Control) {
    let pulse = Arc::clone(drain.files().pulse());
    pulse.begin();
    loop {
        // Unwind safe: the drain takes an unfinished append back before it begins another.
        if survives(|| run(drain, errands, control)) {
            break;
        }
        drain.note_panic();
        control.note_failure();
        if control.pause(LAST_RETRY) {
            break;
        }
    }
    pulse.end();
}

fn run<E: Errands>(drain: &mut Drain, errands: &mut E, control: &Control) {
    let mut retry = FIRST_RETRY;
    let mut active = Instant::now();
    loop {
        let stop = match drain.batch() {
            Ok(true) => {
                retry = FIRST_RETRY;
                active = Instant::now();
                errands.after_batch(drain);
                control.note_written(drain.position());
                control.must_stop()
            }
            Ok(false) => {
                errands.after_batch(drain);
                control.note_written(drain.position());
                control.sleep(if active.elapsed() < QUIET { POLL } else { SLOW_POLL })
            }
            Err(error) => {
                drain.note_error(&error);
                errands.after_failure(drain);
                control.note_failure();
                let stop = control.pause(retry);
                retry = (retry * 2).min(LAST_RETRY);
                stop
            }
        };
        if stop {
            return;
        }
    }
}
