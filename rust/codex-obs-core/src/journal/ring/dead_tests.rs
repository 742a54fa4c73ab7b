use std::path::Path;

use super::super::tests::{append, call, metrics_of, read_all, ring};
use super::super::{Appended, Backing, Cursor, Ring};
use crate::fs::FileId;
use crate::journal::cursor::{self, Extent, Intent};
use crate::journal::frame::FrameBuilder;
use crate::journal::layout::{HEADER_BYTES, OFFSET_BLOCKS};

/// The journal in `folder`, as its process left it but for what `damage` does to its bytes.
fn attach(folder: &Path, damage: impl FnOnce(&mut Vec<u8>)) -> Ring {
    let path = folder.join("journal");
    let mut bytes = std::fs::read(&path).unwrap();
    damage(&mut bytes);
    std::fs::write(&path, bytes).unwrap();
    Ring::attach(crate::fs::open_existing(&path).unwrap(), &path).unwrap().unwrap().0
}

/// The steps that can be read behind the cursor, and the rows that cannot.
fn left(ring: &Ring) -> (Vec<i64>, u64) {
    let (mut at, mut steps, mut lost) = (cursor::current(ring.memory()), Vec::new(), 0);
    loop {
        steps.extend(read_all(ring, &mut at).into_iter().map(|call| call.0));
        let Some(gap) = ring.gap(&at) else { return (steps, lost) };
        lost += gap.rows();
        at = gap.to;
    }
}

#[test]
fn frames_behind_a_damaged_one_are_found_and_its_rows_counted() {
    let folder = tempfile::tempdir().unwrap();
    for backing in [Backing::Mapped, Backing::Mirrored] {
        for damaged in 0..9_usize {
            let ring = ring(folder.path(), backing);
            let mut builder = FrameBuilder::default();
            let mut starts = Vec::new();
            for step in 0..9 {
                call(&mut builder, step, metrics_of(step) as u32);
                starts.push(ring.published() as usize);
                append(&ring, &mut builder);
            }
            drop(ring);
            for at in [0, 8, 13, 16, 24, 40, 48, 60] {
                let ring = attach(folder.path(), |bytes| bytes[HEADER_BYTES + starts[damaged] + at] ^= 4);
                let expected: Vec<i64> = (0..9).filter(|&step| step != damaged as i64).collect();
                assert_eq!(left(&ring), (expected, metrics_of(damaged as i64) as u64), "{backing:?} {damaged} {at}");
                let gap = ring.gaps()[0];
                assert_eq!(gap.frames(), 1);
                let is_head = at == 8 || at == 13 || at == 16 || at == 24 || at == 48;
                let step = (!is_head && at != 40).then_some(damaged as i64);
                assert!(at == 40 || (gap.first_step, gap.last_step) == (step, step), "{damaged} {at} {gap:?}");
                attach(folder.path(), |bytes| bytes[HEADER_BYTES + starts[damaged] + at] ^= 4);
            }
        }
    }
}

#[test]
fn rows_of_frames_that_a_lost_page_took_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    for backing in [Backing::Mapped, Backing::Mirrored] {
        for range in [0..700, 300..1200, 3000..3900, 2000..3000] {
            if backing == Backing::Mirrored && range.start == 2000 {
                // The mark of the end goes with it.
                continue;
            }
            let ring = ring(folder.path(), backing);
            let mut builder = FrameBuilder::default();
            let mut cursor = Cursor::default();
            let mut rows = 0;
            // Over the ring's end, with the first frames read.
            for step in 0..30 {
                if step == 9 {
                    read_all(&ring, &mut cursor);
                    cursor::begin(ring.memory(), &Intent { after: cursor, extents: [None; 2] }).unwrap();
                    cursor::complete(ring.memory()).unwrap();
                }
                call(&mut builder, step, metrics_of(step) as u32);
                if append(&ring, &mut builder) == Appended::Full {
                    break;
                }
                rows += if step < 9 { 0 } else { metrics_of(step) as u64 };
            }
            drop(ring);
            let ring = attach(folder.path(), |bytes| bytes[HEADER_BYTES..][range.clone()].fill(0));
            let (steps, lost) = left(&ring);
            let kept: u64 = steps.iter().map(|&step| metrics_of(step) as u64).sum();
            assert!(steps.windows(2).all(|pair| pair[0] < pair[1]), "{range:?}: {steps:?}");
            assert_eq!(kept + lost, rows, "{backing:?} {range:?}: {steps:?}, {:?}", ring.gaps());
        }
    }
}

#[test]
fn where_frames_are_written_one_that_is_damaged_with_the_mark_behind_it_was_never_there() {
    let folder = tempfile::tempdir().unwrap();
    for (frame, mark) in [(0, 0), (13, 8), (40, 31)] {
        let ring = ring(folder.path(), Backing::Mirrored);
        let mut builder = FrameBuilder::default();
        let mut starts = Vec::new();
        for step in 0..9 {
            call(&mut builder, step, metrics_of(step) as u32);
            starts.push(ring.published() as usize);
            append(&ring, &mut builder);
        }
        let end = ring.published() as usize;
        drop(ring);
        // A write that a kill cut short leaves the same: its call had not returned, and is not to be counted.
        let ring = attach(folder.path(), |bytes| {
            bytes[HEADER_BYTES + starts[8] + frame] ^= 4;
            bytes[HEADER_BYTES + end + mark] ^= 4;
        });
        assert_eq!(left(&ring), ((0..8).collect(), 0), "{frame} {mark}");
    }
}

