use std::ops::Range;

use serde_json::json;

use super::*;
use crate::wandb::group::number;

const START: i64 = 1_700_000_000_000_000;

fn setup(folder: &Path) -> Setup {
    Setup {
        folder: folder.join("wandb"),
        state_name: ".codex_obs.json".to_owned(),
        run_id: "r".to_owned(),
        run: Run { run_id: "r".to_owned(), display_name: "name".to_owned(), ..Run::default() },
        start_micros: START,
        mode: 0o600,
    }
}

fn open(folder: &Path) -> OfflineRun {
    OfflineRun::open(setup(folder)).unwrap()
}

/// Two rows a step.
fn log(run: &mut OfflineRun, steps: Range<i64>) {
    assert!(!run.is_gone().unwrap());
    run.groups(steps.map(|step| Group {
        micros: START + step * 1_000_000,
        step,
        values: ["train/a", "train/b"].map(|name| (name.to_owned(), number(step as f64))).into(),
    }))
    .unwrap();
}

fn close(run: &mut OfflineRun, end: i64) {
    run.note(Some(json!(end))).unwrap();
    run.finish(0, START + end * 1_000_000).unwrap();
}

/// The records of every file, by folder.
fn records(folder: &Path) -> Vec<(String, Vec<Record>)> {
    let wandb = folder.join("wandb");
    let mut names: Vec<_> = std::fs::read_dir(&wandb)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("offline-run"))
        .collect();
    names.sort();
    let read = |name: &String| {
        let mut reader = Reader::new(File::open(wandb.join(name).join("run-r.wandb")).unwrap());
        let mut records = Vec::new();
        while let Some(data) = reader.read().unwrap() {
            records.push(Record::decode(data).unwrap());
        }
        records
    };
    names.iter().map(|name| (name.clone(), read(name))).collect()
}

fn steps(records: &[Record]) -> Vec<i64> {
    records.iter().filter_map(|record| record.history.as_ref()?.step).map(|step| step.num).collect()
}

#[test]
fn a_run_that_stopped_anywhere_has_the_bytes_of_one_that_did_not() {
    let folders = tempfile::tempdir().unwrap();
    let [whole, parts] = ["whole", "parts"].map(|name| folders.path().join(name));
    let mut run = open(&whole);
    assert_eq!(*run.place(), Value::Null);
    run.config(&[("lr".to_owned(), "0.1".to_owned())]).unwrap();
    log(&mut run, 0..10);
    close(&mut run, 10);

    let mut run = open(&parts);
    run.config(&[("lr".to_owned(), "0.1".to_owned())]).unwrap();
    log(&mut run, 0..4);
    run.note(Some(json!(4))).unwrap();
    log(&mut run, 4..7);
    drop(run);
    let mut run = open(&parts);
    assert_eq!(*run.place(), json!(4));
    log(&mut run, 4..6);
    close(&mut run, 6);
    let mut run = open(&parts);
    assert_eq!(*run.place(), json!(6));
    log(&mut run, 6..10);
    close(&mut run, 10);
    let bytes = |folder: &Path| std::fs::read(folder.join("wandb/offline-run-20231114_221320-r/run-r.wandb")).unwrap();
    assert!(bytes(&whole) == bytes(&parts));
    let records = records(&parts).remove(0).1;
    assert_eq!(steps(&records), (0..10).collect::<Vec<_>>());
    assert_eq!(records.iter().filter(|record| record.exit.is_some()).count(), 1, "one end, the last one");

    std::fs::remove_file(parts.join("wandb/.codex_obs.json")).unwrap();
    let mut run = open(&parts);
    assert_eq!(*run.place(), Value::Null, "without a state it is made anew");
    run.config(&[("lr".to_owned(), "0.1".to_owned())]).unwrap();
    log(&mut run, 0..10);
    close(&mut run, 10);
    assert!(bytes(&whole) == bytes(&parts));
}

#[test]
fn what_was_uploaded_is_left_and_a_new_folder_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = open(folder.path());
    log(&mut run, 0..3);
    close(&mut run, 3);
    let first = folder.path().join("wandb/offline-run-20231114_221320-r");
    let bytes = std::fs::read(first.join("run-r.wandb")).unwrap();
    std::fs::write(first.join("run-r.wandb.synced"), "").unwrap();

    let mut run = open(folder.path());
    assert_eq!(*run.place(), json!(3));
    assert_eq!(records(folder.path()).len(), 1, "nothing is begun before there is something to add");
    log(&mut run, 3..5);
    run.note(Some(json!(5))).unwrap();
    // While it is open, too.
    std::fs::write(run.folder().join("run-r.wandb.synced"), "").unwrap();
    log(&mut run, 5..7);
    close(&mut run, 7);
    let all = records(folder.path());
    assert_eq!(
        all.iter().map(|(_, records)| steps(records)).collect::<Vec<_>>(),
        [vec![0, 1, 2], vec![3, 4], vec![5, 6]]
    );
    assert_eq!(
        all.iter().map(|(_, records)| records[1].run.clone().unwrap().resume).collect::<Vec<_>>(),
        [false, true, true]
    );
    assert_eq!(bytes, std::fs::read(first.join("run-r.wandb")).unwrap(), "nothing was added");
}

