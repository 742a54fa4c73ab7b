//! The read cursor and the intent behind it: how far the frames are in the files, known exactly after any death.
//!
//! Before the writer touches a file it describes what it is about to do in one of two slots and then stores that intent's
//! number in `begun`; when the bytes are in the files it stores the number in `done`. Each is one aligned 8-byte store.
//! While `begun` is ahead of `done` the noted lengths say what to cut; the slot of `done` is untouched by then and says
//! where to go on.
//!
//! A slot has a checksum, its number and a copy, and each number a copy too: damage to either leaves the other.

use std::io;

use xxhash_rust::xxh3::xxh3_64;

use super::frame::Frame;
use super::layout::{FIRST_VERSION, OFFSET_BEGUN, OFFSET_DONE, OFFSET_SLOTS, OFFSET_VERSION, SLOT_BYTES, WORD_BYTES};
use super::memory::Memory;
use super::number;
use crate::fs::FileId;

/// A place between two rows of the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Bytes published before the frame, counted from the first one ever.
    pub position: u64,
    /// Sequence number of that frame.
    pub sequence: u64,
    /// Rows of that frame that are already in the files.
    pub rows: u64,
    /// Rows published before that frame, counted from the first one ever. Journals of the first version do not note it.
    pub row: u64,
}

impl Cursor {
    /// The place behind `frame`, which stands here and is `length` bytes long.
    #[must_use]
    pub fn behind(&self, frame: &Frame<'_>, length: usize) -> Self {
        let row = frame.row.unwrap_or(self.row).saturating_add(frame.rows());
        Self { position: self.position + length as u64, sequence: self.sequence + 1, rows: 0, row }
    }
}

/// The length of one file before an append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Which file of the stream, see [`crate::worker::files`].
    pub file: u64,
    /// Which inode it was.
    pub id: FileId,
    /// Its length.
    pub length: u64,
}

/// What the writer is about to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Intent {
    /// Where the journal is read on once this is done.
    pub after: Cursor,
    /// The files that will be appended to; `None` where fewer than two are.
    pub extents: [Option<Extent>; 2],
}

/// Words of a slot: number, cursor, two extents.
const WORDS: usize = 5 + 2 * EXTENT_WORDS;
const EXTENT_WORDS: usize = 4;
/// A slot with its checksum.
const SEALED_BYTES: usize = 8 * (WORDS + 1);
/// Words of a slot of the first layout: cursor without the row number, one unused, two extents.
const FIRST_WORDS: usize = 4 + 2 * EXTENT_WORDS;
/// More bytes, frames or intents than any writer lives to see.
const MOST: u64 = u64::MAX / 4;
/// A file number that stands for no file.
const NO_FILE: u64 = u64::MAX;

/// Makes the cursor of a new journal: nothing begun, nothing done.
pub fn initialise(memory: &Memory) -> io::Result<()> {
    write_slot(memory, 0, &Intent::default())?;
    store(memory, OFFSET_DONE, 0)?;
    store(memory, OFFSET_BEGUN, 0)
}

/// Whether no cursor was ever made here.
#[must_use]
pub fn is_blank(memory: &Memory) -> bool {
    let words = [OFFSET_DONE, OFFSET_DONE + WORD_BYTES, OFFSET_BEGUN, OFFSET_BEGUN + WORD_BYTES];
    words.into_iter().all(|at| memory.load(at) == 0)
}

/// Where the journal is to be read on; the start of a journal whose cursor is not [sound](is_sound).
#[must_use]
pub fn current(memory: &Memory) -> Cursor {
    newest(memory).after
}

/// Whether the cursor can be read and can be that of a writer. Nothing but a writer's death leaves one that can.
#[must_use]
pub fn is_sound(memory: &Memory) -> bool {
    let (Some(begun), Some(done)) = (load(memory, OFFSET_BEGUN), load(memory, OFFSET_DONE)) else { return false };
    let is_possible = |number| {
        read_slot(memory, number).is_some_and(|Intent { after: at, .. }| {
            at.position.is_multiple_of(8) && [at.position, at.sequence, at.rows, at.row].iter().all(|&n| n <= MOST)
        })
    };
    done <= MOST && begun <= done + 1 && is_possible(done) && (begun <= done || is_possible(begun))
}

/// The intent that was begun and not carried out, if there is one.
#[must_use]
pub fn unfinished(memory: &Memory) -> Option<Intent> {
    let (begun, done) = (load(memory, OFFSET_BEGUN)?, load(memory, OFFSET_DONE)?);
    if begun > done { read_slot(memory, begun) } else { None }
}

