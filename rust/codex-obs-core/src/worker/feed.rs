//! Live batches: what the writer has just appended to the metrics, for an exporter that keeps up.

use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::fs::FileId;
use crate::limits::FEED_BATCHES;

/// Whole lines, and where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The shard.
    pub file: FileId,
    /// Where in it the first line begins.
    pub offset: u64,
    /// The lines.
    pub lines: Box<[u8]>,
}

/// The writer's end. A batch is offered only to an exporter that keeps up, and only if there is room: the lines are in the
/// files, so nothing is lost with one that is left out.
#[derive(Debug)]
pub struct Feed {
    sender: Sender<Batch>,
    wanted: AtomicBool,
}

impl Feed {
    /// A feed and the exporter's end of it.
    #[must_use]
    pub fn new() -> (Self, Receiver<Batch>) {
        let (sender, receiver) = bounded(FEED_BATCHES);
        (Self { sender, wanted: AtomicBool::new(false) }, receiver)
    }

    /// The exporter says whether it has come to the end of the files.
    pub fn want(&self, wanted: bool) {
        // SeqCst: after this the exporter looks at the files once more. Whoever did not see the wish had appended before.
        self.wanted.store(wanted, Ordering::SeqCst);
    }

    /// Offers lines that were appended to `file` at `offset`. Never waits.
    #[inline]
    pub fn offer(&self, file: FileId, offset: u64, lines: &[u8]) {
        if self.wanted.load(Ordering::SeqCst) && !self.sender.is_full() {
            // Full or without an exporter after all: it reads the files.
            let _ = self.sender.try_send(Batch { file, offset, lines: lines.into() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_offered_that_is_not_wanted_or_has_no_room() {
        let (feed, receiver) = Feed::new();
        let file = FileId::default();
        feed.offer(file, 0, b"{}\n");
        assert!(receiver.is_empty());
        feed.want(true);
        for offset in 0..2 * FEED_BATCHES as u64 {
            feed.offer(file, offset, b"{}\n");
        }
        assert_eq!(
            receiver.try_iter().map(|batch| batch.offset).collect::<Vec<_>>(),
            (0..FEED_BATCHES as u64).collect::<Vec<_>>()
        );
        drop(receiver);
        feed.offer(file, 9, b"{}\n");
    }
}
