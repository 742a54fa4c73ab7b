//! Packing and the journal: what becomes an archive is never asked for again, whatever a power cut leaves.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use codex_obs_core::journal::cursor::Cursor;
use codex_obs_core::journal::floor;
use codex_obs_core::journal::identity::Identity;
use codex_obs_core::journal::layout::HEADER_BYTES;
use codex_obs_core::journal::memory::Memory;
use codex_obs_core::paths::FileKind;
use codex_obs_core::process::Process;
use codex_obs_core::recovery::run::recover_directory;
use codex_obs_core::session::{Session, Settings, pack_directory};
use codex_obs_core::shard::footer::Footer;
use codex_obs_core::shard::policy::Policy;
use codex_obs_core::worker::syncer::SyncPolicy;

use crate::recovery::{gone, identity, leave_journal, leave_journal_of, read_only};
use crate::support::{DELETES, count, lines, log, text};

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

#[test]
fn what_a_recovery_fills_is_packed_by_the_rules_of_its_writer() {
    let shard = lines(0..2, 2).len() as u64;
    let recovered = |is_boot: bool, packs: bool, keep: u64, stream: &str| {
        let folder = tempfile::tempdir().unwrap();
        let process = if is_boot { gone() } else { Process { boot_id: "before".into(), ..gone() } };
        let rules = Identity { max_shard_bytes: shard, backup_count: keep, packs, ..identity(process, stream) };
        drop(leave_journal_of(folder.path(), &rules, 10));
        assert_eq!(recover_directory(folder.path(), false).unwrap().rows_recovered, 20);
        let note = folder.path().join(format!(".codex_obs/pack-{stream}"));
        let is_noted = note.exists();
        pack_directory(folder.path()).unwrap();
        assert!(!note.exists(), "nothing is left to pack");
        (is_noted, rows_in_archives(folder.path()))
    };
    // Five shards of four rows, of which one is the current one.
    for is_boot in [true, false] {
        for stream in ["rank-1", "pid-7", "main"] {
            assert_eq!(recovered(is_boot, true, 1, stream), (true, 12), "{stream}");
        }
        assert_eq!(recovered(is_boot, true, 3, "rank-1"), (true, 4));
        assert_eq!(recovered(is_boot, true, 4, "rank-1"), (false, 0), "none is too many");
        assert_eq!(recovered(is_boot, false, 1, "rank-1"), (false, 0), "they are to be deleted, by a writer");
    }
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

#[test]
fn no_shard_is_deleted_that_the_journal_has_not_passed() {
    let folder = tempfile::tempdir().unwrap();
    let policy = Policy { max_bytes: Some(5000), max_age_micros: None, backup_count: Some(1) };
    let session = |sync: SyncPolicy| {
        let settings = Settings { policy, ring_bytes: 256 << 10, retention: DELETES, sync, ..Settings::default() };
        Session::open(folder.path(), Some("r1"), None, settings).unwrap()
    };
    for sync in [SyncPolicy::Interval(Duration::from_secs(1)), SyncPolicy::Always] {
        let open = session(sync);
        let (mut retired, mut rows) = (0, 0);
        let deadline = Instant::now() + Duration::from_mins(1);
        while retired < 300 {
            assert!(Instant::now() < deadline, "nothing is deleted");
            (0..7).for_each(|more| log(&open, rows + more, 3));
            rows += 7;
            // The deletions first. Those of rows of an earlier session need no floor.
            retired = count(&open, "rows_retired").saturating_sub(60);
            assert!(retired <= passed(folder.path()), "{retired} of {rows} calls");
        }
        assert!(open.close(None));
    }
    // Without syncs nothing is promised after a power cut, and nothing waits for the disk.
    let open = session(SyncPolicy::Never);
    (0..100).for_each(|step| log(&open, step, 3));
    assert!(open.flush(None, false));
    assert!(count(&open, "rows_retired") > 0 && passed(folder.path()) == 0);
    assert!(open.close(None));
}
