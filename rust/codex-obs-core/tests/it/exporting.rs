//! Sessions with a destination: what is logged arrives, whatever the destination does, and the session does not wait for it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use codex_obs_core::clock::Clock;
use codex_obs_core::deliver::settings::Ranks;
use codex_obs_core::deliver::sync::{SyncOptions, sync};
use codex_obs_core::follow::progress::Missing;
use codex_obs_core::journal::frame::LineFile;
use codex_obs_core::problem::Problem;
use codex_obs_core::run::ending::RunStatus;
use codex_obs_core::session::{Session, Settings};
use codex_obs_core::shard::policy::Policy;

use crate::remote::{Act, Remote, expected};
use crate::support::{DELETES, count, log, text};

const LONG: Duration = Duration::from_hours(1);

/// What the session has to say went wrong.
fn said(session: &Session) -> Vec<String> {
    session.warnings().take().iter().map(Problem::to_string).collect()
}

fn open(directory: &Path, remote: &Remote) -> Arc<Session> {
    open_with(directory, remote, Settings::default())
}

fn open_with(directory: &Path, remote: &Remote, settings: Settings) -> Arc<Session> {
    let settings = Settings { ring_bytes: 256 << 10, exports: vec![remote.settings()], ..settings };
    Session::open(directory, Some("r1"), Some("name"), settings).unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

#[test]
fn everything_arrives_once_and_in_order_and_then_the_status() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    let session = open(folder.path(), &remote);
    assert!(
        session.write_line(LineFile::Params, b"{\"config\":{\"lr\":0.1},\"metadata\":{\"tags\":{\"team\":\"x\"}}}\n")
    );
    for step in 0..500 {
        log(&session, step, 8);
    }
    remote.wait_for(|store| store.points.len() == 4000);
    log(&session, 500, 8);
    assert!(session.close_with(RunStatus::Failed, Some(soon())));
    assert_eq!(session.exports_left(), []);
    assert_eq!(remote.keys(), expected(0..501, 8));
    remote.store(|store| {
        assert_eq!(store.params, [("lr".to_owned(), "0.1".to_owned())]);
        assert_eq!(store.tags, [("team".to_owned(), "x".to_owned())]);
        assert_eq!(store.finished, [RunStatus::Failed]);
        assert_eq!(store.prepared.len(), 1);
        assert!(store.batches.iter().all(|&size| size <= 1000));
    });
    assert_eq!((count(&session, "metrics_exported"), count(&session, "params_exported")), (4008, 1));
    assert!(text(folder.path(), "run.json").contains(r#""destinations":{"test http://remote":"remote-0"}"#));
    let summary = text(folder.path(), "tracking_summary.ndjson");
    assert!(summary.contains(r#""component":"test","status":"enabled","reason":"test:started""#), "{summary}");
}

#[test]
fn a_run_that_goes_on_sends_only_what_is_new() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    for round in 0..3 {
        let session = open(folder.path(), &remote);
        let params = format!("{{\"config\":{{\"lr\":{round},\"same\":1}}}}\n");
        assert!(session.write_line(LineFile::Params, params.as_bytes()));
        log(&session, round, 2);
        assert!(session.close(Some(soon())));
        assert_eq!(session.exports_left(), []);
        assert_eq!(count(&session, "params_changed"), u64::from(round > 0));
    }
    assert_eq!(remote.keys(), expected(0..3, 2));
    remote.store(|store| {
        assert_eq!(store.params, [("lr".to_owned(), "0".to_owned()), ("same".to_owned(), "1".to_owned())]);
        assert_eq!((store.runs.len(), store.finished.len()), (1, 3));
        assert!(store.prepared[1].remote_run.as_deref() == Some("remote-0") && store.prepared[1].is_live);
    });
}

#[test]
fn an_outage_holds_nothing_up_and_loses_nothing() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    remote.act(Act::Later(Duration::from_millis(1)));
    let policy = Policy { max_bytes: Some(100_000), max_age_micros: None, backup_count: Some(1) };
    let session = open_with(folder.path(), &remote, Settings { policy, retention: DELETES, ..Settings::default() });
    for step in 0..1000 {
        log(&session, step, 8);
    }
    assert!(session.flush(Some(soon()), false));
    assert!(count(&session, "rotations") > 10);
    assert_eq!(count(&session, "rows_retired"), 0, "retention waits");
    remote.wait_for(|store| store.calls > 3);
    remote.act(Act::Accept);
    remote.wait_for(|store| store.points.len() == 8000);
    for step in 1000..1200 {
        log(&session, step, 8);
    }
    assert!(session.close(Some(soon())));
    assert_eq!(remote.keys(), expected(0..1200, 8));
    assert_eq!(count(&session, "rows_retired_undelivered"), 0);
    assert!(count(&session, "rows_retired") > 0, "what was delivered is deleted");
    let words = said(&session).join("\n");
    assert!(words.contains("all of them were delivered") && !words.contains("not delivered yet"), "{words}");
    assert!(count(&session, "export_retries") > 0);
    remote.store(|store| assert!(store.batches.contains(&1000), "a backlog goes in large batches"));
    let summary = text(folder.path(), "tracking_summary.ndjson");
    assert!(summary.contains(r#""status":"degraded","reason":"test:it is down""#), "{summary}");
}

#[test]
fn an_outage_beyond_what_retention_keeps_is_counted_and_the_rest_arrives() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    let policy = Policy { max_bytes: Some(20_000), max_age_micros: None, backup_count: Some(1) };
    let settings = Settings { policy, retention: DELETES, max_unexported_shards: 2, ..Settings::default() };
    let session = open_with(folder.path(), &remote, settings);
    log(&session, 0, 8);
    remote.wait_for(|store| store.points.len() == 8);
    remote.act(Act::Later(Duration::from_millis(1)));
    for step in 1..1000 {
        log(&session, step, 8);
    }
    assert!(session.flush(Some(soon()), false));
    let retired = count(&session, "rows_retired");
    assert!(retired > 0 && (1..=3).all(|number| folder.path().join(format!("metrics.ndjson.{number}")).exists()));
    assert!(!folder.path().join("metrics.ndjson.4").exists());
    let words = said(&session).join("\n");
    assert!(words.contains("not delivered yet"), "{words}");
    let undelivered = count(&session, "rows_retired_undelivered");
    assert!((1..=retired).contains(&undelivered), "{undelivered} of {retired}");
    assert!(!words.contains("has begun to delete"), "{words}");
    remote.act(Act::Accept);
    assert!(session.close(Some(soon())));
    assert_eq!(session.exports_left(), []);
    // An open shard is read to its end although it was deleted; then comes what is still there.
    let (all, arrived) = (expected(0..1000, 8), remote.keys());
    assert!(arrived.len() as u64 >= 8000 - retired && arrived.len() < 8000 && arrived.last() == all.last());
    let mut rest = all.iter();
    assert!(arrived.iter().all(|key| rest.any(|other| other == key)), "in order and nothing twice");
    assert_eq!(count(&session, "export_rows_missing"), 8000 - arrived.len() as u64);
    assert_eq!(count(&session, "export_gaps"), 0, "their number is known");
}

/// What retention leaves of `calls` further calls by a session without a destination: the first step of the log.
fn go_on_without(directory: &Path, calls: std::ops::Range<i64>, most: u64) -> (i64, Arc<Session>) {
    let policy = Policy { max_bytes: Some(20_000), max_age_micros: None, backup_count: Some(1) };
    let settings = Settings {
        policy,
        retention: DELETES,
        max_unexported_shards: most,
        ring_bytes: 256 << 10,
        ..Settings::default()
    };
    let session = Session::open(directory, Some("r1"), None, settings).unwrap();
    calls.for_each(|step| log(&session, step, 8));
    assert!(session.close(Some(soon())));
    let oldest = (0..100).rev().find_map(|number| {
        let name = if number == 0 { "metrics.ndjson".into() } else { format!("metrics.ndjson.{number}") };
        std::fs::read_to_string(directory.join(name)).ok()
    });
    let oldest = oldest.unwrap();
    let (_, rest) = oldest.split_once("\"step\":").unwrap();
    (rest[..rest.find(',').unwrap()].parse().unwrap(), session)
}

#[test]
fn a_session_without_a_destination_keeps_what_one_before_could_not_deliver() {
    for reached in [false, true] {
        let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
        let policy = Policy { max_bytes: Some(20_000), max_age_micros: None, backup_count: Some(1) };
        let session = open_with(folder.path(), &remote, Settings { policy, retention: DELETES, ..Settings::default() });
        if reached {
            log(&session, 0, 8);
            remote.wait_for(|store| store.points.len() == 8);
        }
        remote.act(Act::Later(LONG));
        (i64::from(reached)..100).for_each(|step| log(&session, step, 8));
        assert!(session.close(Some(Instant::now())));
        drop(session);
        let (oldest, session) = go_on_without(folder.path(), 100..200, 64);
        assert_eq!((oldest, count(&session, "rows_retired")), (0, 0), "reached {reached}");
        drop(session);
        // Another delivery need not send the same batch.
        remote.store(|store| store.refused = None);
        remote.act(Act::Accept);
        let options = SyncOptions::default();
        let outcome = sync(folder.path(), &remote.settings(), &options, &Clock::System, &mut |_| true).unwrap();
        assert!(outcome.streams[0].done && outcome.streams[0].missing_new.gaps == 0, "{outcome:?}");
        let mut arrived = remote.keys();
        arrived.dedup();
        assert_eq!(arrived, expected(0..200, 8));
        // Nothing more was promised.
        let (oldest, session) = go_on_without(folder.path(), 200..300, 64);
        assert!(oldest > 200 && count(&session, "rows_retired") > 800, "{oldest}");
        let words = said(&session).join("\n");
        assert!(words.contains("has begun to delete") && !words.contains("were delivered"), "{words}");
    }
}

#[test]
fn what_a_session_without_a_destination_keeps_for_others_is_bounded_and_ends_with_its_delivery() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    remote.act(Act::Later(LONG));
    let session = open(folder.path(), &remote);
    (0..10).for_each(|step| log(&session, step, 8));
    remote.wait_for(|store| store.calls > 0);
    assert!(session.close(Some(Instant::now())));
    drop(session);
    let (oldest, earlier) = go_on_without(folder.path(), 10..50, 3);
    assert_eq!((oldest, count(&earlier, "rotations")), (0, 4));
    drop(earlier);
    let (oldest, session) = go_on_without(folder.path(), 50..400, 3);
    let shards = (1..100).filter(|number| folder.path().join(format!("metrics.ndjson.{number}")).exists()).count();
    assert!(shards == 1 && oldest > 10, "{shards} {oldest}: what was promised is gone");
    let words = said(&session).join("\n");
    assert!(words.contains("not delivered yet"), "{words}");
}

#[test]
fn what_a_run_that_was_asked_for_does_not_have_is_kept_though_another_one_has_it() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    for meant in [None, Some("another".to_owned())] {
        let is_reached = meant.is_none();
        remote.store(|store| store.meant = meant);
        let session = open(folder.path(), &remote);
        (0..10).for_each(|step| log(&session, step, 8));
        assert!(session.close(Some(soon())));
        assert_eq!(session.exports_left().is_empty(), is_reached);
        remote.act(Act::Later(LONG));
    }
    let (oldest, session) = go_on_without(folder.path(), 10..100, 64);
    assert_eq!((oldest, count(&session, "rows_retired")), (0, 0));
}

#[test]
fn nothing_is_kept_for_a_run_that_another_one_replaced_until_someone_goes_back_to_it() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    let deliver = |meant: &str, steps: std::ops::Range<i64>| {
        let before = remote.keys().len();
        remote.store(|store| store.meant = Some(meant.to_owned()));
        let session = open(folder.path(), &remote);
        steps.for_each(|step| log(&session, step, 8));
        assert!(session.close(Some(soon())));
        remote.keys().split_off(before)
    };
    assert_eq!(deliver("a", 0..10), expected(0..10, 8));
    assert_eq!(deliver("b", 10..20), expected(0..20, 8));
    assert_eq!(deliver("a", 20..25), expected(10..25, 8), "it goes on where it was");
    assert_eq!(deliver("b", 25..30), expected(20..30, 8));
    let (oldest, session) = go_on_without(folder.path(), 30..200, 2);
    let words = said(&session).join("\n");
    assert!(oldest > 30 && !words.contains("not delivered to"), "{oldest}: {words}");
    drop(session);
    // Asked for again, though nobody could be told yet.
    remote.act(Act::Later(LONG));
    assert_eq!(deliver("a", 200..200), []);
    assert_eq!(go_on_without(folder.path(), 200..300, 64).0, oldest);
    remote.act(Act::Accept);
    assert_eq!(deliver("a", 300..300)[0].1, oldest);
}

