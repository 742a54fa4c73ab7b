//! Sessions: from a call to a line, and what is left behind.

use codex_obs_core::journal::frame::{FrameBuilder, LineFile};
use codex_obs_core::session::{Overflow, Session, Settings, Step, Time};
use codex_obs_core::shard::policy::Policy;

use crate::support::{DELETES, call, count, lines, log, open, text};

#[test]
fn rows_are_in_the_file_after_a_flush_and_nothing_is_left_after_a_close() {
    let folder = tempfile::tempdir().unwrap();
    let session = open(folder.path());
    assert_eq!(text(folder.path(), "metrics.ndjson"), "", "the file exists when open returns");
    for step in 0..100 {
        log(&session, step, 3);
    }
    assert!(session.flush(None, true));
    assert_eq!(text(folder.path(), "metrics.ndjson"), lines(0..100, 3));
    assert!(session.write_line(LineFile::Params, b"{}\n"));
    assert!(session.close(None));
    assert!(session.close(None), "closing twice is fine");
    assert_eq!(text(folder.path(), "params.ndjson"), "{}\n");
    let internals = std::fs::read_dir(folder.path().join(".codex_obs")).unwrap();
    let left: Vec<_> = internals.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["guard"], "only the lock that keeps takers of locks apart");
    log(&session, 100, 3);
    assert_eq!((count(&session, "rows_written"), count(&session, "rows_dropped_closed")), (300, 3));
    assert_eq!((count(&session, "rows_logged"), count(&session, "rows_waiting")), (303, 0));
}

#[test]
fn a_second_session_has_a_stream_of_its_own_and_a_closed_one_frees_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let pid = std::process::id();
    let first = open(folder.path());
    let second = open(folder.path());
    let third = open(folder.path());
    let names = [&first, &second, &third].map(|session| session.stream().to_string());
    assert_eq!(names, ["main".to_owned(), format!("pid-{pid}"), format!("pid-{pid}-2")]);
    log(&second, 1, 1);
    assert!(first.close(None) && second.close(None) && third.close(None));
    assert_eq!(text(folder.path(), &format!("metrics.pid-{pid}.ndjson")), lines(1..2, 1));
    assert_eq!(open(folder.path()).stream().as_str(), "main");
}

#[test]
fn threads_do_not_mix_their_calls_and_lose_nothing_on_a_small_ring() {
    let folder = tempfile::tempdir().unwrap();
    let session = open(folder.path());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let session = &session;
            scope.spawn(move || (0..2000).for_each(|step| log(session, thread * 10_000 + step, 8)));
        }
    });
    assert!(session.close(None));
    let log = text(folder.path(), "metrics.ndjson");
    let mut calls: Vec<&str> = log.split_inclusive("\"m7\",\"value\":7.5,\"dataset\":null,\"tags\":{}}\n").collect();
    assert_eq!(calls.len(), 8000);
    calls.sort_unstable();
    let mut expected: Vec<String> =
        (0..4).flat_map(|thread| (0..2000).map(move |step| lines([thread * 10_000 + step], 8))).collect();
    expected.sort_unstable();
    assert!(calls == expected);
    assert_eq!(count(&session, "rows_dropped"), 0);
}

#[test]
fn a_call_larger_than_the_ring_arrives_whole_and_together() {
    let folder = tempfile::tempdir().unwrap();
    let session = open(folder.path());
    std::thread::scope(|scope| {
        scope.spawn(|| (0..500).for_each(|step| log(&session, step, 2)));
        scope.spawn(|| log(&session, 7777, 40_000));
    });
    assert!(session.close(None));
    let log = text(folder.path(), "metrics.ndjson");
    assert!(log.contains(&lines([7777], 40_000)));
    assert_eq!(log.lines().count(), 41_000);
}

#[test]
fn steps_that_are_left_out_go_on_from_the_largest_in_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut builder = FrameBuilder::default();
    for (round, expected) in [(0, 0), (1, 42), (2, 43)] {
        let session = open(folder.path());
        call(&mut builder, 0, 0, 1, session.max_frame_bytes());
        if !session.try_log(&mut builder, Step::Next, Time::Given) {
            session.log_slowly(&mut builder, Step::Next, Time::Given);
        }
        assert_eq!(builder.step(), Some(expected), "round {round}");
        if round == 0 {
            log(&session, 41, 1);
            log(&session, -5, 1);
        }
        assert!(session.close(None));
    }
    let session = open(folder.path());
    log(&session, i64::MAX, 1);
    assert_eq!(session.next_step(), i64::MAX, "steps stop at the largest there is");
}

#[test]
fn a_full_ring_drops_at_once_if_asked_to_and_counts_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { ring_bytes: 256 << 10, overflow: Overflow::Drop, ..Settings::default() };
    let session = Session::open(folder.path(), Some("r1"), None, settings).unwrap();
    for step in 0..20_000 {
        log(&session, step, 8);
    }
    assert!(session.close(None));
    let written = text(folder.path(), "metrics.ndjson").lines().count() as u64;
    assert_eq!(count(&session, "rows_written"), written);
    assert_eq!(count(&session, "rows_logged"), 160_000);
    assert_eq!(count(&session, "rows_dropped_full"), 160_000 - written);
    if written < 160_000 {
        let summary = text(folder.path(), "tracking_summary.ndjson");
        let counted: u64 = summary
            .lines()
            .map(|line| line.split_once("\"count\":").unwrap().1.split_once(',').unwrap().0.parse::<u64>().unwrap())
            .sum();
        assert!(counted <= 160_000 - written && summary.contains("\"cause\":\"full\""), "{summary}");
    }
}

#[test]
fn shards_rotate_between_rows_and_the_oldest_go_with_a_count() {
    let folder = tempfile::tempdir().unwrap();
    let row = lines([10], 1).len() as u64;
    let policy = Policy { max_bytes: Some(2 * row), max_age_micros: None, backup_count: Some(2) };
    let settings = Settings { policy, retention: DELETES, ..Settings::default() };
    let session = Session::open(folder.path(), Some("r1"), None, settings).unwrap();
    for step in 10..19 {
        log(&session, step, 1);
    }
    assert!(session.close(None));
    let shards = ["metrics.ndjson.2", "metrics.ndjson.1", "metrics.ndjson"].map(|name| text(folder.path(), name));
    assert_eq!(shards, [lines(14..16, 1), lines(16..18, 1), lines(18..19, 1)]);
    assert_eq!((count(&session, "rotations"), count(&session, "rows_retired")), (4, 4));
    assert!(session.warnings().take().iter().any(|problem| problem.what.contains("retention")));
}

#[test]
fn a_loss_that_no_batch_follows_is_on_record_after_a_close() {
    let folder = tempfile::tempdir().unwrap();
    let session = open(folder.path());
    let mut builder = FrameBuilder::default();
    call(&mut builder, 7, 7, 0, session.max_frame_bytes());
    builder.inline("huge", &vec![b'1'; 200 << 10]);
    builder.finish();
    assert!(!session.try_log(&mut builder, Step::Given, Time::Given));
    session.log_slowly(&mut builder, Step::Given, Time::Given);
    assert!(session.close(None));
    assert_eq!(count(&session, "rows_dropped_oversize"), 1);
    let summary = text(folder.path(), "tracking_summary.ndjson");
    for part in ["\"cause\":\"oversize\",\"count\":1,", "\"first_step\":7,"] {
        assert!(summary.contains(part), "{summary}");
    }
}
