use super::*;
use crate::journal::frame::{Call, FrameBuilder, LineFile, Value, line_frame};
use crate::journal::memory::while_unwritable;
use crate::record::Tags;

pub fn ring(folder: &Path, backing: Backing) -> Ring {
    let path = folder.join("journal");
    let _ = std::fs::remove_file(&path);
    let file = crate::fs::open_read_write(&path, 0o600).unwrap();
    Ring::create(file, &path, 4096, backing, &Identity { run_id: "r1".into(), ..Identity::default() }).unwrap()
}

pub fn call(builder: &mut FrameBuilder, step: i64, metrics: u32) {
    let call = Call { timestamp: 1, step: Some(step), split: "train", dataset: None, tags: &Tags::default() };
    builder.begin(&call, 1024);
    for metric in 0..metrics {
        builder.float(&format!("metric-{metric}"), f64::from(metric));
    }
    builder.finish();
}

/// A number of metrics that differs from call to call.
pub fn metrics_of(step: i64) -> usize {
    1 + (step as usize * 7) % 23
}

pub fn append(ring: &Ring, builder: &mut FrameBuilder) -> Appended {
    let (appended, outcome) = ring.append(&mut ring.lock(), builder.bytes_mut());
    outcome.unwrap();
    appended
}

pub fn read_all(ring: &Ring, cursor: &mut Cursor) -> Vec<(i64, usize)> {
    let mut calls = Vec::new();
    while let Some((frame, next)) = ring.frame(cursor) {
        let metrics = frame.metrics().unwrap();
        calls.push((metrics.step.unwrap(), metrics.rows().count()));
        *cursor = next;
        ring.release(next.position);
    }
    calls
}

#[test]
fn frames_come_out_as_they_went_in_over_many_laps() {
    let folder = tempfile::tempdir().unwrap();
    for backing in [Backing::Mapped, Backing::Mirrored] {
        let ring = ring(folder.path(), backing);
        let mut builder = FrameBuilder::default();
        let mut cursor = Cursor::default();
        for step in 0..500 {
            call(&mut builder, step, metrics_of(step) as u32);
            assert!(matches!(append(&ring, &mut builder), Appended::Done { .. }));
            if step % 3 == 2 {
                let expected: Vec<_> = (step - 2..=step).map(|step| (step, metrics_of(step))).collect();
                assert_eq!(read_all(&ring, &mut cursor), expected);
            }
        }
    }
}

#[test]
fn a_full_ring_refuses_and_takes_again_after_a_release() {
    let folder = tempfile::tempdir().unwrap();
    let ring = ring(folder.path(), Backing::Mapped);
    let mut builder = FrameBuilder::default();
    let mut accepted = 0;
    loop {
        call(&mut builder, accepted, 8);
        if append(&ring, &mut builder) == Appended::Full {
            break;
        }
        accepted += 1;
    }
    assert!(accepted > 10);
    assert_eq!(read_all(&ring, &mut Cursor::default()).len() as i64, accepted);
    call(&mut builder, accepted, 8);
    assert!(matches!(append(&ring, &mut builder), Appended::Done { .. }));
}

#[test]
fn what_was_published_is_found_again_by_whoever_attaches() {
    let folder = tempfile::tempdir().unwrap();
    for backing in [Backing::Mapped, Backing::Mirrored] {
        let ring = ring(folder.path(), backing);
        let mut builder = FrameBuilder::default();
        let mut cursor = Cursor::default();
        for step in 0..100 {
            call(&mut builder, step, 5);
            append(&ring, &mut builder);
            if step < 90 {
                read_all(&ring, &mut cursor);
                cursor::begin(ring.memory(), &cursor::Intent { after: cursor, extents: [None; 2] }).unwrap();
                cursor::complete(ring.memory()).unwrap();
            }
        }
        ring.store_dropped(9).unwrap();
        ring.store_deferred(4).unwrap();
        drop(ring);
        let path = folder.path().join("journal");
        let (ring, identity) = Ring::attach(crate::fs::open_existing(&path).unwrap(), &path).unwrap().unwrap();
        assert_eq!((identity.run_id.as_str(), ring.dropped(), ring.deferred()), ("r1", 9, 4));
        let expected: Vec<_> = (90..100).map(|step| (step, 5)).collect();
        assert_eq!(read_all(&ring, &mut cursor::current(ring.memory())), expected);
        let survey: Vec<_> = ring.survey().iter().map(|frame| frame.0).collect();
        assert!(survey.windows(2).all(|pair| pair[0] < pair[1]));
    }
}

