//! Journals of writers that are gone.

use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use codex_obs_core::encode::line;
use codex_obs_core::fs::FileId;
use codex_obs_core::journal::cursor::{self, Cursor, Extent, Intent};
use codex_obs_core::journal::distance::Distance;
use codex_obs_core::journal::frame::{FrameBuilder, LineFile, first_length, line_frame};
use codex_obs_core::journal::identity::Identity;
use codex_obs_core::journal::memory::Backing;
use codex_obs_core::journal::ring::{Appended, Ring};
use codex_obs_core::paths::{FileKind, Stream};
use codex_obs_core::process::Process;
use codex_obs_core::recovery::pending::recover_for_reading;
use codex_obs_core::recovery::run::recover_directory;

use crate::support::{call, lines, open, text};

/// Leaves the journal of a dead process in `directory`: calls with two numbers and the steps 0 to `calls`.
pub fn leave_journal(directory: &Path, process: Process, calls: i64) -> Ring {
    leave_journal_of(directory, &identity(process, "main"), calls)
}

/// Whose rows never rotate.
pub fn identity(process: Process, stream: &str) -> Identity {
    let off = u64::MAX;
    Identity {
        process,
        run_id: "r1".into(),
        stream: stream.into(),
        legacy: false,
        file_mode: 0o600,
        max_shard_bytes: off,
        max_shard_age: off,
        backup_count: off,
        packs: false,
    }
}

/// As [`leave_journal`], of this identity.
pub fn leave_journal_of(directory: &Path, identity: &Identity, calls: i64) -> Ring {
    let internals = directory.join(".codex_obs");
    std::fs::create_dir_all(&internals).unwrap();
    let path = internals.join(format!("journal-{}", identity.stream));
    let file = codex_obs_core::fs::create_new(&path, 0o600).unwrap();
    let ring = Ring::create(file, &path, 256 << 10, Backing::Auto, identity).unwrap();
    let mut builder = FrameBuilder::default();
    for step in 0..calls {
        call(&mut builder, step, step, 2, 4096);
        let (appended, outcome) = ring.append(&mut ring.lock(), builder.bytes_mut());
        assert!(matches!(appended, Appended::Done { .. }));
        outcome.unwrap();
    }
    ring
}

/// A process of this boot and machine that is gone.
pub fn gone() -> Process {
    Process { start_time: 1, ..Process::current() }
}

fn recover(directory: &Path, foreign: bool) -> u64 {
    recover_directory(directory, foreign).unwrap().rows_recovered
}

#[test]
fn rows_of_a_dead_process_come_back_once() {
    let folder = tempfile::tempdir().unwrap();
    drop(leave_journal(folder.path(), gone(), 50));
    assert_eq!(recover(folder.path(), false), 100);
    assert_eq!(text(folder.path(), "metrics.ndjson"), lines(0..50, 2));
    assert_eq!(recover(folder.path(), false), 0);
    assert!(!folder.path().join(".codex_obs/journal-main").exists());
}

#[test]
fn every_state_of_an_unfinished_append_ends_in_the_same_file() {
    let all = lines(0..4, 2);
    let two_calls = lines(0..2, 2).len();
    for written in two_calls..=all.len() {
        for finished in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let ring = leave_journal(folder.path(), gone(), 4);
            let path = folder.path().join("metrics.ndjson");
            std::fs::write(&path, &all[..written]).unwrap();
            let id = FileId::at(&path).unwrap().unwrap();
            let mut builder = FrameBuilder::default();
            call(&mut builder, 0, 0, 2, 4096);
            let length = first_length(builder.bytes_mut()).unwrap() as u64;
            let before =
                Intent { after: Cursor { position: 2 * length, sequence: 2, rows: 0, row: 4 }, extents: [None; 2] };
            cursor::begin(ring.memory(), &before).unwrap();
            cursor::complete(ring.memory()).unwrap();
            let extent = Extent { file: 0, id, length: two_calls as u64 };
            let intent = Intent {
                after: Cursor { position: 4 * length, sequence: 4, rows: 0, row: 8 },
                extents: [None, Some(extent)],
            };
            cursor::begin(ring.memory(), &intent).unwrap();
            if finished {
                if written < all.len() {
                    continue;
                }
                cursor::complete(ring.memory()).unwrap();
            }
            drop(ring);
            recover(folder.path(), false);
            assert_eq!(text(folder.path(), "metrics.ndjson"), all, "{written} bytes were written");
        }
    }
}

