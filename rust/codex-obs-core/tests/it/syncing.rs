//! Delivery from outside of a run: later, again, after a crash, while it goes on.

use std::path::Path;
use std::time::{Duration, Instant};

use codex_obs_core::clock::Clock;
use codex_obs_core::deliver::settings::Ranks;
use codex_obs_core::deliver::sync::{StreamOutcome, SyncOptions, SyncOutcome, sync};
use codex_obs_core::journal::frame::LineFile;
use codex_obs_core::problem::Problem;
use codex_obs_core::run::ending::RunStatus;
use codex_obs_core::session::{Session, Settings};

use crate::recovery::{gone, leave_journal};
use crate::remote::{Act, Remote, expected};
use crate::support::{log, open, text};

fn run(directory: &Path, remote: &Remote, options: &SyncOptions) -> SyncOutcome {
    sync(directory, &remote.settings(), options, &Clock::System, &mut |_| true).unwrap()
}

/// Why not everything of a stream was delivered.
fn problem(stream: &StreamOutcome) -> String {
    stream.problem.as_ref().map(Problem::to_string).unwrap()
}

/// More than anything here takes, were the machine ever so busy.
const LONG: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_hours(1);
const ONCE: SyncOptions = SyncOptions { follow: false, dry_run: false, aside: None };
const FOLLOW: SyncOptions = SyncOptions { follow: true, dry_run: false, aside: None };
const DRY: SyncOptions = SyncOptions { follow: false, dry_run: true, aside: None };

fn start(session: &Session) {
    assert!(session.write_line(LineFile::Session, b"{\"record\":\"start\"}\n"));
}

fn finish(session: &Session, status: &str) {
    let line =
        format!("{{\"timestamp\":\"1970-01-01T00:00:07.000000Z\",\"record\":\"finish\",\"status\":\"{status}\"}}\n");
    assert!(session.write_line(LineFile::Session, line.as_bytes()));
    assert!(session.close(None));
}

#[test]
fn an_offline_run_is_delivered_once_with_its_parameters_and_its_end() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    let session = open(folder.path());
    start(&session);
    assert!(session.write_line(LineFile::Params, b"{\"config\":{\"lr\":0.1}}\n"));
    (0..400).for_each(|step| log(&session, step, 8));
    finish(&session, "failed");

    let counted = run(folder.path(), &remote, &DRY);
    assert_eq!((counted.streams[0].delivered, remote.store(|store| store.calls)), (3200, 0));
    let outcome = run(folder.path(), &remote, &ONCE);
    assert_eq!(remote.keys(), expected(0..400, 8));
    let stream = &outcome.streams[0];
    assert_eq!((stream.delivered, stream.params, stream.done), (3200, 1, true), "{stream:?}");
    assert_eq!((stream.remote_run.as_deref(), stream.status), (Some("remote-0"), Some(RunStatus::Failed)));
    assert_eq!(remote.store(|store| store.finished.clone()), [RunStatus::Failed]);
    let again = run(folder.path(), &remote, &ONCE);
    assert_eq!((again.streams[0].delivered, again.streams[0].params, again.streams[0].done), (0, 0, true));
    assert_eq!(remote.store(|store| (store.points.len(), store.finished.len(), store.runs.len())), (3200, 1, 1));
    assert_eq!(run(folder.path(), &remote, &DRY).streams[0].delivered, 0);
}

#[test]
fn a_dry_run_counts_what_lies_in_the_journal_of_a_dead_process() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    let session = open(folder.path());
    (0..10).for_each(|step| log(&session, step, 2));
    assert!(session.close(None));
    drop(session);
    drop(leave_journal(folder.path(), gone(), 50));
    let counted = run(folder.path(), &remote, &DRY);
    assert_eq!((counted.streams[0].delivered, counted.rows_recovered), (120, 100));
    assert_eq!(remote.store(|store| store.calls), 0);
    assert_eq!(run(folder.path(), &remote, &ONCE).streams[0].delivered, 120);
}

#[test]
fn a_dry_run_and_what_is_left_are_of_the_remote_run_that_was_asked_for() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    let session = open(folder.path());
    (0..10).for_each(|step| log(&session, step, 2));
    assert!(session.close(None));
    assert!(run(folder.path(), &remote, &ONCE).streams[0].done);
    remote.store(|store| store.meant = Some("another".into()));
    let counted = run(folder.path(), &remote, &DRY);
    assert_eq!((counted.streams[0].delivered, counted.streams[0].remote_run.as_deref()), (20, Some("another")));
    remote.act(Act::Later(Duration::from_hours(1)));
    let calls = remote.store(|store| store.calls);
    let settings = Settings { ring_bytes: 256 << 10, exports: vec![remote.settings()], ..Settings::default() };
    let session = Session::open(folder.path(), Some("r1"), None, settings).unwrap();
    log(&session, 10, 2);
    remote.wait_for(|store| store.calls > calls);
    assert!(session.flush(None, false));
    assert!(session.close(Some(Instant::now())));
    assert_eq!(session.exports_left().pop().unwrap().rows, Some(22));
}

