//! Journals that were damaged after their writers died.

use std::path::Path;

use codex_obs_core::clock::Clock;
use codex_obs_core::journal::frame::{FrameBuilder, first_length};
use codex_obs_core::journal::layout;
use codex_obs_core::journal::ring::Ring;
use codex_obs_core::process::Process;
use codex_obs_core::reading::read_rows;
use codex_obs_core::recovery::run::recover_directory;

use crate::recovery::{gone, leave_journal};
use crate::support::{call, lines, text};

/// Damages both copies of what says whose a journal is.
fn make_ownerless(ring: &Ring) {
    for at in layout::OFFSET_BLOCKS {
        ring.memory().store(at + 16, 7).unwrap();
    }
}

#[test]
fn a_journal_that_makes_no_sense_is_set_aside_and_its_rows_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let ring = leave_journal(folder.path(), gone(), 3);
    make_ownerless(&ring);
    drop(ring);
    let bytes = std::fs::read(folder.path().join(".codex_obs/journal-main")).unwrap();
    let recovered = recover_directory(folder.path(), false).unwrap();
    assert_eq!((recovered.journals_damaged, recovered.rows_damaged), (1, 6));
    assert_eq!(std::fs::read(folder.path().join(".codex_obs/damaged-journal-main-0")).unwrap(), bytes);
    assert!(text(folder.path(), "tracking_summary.ndjson").contains("\"cause\":\"damaged\",\"count\":6"));
}

#[test]
fn a_cursor_that_cannot_be_read_is_not_followed_and_the_files_say_what_is_missing() {
    for offset in [layout::OFFSET_SLOTS[0], layout::OFFSET_DONE, layout::OFFSET_BEGUN] {
        let folder = tempfile::tempdir().unwrap();
        let ring = leave_journal(folder.path(), gone(), 3);
        for at in [offset, offset + layout::WORD_BYTES, offset + layout::SLOT_BYTES] {
            ring.memory().store(at, 4).unwrap();
        }
        drop(ring);
        std::fs::write(folder.path().join("metrics.ndjson"), lines(0..1, 2) + "{\"torn").unwrap();
        let recovered = recover_directory(folder.path(), false).unwrap();
        assert_eq!((recovered.journals_damaged, recovered.rows_recovered), (0, 4), "{offset}");
        assert_eq!(text(folder.path(), "metrics.ndjson"), lines(0..3, 2));
    }
}

#[test]
fn no_file_keeps_half_a_line_whatever_became_of_the_journal() {
    for damaged in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let ring = leave_journal(folder.path(), gone(), 2);
        if damaged {
            make_ownerless(&ring);
        }
        drop(ring);
        std::fs::write(folder.path().join("run.ndjson"), "{\"record\":\"sta").unwrap();
        let recovered = recover_directory(folder.path(), false).unwrap();
        assert_eq!((recovered.journals_damaged, recovered.torn_tails), (damaged.into(), 1));
        assert_eq!(text(folder.path(), "run.ndjson"), "");
    }
}

#[test]
fn rows_around_a_damaged_frame_come_back_and_its_own_are_put_on_record() {
    let folder = tempfile::tempdir().unwrap();
    drop(leave_journal(folder.path(), gone(), 10));
    let path = folder.path().join(".codex_obs/journal-main");
    let mut builder = FrameBuilder::default();
    call(&mut builder, 0, 0, 2, 4096);
    let length = first_length(builder.bytes_mut()).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    for frame in [4, 9] {
        bytes[layout::HEADER_BYTES + frame * length + length - 9] ^= 1;
    }
    std::fs::write(&path, &bytes).unwrap();
    let recovered = recover_directory(folder.path(), false).unwrap();
    assert_eq!((recovered.rows_recovered, recovered.rows_damaged), (16, 4));
    assert_eq!((recovered.frames_damaged, recovered.journals_damaged), (2, 0));
    assert_eq!(text(folder.path(), "metrics.ndjson"), lines((0..4).chain(5..9), 2));
    let summary = text(folder.path(), "tracking_summary.ndjson");
    for step in [4, 9] {
        let steps = format!("\"first_step\":{step},\"last_step\":{step},\"totals\":{{\"rows_dropped\":2}}}}");
        assert!(
            summary.contains("\"extra\":{\"cause\":\"damaged\",\"count\":2,") && summary.contains(&steps),
            "{summary}"
        );
    }
    assert!(!path.exists() && !folder.path().join(".codex_obs/damaged-journal-main-0").exists());
}