#[test]
fn a_file_that_was_renamed_during_an_append_is_none_of_ours_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let ring = leave_journal(folder.path(), gone(), 2);
    let path = folder.path().join("metrics.ndjson");
    std::fs::write(&path, "{\"old\":1}\n{\"torn").unwrap();
    let id = FileId::at(&path).unwrap().unwrap();
    let extents = [None, Some(Extent { file: 0, id, length: 10 })];
    cursor::begin(ring.memory(), &Intent { after: Cursor::default(), extents }).unwrap();
    drop(ring);
    std::fs::rename(&path, folder.path().join("metrics.ndjson.moved")).unwrap();
    assert_eq!(recover(folder.path(), false), 4);
    assert_eq!(text(folder.path(), "metrics.ndjson"), lines(0..2, 2));
    assert_eq!(text(folder.path(), "metrics.ndjson.moved"), "{\"old\":1}\n{\"torn");
}

/// Leaves a journal of four calls, of which two are in the file, with an unfinished append of the others behind `noted` bytes of
/// the file `id`.
fn leave_unfinished(directory: &Path, file: FileKind, id: FileId, noted: u64) {
    let ring = leave_journal(directory, gone(), 4);
    let mut builder = FrameBuilder::default();
    call(&mut builder, 0, 0, 2, 4096);
    let length = first_length(builder.bytes_mut()).unwrap() as u64;
    let at = |calls: u64| Cursor { position: calls * length, sequence: calls, rows: 0, row: 2 * calls };
    cursor::begin(ring.memory(), &Intent { after: at(2), extents: [None; 2] }).unwrap();
    cursor::complete(ring.memory()).unwrap();
    let extent = Extent { file: file as u64, id, length: noted };
    cursor::begin(ring.memory(), &Intent { after: at(4), extents: [None, Some(extent)] }).unwrap();
}

#[test]
fn an_append_that_did_not_fit_once_is_compared_for_good() {
    // How many of the lines behind the noted length the append itself wrote before its writer died.
    for written in 0..=2 {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("metrics.ndjson"), folder.path().join("moved"));
        std::fs::write(&path, lines(0..1, 2)).unwrap();
        let (id, noted) = (id_of(&path), lines(0..1, 2).len() as u64);
        let begun: String = lines(1..2, 2).split_inclusive('\n').take(written).collect();
        std::fs::write(&path, lines(0..1, 2) + &begun).unwrap();
        let ring = leave_journal(folder.path(), gone(), 4);
        let mut builder = FrameBuilder::default();
        call(&mut builder, 0, 0, 2, 4096);
        let length = first_length(builder.bytes_mut()).unwrap() as u64;
        let at = |calls: u64| Cursor { position: calls * length, sequence: calls, rows: 0, row: 2 * calls };
        cursor::begin(ring.memory(), &Intent { after: at(1), extents: [None; 2] }).unwrap();
        cursor::complete(ring.memory()).unwrap();
        // The append had one call of three that wait.
        let extents = [None, Some(Extent { file: 0, id, length: noted })];
        cursor::begin(ring.memory(), &Intent { after: at(2), extents }).unwrap();
        let params = line::params(0, "r1", &line::Params { cli: b"{}", config: b"{}", derived: b"{}", metadata: b"" });
        let (appended, outcome) = ring.append(&mut ring.lock(), &mut line_frame(LineFile::Params, &params));
        assert!(matches!(appended, Appended::Done { .. }) && outcome.is_ok());
        drop(ring);
        // It does not fit, and what is done instead fails amid it.
        std::fs::rename(&path, &moved).unwrap();
        std::fs::create_dir(folder.path().join("params.ndjson")).unwrap();
        recover_directory(folder.path(), false).unwrap_err();
        // Now it fits: the file has what was appended meanwhile.
        let appended: String = text(folder.path(), "metrics.ndjson").split_inclusive('\n').skip(written).collect();
        std::fs::write(&moved, lines(0..1, 2) + &begun + &appended).unwrap();
        std::fs::rename(&moved, &path).unwrap();
        std::fs::remove_dir(folder.path().join("params.ndjson")).unwrap();
        recover(folder.path(), false);
        assert_eq!(text(folder.path(), "metrics.ndjson"), lines(0..4, 2), "{written}");
        assert_eq!(text(folder.path(), "params.ndjson").as_bytes(), params);
    }
}