#[test]
fn a_delivered_shard_that_is_deleted_leaves_no_gap() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    let session = open(folder.path(), &remote);
    (0..10).for_each(|step| log(&session, step, 8));
    assert!(session.close(Some(soon())));
    assert_eq!(session.exports_left(), []);
    drop(session);
    // Rotated before the first row, and deleted by the rotation that follows.
    let policy = Policy { max_bytes: Some(1), max_age_micros: None, backup_count: Some(1) };
    let settings = Settings { policy, retention: DELETES, ring_bytes: 256 << 10, ..Settings::default() };
    let session = Session::open(folder.path(), Some("r1"), None, settings).unwrap();
    (10..12).for_each(|step| log(&session, step, 1));
    assert!(session.close(Some(soon())));
    drop(session);
    let deliver = || {
        let options = SyncOptions::default();
        let outcome = sync(folder.path(), &remote.settings(), &options, &Clock::System, &mut |_| true).unwrap();
        (outcome.streams[0].delivered, outcome.streams[0].missing_new)
    };
    assert_eq!(deliver(), (2, Missing::default()));
    go_on_without(folder.path(), 12..300, 64);
    let (delivered, missing) = deliver();
    assert!(delivered > 0 && missing.rows > 0, "{delivered} {missing:?}");
    assert_eq!((delivered + missing.rows, missing.gaps), ((300 - 12) * 8, 0));
}