/// The newest intent that was carried out; the default one if the cursor is not [sound](is_sound).
#[must_use]
pub fn newest(memory: &Memory) -> Intent {
    load(memory, OFFSET_DONE).and_then(|done| read_slot(memory, done)).unwrap_or_default()
}

/// Publishes an intent. From here to [`complete`] or [`abandon`], a death means that the files are cut back.
pub fn begin(memory: &Memory, intent: &Intent) -> io::Result<()> {
    let number = load(memory, OFFSET_DONE).unwrap_or(0) + 1;
    write_slot(memory, number, intent)?;
    store(memory, OFFSET_BEGUN, number)
}

/// Says that the intent is carried out.
pub fn complete(memory: &Memory) -> io::Result<()> {
    store(memory, OFFSET_DONE, load(memory, OFFSET_BEGUN).unwrap_or(0))
}

/// Takes the intent back. The files must have their noted lengths again.
pub fn abandon(memory: &Memory) -> io::Result<()> {
    store(memory, OFFSET_BEGUN, load(memory, OFFSET_DONE).unwrap_or(0))
}

/// Whether the journal has the first layout: plain words, and slots without a checksum.
fn is_first(memory: &Memory) -> bool {
    memory.load(OFFSET_VERSION) == FIRST_VERSION
}

fn load(memory: &Memory, offset: usize) -> Option<u64> {
    if is_first(memory) { Some(memory.load(offset)) } else { number::first(memory, offset) }
}

fn store(memory: &Memory, offset: usize, number: u64) -> io::Result<()> {
    if is_first(memory) { memory.store(offset, number) } else { number::store(memory, offset, number) }
}

fn slot(number: u64) -> usize {
    OFFSET_SLOTS[(number % 2) as usize]
}

fn write_slot(memory: &Memory, number: u64, intent: &Intent) -> io::Result<()> {
    let Cursor { position, sequence, rows, row } = intent.after;
    let head =
        if is_first(memory) { &[position, sequence, rows, 0][..] } else { &[number, position, sequence, rows, row] };
    let mut words = [0; WORDS];
    words[..head.len()].copy_from_slice(head);
    for (extent, words) in intent.extents.iter().zip(words[head.len()..].chunks_exact_mut(EXTENT_WORDS)) {
        match extent {
            Some(extent) => words.copy_from_slice(&[extent.file, extent.id.device, extent.id.inode, extent.length]),
            None => words[0] = NO_FILE,
        }
    }
    let mut bytes = [0; SLOT_BYTES + SEALED_BYTES];
    for (word, bytes) in words.iter().zip(bytes.chunks_exact_mut(8)) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    let length = if is_first(memory) {
        8 * FIRST_WORDS
    } else {
        let checksum = xxh3_64(&bytes[..8 * WORDS]);
        bytes[8 * WORDS..SEALED_BYTES].copy_from_slice(&checksum.to_le_bytes());
        bytes.copy_within(..SEALED_BYTES, SLOT_BYTES);
        bytes.len()
    };
    // SAFETY: the consumer alone uses the slots, and there is one consumer.
    unsafe {
        memory.copy_in(slot(number), &bytes[..length]);
        memory.publish(slot(number), length)
    }
}

/// What the slot of intent `number` says, unless both copies are damaged or it is another's.
fn read_slot(memory: &Memory, number: u64) -> Option<Intent> {
    if is_first(memory) {
        // SAFETY: the consumer alone uses the slots, and there is one consumer.
        let words = words(unsafe { memory.bytes(slot(number), 8 * FIRST_WORDS) });
        return Some(intent([words[0], words[1], words[2], 0], &words[4..FIRST_WORDS]));
    }
    [0, SLOT_BYTES].into_iter().find_map(|copy| {
        // SAFETY: as above.
        let bytes = unsafe { memory.bytes(slot(number) + copy, SEALED_BYTES) };
        let (bytes, checksum) = bytes.split_last_chunk()?;
        let words = words(bytes);
        (xxh3_64(bytes) == u64::from_le_bytes(*checksum) && words[0] == number)
            .then(|| intent([words[1], words[2], words[3], words[4]], &words[5..]))
    })
}

fn words(bytes: &[u8]) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(*bytes.first_chunk().expect("chunks of eight have eight bytes"));
    }
    words
}