fn id_of(path: &Path) -> FileId {
    FileId::at(path).unwrap().unwrap()
}

#[test]
fn a_follower_of_a_recovered_file_sees_it_grow_only() {
    let all = lines(0..4, 2);
    let noted = lines(0..2, 2).len();
    for written in (noted..all.len()).step_by(7) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.ndjson");
        std::fs::write(&path, &all[..written]).unwrap();
        leave_unfinished(folder.path(), FileKind::Metrics, id_of(&path), noted as u64);
        let follower = std::fs::File::open(&path).unwrap();
        let done = AtomicBool::new(false);
        let shrank = std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let (mut longest, mut shrank) = (written as u64, false);
                while !done.load(Ordering::Relaxed) {
                    let length = follower.metadata().unwrap().len();
                    shrank |= length < longest;
                    longest = longest.max(length);
                }
                shrank
            });
            recover(folder.path(), false);
            done.store(true, Ordering::Relaxed);
            watch.join().unwrap()
        });
        assert_eq!(text(folder.path(), "metrics.ndjson"), all, "{written} bytes were written");
        assert!(!shrank && FileId::of(&follower, &path).unwrap() == id_of(&path), "{written} bytes were written");
    }
}

#[test]
fn a_file_that_does_not_go_on_as_the_journal_does_is_not_cut() {
    let two = lines(0..2, 2);
    let others = [
        "{\"other\":1}\n".to_owned(),
        format!("{}{{\"other\":1}}\n", lines(2..3, 1)),
        format!("{}{{\"other\":1}}\n", lines(2..3, 2)),
    ];
    for other in others {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.ndjson");
        std::fs::write(&path, format!("{two}{other}")).unwrap();
        leave_unfinished(folder.path(), FileKind::Metrics, id_of(&path), two.len() as u64);
        recover(folder.path(), false);
        let found = text(folder.path(), "metrics.ndjson");
        assert!(found.starts_with(&format!("{two}{other}")), "{found}");
        let rows = |text: &str| {
            text.lines().filter(|line| line.contains("run_metrics")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(rows(&found), rows(&lines(0..4, 2)));
    }
}

#[test]
fn a_checkpoint_that_has_the_inode_of_a_deleted_log_is_not_touched() {
    let content = format!("{}checkpoint", lines(0..4, 2));
    for name in ["checkpoint.pt", "metrics.ndjson.bak", "run.json", "metrics.ndjson.1", "metrics_manifest.ndjson"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, &content).unwrap();
        leave_unfinished(folder.path(), FileKind::Metrics, id_of(&path), 10);
        let recovered = recover_directory(folder.path(), false).unwrap();
        if name == "metrics.ndjson.1" {
            // A shard, where readers find the rows.
            assert_eq!((recovered.rows_recovered, text(folder.path(), name)), (0, content.clone()));
        } else {
            assert_eq!(recovered.rows_recovered, 4, "{name}");
            assert_eq!(text(folder.path(), "metrics.ndjson"), lines(2..4, 2), "{name}");
            let whole = text(folder.path(), name);
            // What bears the name of a log of ours has its torn end set aside, like any other.
            assert_eq!(whole, if name.starts_with("metrics_") { lines(0..4, 2) } else { content.clone() }, "{name}");
        }
    }
}

#[test]
fn an_intent_that_names_another_file_of_ours_cuts_nothing() {
    for kind in [FileKind::Params, FileKind::Summary, FileKind::Session, FileKind::Manifest] {
        let folder = tempfile::tempdir().unwrap();
        let path = kind.path(folder.path(), &Stream::main());
        let content = "{\"a\":1}\n{\"b\":2}\n";
        std::fs::write(&path, content).unwrap();
        leave_unfinished(folder.path(), kind, id_of(&path), 8);
        assert_eq!(recover(folder.path(), false), 4);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        assert_eq!(text(folder.path(), "metrics.ndjson"), lines(2..4, 2));
    }
}

#[test]
fn the_same_kernel_is_known_by_its_boot_whatever_the_machine_is_called() {
    let here = Process::current();
    let process =
        |boot: &str, machine: &str| Process { boot_id: boot.into(), machine_id: machine.into(), ..here.clone() };
    let cases = [
        (("b", "m"), ("b", "m"), Distance::Boot),
        (("b", "m"), ("b", ""), Distance::Boot),
        (("b", ""), ("b", "m"), Distance::Boot),
        (("b", "m"), ("b", "n"), Distance::Boot),
        (("b", "m"), ("c", "m"), Distance::Machine),
        (("b", ""), ("c", ""), Distance::Machine),
        (("", "m"), ("", "m"), Distance::Machine),
        (("b", "m"), ("c", ""), Distance::Foreign),
        (("b", "m"), ("c", "n"), Distance::Foreign),
        (("", "m"), ("", "n"), Distance::Foreign),
    ];
    for (writer, observer, expected) in cases {
        let found = Distance::of(&process(writer.0, writer.1), &process(observer.0, observer.1));
        assert_eq!(found, expected, "{writer:?} seen from {observer:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    drop(leave_journal(folder.path(), Process { machine_id: "another".into(), ..gone() }, 3));
    assert_eq!(recover(folder.path(), false), 6);
}

#[test]
fn after_a_reboot_only_missing_lines_are_appended_and_nothing_is_cut() {
    let all = lines(0..6, 2);
    for kept in [0, 1, 3, 8, 12] {
        let folder = tempfile::tempdir().unwrap();
        let ring = leave_journal(folder.path(), Process { boot_id: "before".into(), ..gone() }, 6);
        // Control words that reached the disk at another time than the file.
        let id = FileId { device: 1, inode: 1 };
        let extents = [None, Some(Extent { file: 0, id, length: 3 })];
        let after = Cursor { position: 1 << 20, sequence: 9, rows: 1, row: 0 };
        cursor::begin(ring.memory(), &Intent { after, extents }).unwrap();
        drop(ring);
        let whole: String = all.split_inclusive('\n').take(kept).collect();
        let torn = if kept == 12 { "" } else { "{\"torn\":\0\0" };
        std::fs::write(folder.path().join("metrics.ndjson"), format!("{whole}{torn}")).unwrap();
        assert_eq!(recover(folder.path(), false), 12 - kept as u64);
        assert_eq!(text(folder.path(), "metrics.ndjson"), all, "{kept} lines were kept");
    }
}

#[test]
fn after_a_reboot_lines_that_were_rotated_away_are_not_appended_again() {
    let folder = tempfile::tempdir().unwrap();
    drop(leave_journal(folder.path(), Process { boot_id: "before".into(), ..gone() }, 6));
    std::fs::write(folder.path().join("metrics.ndjson.1"), lines(3..5, 2)).unwrap();
    std::fs::write(folder.path().join("metrics.ndjson"), "").unwrap();
    assert_eq!(recover(folder.path(), false), 2);
    assert_eq!(text(folder.path(), "metrics.ndjson"), lines(5..6, 2));
}

#[test]
fn after_a_reboot_a_line_that_lacks_only_its_newline_is_not_appended_again() {
    let folder = tempfile::tempdir().unwrap();
    drop(leave_journal(folder.path(), Process { boot_id: "before".into(), ..gone() }, 2));
    std::fs::write(folder.path().join("metrics.ndjson"), lines(0..1, 2).trim_end()).unwrap();
    assert_eq!(recover(folder.path(), false), 2);
    assert_eq!(text(folder.path(), "metrics.ndjson"), lines(0..2, 2));
}

#[test]
fn after_a_reboot_a_line_in_one_file_says_nothing_of_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let ring = leave_journal(folder.path(), Process { boot_id: "before".into(), ..gone() }, 3);
    let pieces = line::Params { cli: b"{}", config: b"{}", derived: b"{}", metadata: b"" };
    let params = line::params(0, "r1", &pieces);
    let (appended, outcome) = ring.append(&mut ring.lock(), &mut line_frame(LineFile::Params, &params));
    assert!(matches!(appended, Appended::Done { .. }) && outcome.is_ok());
    drop(ring);
    std::fs::write(folder.path().join("params.ndjson"), &params).unwrap();
    assert_eq!(recover(folder.path(), false), 6);
    assert_eq!(text(folder.path(), "metrics.ndjson"), lines(0..3, 2));
    assert_eq!(text(folder.path(), "params.ndjson").as_bytes(), params);
}

#[test]
fn after_a_reboot_no_file_ends_in_a_torn_line_or_in_nul_bytes() {
    let folder = tempfile::tempdir().unwrap();
    drop(leave_journal(folder.path(), Process { boot_id: "before".into(), ..gone() }, 2));
    std::fs::write(folder.path().join("tracking_summary.ndjson"), [b"{}\n".as_slice(), &[0; 190]].concat()).unwrap();
    std::fs::write(folder.path().join("run.ndjson"), b"{\"record\":\"sta").unwrap();
    assert_eq!(recover_directory(folder.path(), false).unwrap().torn_tails, 2);
    assert_eq!(text(folder.path(), "tracking_summary.ndjson"), "{}\n");
    assert_eq!(text(folder.path(), "run.ndjson"), "");
    assert_eq!(text(folder.path(), "metrics.ndjson"), lines(0..2, 2));
}

#[test]
fn a_journal_of_another_machine_waits_until_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = Process { machine_id: "another".into(), boot_id: "another".into(), ..gone() };
    drop(leave_journal(folder.path(), elsewhere, 3));
    assert_eq!(recover_directory(folder.path(), false).unwrap().journals_foreign, 1);
    let session = open(folder.path());
    assert_ne!(session.stream().as_str(), "main", "its stream is left alone as well");
    assert!(session.close(None));
    assert_eq!(recover(folder.path(), true), 6);
    assert_eq!(text(folder.path(), "metrics.ndjson"), lines(0..3, 2));
}

#[test]
fn rows_that_a_dead_process_had_dropped_are_put_on_record() {
    let folder = tempfile::tempdir().unwrap();
    leave_journal(folder.path(), gone(), 1).store_dropped(7).unwrap();
    assert_eq!(recover_directory(folder.path(), false).unwrap().rows_dropped, 7);
    let summary = text(folder.path(), "tracking_summary.ndjson");
    assert!(
        summary.contains("\"status\":\"degraded\"") && summary.contains("\"cause\":\"died\",\"count\":7"),
        "{summary}"
    );
}

#[test]
fn a_reader_that_finds_nothing_to_recover_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("metrics.ndjson"), lines(0..1, 1)).unwrap();
    let (recovered, pending) = recover_for_reading(folder.path(), &codex_obs_core::clock::Clock::System).unwrap();
    assert_eq!((recovered.rows_recovered, pending.len()), (0, 0));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// What a reader gets that may not write the log, here because the file has a second name: where a file is cut, and the rows