#[test]
fn a_folder_that_goes_on_is_known_before_it_has_rows() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = open(folder.path());
    log(&mut run, 0..3);
    close(&mut run, 3);
    std::fs::write(run.folder().join("run-r.wandb.synced"), "").unwrap();
    let all = || records(folder.path()).iter().map(|(_, records)| steps(records)).collect::<Vec<_>>();

    // It died before the rows were noted.
    let mut run = open(folder.path());
    log(&mut run, 3..5);
    drop(run);
    assert_eq!(all(), [vec![0, 1, 2], vec![3, 4]]);
    let mut run = open(folder.path());
    assert_eq!(*run.place(), json!(3));
    log(&mut run, 3..6);
    close(&mut run, 6);
    assert_eq!(all(), [vec![0, 1, 2], vec![3, 4, 5]], "each row is there once");

    // A state that cannot be written leaves no file, however often it is tried.
    std::fs::write(run.folder().join("run-r.wandb.synced"), "").unwrap();
    let draft = folder.path().join("wandb/.codex_obs.json.new");
    std::fs::create_dir(&draft).unwrap();
    let mut run = open(folder.path());
    let group = || Group { micros: START + 6_000_000, step: 6, values: Vec::new() };
    for _ in 0..3 {
        run.groups([group()]).unwrap_err();
    }
    std::fs::remove_dir(&draft).unwrap();
    run.groups([group()]).unwrap();
    let files = std::fs::read_dir(folder.path().join("wandb")).unwrap();
    let folders = files.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("offline"));
    assert_eq!(folders.count(), 3);
}

#[test]
fn a_run_that_is_opened_and_left_keeps_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = open(folder.path());
    log(&mut run, 0..3);
    close(&mut run, 3);
    let before = records(folder.path());
    assert!(before[0].1.last().unwrap().exit.is_some());
    drop(open(folder.path()));
    assert_eq!(records(folder.path()), before);
}

#[test]
fn links_are_not_followed() {
    let [folder, elsewhere] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("wandb")).unwrap();
    let error = OfflineRun::open(setup(folder.path())).unwrap_err();
    assert!(error.to_string().contains("symbolic link"), "{error}");
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn a_folder_that_was_cleaned_away_is_not_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = open(folder.path());
    log(&mut run, 0..3);
    close(&mut run, 3);
    std::fs::remove_dir_all(run.folder()).unwrap();
    assert!(run.is_gone().unwrap());
    let mut run = open(folder.path());
    assert_eq!(*run.place(), json!(3));
    assert!(run.notices[0].contains("wandb sync --clean"), "{:?}", run.notices);
    log(&mut run, 3..5);
    close(&mut run, 5);
    assert_eq!(steps(&records(folder.path())[0].1), [3, 4]);
}

#[test]
fn files_of_others_are_left_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("wandb/offline-run-20231114_221320-r");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::write(other.join("run-r.wandb"), "something else").unwrap();
    let mut run = open(folder.path());
    log(&mut run, 0..2);
    close(&mut run, 2);
    assert_eq!(std::fs::read_to_string(other.join("run-r.wandb")).unwrap(), "something else");
    assert!(run.folder().ends_with("offline-run-20231114_221320-r-1"));

    let mut stranger = setup(folder.path());
    stranger.run_id = "another".to_owned();
    assert!(OfflineRun::open(stranger).unwrap_err().is_conflict());
}

#[test]
fn tags_are_those_of_all_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = open(folder.path());
    run.tags(&["team:x".to_owned()]).unwrap();
    run.note(Some(json!(0))).unwrap();
    let mut run = open(folder.path());
    run.tags(&["team:x".to_owned(), "more".to_owned()]).unwrap();
    let last = records(folder.path()).remove(0).1.pop().unwrap().run.unwrap();
    assert_eq!((last.tags, last.display_name), (vec!["team:x".to_owned(), "more".to_owned()], "name".to_owned()));
}