#[test]
fn a_dry_run_counts_parameters_tags_and_the_end_until_they_are_delivered() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    let session = open(folder.path());
    start(&session);
    assert!(session.write_line(
        LineFile::Params,
        b"{\"config\":{\"lr\":1,\"seed\":2},\"metadata\":{\"tags\":{\"team\":\"x\"}}}\n"
    ));
    finish(&session, "finished");
    let of = |outcome: SyncOutcome| {
        let stream = &outcome.streams[0];
        (stream.params, stream.tags, stream.status)
    };
    assert_eq!(of(run(folder.path(), &remote, &DRY)), (2, 1, Some(RunStatus::Finished)));
    assert_eq!(remote.store(|store| store.calls), 0);
    assert!(run(folder.path(), &remote, &ONCE).streams[0].done);
    assert_eq!(of(run(folder.path(), &remote, &DRY)), (0, 0, None));
}

#[test]
fn a_run_that_died_without_a_word_was_killed() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    let session = open(folder.path());
    start(&session);
    log(&session, 1, 2);
    assert!(session.close(None));
    assert_eq!(run(folder.path(), &remote, &ONCE).streams[0].status, Some(RunStatus::Killed));
}

#[test]
fn an_end_that_is_another_one_is_told_again() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    let settings = || Settings { ring_bytes: 256 << 10, exports: vec![remote.settings()], ..Settings::default() };
    let (finished, failed) = (("finished", RunStatus::Finished), ("failed", RunStatus::Failed));
    let ends = [(finished, 7, true), (failed, 8, false), (failed, 9, false), (finished, 10, true)];
    for (count, ((word, status), second, exports)) in ends.into_iter().enumerate() {
        let settings = if exports { settings() } else { Settings { exports: Vec::new(), ..settings() } };
        let session = Session::open(folder.path(), Some("r1"), None, settings).unwrap();
        start(&session);
        log(&session, 1, 1);
        let line = format!(
            "{{\"timestamp\":\"1970-01-01T00:00:{second:02}.000000Z\",\"record\":\"finish\",\"status\":\"{word}\"}}\n"
        );
        assert!(session.write_line(LineFile::Session, line.as_bytes()));
        assert!(session.close_with(status, None));
        for _ in 0..2 {
            assert_eq!(run(folder.path(), &remote, &ONCE).streams[0].status, Some(status));
        }
        remote.store(|store| {
            assert_eq!((store.finished.len(), store.finished.last()), (count + 1, Some(&status)));
            assert_eq!(store.ends.last(), Some(&(second * 1_000_000)));
        });
    }
    let session = open(folder.path());
    start(&session);
    assert!(session.close(None));
    assert_eq!(run(folder.path(), &remote, &ONCE).streams[0].status, Some(RunStatus::Killed), "it died then");
    assert_eq!(remote.store(|store| store.finished.last().copied()), Some(RunStatus::Killed));
}

#[test]
fn a_live_run_is_delivered_as_far_as_it_is_and_followed_to_its_end() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    let session = open(folder.path());
    start(&session);
    log(&session, 0, 2);
    assert!(session.flush(None, false));
    let outcome = run(folder.path(), &remote, &ONCE);
    assert_eq!((outcome.streams[0].done, outcome.streams[0].status), (true, None), "it goes on");
    std::thread::scope(|scope| {
        let following = scope.spawn(|| run(folder.path(), &remote, &FOLLOW));
        for step in 1..8 {
            log(&session, step, 2);
            remote.wait_for(|store| store.points.len() as i64 == 2 * (step + 1));
        }
        finish(&session, "finished");
        let outcome = following.join().unwrap();
        assert_eq!(outcome.streams[0].status, Some(RunStatus::Finished));
    });
    assert_eq!(remote.keys(), expected(0..8, 2));
}

#[test]
fn one_process_delivers_a_stream_at_a_time() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    let settings = Settings { ring_bytes: 256 << 10, exports: vec![remote.settings()], ..Settings::default() };
    let session = Session::open(folder.path(), Some("r1"), None, settings).unwrap();
    log(&session, 1, 2);
    remote.wait_for(|store| store.points.len() == 2);
    let outcome = run(folder.path(), &remote, &ONCE);
    assert!(problem(&outcome.streams[0]).contains("this process delivers"), "{outcome:?}");
    assert!(session.close(None));
    assert!(run(folder.path(), &remote, &ONCE).streams[0].done);
    assert_eq!(remote.keys(), expected([1], 2));
}

