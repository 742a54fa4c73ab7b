//! How much memory curves may take, and what is done where single rows would take more.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::block::Block;

/// So many rows are taken together first, and twice as many each time that this is not enough. A bucket takes as much as seven rows.
const FIRST_TOGETHER: u64 = 32;

/// What the threads that read share. Relaxed throughout: numbers that guard nothing but themselves.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    held: AtomicUsize,
    /// How many rows are taken together; 1 while each is kept for itself.
    together: AtomicU64,
}

impl Budget {
    /// Of which `held` bytes are taken by blocks that have up to `together` rows in one.
    pub(super) fn new(limit: usize, held: usize, together: u64) -> Self {
        Self { limit, held: AtomicUsize::new(held), together: AtomicU64::new(together.max(1)) }
    }

    /// How many rows are taken together.
    pub(super) fn together(&self) -> u64 {
        self.together.load(Ordering::Relaxed)
    }

    /// Counts more bytes.
    pub(super) fn take(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Has more rows taken together than the `together` of the caller, if there are too many bytes and nobody else has seen to it.
    pub(super) fn keep(&self, together: u64) {
        if self.held.load(Ordering::Relaxed) > self.limit {
            let more = (2 * together).max(FIRST_TOGETHER);
            let _ = self.together.compare_exchange(together, more, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Takes rows of a block together that was counted.
    pub(super) fn thin(&self, block: &mut Block) {
        let before = block.held();
        block.thin(self.together());
        let after = block.held();
        self.held.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
    }
}
