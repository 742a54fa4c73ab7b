use std::path::Path;

use super::super::snapshot::Snapshot;
use crate::paths::{FileKind, Stream};

fn row(second: u32) -> String {
    format!(
        "{{\"timestamp\":\"2026-01-01T00:00:{second:02}.000000Z\",\"run_id\":\"r\",\"step\":{second},\"value\":1}}\n"
    )
}

fn rows(seconds: std::ops::Range<u32>) -> String {
    seconds.map(row).collect()
}

fn write(folder: &Path, files: &[(&str, String)]) {
    for (name, text) in files {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

/// The names that are read, the oldest first, and how many are named as doubles.
fn read(folder: &Path) -> (Vec<String>, usize) {
    let snapshot = Snapshot::of_directory(folder, &[]).unwrap();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let names = snapshot.sources.iter().map(|source| name(&source.path)).collect();
    assert_eq!(snapshot.report.files as usize, snapshot.sources.len());
    (names, snapshot.report.notes.iter().filter(|note| note.contains("same rows")).count())
}

#[test]
fn a_shard_under_two_names_is_read_once_and_named() {
    let torn = rows(0..3) + "{\"timestamp";
    let whole = rows(0..3) + "{\"timestamp\":\"2026-01-01T00:00:09.000000Z\",\"step\":9}\n";
    for (current, rotated, expected) in [
        (rows(0..3), rows(0..3), "metrics.ndjson"),
        (rows(0..1), rows(0..3), "metrics.ndjson.1"),
        (torn, whole, "metrics.ndjson.1"),
        (rows(0..9), rows(0..3), "metrics.ndjson"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &[("metrics.ndjson", current), ("metrics.ndjson.1", rotated)]);
        assert_eq!(read(folder.path()), (vec![expected.to_owned()], 1));
        assert_eq!(Snapshot::of_stream(FileKind::Metrics, folder.path(), &Stream::main()).unwrap().sources.len(), 1);
        let paths = ["metrics.ndjson", "metrics.ndjson.1"].map(|name| folder.path().join(name));
        assert_eq!(Snapshot::of_files(FileKind::Metrics, &paths).unwrap().sources.len(), 1);
    }
}

#[test]
fn a_compressed_shard_is_the_same_shard() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("metrics.ndjson.1", rows(0..500)), ("metrics.ndjson", rows(20..30))]);
    let packed = zstd::encode_all(rows(0..900).as_bytes(), 1).unwrap();
    std::fs::write(folder.path().join("metrics.ndjson.2.zst"), packed).unwrap();
    assert_eq!(read(folder.path()), (vec!["metrics.ndjson.2.zst".into(), "metrics.ndjson".into()], 1));
}

#[test]
fn of_many_names_of_one_shard_the_longest_stays() {
    let folder = tempfile::tempdir().unwrap();
    for number in 1..6 {
        write(folder.path(), &[(&format!("metrics.ndjson.{number}"), rows(0..[3, 5, 9, 9, 4][number - 1]))]);
    }
    assert_eq!(read(folder.path()), (vec!["metrics.ndjson.3".to_owned()], 4));
}

#[test]
fn shards_that_only_begin_alike_are_all_read() {
    let legacy = "{\"step\":1,\"value\":1}\n{\"step\":2,\"value\":1}\n".to_owned();
    let constant = row(1).repeat(5);
    let other = rows(0..2) + &row(7);
    for (one, another) in
        [(legacy.clone(), legacy), (constant.clone(), constant), (rows(0..3), other), (String::new(), String::new())]
    {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &[("metrics.ndjson", one), ("metrics.ndjson.1", another)]);
        assert_eq!(read(folder.path()), (vec!["metrics.ndjson.1".into(), "metrics.ndjson".into()], 0));
    }
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("metrics.ndjson", rows(0..3)), ("metrics.rank-1.ndjson", rows(0..3))]);
    assert_eq!(read(folder.path()).1, 0);
}