#[test]
fn a_run_that_has_an_exporter_is_followed_too() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    let settings = Settings { ring_bytes: 256 << 10, exports: vec![remote.settings()], ..Settings::default() };
    let session = Session::open(folder.path(), Some("r1"), None, settings).unwrap();
    start(&session);
    log(&session, 1, 2);
    remote.wait_for(|store| store.points.len() == 2);
    let (waits, waiting) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let following = scope.spawn(|| {
            sync(folder.path(), &remote.settings(), &FOLLOW, &Clock::System, &mut |progress| {
                progress.waiting.iter().for_each(|why| waits.send(why.clone()).unwrap());
                true
            })
        });
        let why = waiting.recv_timeout(LONG).unwrap();
        assert!(why.contains("this process delivers"), "{why}");
        remote.act(Act::Later(HOUR));
        log(&session, 2, 2);
        assert!(session.close(Some(Instant::now())), "the exporter leaves the rest");
        remote.act(Act::Accept);
        let stream = following.join().unwrap().unwrap().streams.remove(0);
        assert_eq!((stream.done, stream.problem, stream.status), (true, None, Some(RunStatus::Killed)));
    });
    assert_eq!(remote.keys(), expected(1..3, 2));
}

#[test]
fn following_ends_at_once_where_nothing_can_be_delivered() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    remote.act(Act::Stop);
    let session = open(folder.path());
    log(&session, 1, 2);
    assert!(session.flush(None, false));
    std::thread::scope(|scope| {
        let (sender, ended) = std::sync::mpsc::channel();
        let (directory, remote) = (folder.path(), &remote);
        scope.spawn(move || sender.send(run(directory, remote, &FOLLOW)));
        let outcome = ended.recv_timeout(LONG);
        finish(&session, "finished");
        let problem = outcome.expect("it ends while the run goes on").streams.remove(0).problem;
        assert_eq!(problem, Some(Problem::from("the run was deleted; choose another")));
    });
}

#[test]
fn it_stops_while_a_request_is_not_answered() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    let session = open(folder.path());
    log(&session, 1, 2);
    assert!(session.close(None));
    remote.store(|store| store.script = [Act::Accept, Act::Hold, Act::Accept].into());
    std::thread::scope(|scope| {
        let (sender, ended) = std::sync::mpsc::channel();
        let (directory, remote) = (folder.path(), &remote);
        scope.spawn(move || {
            let mut tick = |_: &_| remote.store(|store| store.held == 0);
            sender.send(sync(directory, &remote.settings(), &ONCE, &Clock::System, &mut tick))
        });
        let outcome = ended.recv_timeout(LONG);
        remote.store(|store| store.released = true);
        let stream = outcome.expect("it does not wait for the answer").unwrap().streams.remove(0);
        assert_eq!((stream.done, stream.delivered, stream.remote_run.as_deref()), (false, 0, Some("remote-0")));
        assert!(problem(&stream).contains("stopped"));
    });
    // Whether the one that was given up comes through or not: the next one ends with everything.
    remote.wait_for(|store| store.held == 0);
    loop {
        let outcome = run(folder.path(), &remote, &ONCE);
        if outcome.streams[0].done {
            break;
        }
        assert!(problem(&outcome.streams[0]).contains("a delivery that was stopped"), "{outcome:?}");
    }
    let mut keys = remote.keys();
    keys.dedup();
    assert_eq!(keys, expected([1], 2));
}

#[test]
fn it_waits_out_an_outage_until_it_is_told_to_stop() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    let session = open(folder.path());
    log(&session, 1, 2);
    assert!(session.close(None));
    remote.act(Act::Later(Duration::from_hours(1)));
    let mut reasons = Vec::new();
    let outcome = sync(folder.path(), &remote.settings(), &ONCE, &Clock::System, &mut |progress| {
        reasons.extend(progress.waiting.clone());
        reasons.is_empty()
    });
    let stream = &outcome.unwrap().streams[0];
    assert_eq!((stream.done, problem(stream).as_str()), (false, "it is down"));
    assert_eq!(reasons[0], "it is down");
    remote.act(Act::Accept);
    let mut last = None;
    let outcome = sync(folder.path(), &remote.settings(), &ONCE, &Clock::System, &mut |progress| {
        last = Some(progress.clone());
        true
    });
    assert!(outcome.unwrap().streams[0].done);
    let last = last.unwrap();
    assert_eq!((last.delivered, last.bytes_left), (2, 0));
    assert!(last.bytes_total > 0);
}

