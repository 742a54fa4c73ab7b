//! A session under every interleaving of those who log, flush, close, fork and write: with real files, and with a journal
//! in memory that tells when two threads could meet in it.
//!
//! Breaks when, tried once: `Reporter` keeps the sum of losses for a recovery after it gave their lock back.

use std::path::Path;

use loom::thread;

use super::*;
use crate::clock::Clock;
use crate::journal::frame::{Call, FrameBuilder};
use crate::primitives::explore;
use crate::record::Tags;
use crate::worker::loss::{Cause, Loss};
use crate::worker::syncer::SyncPolicy;
use crate::worker::thread::Errands;

/// Beyond every wait of a model.
const LATER: Duration = Duration::from_secs(3600);

fn open(directory: &Path) -> Arc<Session> {
    let sync = SyncPolicy::Never;
    let clock = Clock::Manual(Arc::default());
    Session::open(directory, Some("r1"), None, Settings { sync, clock, ring_bytes: 256 << 10, ..Settings::default() })
        .unwrap()
}

fn log(session: &Session, step: i64) {
    let mut frames = FrameBuilder::default();
    let call = Call { timestamp: 0, step: Some(step), split: "s", dataset: None, tags: &Tags::default() };
    frames.begin(&call, session.max_frame_bytes());
    frames.float("m", 0.5);
    frames.finish();
    if !session.try_log(&mut frames, Step::Given, Time::Now) {
        session.log_slowly(&mut frames, Step::Given, Time::Now);
    }
}

fn logger(session: &Arc<Session>, calls: i64) -> thread::JoinHandle<()> {
    let session = Arc::clone(session);
    thread::spawn(move || (0..calls).for_each(|step| log(&session, step)))
}

fn lines(directory: &Path) -> usize {
    std::fs::read_to_string(directory.join("metrics.ndjson")).unwrap().lines().count()
}

fn count(session: &Session, name: &str) -> usize {
    session.stats().snapshot().into_iter().find(|counter| counter.0 == name).unwrap().1 as usize
}

/// Every row is in the file once, or was refused and counted.
fn require_whole(session: &Session, logged: usize) {
    assert_eq!(count(session, "rows_logged"), logged);
    assert_eq!(count(session, "rows_dropped"), count(session, "rows_dropped_closed"));
    assert_eq!(lines(session.directory()), logged - count(session, "rows_dropped"));
    assert_eq!(count(session, "rows_waiting"), 0);
}

fn explore_in_a_folder(preemptions: usize, run: impl Fn(&Path) + Send + Sync + 'static) {
    explore(preemptions, 20_000, move || {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        run(folder.path());
    });
}

#[test]
fn model_rows_are_written_once_or_refused_whenever_a_session_is_closed() {
    explore_in_a_folder(2, |folder| {
        let session = open(folder);
        let logger = logger(&session, 2);
        assert!(session.close(None));
        logger.join().unwrap();
        require_whole(&session, 2);
    });
}

#[test]
fn model_rows_are_written_once_whenever_the_threads_pause_for_a_fork() {
    explore_in_a_folder(1, |folder| {
        let session = open(folder);
        let logger = logger(&session, 1);
        session.pause(Instant::now() + LATER);
        log(&session, 1);
        logger.join().unwrap();
        assert!(session.close(None));
        require_whole(&session, 2);
        assert_eq!(count(&session, "rows_dropped"), 0);
    });
}

#[test]
fn model_a_fork_that_waits_no_longer_for_the_writer_costs_no_row() {
    explore_in_a_folder(1, |folder| {
        let session = open(folder);
        log(&session, 0);
        session.pause(Instant::now());
        log(&session, 1);
        assert!(session.close(None));
        require_whole(&session, 2);
        assert_eq!(count(&session, "rows_dropped"), 0);
    });
}

#[test]
fn model_a_flush_means_what_it_says_also_beside_a_close() {
    explore_in_a_folder(1, |folder| {
        let session = open(folder);
        let flusher = {
            let session = Arc::clone(&session);
            thread::spawn(move || {
                log(&session, 0);
                let refused = count(&session, "rows_dropped_closed");
                if session.flush(Some(Instant::now() + LATER), false) {
                    assert_eq!(lines(session.directory()), 1 - refused);
                }
            })
        };
        assert!(session.close(None));
        flusher.join().unwrap();
        require_whole(&session, 1);
    });
}

#[test]
fn model_two_closes_give_the_same() {
    explore_in_a_folder(2, |folder| {
        let session = open(folder);
        log(&session, 0);
        let other = {
            let session = Arc::clone(&session);
            thread::spawn(move || session.close(Some(Instant::now() + LATER)))
        };
        assert!(session.close(Some(Instant::now() + LATER)));
        assert!(other.join().unwrap());
        require_whole(&session, 1);
    });
}

#[test]
fn model_the_journal_knows_of_every_row_that_was_dropped_and_is_not_on_record() {
    explore_in_a_folder(3, |folder| {
        let session = open(folder);
        let drop_a_row = |session: &Session| {
            let loss = Loss { rows: 1, first_step: None, last_step: None };
            session.losses.note(Cause::Full, loss, |rows| session.ring.store_dropped(rows).unwrap());
        };
        drop_a_row(&session);
        let (mut drain, mut reporter) = session.station.take().unwrap();
        let writer = thread::spawn(move || {
            reporter.after_batch(&mut drain);
            (drain, reporter)
        });
        drop_a_row(&session);
        let (mut drain, mut reporter) = writer.join().unwrap();
        let summary = std::fs::read_to_string(folder.join("tracking_summary.ndjson")).unwrap();
        let recorded = summary.matches("\"count\":1").count() + 2 * summary.matches("\"count\":2").count();
        assert_eq!(recorded as u64 + session.ring.dropped(), 2);
        reporter.after_batch(&mut drain);
        assert_eq!(session.ring.dropped(), 0);
        session.station.put((drain, reporter));
        assert!(session.close(None));
    });
}
