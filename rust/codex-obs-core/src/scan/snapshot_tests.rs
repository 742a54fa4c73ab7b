use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::paths::FileKind;
use crate::pulse::Pulse;
use crate::scan::source::Content;
use crate::shard::retention::retire;
use crate::shard::rotate::shift;

#[derive(Debug)]
struct Text(String);

impl Lines for Text {
    fn read(&self) -> Box<dyn io::Read + Send + '_> {
        Box::new(self.0.as_bytes())
    }
}

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        fs::write(folder.join(name), text).unwrap();
    }
}

/// Stream and text of each source.
fn contents(snapshot: &Snapshot) -> Vec<(String, String)> {
    let read = |source: &Source| {
        let mut text = String::new();
        io::Read::read_to_string(&mut source.bytes(0).unwrap().unwrap(), &mut text).unwrap();
        (source.stream.to_string(), text)
    };
    snapshot.sources.iter().map(read).collect()
}

fn owned(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(stream, text)| ((*stream).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn streams_are_in_text_order_behind_the_main_one_and_shards_from_the_oldest() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        &[
            ("metrics.ndjson", "m0"),
            ("metrics.ndjson.1", "m1"),
            ("metrics.ndjson.20", "m20"),
            ("metrics.ndjson.3", "m3"),
            ("metrics.a.ndjson", "a0"),
            ("metrics.rank-10.ndjson.2", "r10"),
            ("metrics.rank-2.ndjson", "r2"),
            ("metrics_manifest.ndjson", "no"),
            ("metrics.ndjson.1.bak", "no"),
        ],
    );
    let snapshot = Snapshot::of_directory(folder.path(), &[]).unwrap();
    let expected = [
        ("main", "m20"),
        ("main", "m3"),
        ("main", "m1"),
        ("main", "m0"),
        ("a", "a0"),
        ("rank-10", "r10"),
        ("rank-2", "r2"),
    ];
    assert_eq!(contents(&snapshot), owned(&expected));
    assert_eq!(snapshot.report.files, 7);
}

#[test]
fn what_journals_add_stands_behind_the_newest_shard_and_cuts_it() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        &[("metrics.ndjson", "whole\nhal"), ("metrics.ndjson.1", "old\n"), ("metrics.x.ndjson", "x\n")],
    );
    let path = folder.path().join("metrics.ndjson");
    let id = FileId::at(&path).unwrap().unwrap();
    let tail = |stream: &str, cut, lines: &str| Tail {
        stream: Stream::parse(stream).unwrap(),
        cut,
        lines: Arc::new(Text(lines.to_owned())),
        rows: lines.lines().count() as u64,
    };
    let tails = [tail("main", Some((id, 6)), "tail\n"), tail("new", None, "n\n"), tail("x", None, "")];
    let snapshot = Snapshot::of_directory(folder.path(), &tails).unwrap();
    let expected = [("main", "old\n"), ("main", "whole\n"), ("main", "tail\n"), ("new", "n\n"), ("x", "x\n")];
    assert_eq!(contents(&snapshot), owned(&expected));
    assert_eq!(snapshot.report.recovered, 2);
}

#[test]
fn bytes_that_come_later_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.ndjson");
    write(folder.path(), &[("metrics.ndjson", "before\n")]);
    let snapshot = Snapshot::of_directory(folder.path(), &[]).unwrap();
    fs::write(&path, "before\nafter\n").unwrap();
    assert_eq!(contents(&snapshot), owned(&[("main", "before\n")]));
}

#[test]
fn a_shard_that_is_not_held_open_is_found_where_it_was_moved_to() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("metrics.ndjson", "new"), ("metrics.ndjson.1", "old"), ("metrics.ndjson.2", "gone")]);
    let mut snapshot = Snapshot::of_directory(folder.path(), &[]).unwrap();
    for source in &mut snapshot.sources {
        let Content::File { file, .. } = &mut source.content else { panic!("a file") };
        *file = None;
    }
    fs::remove_file(folder.path().join("metrics.ndjson.2")).unwrap();
    shift(&folder.path().join("metrics.ndjson"), &Pulse::default()).unwrap();
    assert!(snapshot.sources.remove(0).bytes(0).unwrap().is_none());
    fs::write(folder.path().join("metrics.ndjson"), "newest").unwrap();
    assert_eq!(contents(&snapshot), owned(&[("main", "old"), ("main", "new")]));
}

#[test]
fn given_files_are_ordered_by_their_names_and_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["metrics.r.ndjson", "metrics.ndjson", "any.txt", "metrics.ndjson.2", "metrics.ndjson.2.gz"];
    write(folder.path(), &names.map(|name| (name, name)));
    let mut paths: Vec<PathBuf> = names.iter().map(|name| folder.path().join(name)).collect();
    paths.push(folder.path().join("metrics.ndjson"));
    let snapshot = Snapshot::of_files(FileKind::Metrics, &paths).unwrap();
    let expected =
        [("main", "metrics.ndjson.2"), ("main", "metrics.ndjson"), ("main", "any.txt"), ("r", "metrics.r.ndjson")];
    assert_eq!(contents(&snapshot), owned(&expected));
    paths.push(folder.path().join("missing"));
    assert!(Snapshot::of_files(FileKind::Metrics, &paths).unwrap_err().is_no_log());
}

#[test]
fn a_folder_without_shards_is_no_log() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Snapshot::of_directory(folder.path(), &[]).unwrap_err().is_no_log());
    assert!(Snapshot::of_directory(&folder.path().join("missing"), &[]).unwrap_err().is_no_log());
}

/// Reads while a writer appends numbers and rotates after every few, and checks that what is read has no gap and no double,
/// reaches at least to what was written before, and begins no later than retention allows.
fn read_while_rotating(keep: Option<u64>) {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("metrics.ndjson");
    fs::write(&base, "").unwrap();
    let written = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1_u64.. {
                if stop.load(Ordering::Acquire) || number > 3000 {
                    return;
                }
                let mut file = fs::OpenOptions::new().append(true).open(&base).unwrap();
                io::Write::write_all(&mut file, format!("{number}\n").as_bytes()).unwrap();
                written.store(number, Ordering::Release);
                if number % 3 == 0 {
                    shift(&base, &Pulse::default()).unwrap();
                    fs::write(&base, "").unwrap();
                    if let Some(keep) = keep {
                        retire(&base, keep, None, &Pulse::default()).unwrap();
                    }
                }
            }
        });
        for _ in 0..60 {
            let before = written.load(Ordering::Acquire);
            let snapshot = Snapshot::of_directory(folder.path(), &[]).unwrap();
            let text: String = snapshot
                .sources
                .iter()
                .filter_map(|source| source.bytes(0).unwrap())
                .map(|mut bytes| {
                    let mut text = String::new();
                    io::Read::read_to_string(&mut bytes, &mut text).unwrap();
                    text
                })
                .collect();
            let numbers: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
            assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
            assert!(numbers.last().copied().unwrap_or(0) >= before, "{before} {numbers:?}");
            if keep.is_none() {
                assert_eq!(numbers.first().copied().unwrap_or(1), 1);
            }
        }
        stop.store(true, Ordering::Release);
    });
}

#[test]
fn rows_come_once_and_none_is_missed_while_a_writer_rotates() {
    read_while_rotating(None);
}

#[test]
fn rows_come_once_while_a_writer_rotates_and_retires() {
    read_while_rotating(Some(4));
}
