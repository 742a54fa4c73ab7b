//! The ring under every interleaving of its threads.
//!
//! Breaks when, tried once each: the store of `published` or that of `consumed` becomes relaxed (a thread may look at bytes
//! that another one changes); `append` asks for a frame's length too little room.

use loom::thread;
use std::sync::Arc;

use super::*;
use crate::journal::frame::{LineFile, line_frame};
use crate::primitives::explore;

/// Room for three frames of 80 bytes and a pad.
const SIZE: u64 = 256;
/// Bytes of a line whose frame is that long.
const LINE_BYTES: usize = 36;

fn ring() -> Arc<Ring> {
    let memory = Memory::new(HEADER_BYTES + SIZE as usize);
    Arc::new(Ring::over(memory, SIZE, Cursor::default(), Cursor::default()))
}

/// Frames that stand together, each with the caller's name and its number.
fn frames(caller: u8, count: u8) -> Vec<u8> {
    let line = |number| {
        let mut line = [0; LINE_BYTES];
        line[..2].copy_from_slice(&[caller, number]);
        line
    };
    let frames: Vec<_> = (0..count).map(|number| line_frame(LineFile::Summary, &line(number))).collect();
    assert!(frames.iter().all(|frame| frame.len() == 80));
    frames.concat()
}

/// Reads what is there, gives the room back and adds what the frames say to `seen`.
fn consume(ring: &Ring, cursor: &mut Cursor, seen: &mut Vec<[u8; 2]>) {
    while let Some((frame, next)) = ring.frame(cursor) {
        assert!(frame.verify(cursor.sequence), "a frame is whole when it can be seen");
        let (_, line) = frame.line().unwrap();
        seen.push([line[0], line[1]]);
        *cursor = next;
        ring.release(next.position);
    }
}

fn append_patiently(ring: &Ring, frames: &mut [u8]) {
    while ring.append(&mut ring.lock(), frames).0 == Appended::Full {
        thread::yield_now();
    }
}

#[test]
fn model_frames_of_two_producers_come_out_whole_and_in_order_over_the_end_of_the_ring() {
    explore(2, usize::MAX, || {
        let ring = ring();
        let producers: Vec<_> = (0..2)
            .map(|caller| {
                let ring = Arc::clone(&ring);
                thread::spawn(move || {
                    append_patiently(&ring, &mut frames(caller, 2));
                    if caller == 0 {
                        append_patiently(&ring, &mut frames(10, 1));
                    }
                })
            })
            .collect();
        let (mut cursor, mut seen) = (Cursor::default(), Vec::new());
        while seen.len() < 5 {
            consume(&ring, &mut cursor, &mut seen);
            thread::yield_now();
        }
        for producer in producers {
            producer.join().unwrap();
        }
        for caller in 0..2 {
            let first = seen.iter().position(|frame| *frame == [caller, 0]).unwrap();
            assert_eq!(seen[first + 1], [caller, 1], "frames of one call stand together");
            assert!(caller == 1 || seen[first + 2..].contains(&[10, 0]), "and a thread's calls in their order");
        }
        assert_eq!((cursor, ring.frame(&mut cursor).is_none()), (ring.end().0, true));
    });
}

#[test]
fn model_nothing_is_accepted_behind_the_position_at_which_a_ring_was_closed() {
    explore(3, usize::MAX, || {
        let ring = ring();
        let producers: Vec<_> = (0..2)
            .map(|caller| {
                let ring = Arc::clone(&ring);
                thread::spawn(move || {
                    let mut producer = ring.lock();
                    !producer.closed && ring.append(&mut producer, &mut frames(caller, 1)).0 != Appended::Full
                })
            })
            .collect();
        ring.lock().closed = true;
        let position = ring.published();
        let (mut cursor, mut seen) = (Cursor::default(), Vec::new());
        consume(&ring, &mut cursor, &mut seen);
        assert_eq!(cursor.position, position);
        let accepted = producers.into_iter().map(|producer| producer.join().unwrap()).filter(|&accepted| accepted);
        assert_eq!(accepted.count(), seen.len());
        consume(&ring, &mut cursor, &mut seen);
        assert_eq!(cursor.position, position);
    });
}
