use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::paths::INTERNALS;
use crate::run::ending::RunStatus;

const START: &str = r#"{"record":"start","timestamp":"2026-11-20T08:15:30.000000Z","host":"h","pid":1}"#;
const FINISH: &str = r#"{"record":"finish","timestamp":"2026-11-20T08:16:30.000000Z","status":"failed"}"#;

fn row(step: i64, split: &str, metric: &str, value: &str) -> String {
    format!(
        r#"{{"timestamp":"2026-11-20T08:15:{:02}.000000Z","run_id":"r","step":{step},"split":"{split}","metric":"{metric}","value":{value}}}"#,
        step % 60
    ) + "\n"
}

/// A run that has ended, long ago by the clock of the tests.
fn make(path: &Path, rows: &str) {
    fs::create_dir_all(path.join(INTERNALS)).unwrap();
    fs::write(path.join("run.json"), r#"{"run_id":"r","name":"named","created":"2026-11-20T08:15:00.000000Z"}"#)
        .unwrap();
    fs::write(path.join("run.ndjson"), format!("{START}\n{FINISH}\n")).unwrap();
    fs::write(path.join("params.ndjson"), "{\"config\":{\"lr\":1e-05,\"a\":[1]}}\n{\"config\":{\"lr\":2}}\n").unwrap();
    fs::write(path.join("metrics.ndjson"), rows).unwrap();
}

fn later() -> Clock {
    Clock::Manual(std::sync::Arc::new(crate::clock::ManualTime::new(4_000_000_000_000_000)))
}

fn list(folder: &Path) -> Catalog {
    Catalog::of(folder, Wanted::Metrics, &later(), &mut || true).unwrap()
}

fn cache(run: &Path) -> PathBuf {
    run.join(INTERNALS).join("summary-cache")
}

#[test]
fn a_run_is_what_its_files_say_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b");
    make(&path, &(row(1, "train", "loss", "2") + &row(3, "train", "loss", "-1.5") + &row(2, "eval", "loss", "9")));
    let [entry] = &list(folder.path()).entries[..] else { panic!("one run") };
    assert_eq!(entry.path, path);
    assert_eq!((entry.name.as_deref(), entry.run_id.as_deref()), (Some("named"), Some("r")));
    assert_eq!(entry.status, Some(Status::Ended(RunStatus::Failed)));
    assert_eq!(entry.ended_micros.unwrap() - entry.started_micros.unwrap(), 60_000_000);
    assert_eq!((entry.rows, entry.last_step), (Some(3), Some(3)));
    assert_eq!(entry.config.as_deref(), Some(r#"{"a":[1],"lr":2}"#));
    let loss = entry.metric("loss").unwrap();
    let point = |value, step| Point { value: Some(value), step: Some(step) };
    assert_eq!((loss.last, loss.min, loss.max), (point(-1.5, 3), Some(point(-1.5, 3)), Some(point(2.0, 1))));
    assert_eq!(entry.metric("eval/loss").unwrap().last, point(9.0, 2));
    assert_eq!(entry.metric("test/loss"), None);
    assert!(entry.problems.is_empty());
}

#[test]
fn what_was_kept_says_the_same_and_a_run_that_changes_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &row(1, "train", "loss", "0.1"));
    let cold = list(folder.path());
    assert!(cache(folder.path()).exists());
    // Told apart from what is read by a name that no file has.
    let kept = fs::read(cache(folder.path())).unwrap();
    assert_eq!(list(folder.path()).entries, cold.entries);
    assert_eq!(fs::read(cache(folder.path())).unwrap(), kept);
    fs::write(folder.path().join("metrics.ndjson"), row(1, "train", "loss", "0.2")).unwrap();
    let [entry] = &list(folder.path()).entries[..] else { panic!("one run") };
    assert_eq!(entry.metric("loss").unwrap().last.value, Some(0.2));
    fs::write(folder.path().join("metrics.rank-1.ndjson"), row(7, "train", "loss", "0.3")).unwrap();
    assert_eq!(list(folder.path()).entries[0].last_step, Some(7));
}

