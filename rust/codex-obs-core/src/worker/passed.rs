//! Which shards the journal has durably passed: packing waits for that, since what follows it is deleted, and so does deletion.
//!
//! After a power cut the journal's frames may be older than the files that have their rows. Recovery compares them with the
//! files then, but a shard that became an archive may be anywhere by that time. So before it is packed, its rows are on the disk
//! as they are, and the journal says on the disk that it is not asked for them any more.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use crate::error::{Error, Result};
use crate::fs::{FileId, sync_folder};
use crate::journal::cursor::Cursor;
use crate::journal::floor;
use crate::journal::ring::Ring;
use crate::paths::FileKind;
use crate::primitives::{Mutex, MutexGuard};

/// Up to where the journal's rows are in rotated shards.
#[derive(Debug)]
pub struct Passed {
    ring: Arc<Ring>,
    /// The folder that has the journal.
    internals: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Of each kind of file the shards that were rotated and are plain, oldest first, and where the journal was then.
    left: [Vec<(FileId, Cursor)>; FileKind::ALL.len()],
    /// Journals of earlier sessions are gone for good.
    is_alone: bool,
}

impl Passed {
    /// For the journal `ring` in the folder `internals`.
    #[must_use]
    pub fn new(ring: Arc<Ring>, internals: PathBuf) -> Self {
        Self { ring, internals, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that rows before `at` are in the shard `id`, which was rotated just now, or in older ones.
    pub fn note(&self, kind: FileKind, id: FileId, at: Cursor) {
        self.lock().left[kind as usize].push((id, at));
    }

    /// Puts on the disk that the journal has passed the rows of the shard `id`, the oldest one, which has `number`. The rows
    /// are on the disk, or are to be deleted.
    ///
    /// # Errors
    /// If the disk refuses it: then the shard is to stay as it is.
    pub fn secure(&self, kind: FileKind, id: Option<FileId>, number: u64) -> Result<()> {
        let (at, is_alone) = {
            let state = self.lock();
            let left = &state.left[kind as usize];
            let index = left.iter().position(|(known, _)| Some(*known) == id).or_else(|| {
                // Somebody else packed it, which gave it another inode. The newest shard has number 1.
                left.len().checked_sub(usize::try_from(number).ok()?)
            });
            (index.map(|index| (index, left[index].1)), state.is_alone)
        };
        // Of a shard of an earlier session: its journal was deleted, and must not be there again after a power cut.
        if !is_alone {
            sync_folder(&self.internals)?;
            self.lock().is_alone = true;
        }
        let Some((index, at)) = at else { return Ok(()) };
        floor::raise(self.ring.memory(), kind as u64, &at)
            .map_err(|source| Error::io("sync", &self.internals.join("the journal"), source))?;
        self.lock().left[kind as usize].drain(..=index);
        Ok(())
    }
}
