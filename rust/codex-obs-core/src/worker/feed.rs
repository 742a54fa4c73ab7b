//! Live batches: what the writer has just appended to the metrics, for an exporter that keeps up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

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
    written: Mutex<Written>,
}

/// What the writer knows of the file that it appends to.
#[derive(Debug, Default)]
struct Written {
    file: FileId,
    length: u64,
    /// A file that someone else made shorter, and the length that it had, for whoever asks first.
    cut: Option<(FileId, u64)>,
}

impl Feed {
    /// A feed and the exporter's end of it.
    #[must_use]
    pub fn new() -> (Self, Receiver<Batch>) {
        let (sender, receiver) = bounded(FEED_BATCHES);
        (Self { sender, wanted: AtomicBool::new(false), written: Mutex::default() }, receiver)
    }

    /// The exporter says whether it has come to the end of the files.
    pub fn want(&self, wanted: bool) {
        // SeqCst: after this the exporter looks at the files once more. Whoever did not see the wish had appended before.
        self.wanted.store(wanted, Ordering::SeqCst);
    }

    /// The length up to which this process wrote `file`. `None` if the writer was not there lately.
    #[must_use]
    pub fn reach(&self, file: FileId) -> Option<u64> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        (written.file == file).then_some(written.length)
    }

    /// Once, if someone else made `file` shorter: the length that it had before, [`u64::MAX`] if that happened several times.
    #[must_use]
    pub fn take_cut(&self, file: FileId) -> Option<u64> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.cut.take_if(|(cut, _)| *cut == file).map(|(_, length)| length)
    }

    /// Offers lines that were appended to `file` at `offset`. Never waits.
    #[inline]
    pub fn offer(&self, file: FileId, offset: u64, lines: &[u8]) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.file == file && offset < written.length {
            let is_known = written.cut.is_none_or(|(cut, _)| cut != file);
            written.cut = Some((file, if is_known { written.length } else { u64::MAX }));
        }
        (written.file, written.length) = (file, offset + lines.len() as u64);
        drop(written);
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

    #[test]
    fn the_length_that_a_file_had_before_it_was_cut_is_known_once() {
        let (feed, _receiver) = Feed::new();
        let [file, next] = [1, 2].map(|inode| FileId { device: 0, inode });
        assert_eq!(feed.reach(file), None);
        feed.offer(file, 100, b"{}\n");
        feed.offer(file, 103, b"{}\n");
        assert_eq!((feed.reach(file), feed.reach(next), feed.take_cut(file)), (Some(106), None, None));
        feed.offer(file, 0, b"{}\n");
        assert_eq!((feed.take_cut(next), feed.take_cut(file), feed.take_cut(file)), (None, Some(106), None));
        assert_eq!(feed.reach(file), Some(3));
        for offset in [2, 1] {
            feed.offer(file, offset, b"{}\n");
        }
        assert_eq!((feed.take_cut(file), feed.take_cut(file)), (Some(u64::MAX), None), "twice");
        feed.offer(next, 0, b"{}\n");
        assert_eq!((feed.reach(file), feed.reach(next)), (None, Some(3)));
    }
}