#[test]
fn a_copy_is_told_from_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    drop(ring(folder.path(), Backing::Mapped));
    assert!(!attach(folder.path(), |_| ()).is_copy());
    let path = folder.path().join("journal");
    std::fs::copy(&path, folder.path().join("copy")).unwrap();
    std::fs::rename(folder.path().join("copy"), &path).unwrap();
    assert!(attach(folder.path(), |_| ()).is_copy());
}

/// A journal in `folder` with rows in the files, rows about to be there and rows that wait; and what can be told of it.
fn leave(folder: &Path, backing: Backing) {
    let ring = ring(folder, backing);
    let mut builder = FrameBuilder::default();
    let mut at = Cursor::default();
    for step in 0..12 {
        call(&mut builder, step, metrics_of(step) as u32);
        append(&ring, &mut builder);
        if step == 3 || step == 5 {
            read_all(&ring, &mut at);
            let extent = Extent { file: 0, id: FileId { device: 3, inode: 4 }, length: 100 };
            cursor::begin(ring.memory(), &Intent { after: at, extents: [None, Some(extent)] }).unwrap();
            if step == 3 {
                cursor::complete(ring.memory()).unwrap();
            }
        }
    }
    ring.store_dropped(7).unwrap();
}

#[test]
fn damage_to_any_byte_of_the_header_changes_nothing_that_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    for backing in [Backing::Mapped, Backing::Mirrored] {
        leave(folder.path(), backing);
        let bytes = std::fs::read(&path).unwrap();
        let told = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let (ring, identity) = Ring::attach(crate::fs::open_existing(&path).unwrap(), &path).unwrap().unwrap();
            let intent = cursor::unfinished(ring.memory());
            (left(&ring), intent, ring.dropped(), identity, ring.is_sound(), ring.is_copy())
        };
        let expected = told(&bytes);
        assert!(expected.0 == ((4..12).collect(), 0) && expected.1.is_some() && expected.2 == 7 && expected.4);
        let words = [0..32, 64..80, 128..144, 192..208, 256..272, 512..624, 768..880, 1024..1136, 1280..1392];
        for at in words.into_iter().flatten().chain((0..HEADER_BYTES).step_by(97)) {
            for damage in [1, 0x80] {
                let mut damaged = bytes.clone();
                damaged[at] ^= damage;
                assert_eq!(told(&damaged), expected, "{backing:?}, byte {at} by {damage}");
            }
        }
    }
}

#[test]
fn what_random_damage_to_frames_takes_is_what_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    for backing in [Backing::Mapped, Backing::Mirrored] {
        leave(folder.path(), backing);
        let bytes = std::fs::read(&path).unwrap();
        let all: u64 = (4..12).map(|step| metrics_of(step) as u64).sum();
        let mut random = 88_172_645_463_325_252_u64;
        let mut next = |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % below as u64) as usize
        };
        for round in 0..1000 {
            let mut damaged = bytes.clone();
            // Where frames are written, the mark of the end is damaged as easily as the frame before it.
            for _ in 0..=(if backing == Backing::Mapped { round % 3 } else { 0 }) {
                let at = HEADER_BYTES + next(bytes.len() - HEADER_BYTES);
                damaged[at] ^= 1 << next(8);
            }
            std::fs::write(&path, &damaged).unwrap();
            let ring = Ring::attach(crate::fs::open_existing(&path).unwrap(), &path).unwrap().unwrap().0;
            let (steps, lost) = left(&ring);
            let kept: u64 = steps.iter().map(|&step| metrics_of(step) as u64).sum();
            assert_eq!(kept + lost, all, "{backing:?}, round {round}: {steps:?} {:?}", ring.gaps());
            assert!(steps.windows(2).all(|pair| pair[0] < pair[1]), "nothing twice: {steps:?}");
        }
    }
}

#[test]
fn a_journal_whose_owner_cannot_be_read_still_says_how_many_rows_waited() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    leave(folder.path(), Backing::Mapped);
    let mut bytes = std::fs::read(&path).unwrap();
    for at in OFFSET_BLOCKS {
        bytes[at + 30] ^= 1;
    }
    std::fs::write(&path, &bytes).unwrap();
    let open = || crate::fs::open_existing(&path).unwrap();
    assert!(Ring::attach(open(), &path).is_err());
    let rows: usize = (4..12).map(metrics_of).sum();
    assert_eq!(Ring::rows_waiting(open(), &path).unwrap(), rows as u64);
}

#[test]
fn a_file_longer_than_any_journal_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    leave(folder.path(), Backing::Mapped);
    let file = crate::fs::open_existing(&path).unwrap();
    file.set_len(1 << 40).unwrap();
    assert!(Ring::attach(file, &path).unwrap_err().to_string().contains("longer than a journal can be"));
}

#[test]
fn a_journal_that_was_truncated_says_what_it_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    leave(folder.path(), Backing::Mapped);
    let all: u64 = (4..12).map(|step| metrics_of(step) as u64).sum();
    for length in [HEADER_BYTES, HEADER_BYTES + 1, HEADER_BYTES + 1500, HEADER_BYTES + 2500] {
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..length]).unwrap();
        let (steps, lost) = left(&attach(folder.path(), |_| ()));
        let kept: u64 = steps.iter().map(|&step| metrics_of(step) as u64).sum();
        assert_eq!(kept + lost, all, "{length}: {steps:?}");
        std::fs::write(&path, &bytes).unwrap();
    }
}
