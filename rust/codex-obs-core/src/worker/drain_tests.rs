use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::journal::frame::{Call, FrameBuilder};
use crate::journal::identity::Identity;
use crate::journal::memory::{Backing, while_unwritable};
use crate::paths::Stream;
use crate::record::Tags;
use crate::shard::policy::Policy;
use crate::worker::control::{Control, Waited};
use crate::worker::thread::{Errands, Station};

struct NoErrands;

impl Errands for NoErrands {
    fn after_batch(&mut self, _drain: &mut Drain) {}
}

/// A drain on a new ring that holds one call for each of `steps`.
fn drain(folder: &Path, steps: std::ops::Range<i64>, backing: Backing) -> Drain {
    let path = folder.join("journal");
    let file = crate::fs::create_new(&path, 0o600).unwrap();
    let ring = Ring::create(file, &path, 1 << 16, backing, &Identity::default()).unwrap();
    let mut builder = FrameBuilder::default();
    for step in steps {
        let tags = Tags::default();
        builder.begin(&Call { timestamp: step, step: Some(step), split: "train", dataset: None, tags: &tags }, 4096);
        builder.float("loss", 0.5);
        builder.finish();
        ring.append(&mut ring.lock(), builder.bytes_mut()).1.unwrap();
    }
    let files = Files::new(folder, &Stream::main(), Policy::OFF, 0o600, &Clock::System);
    let (stats, warnings) = (Arc::default(), Arc::default());
    let reporting = Reporting { stats, warnings, syncer: None, feeds: Vec::new(), passed: None, packer: None };
    Drain::new(Arc::new(ring), files, RowEncoder::new("r1", false), reporting)
}

fn log(folder: &Path) -> (PathBuf, String) {
    let path = folder.join("metrics.ndjson");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    (path, text)
}

#[test]
fn an_append_that_arrived_in_part_or_whole_is_finished_and_never_repeated() {
    let expected = {
        let folder = tempfile::tempdir().unwrap();
        let mut drain = drain(folder.path(), 0..3, Backing::Auto);
        while drain.batch().unwrap() {}
        log(folder.path()).1
    };
    for arrived in 0..=expected.len() {
        for (moved, more) in [(false, ""), (false, "{}\n"), (true, "")] {
            let folder = tempfile::tempdir().unwrap();
            let mut drain = drain(folder.path(), 0..3, Backing::Auto);
            drain.open(FileKind::Metrics).unwrap();
            let (id, length) = drain.files().get(FileKind::Metrics).extent().unwrap();
            let extents = [None, Some(Extent { file: FileKind::Metrics as u64, id, length })];
            let (after, _) = drain.ring.end();
            cursor::begin(drain.ring.memory(), &Intent { after, extents }).unwrap();
            let path = log(folder.path()).0;
            std::fs::write(&path, format!("{}{more}", &expected[..arrived])).unwrap();
            let away = folder.path().join("away");
            if moved {
                std::fs::rename(&path, &away).unwrap();
            }
            while drain.batch().unwrap() {}
            let away = std::fs::read_to_string(&away).unwrap_or_default();
            let whole = away.rfind('\n').map_or(0, |newline| newline + 1);
            let text = away[..whole].to_owned() + &log(folder.path()).1;
            let is_row =
                |line: &&str| serde_json::from_str::<serde_json::Value>(line).is_ok_and(|row| row["metric"] == "loss");
            assert_eq!(text.lines().filter(is_row).count(), 3, "{arrived} bytes had arrived: {text}");
            assert!(more.len() + usize::from(moved) > 0 || text == expected, "{arrived} bytes had arrived: {text}");
            assert_eq!(cursor::unfinished(drain.ring.memory()), None);
            assert_eq!(drain.reporting.stats.rows_written.get(), 3);
        }
    }
}

#[test]
fn a_line_without_a_frame_that_arrived_in_part_stays_whole_lines() {
    let folder = tempfile::tempdir().unwrap();
    let mut drain = drain(folder.path(), 0..3, Backing::Auto);
    drain.open(FileKind::Summary).unwrap();
    let (id, length) = drain.files().get(FileKind::Summary).extent().unwrap();
    let extents = [None, Some(Extent { file: FileKind::Summary as u64, id, length })];
    cursor::begin(drain.ring.memory(), &Intent { after: Cursor::default(), extents }).unwrap();
    let path = folder.path().join("tracking_summary.ndjson");
    std::fs::write(&path, b"{\"torn").unwrap();
    while drain.batch().unwrap() {}
    drain.write_line(FileKind::Summary, b"{\"next\":1}\n").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"next\":1}\n");
    assert_eq!(log(folder.path()).1.lines().count(), 3);
}

