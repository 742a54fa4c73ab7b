//! The writer thread: drains until it is told to stop, backs off while the disk refuses.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::control::Control;
use super::drain::Drain;

/// The writer's look at the ring without being asked, while there was something lately: what `tail -f` lags behind.
const POLL: Duration = Duration::from_millis(20);
/// The same in a run that has been quiet for [`QUIET`].
const SLOW_POLL: Duration = Duration::from_millis(100);
const QUIET: Duration = Duration::from_secs(2);
/// Pauses after a write that failed, doubled each time.
const FIRST_RETRY: Duration = Duration::from_millis(25);
const LAST_RETRY: Duration = Duration::from_millis(800);

/// What the thread does beside draining: reports losses once writing works.
pub trait Errands: Send {
    /// Called after a batch was written.
    fn after_batch(&mut self, drain: &mut Drain);
}

/// Starts the writer thread. It gives the drain back when it ends.
pub fn start<E: Errands + 'static>(
    mut drain: Drain,
    mut errands: E,
    control: Arc<Control>,
) -> std::io::Result<JoinHandle<(Drain, E)>> {
    std::thread::Builder::new().name("codex-obs-writer".into()).spawn(move || {
        run(&mut drain, &mut errands, &control);
        (drain, errands)
    })
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
                control.note_written(drain.position());
                control.sleep(if active.elapsed() < QUIET { POLL } else { SLOW_POLL })
            }
            Err(error) => {
                drain.note_error(&error);
                control.note_failure();
                let stop = control.sleep(retry);
                retry = (retry * 2).min(LAST_RETRY);
                stop
            }
        };
        if stop {
            return;
        }
    }
}