/// that stand behind it.
pub fn read_only(directory: &Path) -> (Option<u64>, u64, String) {
    std::fs::hard_link(directory.join("metrics.ndjson"), directory.join("second-name")).unwrap();
    let before = text(directory, "metrics.ndjson");
    let (recovered, pending) = recover_for_reading(directory, &codex_obs_core::clock::Clock::System).unwrap();
    assert_eq!((recovered.rows_recovered, pending.len()), (0, 1));
    assert_eq!(text(directory, "metrics.ndjson"), before);
    let mut lines = String::new();
    pending[0].tail.lines().read_to_string(&mut lines).unwrap();
    (pending[0].cut.map(|(_, length)| length), pending[0].rows, lines)
}

#[test]
fn a_reader_that_may_not_write_gets_what_a_recovery_would_append() {
    let (two, all) = (lines(0..2, 2), lines(0..4, 2));
    for written in [two.len(), two.len() + 9, lines(0..3, 2).len(), all.len()] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.ndjson");
        std::fs::write(&path, &all[..written]).unwrap();
        leave_unfinished(folder.path(), FileKind::Metrics, id_of(&path), two.len() as u64);
        assert_eq!(read_only(folder.path()), (Some(two.len() as u64), 4, lines(2..4, 2)));
    }
    // Where the file goes on in another way, it counts as it is.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.ndjson");
    std::fs::write(&path, format!("{}{{}}\n", lines(0..3, 1))).unwrap();
    leave_unfinished(folder.path(), FileKind::Metrics, id_of(&path), lines(0..2, 1).len() as u64);
    let rest = lines(2..4, 2).strip_prefix(&lines(2..3, 1)).unwrap().to_owned();
    assert_eq!(read_only(folder.path()), (None, 3, rest));
    for kept in [0, 1, 3, 8, 12] {
        let folder = tempfile::tempdir().unwrap();
        drop(leave_journal(folder.path(), Process { boot_id: "before".into(), ..gone() }, 6));
        let present: String = lines(0..6, 2).split_inclusive('\n').take(kept).collect();
        std::fs::write(folder.path().join("metrics.ndjson"), &present).unwrap();
        let rest = lines(0..6, 2).strip_prefix(&present).unwrap().to_owned();
        assert_eq!(read_only(folder.path()), (None, 12 - kept as u64, rest));
    }
}

