//! Run directories that were copied while they were written: the journal's word on its files is about others.

use std::path::Path;

use codex_obs_core::clock::Clock;
use codex_obs_core::journal::cursor::{self, Cursor, Intent};
use codex_obs_core::reading::read_rows;
use codex_obs_core::recovery::run::recover_directory;

use crate::recovery::{gone, leave_journal};
use crate::support::{lines, log, open, text};

/// Leaves a journal of six calls whose cursor stands before all of them, and moves it into a file of another inode.
fn leave_copied_journal(directory: &Path) {
    let ring = leave_journal(directory, gone(), 6);
    cursor::begin(ring.memory(), &Intent { after: Cursor::default(), extents: [None; 2] }).unwrap();
    cursor::complete(ring.memory()).unwrap();
    drop(ring);
    let path = directory.join(".codex_obs/journal-main");
    let copy = path.with_file_name("copy");
    std::fs::copy(&path, &copy).unwrap();
    std::fs::rename(&copy, &path).unwrap();
}

fn rows(directory: &Path) -> usize {
    let (batches, _) = read_rows(&[directory.to_owned()], true, &Clock::System, &mut |_| true).unwrap();
    batches.iter().map(arrow_array::RecordBatch::num_rows).sum()
}

#[test]
fn rows_that_were_copied_with_their_file_are_not_appended_again() {
    for (current, rotated, appended) in [
        (lines(0..6, 2), String::new(), 0),
        (lines(0..4, 2), String::new(), 4),
        // The journal was copied first.
        (lines(0..9, 2), String::new(), 0),
        (lines(6..9, 2), lines(0..6, 2), 0),
        (String::new(), lines(0..5, 2), 2),
        (lines(0..3, 1), String::new(), 9),
    ] {
        let folder = tempfile::tempdir().unwrap();
        leave_copied_journal(folder.path());
        std::fs::write(folder.path().join("metrics.ndjson"), &current).unwrap();
        if !rotated.is_empty() {
            std::fs::write(folder.path().join("metrics.ndjson.1"), &rotated).unwrap();
        }
        assert_eq!(recover_directory(folder.path(), false).unwrap().rows_recovered, appended, "{current}");
        assert!(text(folder.path(), "metrics.ndjson").starts_with(&current));
    }
}

#[test]
fn a_shard_that_was_rotated_while_it_was_copied_holds_no_row_twice() {
    let all = lines(0..6, 2);
    let torn = &all[..lines(0..2, 2).len() + 40];
    for (current, rotated, expected) in [
        (lines(0..2, 2), lines(0..4, 2), 12),
        (lines(0..4, 2), lines(0..4, 2), 12),
        (torn.to_owned(), lines(0..4, 2), 12),
        (lines(0..2, 2), lines(0..8, 2), 16),
    ] {
        let folder = tempfile::tempdir().unwrap();
        leave_copied_journal(folder.path());
        std::fs::write(folder.path().join("metrics.ndjson"), current).unwrap();
        std::fs::write(folder.path().join("metrics.ndjson.1"), rotated).unwrap();
        for _ in 0..2 {
            assert_eq!(rows(folder.path()), expected);
        }
        // A session that goes on in the copy appends behind all of its rows.
        let session = open(folder.path());
        log(&session, 100, 2);
        assert!(session.close(None));
        assert_eq!(rows(folder.path()), expected + 2);
    }
}