#[test]
fn a_close_ends_a_back_off_and_says_what_is_left() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    remote.act(Act::Later(LONG));
    let session = open(folder.path(), &remote);
    log(&session, 1, 3);
    remote.wait_for(|store| store.calls == 1);
    let calls = remote.store(|store| store.calls);
    assert!(session.close(Some(Instant::now() + LONG)), "the files have everything");
    assert!(remote.store(|store| store.calls) > calls, "it was tried once more");
    let left = session.exports_left().pop().unwrap();
    assert_eq!((left.rows, left.bytes), (Some(3), text(folder.path(), "metrics.ndjson").len() as u64));
    let directory = folder.path().to_str().unwrap();
    let command = [("directory", directory), ("to", "test"), ("uri", "http://remote")];
    assert_eq!(left.command, command.map(|(name, value)| (name, value.to_owned())));
    let warnings = session.warnings().take();
    let told =
        |problem: &Problem| problem.what.contains("3 rows and the run status (") && problem.facts == left.command;
    assert!(warnings.iter().any(|problem| problem.kind == "undelivered" && told(problem)), "{warnings:?}");

    remote.act(Act::Accept);
    let session = open(folder.path(), &remote);
    log(&session, 2, 3);
    assert!(session.close(Some(soon())));
    assert_eq!(remote.keys(), expected(1..3, 3));
}

