//! How far a file's rows are on the disk for good: what lies before that needs the journal no more, whatever a power cut does
//! to its other pages.
//!
//! The cursor says what was appended, not what reached the disk, so after a reboot it is not believed. A floor is: it is
//! raised only once the rows before it are on the disk, and whoever raises it goes on only once it is there itself. Two slots
//! take turns, each with a checksum, so that one that is torn leaves the other.

use std::io;

use xxhash_rust::xxh3::xxh3_64;

use super::cursor::Cursor;
use super::layout::{FLOOR_BYTES, OFFSET_FLOORS};
use super::memory::Memory;

/// Words of a slot before its checksum: number, sequence number, rows of that frame, rows before it.
const WORDS: usize = 4;
/// More frames or rows than any writer lives to see.
const MOST: u64 = u64::MAX / 4;

/// The floor of the file with the number `file`; `None` if it was never raised. The position is not known.
#[must_use]
pub fn current(memory: &Memory, file: u64) -> Option<Cursor> {
    newest(memory, file).map(|(_, floor)| floor)
}

/// Raises the floor of the file with the number `file` to `at`, on the disk. Calls for one file come one after the other.
///
/// # Errors
/// If it cannot be stored, or is not known to be on the disk: then it is to be raised again before anything relies on it.
pub fn raise(memory: &Memory, file: u64, at: &Cursor) -> io::Result<()> {
    let number = newest(memory, file).map_or(0, |(number, _)| number) + 1;
    let slot = slot(number, file);
    let words = [number, at.sequence, at.rows, at.row];
    let mut bytes = [0; 8 * (WORDS + 1)];
    for (word, bytes) in words.iter().chain(&[check(file, &words)]).zip(bytes.chunks_exact_mut(8)) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    // SAFETY: who raises a floor is alone with the slots of its file, and nobody reads them while the journal is written.
    unsafe {
        memory.copy_in(slot, &bytes);
        memory.publish(slot, bytes.len())?;
    }
    memory.sync(slot, bytes.len())
}

fn slot(number: u64, file: u64) -> usize {
    OFFSET_FLOORS[(number % 2) as usize] + FLOOR_BYTES * file as usize
}

fn newest(memory: &Memory, file: u64) -> Option<(u64, Cursor)> {
    let slots = [0, 1].into_iter().filter_map(|place| {
        let words: [u64; WORDS + 1] = std::array::from_fn(|word| memory.load(slot(place, file) + 8 * word));
        let [number, sequence, rows, row, checksum] = words;
        let is_possible = number % 2 == place && [number, sequence, rows, row].iter().all(|&word| word <= MOST);
        (is_possible && number > 0 && checksum == check(file, &words[..WORDS]))
            .then_some((number, Cursor { position: 0, sequence, rows, row }))
    });
    slots.max_by_key(|(number, _)| *number)
}

/// Of the file too, so that the floor of one is never that of another.
fn check(file: u64, words: &[u64]) -> u64 {
    let mut bytes = file.to_le_bytes().to_vec();
    for word in words {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    xxh3_64(&bytes)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::layout::HEADER_BYTES;
    use super::super::memory::{Backing, while_unwritable};
    use super::*;

    fn memory(backing: Backing) -> (tempfile::TempDir, Memory) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let file = crate::fs::open_read_write(&path, 0o600).unwrap();
        let memory = Memory::create(file, &path, HEADER_BYTES, HEADER_BYTES, backing).unwrap();
        (folder, memory)
    }

    fn at(sequence: u64) -> Cursor {
        Cursor { position: 0, sequence, rows: 3, row: 8 * sequence }
    }

    #[test]
    fn each_file_has_a_floor_of_its_own() {
        for backing in [Backing::Mapped, Backing::Mirrored] {
            let (_folder, memory) = memory(backing);
            for number in 1..6 {
                for file in 0..6 {
                    assert_eq!(current(&memory, file), (number > 1).then(|| at(10 * (number - 1) + file)));
                    raise(&memory, file, &at(10 * number + file)).unwrap();
                }
            }
        }
    }

    #[test]
    fn a_torn_slot_leaves_the_floor_before_it() {
        let (_folder, memory) = memory(Backing::Mapped);
        raise(&memory, 1, &at(4)).unwrap();
        raise(&memory, 1, &at(5)).unwrap();
        for byte in 0..8 * (WORDS + 1) {
            let word = slot(2, 1) + byte / 8 * 8;
            let whole = memory.load(word);
            memory.store(word, whole ^ 1 << (8 * (byte % 8))).unwrap();
            assert_eq!(current(&memory, 1), Some(at(4)), "byte {byte}");
            memory.store(word, whole).unwrap();
        }
        assert_eq!(current(&memory, 1), Some(at(5)));
        assert_eq!(current(&memory, 0), None);
    }

    #[test]
    fn a_floor_that_cannot_be_stored_is_an_error() {
        let (_folder, memory) = memory(Backing::Mirrored);
        while_unwritable(&memory, || assert!(raise(&memory, 0, &at(1)).is_err()));
        raise(&memory, 0, &at(1)).unwrap();
        assert_eq!(current(&memory, 0), Some(at(1)));
    }
}
