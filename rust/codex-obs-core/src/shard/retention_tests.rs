use super::*;
use crate::shard::footer::Footer;
use std::fs;
use std::sync::Arc;

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        fs::write(folder.join(name), text).unwrap();
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn archive(base: &Path, ordinal: u64, text: &str) -> u64 {
    let mut packed = zstd::encode_all(text.as_bytes(), 1).unwrap();
    let rows = text.lines().count() as u64;
    packed.extend_from_slice(&Footer { ordinal, rows, largest_step: Some(3), ..Footer::default() }.to_bytes());
    fs::write(Archive::Packed.path(base, ordinal), &packed).unwrap();
    packed.len() as u64
}

#[test]
fn the_oldest_beyond_the_count_go_and_their_lines_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("metrics.ndjson");
    write(
        folder.path(),
        &[
            ("metrics.ndjson", "a\n"),
            ("metrics.ndjson.1", "b\n"),
            ("metrics.ndjson.3", "c\nd,\"step\":4\n"),
            ("metrics.ndjson.3.gz", "an unread copy"),
            ("metrics.ndjson.9", "e\n"),
        ],
    );
    assert_eq!(retire(&base, 5, None, &Pulse::default()).unwrap(), Gone::default());
    assert_eq!(
        retire(&base, 1, None, &Pulse::default()).unwrap(),
        Gone { ordinal: 2, rows: 3, undelivered: 0, largest_step: Some(4) }
    );
    assert_eq!(names(folder.path()), ["metrics.ndjson", "metrics.ndjson.1", "run.ndjson"]);
}

#[test]
fn lines_that_a_destination_still_needed_are_told_from_the_others() {
    // Shard number n of five has the ordinal 6 - n.
    for (ordinal, offset, undelivered) in [(6, 0, 0), (5, 2, 0), (2, 6, 3), (2, 2, 5), (1, 2, 8)] {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("metrics.ndjson");
        fs::write(&base, "a\n").unwrap();
        for number in 1..=5 {
            fs::write(shard_path(&base, number, Coding::Plain), "a\nb\nc\n").unwrap();
        }
        let kept = Arc::new(Hold::new(0));
        let follower = kept.part();
        follower.note(ordinal, offset);
        let gone = retire(&base, 2, Some(&kept), &Pulse::default()).unwrap();
        assert_eq!((gone.rows, gone.undelivered), (9, undelivered), "from {offset} in {ordinal}");
        assert_eq!(follower.lost(), (1..=3).filter(|&shard| shard > ordinal).count() as u64);
    }
}

#[test]
fn archives_beyond_the_limit_go_but_the_newest_and_what_a_destination_needs() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("metrics.ndjson");
    let bytes: u64 = (1..=4).map(|ordinal| archive(&base, ordinal, "a\nb\n")).sum();
    let plan = |most, kept: Option<&Hold>| {
        let retention = Retention { packs: true, max_archive_bytes: Some(most) };
        Plan::of(&base, 5, retention, kept, None).unwrap()
    };
    let due = |most| plan(most, None).due;
    assert_eq!(due(bytes), []);
    assert_eq!(due(bytes - 1), [Due::Archive(1)]);
    assert_eq!(due(1), [Due::Archive(1), Due::Archive(2), Due::Archive(3)]);
    let kept = Arc::new(Hold::new(1));
    let follower = kept.part();
    follower.note(1, 2);
    let plan = plan(1, Some(&kept));
    assert_eq!(plan.due, [Due::Archive(1), Due::Archive(2)], "one is kept longer");
    let first = plan.begin(plan.due[0], Some(&kept), &Pulse::default()).unwrap().unwrap();
    assert_eq!((first.rows, first.undelivered), (2, 1));
    let second = plan.begin(plan.due[1], Some(&kept), &Pulse::default()).unwrap().unwrap();
    assert_eq!((second.rows, second.undelivered, follower.lost()), (2, 2, 1));
}

#[test]
fn a_deletion_that_was_cut_short_is_finished_and_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("metrics.ndjson");
    for text in ["a\nb\n", ""] {
        fs::write(&base, "x\n").unwrap();
        for number in 1..=2 {
            fs::write(shard_path(&base, number, Coding::Plain), text).unwrap();
        }
        let retention = Retention { packs: false, max_archive_bytes: None };
        let plan = Plan::of(&base, 1, retention, None, None).unwrap();
        let leaving = plan.begin(plan.due[0], None, &Pulse::default()).unwrap().unwrap();
        assert_eq!((leaving.ordinal, Shards::of(&base).unwrap().current()), (1, 3));
        // Died here; the next one finds the name.
        let plan = Plan::of(&base, 1, retention, None, None).unwrap();
        assert_eq!(plan.due, [Due::Leaving(1)]);
        assert_eq!(plan.begin(plan.due[0], None, &Pulse::default()).unwrap().unwrap(), leaving);
        let record = "{\"record\":\"retired\",\"file\":\"metrics\",\"ordinal\":1,\"rows\":2,\"rows_undelivered\":0}\n";
        fs::write(folder.path().join("run.ndjson"), record).unwrap();
        // Died behind the record.
        let plan = Plan::of(&base, 1, retention, None, None).unwrap();
        let again = plan.begin(plan.due[0], None, &Pulse::default()).unwrap().unwrap();
        assert_eq!((again.rows, again.add_to(plan.gone).rows), (0, 2));
        again.delete().unwrap();
        assert_eq!(
            (Plan::of(&base, 1, retention, None, None).unwrap().due, Shards::of(&base).unwrap().current()),
            (vec![], 3)
        );
        fs::remove_file(folder.path().join("run.ndjson")).unwrap();
    }
}

#[test]
fn what_is_no_regular_file_is_neither_waited_for_nor_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("metrics.ndjson");
    write(folder.path(), &[("metrics.ndjson.1", "a\n"), ("metrics.ndjson.2", "b\n"), ("metrics.ndjson.3", "c\n")]);
    let fifo = folder.path().join("metrics.ndjson.7");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, mode).unwrap();
    fs::create_dir(folder.path().join("metrics.ndjson.8")).unwrap();
    assert_eq!(retire(&base, 2, None, &Pulse::default()).unwrap().rows, 1);
    assert!(fifo.exists() && !folder.path().join("metrics.ndjson.3").exists());
}
