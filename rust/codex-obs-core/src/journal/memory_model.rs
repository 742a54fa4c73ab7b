//! The journal's bytes in a model: a copy in while another thread may look at the bytes ends the model.
//!
//! The layout, the bounds and the safe interface are those of [the real memory](super::memory); there is no file.

use std::cell::UnsafeCell;
use std::fs::File;
use std::io;
use std::path::Path;

use loom::sync::atomic::{AtomicU64, Ordering};

use super::layout::{
    HEADER_BYTES, OFFSET_BEGUN, OFFSET_DONE, OFFSET_DROPPED, OFFSET_MAGIC, OFFSET_PUBLISHED, OFFSET_PUBLISHED_ROWS,
    OFFSET_RING_BYTES, OFFSET_SLOTS, OFFSET_VERSION, WORD_BYTES,
};
use crate::error::Result;

/// Which backing to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backing {
    /// There is only one here.
    #[default]
    Auto,
    /// As above.
    Mapped,
    /// As above.
    Mirrored,
}

const WORDS: [usize; 12] = [
    OFFSET_MAGIC,
    OFFSET_VERSION,
    OFFSET_RING_BYTES,
    OFFSET_RING_BYTES + WORD_BYTES,
    OFFSET_PUBLISHED,
    OFFSET_PUBLISHED_ROWS,
    OFFSET_BEGUN,
    OFFSET_BEGUN + WORD_BYTES,
    OFFSET_DONE,
    OFFSET_DONE + WORD_BYTES,
    OFFSET_DROPPED,
    OFFSET_DROPPED + WORD_BYTES,
];
/// Frames and slots are multiples of this.
const UNIT: usize = 8;
/// Bytes of a ring that a model may use, however large the ring is.
const MOST_USED: usize = 4096;

/// A fixed range of bytes.
#[derive(Debug)]
pub struct Memory {
    bytes: Box<[UnsafeCell<u8>]>,
    words: [AtomicU64; WORDS.len()],
    /// Who looks at each unit of the slots and of the ring, and who changes it. Looking ends with the look: what is read
    /// after it was given back is not found here.
    slots: [loom::cell::UnsafeCell<()>; 2],
    ring: Vec<loom::cell::UnsafeCell<()>>,
}

// SAFETY: the threads of a model run one at a time, and `slots` and `ring` tell of those that could have met.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// `length` bytes.
    pub fn create(_file: File, _path: &Path, length: usize, _allocated: usize, _backing: Backing) -> Result<Self> {
        Ok(Self::new(length))
    }

    /// There is no file.
    pub fn allocate(&self, _from: usize, _to: usize) -> io::Result<()> {
        Ok(())
    }

    /// As [`create`](Self::create).
    pub fn snapshot(_file: File, _path: &Path, length: usize) -> Result<Self> {
        Ok(Self::new(length))
    }

    /// `length` bytes, all zero.
    #[must_use]
    pub fn new(length: usize) -> Self {
        let units = (length - HEADER_BYTES).min(MOST_USED) / UNIT;
        Self {
            bytes: (0..length).map(|_| UnsafeCell::new(0)).collect(),
            words: WORDS.map(|_| AtomicU64::new(0)),
            slots: OFFSET_SLOTS.map(|_| loom::cell::UnsafeCell::new(())),
            ring: (0..units).map(|_| loom::cell::UnsafeCell::new(())).collect(),
        }
    }

    /// The file is gone already.
    pub fn release(&self) {}

    /// Never.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        false
    }

    /// Never.
    #[must_use]
    pub fn is_mirrored(&self) -> bool {
        false
    }

    /// There is no file.
    pub fn detach(&self) {}

    /// It never is.
    #[must_use]
    pub fn is_detached(&self) -> bool {
        false
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Every page is in place.
    pub fn make_ready(&self, _offset: usize, _length: usize) {}

    fn word(&self, offset: usize) -> &AtomicU64 {
        &self.words[WORDS.iter().position(|&word| word == offset).expect("it is a control word")]
    }

    /// Loads a control word.
    #[must_use]
    pub fn load(&self, offset: usize) -> u64 {
        self.word(offset).load(Ordering::Acquire)
    }

    /// Stores a control word.
    pub fn store(&self, offset: usize, value: u64) -> io::Result<()> {
        self.word(offset).store(value, Ordering::Release);
        Ok(())
    }

    /// Stores a control word and its copy.
    pub fn store_twice(&self, offset: usize, value: u64) -> io::Result<()> {
        self.store(offset, value)?;
        self.store(offset + WORD_BYTES, value)
    }

    /// The parts of the memory that a range touches. The identity is written before anybody else knows the memory.
    fn units(&self, offset: usize, length: usize) -> &[loom::cell::UnsafeCell<()>] {
        match offset.checked_sub(HEADER_BYTES) {
            Some(at) => &self.ring[at / UNIT..(at + length).div_ceil(UNIT)],
            None => OFFSET_SLOTS.iter().position(|&slot| slot == offset).map_or(&[], |slot| &self.slots[slot..=slot]),
        }
    }

    /// Copies `bytes` in at `offset`.
    ///
    /// # Safety
    /// No other thread may read or write this range meanwhile.
    pub unsafe fn copy_in(&self, offset: usize, bytes: &[u8]) {
        for unit in self.units(offset, bytes.len()) {
            unit.with_mut(|_| ());
        }
        let room = UnsafeCell::raw_get(self.bytes[offset..offset + bytes.len()].as_ptr());
        // SAFETY: in range; one thread runs at a time, and the model ended above if another one could have met this one.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), room, bytes.len()) }
    }

    /// There is no file.
    ///
    /// # Safety
    /// No other thread may write this range meanwhile.
    pub unsafe fn publish(&self, _offset: usize, _length: usize) -> io::Result<()> {
        Ok(())
    }

    /// There is no disk.
    pub fn sync(&self, _offset: usize, _length: usize) -> io::Result<()> {
        Ok(())
    }

    /// The bytes of a range.
    ///
    /// # Safety
    /// No other thread may write this range while the slice is in use.
    #[must_use]
    pub unsafe fn bytes(&self, offset: usize, length: usize) -> &[u8] {
        for unit in self.units(offset, length) {
            unit.with(|_| ());
        }
        let start = UnsafeCell::raw_get(self.bytes[offset..offset + length].as_ptr());
        // SAFETY: as in `copy_in`.
        unsafe { std::slice::from_raw_parts(start, length) }
    }
}