#[test]
fn a_long_call_becomes_several_frames_with_the_same_head() {
    let folder = tempfile::tempdir().unwrap();
    let ring = ring(folder.path(), Backing::Mapped);
    let mut builder = FrameBuilder::default();
    call(&mut builder, 7, 100);
    assert_eq!((builder.rows(), lengths(builder.bytes_mut()).count()), (100, 3));
    builder.set_step(8);
    append(&ring, &mut builder);
    let mut cursor = Cursor::default();
    let calls = read_all(&ring, &mut cursor);
    assert_eq!(calls.iter().map(|call| call.1).sum::<usize>(), 100);
    assert!(calls.iter().all(|call| call.0 == 8));
}

#[test]
fn every_kind_of_value_and_a_line_are_read_back() {
    let mut builder = FrameBuilder::default();
    let tags = Tags { text: br#"{"a":1}"#.to_vec(), marks: [6, 6, 6] };
    builder.begin(&Call { timestamp: -5, step: None, split: "s", dataset: Some("d"), tags: &tags }, 1 << 20);
    builder.float("f", f64::NAN);
    builder.boolean("t", true);
    builder.boolean("n", false);
    builder.null("o");
    builder.unreadable("u", "ValueError");
    builder.structured("h", [7; 16], b"{}");
    builder.inline("i", b"[1]");
    builder.finish();
    let bytes = builder.bytes_mut();
    seal(bytes, 3, 5);
    let (frame, length) = Frame::parse(bytes).unwrap();
    assert!(frame.verify(3) && !frame.verify(4));
    assert_eq!((frame.row, frame.rows()), (Some(5), 7));
    assert_eq!(length, bytes.len());
    let metrics = frame.metrics().unwrap();
    assert_eq!((metrics.timestamp, metrics.step, metrics.split, metrics.dataset), (-5, None, "s", Some("d")));
    assert_eq!((metrics.tags, metrics.marks), (tags.text.as_slice(), tags.marks));
    let rows: Vec<_> = metrics.rows().collect();
    assert!(matches!(rows[0], ("f", Value::Float(value)) if value.is_nan()));
    assert_eq!(
        rows[1..],
        [
            ("t", Value::Bool(true)),
            ("n", Value::Bool(false)),
            ("o", Value::Null),
            ("u", Value::Unreadable("ValueError")),
            ("h", Value::Structured { id: [7; 16], descriptor: b"{}" }),
            ("i", Value::Inline(b"[1]")),
        ]
    );
    let mut line = line_frame(LineFile::Params, b"{}\n");
    seal(&mut line, 0, 0);
    assert_eq!(Frame::parse(&line).unwrap().0.line(), Some((LineFile::Params, b"{}\n".as_slice())));
}

#[test]
fn frames_that_could_not_be_saved_are_saved_with_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    // The second round begins shortly before the ring's end.
    for before in [0, 3000] {
        let ring = ring(folder.path(), Backing::Mirrored);
        let mut builder = FrameBuilder::default();
        let mut cursor = Cursor::default();
        while ring.published() < before {
            call(&mut builder, 0, 1);
            append(&ring, &mut builder);
        }
        read_all(&ring, &mut cursor);
        cursor::begin(ring.memory(), &cursor::Intent { after: cursor, extents: [None; 2] }).unwrap();
        cursor::complete(ring.memory()).unwrap();
        while_unwritable(ring.memory(), || {
            for step in 1..10 {
                call(&mut builder, step, 3);
                let (appended, outcome) = ring.append(&mut ring.lock(), builder.bytes_mut());
                assert!(matches!(appended, Appended::Done { .. }) && outcome.is_err());
            }
        });
        if let Some(unsaved) = &mut ring.lock().unsaved {
            // A busy machine may have made an attempt look slow.
            unsaved.again = Instant::now();
        }
        call(&mut builder, 10, 3);
        append(&ring, &mut builder);
        drop(ring);
        let path = folder.path().join("journal");
        let file = crate::fs::open_existing(&path).unwrap();
        let (left, _) = Ring::attach(file, &path).unwrap().unwrap();
        assert_eq!(read_all(&left, &mut cursor), (1..=10).map(|step| (step, 3)).collect::<Vec<_>>());
    }
}