fn intent([position, sequence, rows, row]: [u64; 4], extents: &[u64]) -> Intent {
    let extent = |words: &[u64]| {
        (words[0] != NO_FILE).then(|| Extent {
            file: words[0],
            id: FileId { device: words[1], inode: words[2] },
            length: words[3],
        })
    };
    Intent {
        after: Cursor { position, sequence, rows, row },
        extents: [extent(&extents[..EXTENT_WORDS]), extent(&extents[EXTENT_WORDS..])],
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::layout::HEADER_BYTES;
    use super::super::memory::{Backing, while_unwritable};
    use super::*;

    #[test]
    fn an_intent_counts_only_between_begin_and_complete() {
        let folder = tempfile::tempdir().unwrap();
        for backing in [Backing::Mapped, Backing::Mirrored] {
            let path = folder.path().join("journal");
            let file = crate::fs::open_read_write(&path, 0o600).unwrap();
            let memory = Memory::create(file, &path, HEADER_BYTES, HEADER_BYTES, backing).unwrap();
            initialise(&memory).unwrap();
            assert_eq!((current(&memory), unfinished(&memory)), (Cursor::default(), None));
            for number in 1..5 {
                let extent = Extent { file: 1, id: FileId { device: 2, inode: 3 }, length: 4 * number };
                let after = Cursor { position: 64 * number, sequence: number, rows: 7, row: 9 };
                let intent = Intent { after, extents: [None, Some(extent)] };
                let before = current(&memory);
                begin(&memory, &intent).unwrap();
                assert_eq!((current(&memory), unfinished(&memory)), (before, Some(intent)));
                abandon(&memory).unwrap();
                assert_eq!((current(&memory), unfinished(&memory)), (before, None));
                begin(&memory, &intent).unwrap();
                complete(&memory).unwrap();
                assert_eq!((current(&memory), unfinished(&memory)), (after, None));
            }
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn an_end_that_cannot_be_stored_leaves_the_intent_unfinished() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let file = crate::fs::open_read_write(&path, 0o600).unwrap();
        let memory = Memory::create(file, &path, HEADER_BYTES, HEADER_BYTES, Backing::Mirrored).unwrap();
        initialise(&memory).unwrap();
        let intent = Intent { after: Cursor { position: 64, sequence: 1, ..Cursor::default() }, extents: [None; 2] };
        begin(&memory, &intent).unwrap();
        while_unwritable(&memory, || {
            assert!(complete(&memory).is_err());
            assert_eq!((current(&memory), unfinished(&memory)), (Cursor::default(), Some(intent)));
            assert!(abandon(&memory).is_err());
            assert_eq!(unfinished(&memory), Some(intent));
        });
        complete(&memory).unwrap();
        assert_eq!((current(&memory), unfinished(&memory)), (intent.after, None));
    }

    #[test]
    fn damage_to_any_byte_of_the_cursor_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let file = crate::fs::open_read_write(&path, 0o600).unwrap();
        let memory = Memory::create(file, &path, HEADER_BYTES, HEADER_BYTES, Backing::Mapped).unwrap();
        initialise(&memory).unwrap();
        let extent = Extent { file: 1, id: FileId { device: 2, inode: 3 }, length: 4 };
        let after = Cursor { position: 64, sequence: 1, rows: 7, row: 9 };
        let intent = |number| Intent { after: Cursor { sequence: number, ..after }, extents: [None, Some(extent)] };
        for number in 1..4 {
            begin(&memory, &intent(number)).unwrap();
            for finished in [false, true] {
                if finished {
                    complete(&memory).unwrap();
                }
                let expected = (current(&memory), unfinished(&memory));
                for at in (OFFSET_BEGUN..2048).step_by(8) {
                    let word = memory.load(at);
                    for damage in [1, 1 << 63, 0xFF << 24, u64::MAX] {
                        memory.store(at, word ^ damage).unwrap();
                        assert!(is_sound(&memory), "{at}");
                        assert_eq!((current(&memory), unfinished(&memory)), expected, "{at}");
                    }
                    memory.store(at, word).unwrap();
                }
            }
        }
    }

    #[test]
    fn a_cursor_of_which_both_copies_are_damaged_is_not_sound() {
        let folder = tempfile::tempdir().unwrap();
        for at in [OFFSET_BEGUN, OFFSET_DONE, OFFSET_SLOTS[0]] {
            let path = folder.path().join(at.to_string());
            let file = crate::fs::open_read_write(&path, 0o600).unwrap();
            let memory = Memory::create(file, &path, HEADER_BYTES, HEADER_BYTES, Backing::Mapped).unwrap();
            assert!(is_blank(&memory));
            initialise(&memory).unwrap();
            assert!(is_sound(&memory) && !is_blank(&memory));
            let copy = if at == OFFSET_SLOTS[0] { SLOT_BYTES } else { WORD_BYTES };
            for at in [at, at + copy] {
                memory.store(at, memory.load(at) ^ 4).unwrap();
            }
            assert!(!is_sound(&memory), "{at}");
            assert_eq!((current(&memory), unfinished(&memory)), (Cursor::default(), None));
        }
    }
}
