//! The ring of frames: any thread appends under a short lock, one thread reads behind them.

use std::io;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::cursor::{self, Cursor};
use super::frame::{Frame, HEADER_BYTES as FRAME_HEADER_BYTES, Kind, first_length, lengths, pad_header, rows_of, seal};
use super::identity::Identity;
use super::layout::{
    HEADER_BYTES, LAYOUT_VERSION, MAGIC, MAX_IDENTITY_BYTES, OFFSET_DROPPED, OFFSET_IDENTITY, OFFSET_MAGIC,
    OFFSET_PUBLISHED, OFFSET_RING_BYTES, OFFSET_VERSION,
};
use super::memory::{Backing, Memory};
use crate::error::{Error, Result};
use crate::limits::{JOURNAL_RETRY_FREE, JOURNAL_RETRY_SHARE};
use crate::sync::{AtomicU64, Mutex, MutexGuard};

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
    /// The consumer's position when it was last looked at.
    consumed: u64,
    /// Position at which the backlog is looked at again.
    next_check: u64,
    /// Frames that are in memory only. A recovery would stop before them.
    unsaved: Option<Unsaved>,
    /// Rows published so far; kept by those who publish.
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
    size: u64,
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
        let identity = identity.to_bytes();
        if identity.len() > MAX_IDENTITY_BYTES {
            return Err(Error::setting("run_id", "is too long; use at most 4096 bytes"));
        }
        let memory = Memory::create(file, path, HEADER_BYTES + size as usize, backing)?;
        memory.make_ready(0, memory.len().min(HEADER_BYTES + FIRST_BYTES));
        let initialise = || -> io::Result<()> {
            // SAFETY: nobody else knows the journal before its version is stored.
            unsafe {
                memory.copy_in(OFFSET_IDENTITY, &identity);
                memory.publish(OFFSET_IDENTITY, identity.len())?;
            }
            memory.store(OFFSET_RING_BYTES, size)?;
            cursor::initialise(&memory)?;
            memory.store(OFFSET_MAGIC, MAGIC)?;
            memory.store(OFFSET_VERSION, LAYOUT_VERSION)
        };
        initialise().map_err(|source| Error::io("write", path, source))?;
        Ok(Self::over(memory, size, Cursor::default(), Cursor::default()))
    }

    /// Opens the journal of a process that is gone, or `None` if it was never finished being made: then it holds nothing.
    pub fn attach(file: std::fs::File, path: &Path, backing: Backing) -> Result<Option<(Self, Identity)>> {
        let length = file.metadata().map_err(|source| Error::io("examine", path, source))?.len() as usize;
        if length < HEADER_BYTES {
            return Ok(None);
        }
        let memory = Memory::open(file, path, length, backing)?;
        if memory.load(OFFSET_VERSION) == 0 {
            return Ok(None);
        }
        let size = memory.load(OFFSET_RING_BYTES);
        if memory.load(OFFSET_MAGIC) != MAGIC || memory.load(OFFSET_VERSION) != LAYOUT_VERSION {
            return Err(Error::corrupt(path, "it is no journal of this version"));
        }
        if !size.is_power_of_two() || size as usize != length - HEADER_BYTES {
            return Err(Error::corrupt(path, "its length is not the one it was made with"));
        }
        // SAFETY: the identity is written once, before the version.
        let identity = Identity::from_bytes(unsafe { memory.bytes(OFFSET_IDENTITY, MAX_IDENTITY_BYTES) })
            .ok_or_else(|| Error::corrupt(path, "its identity cannot be read"))?;
        // Without a cursor nothing is within reach, but all can still be surveyed.
        let sound = cursor::is_sound(&memory);
        let start = if sound { cursor::current(&memory) } else { Cursor::default() };
        let ring = Self::over(memory, size, start, start);
        let end = ring.find_end(start);
        Ok(Some((Self::over(ring.memory, size, start, end), identity)))
    }

    fn over(memory: Memory, size: u64, start: Cursor, end: Cursor) -> Self {
        let producer = Producer {
            position: end.position,
            sequence: end.sequence,
            consumed: start.position,
            next_check: end.position,
            unsaved: None,
            rows: 0,
            reserved: None,
            closed: false,
            largest_step: None,
            largest_step_known: false,
        };
        Self {
            memory,
            size,
            producer: Mutex::new(producer),
            published: Padded(AtomicU64::new(end.position)),
            consumed: Padded(AtomicU64::new(start.position)),
        }
    }

    /// Follows the frames from `start` as long as sequence numbers go on and checksums are right.
    fn find_end(&self, start: Cursor) -> Cursor {
        let mut end = start;
        while end.position - start.position < self.size {
            let (at, room) = self.place(end.position);
            if room < FRAME_HEADER_BYTES {
                end.position += room as u64;
                continue;
            }
            // SAFETY: the journal is not written to while it is being attached.
            let bytes = unsafe { self.memory.bytes(at, room) };
            match Frame::parse(bytes) {
                Some((frame, length)) if frame.verify(end.sequence) => {
                    end.position += length as u64;
                    end.sequence += 1;
                }
                _ => break,
            }
        }
        end
    }

    /// Every whole frame in the ring, whatever the cursor says, as its sequence number, position in the ring and length:
    /// for a journal whose control words cannot be trusted.
    #[must_use]
    pub fn survey(&self) -> Vec<(u64, usize, usize)> {
        // SAFETY: the caller looks at the journal of a dead process.
        let bytes = unsafe { self.memory.bytes(HEADER_BYTES, self.size as usize) };
        let mut found = Vec::new();
        let mut at = 0;
        while at + FRAME_HEADER_BYTES <= bytes.len() {
            match Frame::parse(&bytes[at..]) {
                Some((frame, length)) if frame.verify(frame.sequence) => {
                    found.push((frame.sequence, at, length));
                    // A pad says nothing of the bytes that it fills: newer frames may stand there.
                    at += if frame.kind == Kind::Pad { FRAME_HEADER_BYTES } else { length };
                }
                _ => at += 8,
            }
        }
        found.sort_unstable();
        found
    }

    /// Frames that cannot be reached from the cursor because one between was damaged.
    #[must_use]
    pub fn unreachable_frames(&self) -> u64 {
        let (end, _) = self.end();
        let last = self.survey().last().map_or(0, |&(sequence, ..)| sequence + 1);
        last.saturating_sub(end.sequence)
    }

    /// The frame that [`survey`](Self::survey) found at `at`.
    #[must_use]
    pub fn surveyed(&self, at: usize, length: usize) -> Option<Frame<'_>> {
        // SAFETY: as in `survey`.
        let bytes = unsafe { self.memory.bytes(HEADER_BYTES + at, length) };
        Frame::parse(bytes).map(|(frame, _)| frame)
    }

    /// The producers' lock. Hold it for an append or two, never while waiting.
    pub fn lock(&self) -> MutexGuard<'_, Producer> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Size of the ring in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
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
        let needed = self.needed(producer.position, lengths(frames));
        if producer.position + needed - producer.consumed > self.size {
            // Acquire: pairs with the release in `release`; the consumer is done with what lies behind.
            producer.consumed = self.consumed.0.load(Ordering::Acquire);
            if producer.position + needed - producer.consumed > self.size {
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
            outcome = outcome.and(self.memory.store(OFFSET_PUBLISHED, producer.position));
        }
        let mut backlog = false;
        if producer.position >= producer.next_check {
            producer.consumed = self.consumed.0.load(Ordering::Acquire);
            producer.next_check = producer.position + self.size / 16;
            backlog = producer.position - producer.consumed >= self.size / 8;
        }
        (Appended::Done { backlog }, outcome)
    }

    /// Position in memory of a position in the stream of bytes, and the bytes from there to the ring's end.
    #[inline]
    fn place(&self, position: u64) -> (usize, usize) {
        let at = (position & (self.size - 1)) as usize;
        (HEADER_BYTES + at, self.size as usize - at)
    }

    #[inline]
    fn put(&self, producer: &mut Producer, frame: &mut [u8]) -> io::Result<()> {
        seal(frame, producer.sequence);
        let (at, _) = self.place(producer.position);
        // SAFETY: the range lies between the published and the consumed position, so the consumer does not read it, and the
        // producers' lock is held.
        unsafe { self.memory.copy_in(at, frame) };
        let mut outcome = Ok(());
        // Behind frames that are not saved, it goes with them.
        if producer.unsaved.is_none() {
            // SAFETY: as above.
            outcome = unsafe { self.memory.publish(at, frame.len()) };
            if let Err(error) = &outcome {
                producer.unsaved = Some(Unsaved::at(producer.position, error, Instant::now()));
            }
        }
        if let Some(unsaved) = &mut producer.unsaved {
            unsaved.rows += rows_of(frame);
        }
        producer.position += frame.len() as u64;
        producer.sequence += 1;
        outcome
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
        Ok(())
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

    /// The next frame at or behind `cursor` that holds something, with `cursor` moved to it; `None` at the end. The cursor
    /// must not lie before what was [released](Self::release).
    #[must_use]
    pub fn frame(&self, cursor: &mut Cursor) -> Option<(Frame<'_>, Cursor)> {
        let end = self.published();
        while cursor.position < end {
            let (at, room) = self.place(cursor.position);
            if room < FRAME_HEADER_BYTES {
                cursor.position += room as u64;
                continue;
            }
            let readable = (end - cursor.position).min(room as u64);
            // SAFETY: producers do not touch what lies between the consumed and the published position.
            let bytes = unsafe { self.memory.bytes(at, readable as usize) };
            let (frame, length) = Frame::parse(bytes)?;
            let next = Cursor { position: cursor.position + length as u64, sequence: cursor.sequence + 1, rows: 0 };
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
        (Cursor { position: producer.position, sequence: producer.sequence, rows: 0 }, producer.rows)
    }

    /// Lets producers find the pages in place that the next `length` bytes behind `position` take, and the one that says how far
    /// they have come.
    pub fn make_ready(&self, position: u64, length: u64) {
        let (at, room) = self.place(position);
        let length = length.min(self.size) as usize;
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
        self.memory.store(OFFSET_DROPPED, rows)
    }

    /// The number that [`store_dropped`](Self::store_dropped) kept.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.memory.load(OFFSET_DROPPED)
    }
}

#[cfg(all(test, not(loom)))]
#[path = "ring_tests.rs"]
mod tests;

#[cfg(all(test, loom))]
#[path = "ring_model.rs"]
mod model;