#[test]
fn frames_that_a_truncated_journal_took_with_it_are_counted_and_later_ones_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut drain = drain(folder.path(), 0..100, Backing::Auto);
    let journal = std::fs::OpenOptions::new().write(true).open(folder.path().join("journal")).unwrap();
    let header = crate::journal::layout::HEADER_BYTES as u64;
    journal.set_len(header + 4096).unwrap();
    while drain.batch().unwrap() {}
    let stats = Arc::clone(&drain.reporting.stats);
    let (written, lost) = (stats.rows_written.get(), stats.rows_dropped_journal.get());
    assert!(written > 20 && lost > 20, "{written} written, {lost} lost");
    assert_eq!((written + lost, drain.take_lost()), (100, Some(lost)));

    let mut builder = FrameBuilder::default();
    let tags = Tags::default();
    builder.begin(&Call { timestamp: 0, step: Some(100), split: "train", dataset: None, tags: &tags }, 4096);
    builder.float("loss", 0.5);
    builder.finish();
    drain.ring.append(&mut drain.ring.lock(), builder.bytes_mut()).1.unwrap();
    while drain.batch().unwrap() {}
    let (_, text) = log(folder.path());
    assert_eq!((text.lines().count() as u64, text.contains("\"step\":100,")), (written + 1, true));
}

#[test]
fn a_torn_line_of_another_program_is_set_aside_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut drain = drain(folder.path(), 0..3, Backing::Auto);
    drain.open(FileKind::Metrics).unwrap();
    std::fs::write(log(folder.path()).0, b"{\"torn").unwrap();
    while drain.batch().unwrap() {}
    assert_eq!(log(folder.path()).1.lines().count(), 3);
    let stats = &drain.reporting.stats;
    assert_eq!((stats.files_disturbed.get(), stats.torn_tails.get()), (1, 1));
}

#[test]
fn a_thread_that_starts_after_the_request_to_stop_leaves_the_files_alone() {
    let folder = tempfile::tempdir().unwrap();
    let control = Arc::new(Control::default());
    let station = Arc::new(Station::new(drain(folder.path(), 0..3, Backing::Auto), NoErrands));
    control.request_stop();
    station.start(&control).unwrap().join().unwrap();
    assert_eq!(log(folder.path()).1, "");
    control.clear_stop();
    let thread = station.start(&control).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    assert_eq!(control.wait_until_written(1, deadline), Waited::Written);
    control.request_stop();
    thread.join().unwrap();
    assert_eq!(log(folder.path()).1.lines().count(), 3);
}

#[test]
fn rows_of_a_journal_that_cannot_be_written_any_more_still_reach_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let mut drain = drain(folder.path(), 0..3, Backing::Mirrored);
    assert!(!drain.leave_journal(&journal), "there is no reason to");
    let ring = Arc::clone(&drain.ring);
    while_unwritable(ring.memory(), || {
        assert!(drain.batch().is_err());
        assert_eq!(log(folder.path()).1, "");
        assert!(drain.leave_journal(&journal));
        assert!(!journal.exists(), "a recovery would write the rows again");
        while drain.batch().unwrap() {}
    });
    assert_eq!(log(folder.path()).1.lines().count(), 3);
}

#[test]
fn a_batch_whose_bytes_were_lost_while_it_was_made_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut drain = drain(folder.path(), 0..3, Backing::Mapped);
    let (ring, mut at) = (Arc::clone(&drain.ring), drain.cursor);
    let (frame, next) = ring.frame(&mut at).unwrap();
    drain.add_call(&frame, at, next).unwrap();
    let journal = std::fs::OpenOptions::new().write(true).open(folder.path().join("journal")).unwrap();
    journal.set_len(crate::journal::layout::HEADER_BYTES as u64).unwrap();
    assert!(!frame.verify(at.sequence), "its bytes are gone");
    assert!(drain.commit(next).unwrap());
    while drain.batch().unwrap() {}
    assert_eq!((log(folder.path()).1.as_str(), drain.reporting.stats.rows_written.get()), ("", 0));
}

#[test]
fn a_batch_for_a_file_that_a_rotation_could_not_open_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut drain = drain(folder.path(), 0..3, Backing::Auto);
    let (ring, mut at) = (Arc::clone(&drain.ring), drain.cursor);
    let (frame, next) = ring.frame(&mut at).unwrap();
    drain.add_call(&frame, at, next).unwrap();
    let path = log(folder.path()).0;
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    drain.files().get(FileKind::Metrics).forget();
    assert!(drain.commit(next).is_err());
    assert!(drain.batch().is_err());
    std::fs::remove_dir(&path).unwrap();
    while drain.batch().unwrap() {}
    assert_eq!((log(folder.path()).1.lines().count(), drain.reporting.stats.rows_written.get()), (3, 3));
}