#[test]
fn every_stream_is_delivered_if_asked_for() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    for rank in 0..3 {
        let settings = Settings { rank, ring_bytes: 256 << 10, ..Settings::default() };
        let session = Session::open(folder.path(), Some("r1"), None, settings).unwrap();
        log(&session, rank as i64, 1);
        assert!(session.close(None));
    }
    let mut settings = remote.settings();
    assert_eq!(sync(folder.path(), &settings, &ONCE, &Clock::System, &mut |_| true).unwrap().streams.len(), 1);
    settings.ranks = Ranks::All;
    let outcome = sync(folder.path(), &settings, &ONCE, &Clock::System, &mut |_| true).unwrap();
    assert_eq!(outcome.streams.iter().map(|stream| stream.delivered).collect::<Vec<_>>(), [0, 1, 1]);
    let names: Vec<String> = remote.keys().into_iter().map(|key| key.0).collect();
    assert_eq!(names, ["train/m0", "rank-1/train/m0", "rank-2/train/m0"]);
    assert_eq!(remote.store(|store| store.runs.len()), 1);
}

#[test]
fn files_that_are_emptied_after_everything_was_delivered_are_no_gap() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    for (round, status, gaps) in [(0, "finished", 0), (1, "failed", 1)] {
        let session = open(folder.path());
        start(&session);
        (0..10).for_each(|step| log(&session, 10 * round + step, 2));
        finish(&session, status);
        if round == 0 {
            assert!(run(folder.path(), &remote, &ONCE).streams[0].done);
        }
        std::fs::write(folder.path().join("metrics.ndjson"), "").unwrap();
        let outcome = run(folder.path(), &remote, &ONCE);
        assert_eq!((outcome.streams[0].done, outcome.streams[0].missing_new.gaps), (true, gaps), "round {round}");
    }
}

#[test]
fn without_a_main_stream_the_first_one_stands_in_for_it() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    for rank in [2, 1] {
        let settings = Settings { rank, ring_bytes: 256 << 10, ..Settings::default() };
        let session = Session::open(folder.path(), Some("r1"), None, settings).unwrap();
        start(&session);
        let params = format!("{{\"config\":{{\"rank\":{rank}}}}}\n");
        assert!(session.write_line(LineFile::Params, params.as_bytes()));
        log(&session, rank as i64, 1);
        finish(&session, if rank == 1 { "failed" } else { "finished" });
    }
    let mut settings = remote.settings();
    let error = sync(folder.path(), &settings, &ONCE, &Clock::System, &mut |_| true).unwrap_err();
    assert!(error.is_no_log() && error.to_string().ends_with("such as rank-1"), "{error}");
    assert_eq!(error.problem().kind, "other_streams");
    settings.ranks = Ranks::All;
    for again in [false, true] {
        let outcome = sync(folder.path(), &settings, &ONCE, &Clock::System, &mut |_| true).unwrap();
        let told: Vec<_> = outcome.streams.iter().map(|stream| (stream.done, stream.status)).collect();
        assert_eq!(told, [(true, Some(RunStatus::Failed)), (true, None)], "{outcome:?}");
        assert_eq!(outcome.streams.iter().map(|stream| stream.delivered).sum::<u64>(), if again { 0 } else { 2 });
    }
    let mut names: Vec<String> = remote.keys().into_iter().map(|key| key.0).collect();
    names.sort();
    assert_eq!(names, ["rank-1/train/m0", "rank-2/train/m0"]);
    remote.store(|store| {
        assert_eq!((store.runs.len(), &*store.finished), (1, &[RunStatus::Failed][..]));
        assert_eq!(store.params, [("rank".to_owned(), "1".to_owned())]);
    });
}

#[test]
fn what_is_no_run_is_an_error() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    let error = sync(folder.path(), &remote.settings(), &ONCE, &Clock::System, &mut |_| true).unwrap_err();
    assert!(error.is_no_log(), "{error}");
}

#[test]
fn a_delivery_from_outside_is_on_record() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Remote::default());
    let settings = || Settings { ring_bytes: 256 << 10, ..Settings::default() };
    let session = Session::open(folder.path(), Some("r1"), None, settings()).unwrap();
    log(&session, 0, 2);
    assert!(session.flush(None, false));
    let deliver = || sync(folder.path(), &remote.settings(), &SyncOptions::default(), &Clock::System, &mut |_| true);
    // The training writes its own files: this process's other stream has the record.
    assert!(deliver().unwrap().streams[0].done);
    let own = format!("tracking_summary.pid-{}.ndjson", std::process::id());
    assert!(text(folder.path(), &own).contains(r#""component":"test","status":"enabled""#));
    assert!(session.close(None));
    assert!(deliver().unwrap().streams[0].done);
    let lines = text(folder.path(), "tracking_summary.ndjson");
    let reasons = [r#""enabled","reason":"test:started""#, r#""disabled","reason":"test:ended""#];
    assert_eq!(lines.lines().count(), 2, "{lines}");
    assert!(lines.lines().zip(reasons).all(|(line, reason)| line.contains(reason)), "{lines}");
}
