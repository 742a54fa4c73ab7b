use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::tests::{append, call, metrics_of, read_all};
use super::super::{Appended, Backing, Cursor, Identity, Ring};
use crate::journal::cursor::{self, Intent};
use crate::journal::frame::FrameBuilder;
use crate::journal::layout::HEADER_BYTES;

const PART: u64 = 4096;
const WHOLE: u64 = 16 << 10;

fn part(folder: &Path, backing: Backing) -> (Ring, PathBuf) {
    let path = folder.join("journal");
    let _ = std::fs::remove_file(&path);
    let file = crate::fs::create_new(&path, 0o600).unwrap();
    let identity = Identity { run_id: "r1".into(), ..Identity::default() };
    (Ring::create_part(file, &path, PART, WHOLE, backing, &identity).unwrap(), path)
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len() - HEADER_BYTES as u64
}

/// The steps that a recovery finds behind the stored cursor.
fn left(path: &Path) -> Vec<i64> {
    let (ring, _) = Ring::attach(crate::fs::open_existing(path).unwrap(), path).unwrap().unwrap();
    assert!(ring.gaps().is_empty() && ring.is_sound());
    read_all(&ring, &mut cursor::current(ring.memory())).into_iter().map(|call| call.0).collect()
}

/// Appends calls from `first` on until the ring is full.
fn fill(ring: &Ring, first: i64) -> i64 {
    let mut builder = FrameBuilder::default();
    for step in first.. {
        call(&mut builder, step, metrics_of(step) as u32);
        if append(ring, &mut builder) == Appended::Full {
            return step;
        }
    }
    unreachable!("a ring becomes full")
}

fn consume(ring: &Ring, at: &mut Cursor) {
    read_all(ring, at);
    cursor::begin(ring.memory(), &Intent { after: *at, extents: [None; 2] }).unwrap();
    cursor::complete(ring.memory()).unwrap();
}

#[test]
fn a_ring_grows_once_a_quarter_of_it_is_used_and_frames_go_on_behind_the_part() {
    let folder = tempfile::tempdir().unwrap();
    for backing in [Backing::Mapped, Backing::Mirrored] {
        let (ring, path) = part(folder.path(), backing);
        assert_eq!((length(&path), ring.size(), ring.largest_size()), (PART, PART, WHOLE));
        let mut builder = FrameBuilder::default();
        while ring.published() < PART / 4 {
            ring.grow().unwrap();
            assert_eq!((length(&path), ring.size()), (PART, PART), "there is no need yet");
            call(&mut builder, 0, 1);
            append(&ring, &mut builder);
        }
        ring.grow().unwrap();
        assert_eq!((length(&path), ring.size()), (WHOLE, WHOLE));
        assert!(std::fs::metadata(&path).unwrap().blocks() * 512 >= WHOLE, "there is no hole");
        let mut at = Cursor::default();
        consume(&ring, &mut at);
        let mut next = 0;
        for _ in 0..3 {
            let end = fill(&ring, next);
            assert_eq!(left(&path), (next..end).collect::<Vec<_>>());
            consume(&ring, &mut at);
            next = end;
        }
        assert!(ring.published() > 2 * WHOLE);
    }
}

#[test]
fn nothing_is_stored_behind_the_part_before_it_is_settled_that_there_is_more() {
    let folder = tempfile::tempdir().unwrap();
    for backing in [Backing::Mapped, Backing::Mirrored] {
        let (ring, path) = part(folder.path(), backing);
        let mut at = Cursor::default();
        let end = fill(&ring, 0);
        // What is read makes no room: the part does not go round yet.
        consume(&ring, &mut at);
        assert_eq!(fill(&ring, end), end);
        assert!(ring.published() <= PART);
        assert!(left(&path).is_empty());
        // A death after the file was extended and before that was noted leaves the part.
        File::options().write(true).open(&path).unwrap().set_len(HEADER_BYTES as u64 + WHOLE).unwrap();
        assert!(left(&path).is_empty());
        ring.grow().unwrap();
        let last = fill(&ring, end);
        assert_eq!(left(&path), (end..last).collect::<Vec<_>>());
    }
}

#[test]
fn a_ring_that_cannot_grow_stays_what_it_is_and_goes_round() {
    let folder = tempfile::tempdir().unwrap();
    for backing in [Backing::Mapped, Backing::Mirrored] {
        let (ring, path) = part(folder.path(), backing);
        let mut at = Cursor::default();
        let mut next = fill(&ring, 0);
        // A file that someone truncated is not extended again: zeros would stand where frames were.
        let bytes = std::fs::read(&path).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(HEADER_BYTES as u64).unwrap();
        assert!(ring.grow().is_err());
        file.set_len(bytes.len() as u64).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
        assert!(ring.grow().is_ok(), "it is tried once");
        assert_eq!((length(&path), ring.size(), ring.largest_size()), (PART, PART, PART));
        for _ in 0..3 {
            consume(&ring, &mut at);
            let end = fill(&ring, next);
            assert_eq!(left(&path), (next..end).collect::<Vec<_>>(), "{backing:?}");
            next = end;
        }
    }
}

#[test]
fn whoever_needs_more_than_the_part_asks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let (ring, path) = part(folder.path(), Backing::Mapped);
    assert!(ring.ask_for_room());
    ring.grow().unwrap();
    assert_eq!(length(&path), WHOLE);
    assert!(!ring.ask_for_room());
}