#[test]
fn a_close_without_a_deadline_waits_for_a_destination_that_comes_back() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    let again = Act::Later(Duration::from_millis(1));
    remote.store(|store| store.script = [Act::Accept, again.clone(), again.clone(), again, Act::Accept].into());
    let session = open(folder.path(), &remote);
    log(&session, 1, 3);
    assert!(session.close(None));
    assert_eq!(session.exports_left(), []);
    assert_eq!(remote.keys(), expected([1], 3));
    assert_eq!(remote.store(|store| store.finished.len()), 1);
}

#[test]
fn a_close_without_a_deadline_does_not_wait_for_ever() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    remote.act(Act::Later(LONG));
    let session = open(folder.path(), &remote);
    log(&session, 1, 3);
    assert!(session.close(None));
    assert_eq!(session.exports_left().pop().unwrap().rows, Some(3));
}

#[test]
fn parameters_and_the_end_that_were_not_delivered_are_named() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    let session = open(folder.path(), &remote);
    log(&session, 1, 3);
    remote.wait_for(|store| store.points.len() == 3);
    remote.act(Act::Later(LONG));
    let line = b"{\"config\":{\"lr\":0.1,\"seed\":1},\"metadata\":{\"tags\":{\"team\":\"x\"}}}\n";
    assert!(session.write_line(LineFile::Params, line));
    assert!(session.close(Some(soon())));
    let left = session.exports_left().pop().unwrap();
    assert_eq!((left.rows, left.params, left.tags, left.status), (Some(0), 2, 1, true));
    let words = said(&session).join("\n");
    assert!(words.contains("http://remote: 2 parameters, 1 tag and the run status ("), "{words}");

    remote.act(Act::Accept);
    let options = SyncOptions::default();
    sync(folder.path(), &remote.settings(), &options, &Clock::System, &mut |_| true).unwrap();
    remote.store(|store| assert_eq!((store.params.len(), store.tags.len()), (2, 1)));
}

