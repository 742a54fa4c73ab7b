//! Packing and the journal: what becomes an archive is never asked for again, whatever a power cut leaves.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use codex_obs_core::journal::cursor::Cursor;
use codex_obs_core::journal::floor;
use codex_obs_core::journal::identity::Process;
use codex_obs_core::journal::layout::HEADER_BYTES;
use codex_obs_core::journal::memory::Memory;
use codex_obs_core::paths::FileKind;
use codex_obs_core::recovery::run::recover_directory;
use codex_obs_core::session::{Session, Settings};
use codex_obs_core::shard::footer::Footer;
use codex_obs_core::shard::policy::Policy;

use crate::recovery::{gone, leave_journal, read_only};
use crate::support::{lines, log, text};

/// Leaves the journal of six calls with two rows each, made before a reboot, which has passed the first seven rows.
fn leave_passed(directory: &Path) {
    let ring = leave_journal(directory, Process { boot_id: "before".into(), ..gone() }, 6);
    let at = Cursor { position: 0, sequence: 3, rows: 1, row: 6 };
    floor::raise(ring.memory(), FileKind::Metrics as u64, &at).unwrap();
}

fn rows_from(row: usize) -> String {
    lines(0..6, 2).split_inclusive('\n').skip(row).collect()
}

#[test]
fn after_a_reboot_rows_that_the_journal_had_passed_do_not_come_again() {
    // The archives were moved to another disk, and what is plain lost its content, or is more than the journal ever held.
    let plain = [String::new(), "\0".repeat(100_000), "{\"metric\":\"x\",\"value\":1}\n".repeat(10_000)];
    for content in plain {
        let folder = tempfile::tempdir().unwrap();
        leave_passed(folder.path());
        std::fs::write(folder.path().join("metrics.ndjson.1"), &content).unwrap();
        assert_eq!(recover_directory(folder.path(), false).unwrap().rows_recovered, 5);
        assert_eq!(text(folder.path(), "metrics.ndjson"), rows_from(7));
    }
}

#[test]
fn a_reader_that_may_not_write_leaves_them_out_too() {
    let folder = tempfile::tempdir().unwrap();
    leave_passed(folder.path());
    std::fs::write(folder.path().join("metrics.ndjson"), "").unwrap();
    assert_eq!(read_only(folder.path()), (None, 5, rows_from(7)));
}

#[test]
fn rows_behind_those_are_compared_with_the_files_as_ever() {
    for kept in 7..12 {
        let folder = tempfile::tempdir().unwrap();
        leave_passed(folder.path());
        let whole: String = lines(0..6, 2).split_inclusive('\n').take(kept).skip(7).collect();
        std::fs::write(folder.path().join("metrics.ndjson"), whole).unwrap();
        assert_eq!(recover_directory(folder.path(), false).unwrap().rows_recovered, 12 - kept as u64);
        assert_eq!(text(folder.path(), "metrics.ndjson"), rows_from(7), "{kept}");
    }
}

#[test]
fn the_floor_of_a_copy_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    leave_passed(folder.path());
    let copy = folder.path().join("copy/.codex_obs");
    std::fs::create_dir_all(&copy).unwrap();
    std::fs::copy(folder.path().join(".codex_obs/journal-main"), copy.join("journal-main")).unwrap();
    let copy = copy.parent().unwrap();
    assert_eq!(recover_directory(copy, false).unwrap().rows_recovered, 12);
    assert_eq!(text(copy, "metrics.ndjson"), rows_from(0));
}

/// What the journal of a living session says on the disk of the rows that it has passed.
fn passed(directory: &Path) -> u64 {
    let path = directory.join(".codex_obs/journal-main");
    let memory = Memory::snapshot(File::open(&path).unwrap(), &path, HEADER_BYTES).unwrap();
    floor::current(&memory, FileKind::Metrics as u64).map_or(0, |floor| floor.row + floor.rows)
}

fn rows_in_archives(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let archives = entries.filter(|path| path.extension().is_some_and(|extension| extension == "zst"));
    // One that has no name any more became another.
    archives.filter_map(|path| Some(Footer::of(&File::open(&path).ok()?, &path).unwrap()?.rows)).sum()
}

#[test]
fn no_shard_is_packed_that_the_journal_has_not_passed() {
    let folder = tempfile::tempdir().unwrap();
    let policy = Policy { max_bytes: Some(5000), max_age_micros: None, backup_count: Some(1) };
    let session = |settings: Settings| Session::open(folder.path(), Some("r1"), None, settings).unwrap();
    let settings = Settings { policy, ring_bytes: 256 << 10, ..Settings::default() };
    let first = session(settings.clone());
    let (mut packed, mut rows) = (0, 0);
    let deadline = Instant::now() + Duration::from_mins(1);
    while packed < 300 {
        assert!(Instant::now() < deadline, "nothing is packed");
        (0..7).for_each(|more| log(&first, rows + more, 3));
        rows += 7;
        // The archives first: the journal passes more meanwhile, never less.
        packed = rows_in_archives(folder.path());
        assert!(packed <= passed(folder.path()), "{packed} of {rows} calls");
    }
    assert!(first.close(None));
    // Rows of an earlier session are none of the next one's journal.
    let before = rows_in_archives(folder.path());
    let second = session(settings);
    log(&second, rows, 3);
    assert!(second.flush(None, false));
    assert!(passed(folder.path()) <= 3 && before > 0);
    assert!(second.close(None));
}
