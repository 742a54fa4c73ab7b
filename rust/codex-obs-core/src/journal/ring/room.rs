//! How much of a ring there is: it begins as a small part, and the consumer adds the rest before that is used up.
//!
//! Places are the same in the part and in the whole ring as long as nothing was published behind the part, and nothing is
//! before it is settled which of the two it stays: then the header says so already.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Ring;
use crate::journal::layout::{HEADER_BYTES, OFFSET_RING_BYTES};
use crate::journal::number;

/// Room of a ring. Not part of the models of its threads, in which it does not change.
#[derive(Debug)]
pub(super) struct Room {
    /// Changed once at most, by the consumer, under the producers' lock.
    in_use: AtomicU64,
    whole: u64,
    is_settled: AtomicBool,
    /// Whether a producer waits for the whole ring.
    is_wanted: AtomicBool,
}

impl Room {
    pub(super) fn whole(size: u64) -> Self {
        Self::part(size, size)
    }

    pub(super) fn part(first: u64, whole: u64) -> Self {
        Self {
            in_use: AtomicU64::new(first),
            whole,
            is_settled: AtomicBool::new(first == whole),
            is_wanted: AtomicBool::new(false),
        }
    }

    #[inline]
    pub(super) fn in_use(&self) -> u64 {
        // Relaxed: producers and the consumer have it from the producers' lock; for everyone else it is a hint.
        self.in_use.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn is_settled(&self) -> bool {
        // Relaxed: as above.
        self.is_settled.load(Ordering::Relaxed)
    }

    /// Asks for the whole ring; `false` if it is settled how much there is.
    pub(super) fn ask(&self) -> bool {
        let is_open = !self.is_settled();
        if is_open {
            self.is_wanted.store(true, Ordering::Relaxed);
        }
        is_open
    }

    /// Whether so much of the part is used that the rest is to be added now.
    pub(super) fn is_short(&self, position: u64) -> bool {
        !self.is_settled() && (position >= self.in_use() / 4 || self.is_wanted.load(Ordering::Relaxed))
    }
}

impl Ring {
    /// Size that the ring may still get.
    #[must_use]
    pub fn largest_size(&self) -> u64 {
        if self.room.is_settled() { self.size() } else { self.room.whole }
    }

    /// Asks the consumer for the whole ring. `false` once it is settled how much there is.
    #[must_use]
    pub fn ask_for_room(&self) -> bool {
        self.room.ask()
    }

    /// The consumer's look at the room: once a quarter of the part is used, or a producer asks for it, the whole ring is
    /// allocated. If that fails, the ring stays what it is, and the error is given once.
    ///
    /// # Errors
    /// If there is no room on the disk.
    pub fn grow(&self) -> io::Result<()> {
        if !self.room.is_short(self.published()) {
            return Ok(());
        }
        let part = self.size();
        let (from, to) = (HEADER_BYTES + part as usize, HEADER_BYTES + self.room.whole as usize);
        let outcome = self.memory.allocate(from, to).and_then(|()| {
            number::store(&self.memory, OFFSET_RING_BYTES, self.room.whole).inspect_err(|_| {
                // Whether it arrived is not known; what is in the file must not say more than is in use.
                let _ = number::store(&self.memory, OFFSET_RING_BYTES, part);
            })
        });
        let mut producer = self.lock();
        if outcome.is_ok() {
            self.room.in_use.store(self.room.whole, Ordering::Relaxed);
        }
        producer.consumed = self.consumed();
        // Release: whoever sees it without the lock sees the size.
        self.room.is_settled.store(true, Ordering::Release);
        outcome
    }
}

#[cfg(all(test, not(loom)))]
#[path = "room_tests.rs"]
mod tests;