#[test]
fn an_answer_that_was_lost_and_a_bug_lose_nothing() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    remote.store(|store| {
        store.script = [Act::Accept, Act::AcceptUnheard, Act::AcceptUnheard, Act::Accept].into();
    });
    let session = open(folder.path(), &remote);
    log(&session, 1, 3);
    assert!(session.close(Some(soon())));
    assert_eq!(remote.keys(), [expected([1], 3), expected([1], 3), expected([1], 3)].concat());
}

#[test]
fn a_bug_of_a_destination_ends_in_a_new_beginning() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    let session = open(folder.path(), &remote);
    log(&session, 1, 3);
    remote.wait_for(|store| store.points.len() == 3);
    remote.store(|store| store.script = [Act::Panic, Act::Accept].into());
    log(&session, 2, 3);
    remote.wait_for(|store| store.points.len() == 6);
    assert!(session.close(Some(soon())));
    assert_eq!(remote.keys(), expected(1..3, 3));
    assert_eq!(count(&session, "export_errors"), 1);
}

#[test]
fn a_destination_that_is_gone_for_good_ends_the_export_and_nothing_else() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    remote.act(Act::Stop);
    let session = open(folder.path(), &remote);
    log(&session, 1, 3);
    remote.wait_for(|store| store.calls == 1);
    log(&session, 2, 3);
    assert!(session.close(Some(soon())));
    assert_eq!(remote.store(|store| (store.calls, store.points.len())), (1, 0));
    assert_eq!(session.exports_left().pop().unwrap().rows, Some(6));
    let words = said(&session);
    assert!(words.iter().any(|text| text.contains("the run was deleted; choose another")), "{words:?}");
    let last = words.last().unwrap();
    assert!(
        last.contains("6 rows") && last.contains("the earlier warning") && !last.contains("`codex-ndjson"),
        "{last}"
    );
    let summary = text(folder.path(), "tracking_summary.ndjson");
    assert!(
        summary.contains(r#""status":"disabled","reason":"test:the run was deleted; choose another""#),
        "{summary}"
    );
}

#[test]
fn what_is_refused_for_good_is_counted_and_not_sent_again() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    remote.store(|store| store.poison.insert("m1".into()));
    let session = open(folder.path(), &remote);
    for step in 0..100 {
        log(&session, step, 3);
    }
    assert!(session.close(Some(soon())));
    assert_eq!((count(&session, "metrics_exported"), count(&session, "metrics_rejected")), (200, 100));
    let arrived = expected(0..100, 3).into_iter().filter(|(name, ..)| name != "train/m1").collect::<Vec<_>>();
    assert_eq!(remote.keys(), arrived);
}

#[test]
fn other_streams_are_exported_only_if_asked_for_and_under_their_names() {
    for ranks in [Ranks::Main, Ranks::All] {
        let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
        let settings = |rank| {
            let mut export = remote.settings();
            export.ranks = ranks;
            Settings { rank, ring_bytes: 256 << 10, exports: vec![export], ..Settings::default() }
        };
        let other = Session::open(folder.path(), Some("r1"), None, settings(1)).unwrap();
        log(&other, 1, 1);
        let main = Session::open(folder.path(), Some("r1"), None, settings(0)).unwrap();
        log(&main, 1, 1);
        assert!(main.close(Some(soon())) && other.close_with(RunStatus::Killed, Some(soon())));
        let mut keys = remote.keys();
        keys.sort();
        let mut arrived =
            if ranks == Ranks::All { vec![("rank-1/train/m0".to_owned(), 1, 0.5_f64.to_bits())] } else { vec![] };
        arrived.extend(expected([1], 1));
        assert_eq!(keys, arrived);
        remote.store(|store| assert_eq!((store.runs.len(), &*store.finished), (1, &[RunStatus::Finished][..])));
    }
}