#[test]
fn what_fails_slowly_is_not_tried_again_at_every_call() {
    let folder = tempfile::tempdir().unwrap();
    let ring = ring(folder.path(), Backing::Mirrored);
    let mut builder = FrameBuilder::default();
    call(&mut builder, 0, 3);
    let full = io::Error::from_raw_os_error(libc::ENOSPC);
    ring.lock().unsaved = Some(Unsaved::at(0, &full, Instant::now() + Duration::from_hours(1)));
    let (appended, outcome) = ring.append(&mut ring.lock(), builder.bytes_mut());
    assert!(matches!(appended, Appended::Done { .. }));
    assert_eq!(outcome.unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    let in_file = || {
        let file = crate::fs::open_existing(&folder.path().join("journal")).unwrap();
        let (left, _) = Ring::attach(file, Path::new("journal")).unwrap().unwrap();
        read_all(&left, &mut Cursor::default()).len()
    };
    assert_eq!(in_file(), 0);
    ring.lock().unsaved.as_mut().unwrap().again = Instant::now();
    call(&mut builder, 1, 3);
    append(&ring, &mut builder);
    assert_eq!(in_file(), 2);
}

#[test]
fn rows_that_can_be_saved_nowhere_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let ring = ring(folder.path(), Backing::Mirrored);
    let mut builder = FrameBuilder::default();
    call(&mut builder, 0, 3);
    append(&ring, &mut builder);
    assert_eq!(ring.save_last(), 0);
    while_unwritable(ring.memory(), || {
        for step in 1..4 {
            call(&mut builder, step, 3);
            assert!(ring.append(&mut ring.lock(), builder.bytes_mut()).1.is_err());
            let mut line = line_frame(LineFile::Params, b"{}\n");
            assert!(ring.append(&mut ring.lock(), &mut line).1.is_err());
        }
        assert_eq!(ring.save_last(), 3 * 3);
    });
}

#[test]
fn a_survey_finds_frames_behind_a_stale_pad() {
    let folder = tempfile::tempdir().unwrap();
    let ring = ring(folder.path(), Backing::Mapped);
    let mut pad = pad_header(2048);
    seal(&mut pad, 1, 0);
    let mut builder = FrameBuilder::default();
    call(&mut builder, 7, 1);
    seal(builder.bytes_mut(), 9, 3);
    // SAFETY: only this thread knows the ring.
    unsafe {
        ring.memory().copy_in(HEADER_BYTES, &pad);
        ring.memory().copy_in(HEADER_BYTES + 512, builder.bytes_mut());
    }
    drop(ring);
    let path = folder.path().join("journal");
    let (ring, _) = Ring::attach(crate::fs::open_existing(&path).unwrap(), &path).unwrap().unwrap();
    let sequences: Vec<u64> = ring.survey().into_iter().map(|(sequence, _, _)| sequence).collect();
    assert_eq!(sequences, [1, 9]);
}

#[test]
fn pages_can_be_put_in_place_from_every_position_and_no_byte_changes() {
    for backing in [Backing::Mapped, Backing::Mirrored] {
        let folder = tempfile::tempdir().unwrap();
        let ring = ring(folder.path(), backing);
        let mut builder = FrameBuilder::default();
        call(&mut builder, 0, 3);
        append(&ring, &mut builder);
        let size = ring.size();
        for position in [0, 1, 4095, 4096, size - 1, size, size + 1, 7 * size - 8] {
            for length in [0, 1, 4096, size - 1, size, 5 * size] {
                ring.make_ready(position, length);
            }
        }
        assert_eq!(read_all(&ring, &mut Cursor::default()), [(0, 3)]);
    }
}
