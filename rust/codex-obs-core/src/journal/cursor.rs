//! The read cursor and the intent behind it: how far the frames are in the files, known exactly after any death.
//!
//! Before the writer touches a file it describes what it is about to do in one of two slots and then stores that intent's
//! number in `begun`; when the bytes are in the files it stores the number in `done`. Each is one aligned 8-byte store.
//! While `begun` is ahead of `done` the noted lengths say what to cut; the slot of `done` is untouched by then and says
//! where to go on.

use std::io;

use super::layout::{OFFSET_BEGUN, OFFSET_DONE, OFFSET_SLOTS};
use super::memory::Memory;
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

const WORDS: usize = 4 + 2 * 4;
/// More bytes, frames or intents than any writer lives to see; from here to the greatest number is room to count on.
const MOST: u64 = u64::MAX / 4;
/// A file number that stands for no file.
const NO_FILE: u64 = u64::MAX;

/// Makes the cursor of a new journal: nothing begun, nothing done.
pub fn initialise(memory: &Memory) -> io::Result<()> {
    write_slot(memory, 0, &Intent::default())?;
    memory.store(OFFSET_DONE, 0)?;
    memory.store(OFFSET_BEGUN, 0)
}

/// Where the journal is to be read on.
#[must_use]
pub fn current(memory: &Memory) -> Cursor {
    read_slot(memory, memory.load(OFFSET_DONE)).after
}

/// Whether the stored numbers can be those of a writer. Nothing but a writer's death leaves those that can.
#[must_use]
pub fn is_sound(memory: &Memory) -> bool {
    let (begun, done) = (memory.load(OFFSET_BEGUN), memory.load(OFFSET_DONE));
    let counts = [0, 1].map(|ahead| read_slot(memory, done.wrapping_add(ahead)).after);
    let is_possible =
        |at: &Cursor| at.position.is_multiple_of(8) && [at.position, at.sequence, at.rows].iter().all(|&n| n <= MOST);
    done <= MOST && begun <= done + 1 && counts[..=usize::from(begun > done)].iter().all(is_possible)
}

/// The intent that was begun and not carried out, if there is one.
#[must_use]
pub fn unfinished(memory: &Memory) -> Option<Intent> {
    let begun = memory.load(OFFSET_BEGUN);
    (begun > memory.load(OFFSET_DONE)).then(|| read_slot(memory, begun))
}

/// Publishes an intent. From here to [`complete`] or [`abandon`], a death means that the files are cut back.
pub fn begin(memory: &Memory, intent: &Intent) -> io::Result<()> {
    let number = memory.load(OFFSET_DONE) + 1;
    write_slot(memory, number, intent)?;
    memory.store(OFFSET_BEGUN, number)
}

/// Says that the intent is carried out.
pub fn complete(memory: &Memory) -> io::Result<()> {
    memory.store(OFFSET_DONE, memory.load(OFFSET_BEGUN))
}

/// Takes the intent back. The files must have their noted lengths again.
pub fn abandon(memory: &Memory) -> io::Result<()> {
    memory.store(OFFSET_BEGUN, memory.load(OFFSET_DONE))
}

fn slot(number: u64) -> usize {
    OFFSET_SLOTS[(number % 2) as usize]
}

fn write_slot(memory: &Memory, number: u64, intent: &Intent) -> io::Result<()> {
    let mut words = [0; WORDS];
    words[..3].copy_from_slice(&[intent.after.position, intent.after.sequence, intent.after.rows]);
    for (extent, words) in intent.extents.iter().zip(words[4..].chunks_exact_mut(4)) {
        match extent {
            Some(extent) => words.copy_from_slice(&[extent.file, extent.id.device, extent.id.inode, extent.length]),
            None => words[0] = NO_FILE,
        }
    }
    let mut bytes = [0; WORDS * 8];
    for (word, bytes) in words.iter().zip(bytes.chunks_exact_mut(8)) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    // SAFETY: the consumer alone uses the slots, and there is one consumer.
    unsafe {
        memory.copy_in(slot(number), &bytes);
        memory.publish(slot(number), bytes.len())
    }
}

fn read_slot(memory: &Memory, number: u64) -> Intent {
    // SAFETY: the consumer alone uses the slots, and there is one consumer.
    let bytes = unsafe { memory.bytes(slot(number), WORDS * 8) };
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(*bytes.first_chunk().expect("chunks of eight have eight bytes"));
    }
    let extent = |words: &[u64]| {
        (words[0] != NO_FILE).then(|| Extent {
            file: words[0],
            id: FileId { device: words[1], inode: words[2] },
            length: words[3],
        })
    };
    Intent {
        after: Cursor { position: words[0], sequence: words[1], rows: words[2] },
        extents: [extent(&words[4..8]), extent(&words[8..12])],
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
            let memory = Memory::create(file, &path, HEADER_BYTES, backing).unwrap();
            initialise(&memory).unwrap();
            assert_eq!((current(&memory), unfinished(&memory)), (Cursor::default(), None));
            for number in 1..5 {
                let extent = Extent { file: 1, id: FileId { device: 2, inode: 3 }, length: 4 * number };
                let after = Cursor { position: 64 * number, sequence: number, rows: 7 };
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
        let memory = Memory::create(file, &path, HEADER_BYTES, Backing::Mirrored).unwrap();
        initialise(&memory).unwrap();
        let intent = Intent { after: Cursor { position: 64, sequence: 1, rows: 0 }, extents: [None; 2] };
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
}