#[test]
fn a_cache_that_is_damaged_cut_foreign_or_of_another_version_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &row(1, "train", "loss", "0.1"));
    let whole = list(folder.path()).entries;
    let kept = fs::read(cache(folder.path())).unwrap();
    let text = String::from_utf8(kept.clone()).unwrap();
    let mut spoilt = vec![
        Vec::new(),
        b"\n".to_vec(),
        b"\n\n\n".to_vec(),
        vec![0xFF; 100],
        text.replace("named", "other").into_bytes(),
        text.replace("summary 1", "summary 2").into_bytes(),
    ];
    spoilt.extend((0..kept.len()).step_by(7).map(|length| kept[..length].to_vec()));
    spoilt.extend((0..kept.len()).step_by(11).map(|place| {
        let mut bytes = kept.clone();
        bytes[place] ^= 1;
        bytes
    }));
    for bytes in spoilt {
        fs::write(cache(folder.path()), &bytes).unwrap();
        assert_eq!(list(folder.path()).entries, whole, "{}", String::from_utf8_lossy(&bytes));
        assert_eq!(fs::read(cache(folder.path())).unwrap(), kept, "it is made anew");
    }
    // Of a run with the same names, sizes and content but another value.
    let other = tempfile::tempdir().unwrap();
    make(other.path(), &row(1, "train", "loss", "0.7"));
    fs::write(cache(other.path()), &kept).unwrap();
    assert_eq!(list(other.path()).entries[0].metric("loss").unwrap().last.value, Some(0.7));
    // What is no file is neither read nor replaced.
    fs::remove_file(cache(folder.path())).unwrap();
    symlink(folder.path().join("elsewhere"), cache(folder.path())).unwrap();
    assert_eq!(list(folder.path()).entries, whole);
    assert!(!folder.path().join("elsewhere").exists());
}

#[test]
fn nothing_is_kept_of_a_run_whose_files_may_change_without_a_sign() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &row(1, "train", "loss", "0.1"));
    let now = Clock::System.now_micros() - 1_000_000;
    let clock = Clock::Manual(std::sync::Arc::new(crate::clock::ManualTime::new(now)));
    assert_eq!(Catalog::of(folder.path(), Wanted::Metrics, &clock, &mut || true).unwrap().entries.len(), 1);
    assert!(!cache(folder.path()).exists());
}

#[test]
fn folders_are_looked_into_and_what_is_no_run_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for name in ["x", "g/y", "g/h/z", ".hidden/w", "x/artifacts/copy", "x/inner"] {
        make(&root.join(name), &row(1, "train", "loss", "1"));
    }
    fs::create_dir(root.join("empty")).unwrap();
    fs::write(root.join("file"), "").unwrap();
    // A cycle, a second way to a run, and the only way to one.
    symlink(root, root.join("g/up")).unwrap();
    symlink(root.join("g/y"), root.join("a-link")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    make(&elsewhere.path().join("far"), "");
    symlink(elsewhere.path().join("far"), root.join("far")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    let entries = list(root).entries;
    let found: Vec<_> = entries.iter().map(|entry| entry.path.strip_prefix(root).unwrap().to_str().unwrap()).collect();
    assert_eq!(found, ["far", "g/h/z", "g/y", "x", "x/inner"]);
    assert!(Catalog::of(&root.join("missing"), Wanted::Facts, &later(), &mut || true).unwrap_err().is_no_log());
    assert!(Catalog::of(&root.join("file"), Wanted::Facts, &later(), &mut || true).unwrap_err().is_no_log());
}

#[test]
fn what_cannot_be_read_of_a_run_is_said_and_the_rest_is_there() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &row(1, "train", "loss", "1"));
    fs::write(folder.path().join("run.json"), "{").unwrap();
    let [entry] = &list(folder.path()).entries[..] else { panic!("one run") };
    assert_eq!((entry.rows, entry.run_id.as_deref()), (Some(1), None));
    assert!(entry.problems[0].what.contains("run.json is damaged"), "{:?}", entry.problems);
    assert!(!cache(folder.path()).exists(), "of what is not whole nothing is kept");
    // A log of another program.
    let foreign = tempfile::tempdir().unwrap();
    fs::write(foreign.path().join("metrics.ndjson"), row(4, "train", "loss", "null")).unwrap();
    let [entry] = &list(foreign.path()).entries[..] else { panic!("one run") };
    assert_eq!((entry.status, entry.last_step, entry.config.as_deref()), (None, Some(4), None));
    assert_eq!(fs::read_dir(foreign.path()).unwrap().count(), 1, "nothing is made in it");
}

#[test]
fn a_session_without_an_end_has_crashed() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &row(9, "train", "loss", "1"));
    fs::write(folder.path().join("run.ndjson"), format!("{START}\n{FINISH}\n{START}\n")).unwrap();
    let [entry] = &list(folder.path()).entries[..] else { panic!("one run") };
    assert_eq!(entry.status, Some(Status::Crashed));
    assert!(entry.ended_micros >= entry.started_micros);
}

#[test]
fn the_work_ends_when_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..50 {
        make(&folder.path().join(number.to_string()), &row(1, "train", "loss", "1").repeat(20_000));
    }
    let error = Catalog::of(folder.path(), Wanted::Facts, &later(), &mut || false).unwrap_err();
    assert_eq!(error.io_kind(), Some(std::io::ErrorKind::Interrupted));
}