#[test]
fn a_journal_of_another_run_or_stream_is_set_aside() {
    for name in ["journal-main", "journal-rank-1"] {
        let folder = tempfile::tempdir().unwrap();
        drop(leave_journal(folder.path(), gone(), 3));
        let internals = folder.path().join(".codex_obs");
        if name == "journal-main" {
            std::fs::write(folder.path().join("run.json"), r#"{"run_id":"another"}"#).unwrap();
        } else {
            std::fs::rename(internals.join("journal-main"), internals.join(name)).unwrap();
        }
        let recovered = recover_directory(folder.path(), false).unwrap();
        assert_eq!((recovered.journals_damaged, recovered.rows_recovered), (1, 0));
        assert!(internals.join(format!("damaged-{name}-0")).exists());
        assert!(!folder.path().join("metrics.ndjson").exists());
    }
}

#[test]
fn after_a_reboot_rows_of_damaged_frames_that_the_files_lack_are_counted() {
    let mut builder = FrameBuilder::default();
    call(&mut builder, 0, 0, 2, 4096);
    let length = first_length(builder.bytes_mut()).unwrap();
    // Frames that are damaged, whole calls in the file, lines of the next call, and the rows that are lost.
    for (damaged, calls, lines_behind, lost) in [
        (&[4_usize][..], 2, 0, 2),
        (&[4], 3, 1, 2),
        (&[4], 4, 1, 1),
        (&[4], 5, 0, 0),
        (&[4, 5, 9], 2, 0, 6),
        (&[9], 10, 0, 0),
    ] {
        let folder = tempfile::tempdir().unwrap();
        drop(leave_journal(folder.path(), Process { boot_id: "before".into(), ..gone() }, 10));
        let path = folder.path().join(".codex_obs/journal-main");
        let mut bytes = std::fs::read(&path).unwrap();
        for frame in damaged {
            bytes[layout::HEADER_BYTES + frame * length + length - 9] ^= 1;
        }
        std::fs::write(&path, &bytes).unwrap();
        let all = lines(0..10, 2);
        let kept: String = all.split_inclusive('\n').take(2 * calls + lines_behind).collect();
        std::fs::write(folder.path().join("metrics.ndjson"), &kept).unwrap();
        let recovered = recover_directory(folder.path(), false).unwrap();
        assert_eq!(recovered.rows_damaged, lost, "{damaged:?} {calls} {lines_behind}");
        let found = text(folder.path(), "metrics.ndjson");
        assert!(found.starts_with(&kept) && found.lines().count() as u64 == 20 - lost, "{found}");
        let summary = std::fs::read_to_string(folder.path().join("tracking_summary.ndjson")).unwrap_or_default();
        assert_eq!(summary.contains(&format!("\"cause\":\"damaged\",\"count\":{lost},")), lost > 0, "{summary}");
    }
}

/// Leaves a journal of ten calls of which two frames are damaged, one of them the last.
fn leave_damaged(directory: &Path, process: Process) {
    drop(leave_journal(directory, process, 10));
    let path = directory.join(".codex_obs/journal-main");
    let mut builder = FrameBuilder::default();
    call(&mut builder, 0, 0, 2, 4096);
    let length = first_length(builder.bytes_mut()).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    for frame in [4, 9] {
        bytes[layout::HEADER_BYTES + frame * length + length - 9] ^= 1;
    }
    std::fs::write(&path, &bytes).unwrap();
}

/// The rows that a reader gets, and what it says of journals.
fn read(directory: &Path) -> (usize, Vec<String>) {
    let (batches, report) = read_rows(&[directory.to_owned()], true, &Clock::System, &mut |_| true).unwrap();
    let said = report.journals.into_iter().map(|(path, why)| format!("{} {why}", path.display()));
    (batches.iter().map(arrow_array::RecordBatch::num_rows).sum(), said.collect())
}

#[test]
fn a_reader_says_how_many_rows_of_a_damaged_journal_are_lost() {
    for process in [gone(), Process { boot_id: "before".into(), ..gone() }] {
        let folder = tempfile::tempdir().unwrap();
        leave_damaged(folder.path(), process.clone());
        let (rows, said) = read(folder.path());
        assert_eq!((rows, said.len()), (16, 1), "{said:?}");
        assert!(said[0].contains(".codex_obs had 2 damaged frames: 4 rows are lost"), "{said:?}");
        assert_eq!(read(folder.path()), (16, vec![]));

        // One that may not write, here because the file has a second name, says it each time.
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("metrics.ndjson"), lines(0..1, 2)).unwrap();
        std::fs::hard_link(folder.path().join("metrics.ndjson"), folder.path().join("second-name")).unwrap();
        let held = if process == gone() { 2 } else { 0 };
        leave_damaged(folder.path(), process);
        for _ in 0..2 {
            let (rows, said) = read(folder.path());
            assert_eq!((rows, said.len()), (16 + held, 1), "{said:?}");
            assert!(said[0].contains("journal-main has 2 damaged frames: 4 rows are lost"), "{said:?}");
        }
    }
}

#[test]
fn a_reader_names_journals_that_were_set_aside_as_long_as_they_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("metrics.ndjson"), lines(0..1, 2)).unwrap();
    let ring = leave_journal(folder.path(), gone(), 3);
    make_ownerless(&ring);
    drop(ring);
    for _ in 0..2 {
        let (rows, said) = read(folder.path());
        assert_eq!((rows, said.len()), (2, 1), "{said:?}");
        let text = "keeps 1 damaged journal with 6 rows that could not be recovered: damaged-journal-main-0.";
        assert!(said[0].contains(text), "{said:?}");
    }
    std::fs::write(folder.path().join(".codex_obs/journal-main"), "no journal at all").unwrap();
    let (_, said) = read(folder.path());
    assert!(said.len() == 1 && said[0].contains("2 damaged journals with 6 rows"), "{said:?}");
    for number in 0..2 {
        std::fs::remove_file(folder.path().join(format!(".codex_obs/damaged-journal-main-{number}"))).unwrap();
    }
    assert_eq!(read(folder.path()), (2, vec![]));
}
