//! Wake-ups under every interleaving. No wait in here times out, so that one wake-up that is missed ends the model.
//!
//! Breaks when, tried once each: `wait_until_written` does not set `awaited`; `note_written` wakes nobody.

use std::sync::Arc;

use loom::sync::atomic::AtomicU64;
use loom::thread;

use super::*;
use crate::primitives::explore;

/// Longer than any wait that a model lets time out.
const FOR_EVER: Duration = Duration::from_secs(3600);

struct Shared {
    control: Control,
    published: AtomicU64,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self { control: Control::default(), published: AtomicU64::new(0) })
    }

    /// A writer whose first attempts fail, and that sleeps until it is woken.
    fn write(&self, mut failures: u32) {
        loop {
            let stop = if failures > 0 {
                failures -= 1;
                self.control.note_failure();
                self.control.pause(FOR_EVER)
            } else {
                self.control.note_written(self.published.load(Ordering::Acquire));
                self.control.sleep(FOR_EVER)
            };
            if stop {
                return;
            }
        }
    }

    fn publish(&self) -> u64 {
        self.published.fetch_add(1, Ordering::AcqRel) + 1
    }

    fn wait_for(&self, position: u64) -> Waited {
        self.control.wait_until_written(position, Instant::now() + FOR_EVER)
    }
}

fn spawn(shared: &Arc<Shared>, work: impl FnOnce(&Shared) + Send + 'static) -> thread::JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::spawn(move || work(&shared))
}

#[test]
fn model_whoever_waits_for_the_writer_is_woken() {
    explore(3, usize::MAX, || {
        let shared = Shared::new();
        let writer = spawn(&shared, |shared| shared.write(0));
        let other = spawn(&shared, |shared| assert_eq!(shared.wait_for(shared.publish()), Waited::Written));
        assert_eq!(shared.wait_for(shared.publish()), Waited::Written);
        other.join().unwrap();
        shared.control.request_stop();
        writer.join().unwrap();
    });
}

#[test]
fn model_a_failure_is_told_and_the_next_wait_makes_the_writer_try_again() {
    explore(3, usize::MAX, || {
        let shared = Shared::new();
        let writer = spawn(&shared, |shared| shared.write(1));
        let position = shared.publish();
        match shared.wait_for(position) {
            // The writer failed before anybody waited, and then tried again.
            Waited::Written => {}
            Waited::Failing => assert_eq!(shared.wait_for(position), Waited::Written),
            Waited::TimedOut => panic!("nothing times out here"),
        }
        shared.control.request_stop();
        writer.join().unwrap();
    });
}

#[test]
fn model_a_kick_wakes_a_writer_that_sleeps_or_is_about_to() {
    explore(3, usize::MAX, || {
        let shared = Shared::new();
        let writer = spawn(&shared, |shared| {
            while shared.published.load(Ordering::Acquire) == 0 {
                shared.control.sleep(FOR_EVER);
            }
        });
        shared.publish();
        shared.control.kick();
        writer.join().unwrap();
    });
}

#[test]
fn model_a_stop_ends_a_writer_wherever_it_is() {
    explore(4, usize::MAX, || {
        let shared = Shared::new();
        let writer = spawn(&shared, |shared| shared.write(1));
        shared.control.request_stop();
        writer.join().unwrap();
    });
}
