//! The ring of frames: any thread appends under a short lock, one thread reads behind them.

mod dead;
pub mod gap;
#[cfg(not(loom))]
mod renew;
mod room;

use std::io;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::cursor::{self, Cursor};
use super::frame::{
    Frame, HEADER_BYTES as FRAME_HEADER_BYTES, Kind, end_mark, first_length, lengths, pad_header, rows_of, seal,
};
use super::header::Header;
use super::identity::Identity;
use super::layout::{
    HEADER_BYTES, LAYOUT_VERSION, MAGIC, OFFSET_BLOCKS, OFFSET_DROPPED, OFFSET_MAGIC, OFFSET_PUBLISHED,
    OFFSET_PUBLISHED_ROWS, OFFSET_RING_BYTES, OFFSET_VERSION,
};
use super::memory::{Backing, Memory};
use super::number;
use crate::error::{Error, Result};
use crate::fs::FileId;
use crate::limits::{JOURNAL_RETRY_FREE, JOURNAL_RETRY_SHARE};
use crate::primitives::{AtomicU64, Mutex, MutexGuard};

use dead::{Dead, Version};
pub use gap::Gap;
#[cfg(not(loom))]
pub use renew::fresh_path;
use room::Room;

/// A value on a cache line of its own, so that producers and consumer do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(AtomicU64);

/// Room whose pages are in place before the consumer has looked at the ring for the first time.
const FIRST_BYTES: usize = 64 << 10;

/// What producers know, under their lock.
#[derive(Debug)]
pub struct Producer {
    /// Bytes published so far.
    position: u64,
    /// Sequence number of the next frame.
    sequence: u64,
    /// The consumer's position when it was last looked at; 0 as long as the ring may still grow.
    consumed: u64,
    /// Position at which the backlog is looked at again.
    next_check: u64,
    /// Frames that are in memory only. A recovery would stop before them.
    unsaved: Option<Unsaved>,
    /// Rows published so far; counted by the ring.
    pub rows: u64,
    /// Whoever publishes a call too large for the ring piece by piece; everyone else waits meanwhile.
    pub reserved: Option<std::thread::ThreadId>,
    /// No frame is accepted any more.
    pub closed: bool,
    /// Largest step accepted so far, of this session or, once looked up, of the stream.
    pub largest_step: Option<i64>,
    /// Whether `largest_step` covers the rows of earlier sessions.
    pub largest_step_known: bool,
}

/// Why frames could not be saved, and when that is tried again.
#[derive(Debug)]
struct Unsaved {
    /// Position of the first of them.
    from: u64,
    /// Rows in them.
    rows: u64,
    why: io::Error,
    again: Instant,
}

impl Unsaved {
    fn at(from: u64, why: &io::Error, again: Instant) -> Self {
        Self { from, rows: 0, why: same(why), again }
    }

    fn error(&self) -> io::Error {
        same(&self.why)
    }
}

