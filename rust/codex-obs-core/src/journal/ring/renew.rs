//! A journal whose file was deleted or truncated under the open run is put into a new one, so that rows are safe again.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{Producer, Ring};
use crate::error::{Error, Result};
use crate::fs::FileId;
use crate::journal::cursor::{self, Cursor, Intent};
use crate::journal::frame::HEADER_BYTES as FRAME_HEADER_BYTES;
use crate::journal::header::Header;
use crate::journal::layout::{
    HEADER_BYTES, LAYOUT_VERSION, MAGIC, OFFSET_BLOCKS, OFFSET_DEFERRED, OFFSET_DROPPED, OFFSET_MAGIC,
    OFFSET_PUBLISHED, OFFSET_PUBLISHED_ROWS, OFFSET_RING_BYTES, OFFSET_VERSION,
};
use crate::journal::number;

/// The name under which the journal at `path` is made anew.
#[must_use]
pub fn fresh_path(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("new-{name}"))
}

impl Ring {
    /// Whether the journal's file still has the name `path` and all of its bytes.
    ///
    /// # Errors
    /// If that cannot be looked at.
    pub fn is_in_place(&self, path: &Path) -> Result<bool> {
        let Some(id) = self.memory.id().filter(|_| !self.memory.is_detached()) else { return Ok(true) };
        let named = FileId::at(path)?;
        // Some file systems give a file another number once they have forgotten it.
        Ok(self.is_whole() && (named == Some(id) || named.is_some() && named == self.memory.id_now()))
    }

    /// Whether the journal's file has all its bytes.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let is_short = |length| length < HEADER_BYTES as u64 + self.size();
        !self.memory.is_lost() && !self.memory.file_length().is_some_and(is_short)
    }

    /// Goes on in a new file at `path`, which replaces what has the name. Only the consumer may ask for it, between two
    /// batches: it has the control words, and nothing of the ring is in use. `cursor` is where it reads on. Gives whether bytes that were
    /// stored are gone.
    ///
    /// # Errors
    /// If the file cannot be made: then the journal stays what it was.
    pub fn renew(&self, path: &Path, cursor: Cursor) -> Result<bool> {
        let fresh = fresh_path(path);
        crate::fs::remove_if_there(&fresh)?;
        let file = crate::fs::create_new(&fresh, 0o600)?;
        let outcome = self.renew_in(file, &fresh, path, cursor);
        if outcome.is_err() {
            let _ = crate::fs::remove_if_there(&fresh);
        }
        outcome
    }

    /// Whether the control words are still there, for whoever recovers from them.
    #[must_use]
    pub fn has_words(&self) -> bool {
        let is_made = self.memory.load(OFFSET_MAGIC) == MAGIC && self.memory.load(OFFSET_VERSION) == LAYOUT_VERSION;
        is_made && cursor::is_sound(&self.memory)
    }

    fn renew_in(&self, file: std::fs::File, fresh: &Path, path: &Path, cursor: Cursor) -> Result<bool> {
        let failed = |source| Error::io("write", path, source);
        let made = self.made.as_deref().ok_or_else(|| Error::corrupt(path, "it is not written by this process"))?;
        let block = Header { id: Some(FileId::of(&file, fresh)?), ..made.clone() }.to_bytes()?;
        let size = self.size();
        self.memory.allocate_in(&file, HEADER_BYTES + size as usize).map_err(failed)?;

        // From here to the end nobody appends, and who would wait for room waits a little longer.
        let mut producer = self.lock();
        if !self.has_words() {
            self.make_words(&producer, cursor).map_err(failed)?;
        }
        let end = producer.position;
        // What the stored cursor stands before may be padding that was passed.
        let waiting = cursor::current(&self.memory).position.min(self.consumed()).max(end.saturating_sub(size));
        let mut at = waiting;
        while at < end {
            let (offset, room) = self.place(at);
            let length = (end - at).min(room as u64);
            // SAFETY: only producers write to the ring, and their lock is held.
            unsafe { self.memory.save_to(&file, offset, length as usize) }.map_err(failed)?;
            at += length;
        }
        if self.spare > 0 {
            let (offset, room) = self.place(end);
            // SAFETY: as above; here stands the mark of the end.
            unsafe { self.memory.save_to(&file, offset, room.min(FRAME_HEADER_BYTES)) }.map_err(failed)?;
        }
        for offset in OFFSET_BLOCKS {
            file.write_all_at(&block, offset as u64).map_err(failed)?;
        }
        // SAFETY: the control words are the consumer's and the producers'.
        unsafe { self.memory.save_to(&file, 0, OFFSET_BLOCKS[0]) }.map_err(failed)?;

        // What was read of a truncated file just now has been put in its place.
        let is_lost = self.memory.is_lost();

        // Whoever dies from here on leaves a journal that is as whole as this one was.
        crate::fs::rename(fresh, path)?;
        // SAFETY: nobody appends, and this is the consumer.
        if let Err(error) = unsafe { self.memory.move_to(file, path) } {
            // It would go on saying that rows wait which are written by then.
            let _ = crate::fs::remove_if_there(path);
            return Err(error);
        }
        if self.is_mirrored() {
            // The file has them already.
            for offset in OFFSET_BLOCKS {
                // SAFETY: the consumer alone uses the header.
                unsafe { self.memory.copy_in(offset, &block) };
            }
        }
        producer.unsaved = None;
        Ok(is_lost)
    }

    /// Stores the control words anew, which went with the file.
    fn make_words(&self, producer: &Producer, cursor: Cursor) -> io::Result<()> {
        let memory = &self.memory;
        let dropped = number::first(memory, OFFSET_DROPPED).unwrap_or(0);
        let deferred = self.deferred();
        number::store(memory, OFFSET_RING_BYTES, self.size())?;
        memory.store(OFFSET_PUBLISHED, number::seal(producer.position / 8))?;
        memory.store(OFFSET_PUBLISHED_ROWS, number::seal(producer.rows))?;
        number::store(memory, OFFSET_DROPPED, dropped)?;
        number::store(memory, OFFSET_DEFERRED, deferred)?;
        cursor::initialise(memory)?;
        cursor::begin(memory, &Intent { after: cursor, extents: [None; 2] })?;
        cursor::complete(memory)?;
        memory.store(OFFSET_MAGIC, MAGIC)?;
        memory.store(OFFSET_VERSION, LAYOUT_VERSION)
    }
}

#[cfg(test)]
#[path = "renew_tests.rs"]
mod tests;
