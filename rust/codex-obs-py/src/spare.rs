//! Buffers for one call, kept for the next.

use std::sync::atomic::{AtomicPtr, Ordering};

use codex_obs_core::journal::frame::FrameBuilder;

use crate::convert::{KnownTags, PendingValues};

/// Buffers that grew larger than this are given back: one huge call must not hold its memory for ever.
const LARGEST_KEPT_BYTES: usize = 1 << 20;

/// What one call is put together in.
#[derive(Debug, Default)]
pub struct Buffers {
    pub frames: FrameBuilder,
    pub tags: KnownTags,
    pub split: String,
    pub dataset: String,
    /// A name that several metrics of the call got.
    pub collided: Option<String>,
    /// Values of the call that do not exist yet.
    pub pending: PendingValues,
}

/// A place for one set of buffers. Taking and giving back is one exchange each, so that a call that a stranger's code makes
/// in the middle of another, a second thread or a fork finds the place empty instead of a lock.
#[derive(Debug, Default)]
pub struct Spare(AtomicPtr<Buffers>);

impl Spare {
    /// The buffers, or new ones.
    pub fn take(&self) -> Box<Buffers> {
        // Acquire: pairs with the release in `give`.
        let kept = self.0.swap(std::ptr::null_mut(), Ordering::Acquire);
        if kept.is_null() {
            return Box::default();
        }
        // SAFETY: made by `give` from a box, and the exchange took it out for this caller alone.
        unsafe { Box::from_raw(kept) }
    }

    /// Keeps the buffers for the next call.
    pub fn give(&self, mut buffers: Box<Buffers>) {
        // Those of a call that was refused.
        buffers.pending.get_mut().clear();
        if buffers.frames.len() > LARGEST_KEPT_BYTES {
            return;
        }
        let old = self.0.swap(Box::into_raw(buffers), Ordering::AcqRel);
        if !old.is_null() {
            // SAFETY: as in `take`.
            drop(unsafe { Box::from_raw(old) });
        }
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        drop(self.take());
    }
}