fn same(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// The ring and its control words.
#[derive(Debug)]
pub struct Ring {
    memory: Memory,
    room: Room,
    /// Bytes that stay free behind the newest frame, for the mark of its end.
    spare: u64,
    /// What is known if its process is gone.
    dead: Dead,
    /// What the header says if this process made it.
    #[cfg(not(loom))]
    made: Option<Box<Header>>,
    producer: Mutex<Producer>,
    /// Up to here frames are whole. Stored with release by producers, loaded with acquire by the consumer.
    published: Padded,
    /// Up to here the room is free again. Stored with release by the consumer, loaded with acquire by producers.
    consumed: Padded,
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The frame is in the ring. `backlog` says that the consumer has much to do.
    Done {
        /// Whether an eighth of the ring or more waits for the consumer.
        backlog: bool,
    },
    /// There is no room.
    Full,
}

impl Ring {
    /// Makes a new journal in `file`, which is empty.
    pub fn create(file: std::fs::File, path: &Path, size: u64, backing: Backing, identity: &Identity) -> Result<Self> {
        Self::create_part(file, path, size, size, backing, identity)
    }

    /// As [`create`](Self::create), with `first` bytes of the ring. The consumer [allocates](Self::grow) the rest once it is
    /// needed.
    pub fn create_part(
        file: std::fs::File,
        path: &Path,
        first: u64,
        size: u64,
        backing: Backing,
        identity: &Identity,
    ) -> Result<Self> {
        let header = Header {
            version: LAYOUT_VERSION,
            id: Some(FileId::of(&file, path)?),
            first_bytes: first,
            ring_bytes: size,
            identity: identity.clone(),
        };
        let block = header.to_bytes()?;
        let (length, allocated) = (HEADER_BYTES + size as usize, HEADER_BYTES + first as usize);
        let memory = Memory::create(file, path, length, allocated, backing)?;
        memory.make_ready(0, allocated.min(HEADER_BYTES + FIRST_BYTES));
        let initialise = || -> io::Result<()> {
            for at in OFFSET_BLOCKS {
                // SAFETY: nobody else knows the journal before its version is stored.
                unsafe {
                    memory.copy_in(at, &block);
                    memory.publish(at, block.len())?;
                }
            }
            number::store(&memory, OFFSET_RING_BYTES, first)?;
            memory.store(OFFSET_PUBLISHED, number::seal(0))?;
            memory.store(OFFSET_PUBLISHED_ROWS, number::seal(0))?;
            number::store(&memory, OFFSET_DROPPED, 0)?;
            cursor::initialise(&memory)?;
            memory.store(OFFSET_MAGIC, MAGIC)?;
            memory.store(OFFSET_VERSION, LAYOUT_VERSION)
        };
        initialise().map_err(|source| Error::io("write", path, source))?;
        Ok(Self {
            room: Room::part(first, size),
            #[cfg(not(loom))]
            made: Some(Box::new(header)),
            ..Self::over(memory, size, Cursor::default(), Cursor::default())
        })
    }

    fn over(memory: Memory, size: u64, start: Cursor, end: Cursor) -> Self {
        let spare = if memory.is_mirrored() { FRAME_HEADER_BYTES as u64 } else { 0 };
        let producer = Producer {
            position: end.position,
            sequence: end.sequence,
            consumed: start.position,
            next_check: end.position,
            unsaved: None,
            rows: end.row,
            reserved: None,
            closed: false,
            largest_step: None,
            largest_step_known: false,
        };
        Self {
            memory,
            room: Room::whole(size),
            spare,
            dead: Dead::default(),
            #[cfg(not(loom))]
            made: None,
            producer: Mutex::new(producer),
            published: Padded(AtomicU64::new(end.position)),
            consumed: Padded(AtomicU64::new(start.position)),
        }
    }

    /// The producers' lock. Hold it for an append or two, never while waiting.
    pub fn lock(&self) -> MutexGuard<'_, Producer> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Size of the ring in bytes, as far as it is in use.
    #[must_use]
    #[inline]
    pub fn size(&self) -> u64 {
        self.room.in_use()
    }

    /// Whether an append is a system call.
    #[must_use]
    pub fn is_mirrored(&self) -> bool {
        self.memory.is_mirrored()
    }

    /// The control words.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Bytes that `frames` of these lengths take from `position` on, with what is skipped at the ring's end.
    fn needed(&self, mut position: u64, lengths: impl Iterator<Item = usize>) -> u64 {
        let start = position;
        for length in lengths {
            let (_, room) = self.place(position);
            if room < length {
                position += room as u64;
            }
            position += length as u64;
        }
        position - start
    }

    /// Appends all of `frames`, which stand one behind the other, or none.
    ///
    /// # Errors
    /// Only the mirrored backing: the frames are in memory and will be written to the log, but a death before that or
    /// before the next append that succeeds would lose them. While saving fails slowly it is tried seldom, so that it takes
    /// little of the callers' time.
    #[inline]
    pub fn append(&self, producer: &mut Producer, frames: &mut [u8]) -> (Appended, io::Result<()>) {
        let needed = self.needed(producer.position, lengths(frames)) + self.spare;
        let size = self.size();
        if producer.position + needed - producer.consumed > size {
            // The part of a ring goes round only once it is known that there will be no more of it.
            if self.room.ask() {
                return (Appended::Full, Ok(()));
            }
            // Acquire: pairs with the release in `release`; the consumer is done with what lies behind.
            producer.consumed = self.consumed.0.load(Ordering::Acquire);
            if producer.position + needed - producer.consumed > size {
                return (Appended::Full, Ok(()));
            }
        }
        let mut outcome = self.save_rest(producer);
        let mut rest = frames;
        while let Some(length) = first_length(rest) {
            let (frame, behind) = rest.split_at_mut(length);
            let (_, room) = self.place(producer.position);
            if room < length {
                outcome = outcome.and(self.pad(producer, room));
            }
            outcome = outcome.and(self.put(producer, frame));
            rest = behind;
        }
        // Release: pairs with the acquire in `published`; the frames are whole.
        self.published.0.store(producer.position, Ordering::Release);
        if !self.memory.is_mirrored() {
            outcome = outcome.and(self.memory.store(OFFSET_PUBLISHED, number::seal(producer.position / 8)));
            outcome = outcome.and(self.memory.store(OFFSET_PUBLISHED_ROWS, number::seal(producer.rows)));
        }
        let mut backlog = false;
        if producer.position >= producer.next_check {
            let consumed = self.consumed.0.load(Ordering::Acquire);
            producer.next_check = producer.position + size / 16;
            backlog = producer.position - consumed >= size / 8 || self.room.is_short(producer.position);
            if self.room.is_settled() {
                producer.consumed = consumed;
            }
        }
        (Appended::Done { backlog }, outcome)
    }

    /// Position in memory of a position in the stream of bytes, and the bytes from there to the ring's end.
    #[inline]
    fn place(&self, position: u64) -> (usize, usize) {
        let size = self.size();
        let at = (position & (size - 1)) as usize;
        (HEADER_BYTES + at, size as usize - at)
    }

    #[inline]
    fn put(&self, producer: &mut Producer, frame: &mut [u8]) -> io::Result<()> {
        seal(frame, producer.sequence, producer.rows);
        let (at, room) = self.place(producer.position);
        let rows = rows_of(frame);
        // SAFETY: the range lies between the published and the consumed position, so the consumer does not read it, and the
        // producers' lock is held.
        unsafe { self.memory.copy_in(at, frame) };
        let mut length = frame.len();
        if self.spare > 0 {
            length += self.put_end(at + length, room - length, producer.sequence + 1, producer.rows + rows);
        }
        let mut outcome = Ok(());
        // Behind frames that are not saved, it goes with them.
        if producer.unsaved.is_none() {
            // SAFETY: as above, and room for the mark behind it was asked for.
            outcome = unsafe { self.memory.publish(at, length) };
            if let Err(error) = &outcome {
                producer.unsaved = Some(Unsaved::at(producer.position, error, Instant::now()));
            }
        }
        if let Some(unsaved) = &mut producer.unsaved {
            unsaved.rows += rows;
        }
        producer.position += frame.len() as u64;
        producer.sequence += 1;
        producer.rows += rows;
        outcome
    }

    /// Marks the end of what is published at `at`, which has `room` bytes to the ring's end, so that damage to the newest frame
    /// can be counted. Where frames are stored, not written, a control word says as much. Gives the mark's length.
    fn put_end(&self, at: usize, room: usize, sequence: u64, rows: u64) -> usize {
        if room < FRAME_HEADER_BYTES {
            // The next frame begins at the ring's start, and says so itself.
            return 0;
        }
        let mut mark = end_mark();
        seal(&mut mark, sequence, rows);
        // SAFETY: as in `put`.
        unsafe { self.memory.copy_in(at, &mark) };
        mark.len()
    }

    /// Saves the frames that could not be saved before.
    #[inline]
    fn save_rest(&self, producer: &mut Producer) -> io::Result<()> {
        match producer.unsaved.take() {
            None => Ok(()),
            Some(unsaved) => self.save_again(producer, unsaved),
        }
    }

    #[cold]
    fn save_again(&self, producer: &mut Producer, unsaved: Unsaved) -> io::Result<()> {
        let begun = Instant::now();
        if begun < unsaved.again {
            let error = unsaved.error();
            producer.unsaved = Some(unsaved);
            return Err(error);
        }
        let outcome = self.save_from(producer, unsaved.from);
        if let Err(error) = &outcome {
            // A full btrfs looks for room for milliseconds before it says that there is none.
            let took = begun.elapsed();
            let pause = if took < JOURNAL_RETRY_FREE { Duration::ZERO } else { took * JOURNAL_RETRY_SHARE };
            producer.unsaved =
                Some(Unsaved { rows: unsaved.rows, ..Unsaved::at(unsaved.from, error, begun + took + pause) });
        }
        outcome
    }

    /// Saves what is in memory only, however lately that failed. Gives the rows that were published and cannot be saved, of
    /// which the consumer may have written some.
    pub fn save_last(&self) -> u64 {
        let mut producer = self.lock();
        match producer.unsaved.take() {
            Some(unsaved) if self.save_from(&producer, unsaved.from).is_err() => unsaved.rows,
            _ => 0,
        }
    }

    fn save_from(&self, producer: &Producer, from: u64) -> io::Result<()> {
        let mut from = from.max(self.consumed());
        while from < producer.position {
            let (at, room) = self.place(from);
            let length = (producer.position - from).min(room as u64);
            // SAFETY: the producers' lock is held, and only producers write to the ring.
            unsafe { self.memory.publish(at, length as usize) }?;
            from += length;
        }
        let (at, room) = self.place(producer.position);
        // SAFETY: as above; here stands the mark of the end.
        unsafe { self.memory.publish(at, room.min(FRAME_HEADER_BYTES)) }
    }

    #[cold]
    fn pad(&self, producer: &mut Producer, room: usize) -> io::Result<()> {
        if room < FRAME_HEADER_BYTES {
            producer.position += room as u64;
            return Ok(());
        }
        let mut header = pad_header(room);
        let outcome = self.put(producer, &mut header);
        producer.position += (room - header.len()) as u64;
        outcome
    }

    /// Up to where frames may be read.
    #[must_use]
    pub fn published(&self) -> u64 {
        // Acquire: pairs with the release in `append`.
        self.published.0.load(Ordering::Acquire)
    }

    /// The next frame at or behind `cursor` that holds something, with `cursor` moved to it; `None` at the end and at a
    /// [gap](Self::gap). The cursor must not lie before what was [released](Self::release).
    #[must_use]
    pub fn frame(&self, cursor: &mut Cursor) -> Option<(Frame<'_>, Cursor)> {
        let end = self.published();
        while cursor.position < end && self.gap(cursor).is_none() {
            let (at, room) = self.place(cursor.position);
            if room < self.dead.header_bytes() {
                cursor.position += room as u64;
                continue;
            }
            let readable = (end - cursor.position).min(room as u64);
            // SAFETY: producers do not touch what lies between the consumed and the published position.
            let bytes = unsafe { self.memory.bytes(at, readable as usize) };
            let (frame, length) = Frame::parse(bytes)?;
            let next = cursor.behind(&frame, length);
            if frame.kind != Kind::Pad {
                return Some((frame, next));
            }
            *cursor = next;
        }
        None
    }

    /// The place behind everything published, with the number of rows published so far.
    #[must_use]
    pub fn end(&self) -> (Cursor, u64) {
        let producer = self.lock();
        let end = Cursor { position: producer.position, sequence: producer.sequence, rows: 0, row: producer.rows };
        (end, producer.rows)
    }

    /// Lets producers find the pages in place that the next `length` bytes behind `position` take, and the one that says how far
    /// they have come.
    pub fn make_ready(&self, position: u64, length: u64) {
        let (at, room) = self.place(position);
        let length = length.min(self.size()) as usize;
        self.memory.make_ready(OFFSET_PUBLISHED, 8);
        self.memory.make_ready(at, length.min(room));
        self.memory.make_ready(HEADER_BYTES, length.saturating_sub(room));
    }

    /// Gives the room before `position` back to the producers.
    pub fn release(&self, position: u64) {
        // Release: pairs with the acquire in `append`; the consumer does not read behind this any more.
        self.consumed.0.store(position, Ordering::Release);
    }

    /// Up to where room was given back.
    #[must_use]
    pub fn consumed(&self) -> u64 {
        self.consumed.0.load(Ordering::Acquire)
    }

    /// Keeps the number of rows that were dropped and are not on record where a recovery finds it.
    pub fn store_dropped(&self, rows: u64) -> io::Result<()> {
        match self.dead.version {
            Version::First => self.memory.store(OFFSET_DROPPED, rows),
            Version::Current => number::store(&self.memory, OFFSET_DROPPED, rows),
        }
    }
}

#[cfg(all(test, not(loom)))]
#[path = "ring_tests.rs"]
mod tests;

#[cfg(all(test, loom))]
#[path = "ring_model.rs"]
mod model;