#[test]
fn after_a_reboot_equal_lines_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let ring = leave_journal(folder.path(), Process { boot_id: "before".into(), ..gone() }, 0);
    let pieces = line::Params { cli: b"{}", config: b"{}", derived: b"{}", metadata: b"" };
    let params = String::from_utf8(line::params(0, "r1", &pieces)).unwrap();
    for _ in 0..5 {
        let mut frame = line_frame(LineFile::Params, params.as_bytes());
        let (appended, outcome) = ring.append(&mut ring.lock(), &mut frame);
        assert!(matches!(appended, Appended::Done { .. }) && outcome.is_ok());
    }
    drop(ring);
    std::fs::write(folder.path().join("params.ndjson"), params.repeat(2)).unwrap();
    recover(folder.path(), false);
    assert_eq!(text(folder.path(), "params.ndjson"), params.repeat(5));
}

#[test]
fn after_a_reboot_lines_are_found_however_long_others_are() {
    let folder = tempfile::tempdir().unwrap();
    drop(leave_journal(folder.path(), Process { boot_id: "before".into(), ..gone() }, 6));
    let path = folder.path().join("metrics.ndjson");
    let long = format!("{{\"a\":\"{}\"}}\n", "x".repeat(3 << 20));
    std::fs::write(&path, format!("{}{long}{}", lines(0..2, 2), lines(2..3, 2))).unwrap();
    // A hole of a gigabyte is a torn tail like any other.
    std::fs::File::options().write(true).open(&path).unwrap().set_len(1 << 30).unwrap();
    assert_eq!(recover(folder.path(), false), 6);
    assert_eq!(text(folder.path(), "metrics.ndjson"), format!("{}{long}{}", lines(0..2, 2), lines(2..6, 2)));
}

#[test]
fn after_a_reboot_a_recovery_that_ends_amid_a_line_is_recovered_in_turn() {
    let all = lines(0..6, 2);
    for written in (0..=all.len()).step_by(11) {
        let folder = tempfile::tempdir().unwrap();
        drop(leave_journal(folder.path(), Process { boot_id: "before".into(), ..gone() }, 6));
        std::fs::write(folder.path().join("metrics.ndjson"), &all[..written]).unwrap();
        recover(folder.path(), false);
        assert_eq!(text(folder.path(), "metrics.ndjson"), all, "{written} bytes were written");
    }
}
