use std::collections::BTreeSet;

use super::*;

fn names(folder: &Path) -> BTreeSet<String> {
    let list = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    list(folder).into_iter().chain(list(&folder.join(".codex_obs"))).collect()
}

fn lost(rows: u64, step: i64) -> Loss {
    Loss { rows, first_step: Some(step), last_step: Some(step) }
}

fn counts(handle: &Handle) -> (u64, u64, u64) {
    let stats = handle.stats();
    (stats.rows_logged.get(), stats.rows_dropped_unopened.get(), stats.rows_dropped_closed.get())
}

fn with_rank(rank: u64) -> Settings {
    Settings { rank, ..Settings::default() }
}

#[test]
fn only_the_main_stream_makes_files_before_its_first_row() {
    let folder = tempfile::tempdir().unwrap();
    let rank = Handle::init(folder.path(), None, None, with_rank(3)).unwrap();
    assert_eq!(names(folder.path()), BTreeSet::from([".codex_obs".to_owned(), "run.json".to_owned()]));
    assert_eq!((rank.stream().as_str(), rank.session().is_none()), ("rank-3", true));
    let main = Handle::init(folder.path(), None, None, with_rank(0)).unwrap();
    let before = names(folder.path());
    assert!(before.contains("metrics.ndjson") && main.run_id() == rank.run_id());
    let second = Handle::init(folder.path(), None, None, with_rank(0)).unwrap();
    let own = format!("pid-{}", std::process::id());
    assert_eq!((second.stream().as_str(), names(folder.path())), (own.as_str(), before));
    for handle in [&rank, &second] {
        assert!(matches!(handle.ask(Loss::default()), Asked::Opened(_)));
        assert!(matches!(handle.ask(Loss::default()), Asked::There(_)));
        assert!(names(folder.path()).contains(&format!("metrics.{}.ndjson", handle.stream())));
    }
    assert!([main, rank, second].iter().all(|handle| handle.close(RunStatus::Finished, None)));
}

#[test]
fn rows_that_found_no_stream_are_on_record_once_there_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    std::fs::write(&run, "in the way").unwrap();
    let handle = Handle::dormant(&run, "r1".to_owned(), "n".to_owned(), Settings::default(), true);
    assert!(matches!(handle.ask(lost(5, 7)), Asked::Missing(Some(why)) if why.contains("run")));
    assert!(matches!(handle.ask(lost(2, 8)), Asked::Missing(None)), "the next attempt waits");
    assert_eq!((counts(&handle), handle.has_lost()), ((7, 7, 0), true));
    std::fs::remove_file(&run).unwrap();
    assert!(matches!(handle.ask_at_once(), Asked::Opened(_)));
    assert_eq!((counts(&handle), handle.has_lost()), ((7, 7, 0), false));
    assert!(handle.close(RunStatus::Finished, None));
    let summary = std::fs::read_to_string(run.join(format!("tracking_summary.{}.ndjson", handle.stream()))).unwrap();
    let extra = concat!(
        r#""extra":{"cause":"unopened","count":7,"dependencies":{"nvml_available":null,"psutil_available":null},"#,
        r#""first_step":7,"last_step":8,"totals":{"rows_dropped":7}}"#
    );
    assert!(summary.contains("degraded") && summary.contains(extra), "{summary}");
}

#[test]
fn a_closed_handle_counts_and_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let handle = Handle::dormant(&run, "r1".to_owned(), "n".to_owned(), Settings::default(), false);
    handle.refuse();
    assert!(matches!(handle.ask(lost(3, 0)), Asked::Missing(None)));
    assert!(handle.close(RunStatus::Finished, None));
    assert_eq!((counts(&handle), run.exists()), ((3, 0, 3), false));
}

#[test]
fn threads_that_ask_at_once_get_one_session() {
    let folder = tempfile::tempdir().unwrap();
    let handle = Handle::init(folder.path(), None, None, with_rank(1)).unwrap();
    let opened = std::thread::scope(|scope| {
        let ask = || matches!(handle.ask(Loss::default()), Asked::Opened(_));
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| u64::from(thread.join().unwrap())).sum::<u64>()
    });
    assert_eq!(opened, 1);
    assert!(handle.close(RunStatus::Finished, None));
}

#[test]
fn rows_that_come_after_the_end_are_written_when_the_process_is_over() {
    use crate::journal::frame::{Call, FrameBuilder};
    use crate::record::Tags;
    use crate::session::{Step, Time, close_ended};

    let folder = tempfile::tempdir().unwrap();
    let handle = Handle::init(folder.path(), None, None, Settings::default()).unwrap();
    let log = |step| {
        let (session, mut frames) = (handle.session().unwrap(), FrameBuilder::default());
        let call = Call { timestamp: 0, step: Some(step), split: "s", dataset: None, tags: &Tags::default() };
        frames.begin(&call, session.max_frame_bytes());
        frames.float("m", 0.5);
        frames.finish();
        assert!(session.try_log(&mut frames, Step::Given, Time::Now));
    };
    log(0);
    assert!(handle.end(RunStatus::Finished, None));
    log(1);
    assert!(handle.end(RunStatus::Finished, None), "a second end changes nothing");
    log(2);
    close_ended();
    let text = std::fs::read_to_string(folder.path().join("metrics.ndjson")).unwrap();
    assert_eq!(text.lines().count(), 3);
    assert!(!names(folder.path()).iter().any(|name| name.starts_with("journal") || name.starts_with("lock")));
    assert!(handle.close(RunStatus::Finished, None));
}
