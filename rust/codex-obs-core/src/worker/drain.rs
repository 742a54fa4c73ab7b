//! From frames to lines in files, one batch at a time, so that a death between any two instructions is repaired exactly.

mod journal;
mod rotation;
mod settle;
mod telemetry;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::feed::Feed;
use super::files::Files;
use super::owed::Owed;
use super::packer::Packer;
use super::passed::Passed;
use super::syncer::Syncer;
use super::warnings::Warnings;
use crate::encode::row::RowEncoder;
use crate::error::{Error, Result};
use crate::fs::FileId;
use crate::journal::cursor::{self, Cursor, Extent, Intent};
use crate::journal::frame::{Frame, Kind, LineFile};
use crate::journal::ring::Ring;
use crate::limits::BATCH_BYTES;
use crate::paths::FileKind;
use crate::shard::writer::Found;
use crate::stats::Stats;

/// Room whose pages are put in place behind the newest frame, at least: some ten looks at a loop that logs a thousand times a
/// second.
const READY_BYTES: u64 = 16 << 10;

/// Where the writer reports: counters, warnings, syncer, live feed.
#[derive(Clone, Debug)]
pub struct Reporting {
    /// Counters.
    pub stats: Arc<Stats>,
    /// Words for the user.
    pub warnings: Arc<Warnings>,
    /// Learns of every file that has new bytes; `None` while recovering, which syncs at the end.
    pub syncer: Option<Arc<Syncer>>,
    /// Gets what was appended to the metrics, where something is exported.
    pub feeds: Vec<Arc<Feed>>,
    /// Learns of rotated shards, where they are packed or deleted.
    pub passed: Option<Arc<Passed>>,
    /// Learns of rotations before they happen, where shards are packed.
    pub packer: Option<Arc<Packer>>,
}

/// The only reader of a ring and the only writer of its stream's files.
#[derive(Debug)]
pub struct Drain {
    ring: Arc<Ring>,
    files: Files,
    encoder: RowEncoder,
    cursor: Cursor,
    /// Up to where frames were published at the last look.
    seen: u64,
    /// Up to where the pages are in place.
    ready: u64,
    metrics: Vec<u8>,
    manifest: Vec<u8>,
    /// Lines of telemetry in it, which has no rows then.
    telemetry: Vec<u8>,
    /// Rows in the batch under construction.
    rows: u64,
    /// The append that failed last, while it is not known to be done.
    owed: Option<Owed>,
    reporting: Reporting,
    no_rotation_before: Option<Instant>,
    /// The kinds of files that were rotated since that was last asked.
    rotated: Vec<FileKind>,
    /// Rows of this session's that are in the files or lost.
    rows_done: u64,
    /// Rows that were lost with the journal and are not on record.
    rows_lost: Option<u64>,
    /// Whether the journal can no longer be trusted.
    is_lost: bool,
    /// Whether it was the journal that could not be written when the last append failed.
    journal_fails: bool,
}

impl Drain {
    /// Reads `ring` on from its cursor.
    #[must_use]
    pub fn new(ring: Arc<Ring>, files: Files, encoder: RowEncoder, reporting: Reporting) -> Self {
        let cursor = cursor::current(ring.memory());
        // What a dead process has left is read, and nothing comes behind it.
        let published = ring.published();
        Self {
            ring,
            files,
            encoder,
            cursor,
            seen: published,
            ready: published,
            metrics: Vec::new(),
            manifest: Vec::new(),
            telemetry: Vec::new(),
            rows: 0,
            owed: None,
            reporting,
            no_rotation_before: None,
            rotated: Vec::new(),
            rows_done: 0,
            rows_lost: None,
            is_lost: false,
            journal_fails: false,
        }
    }

    /// The files.
    pub fn files(&mut self) -> &mut Files {
        &mut self.files
    }

    /// Up to where everything is in the files.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.cursor.position
    }

    /// Keeps the number of rows that were dropped and are not on record, for a recovery to report.
    pub fn keep_unreported(&mut self, rows: u64) {
        if self.ring.store_dropped(rows).is_err() {
            self.reporting.stats.journal_errors.add(1);
        }
    }

    /// Counts an error of [`batch`](Self::batch) and queues a warning.
    #[cold]
    pub fn note_error(&mut self, error: &Error) {
        self.reporting.stats.write_errors.add(1);
        self.reporting.warnings.push("write", || format!("{error}; rows wait in the journal and will be retried"));
    }

    /// Counts a panic of the writer, which is a bug, and queues a warning.
    #[cold]
    pub fn note_panic(&mut self) {
        self.reporting.stats.write_errors.add(1);
        self.reporting.warnings.push("panic", || {
            "internal error in the writer; rows are safe in the journal and will be retried".to_owned()
        });
    }

    /// Opens the file of a kind, and rotates it if it is too old to be continued.
    pub fn open(&mut self, kind: FileKind) -> Result<()> {
        if self.files.get(kind).open()? {
            self.note_folder(kind);
        }
        if self.files.get(kind).is_aged() {
            self.rotate(kind);
        }
        Ok(())
    }

    /// Lets the ring have all of its size once a quarter of its first part is used.
    fn make_room(&self) {
        if let Err(error) = self.ring.grow() {
            self.reporting.warnings.push("room", || {
                let size = self.ring.size();
                format!(
                    "there is no room on the disk for the whole journal ({error}): it stays at {size} bytes, and log waits \
                     sooner for the writer"
                )
            });
        }
    }

    /// Puts pages in place for twice as much as was logged since the last look at the ring, unless most of that is there
    /// already. A run that logs nothing has none dirtied anew after each write-back.
    fn make_ready(&mut self) {
        let published = self.ring.published();
        let ahead = READY_BYTES.max(2 * (published - self.seen));
        if published != self.seen && self.ready < published + ahead / 4 * 3 {
            self.ring.make_ready(published, ahead);
            self.ready = published + ahead;
        }
        self.seen = published;
    }

    /// Writes one batch. `Ok(false)`: there was nothing to write.
    pub fn batch(&mut self) -> Result<bool> {
        self.settle()?;
        self.metrics.clear();
        self.manifest.clear();
        self.telemetry.clear();
        self.rows = 0;
        self.make_room();
        self.make_ready();
        let mut at = self.cursor;
        let ring = Arc::clone(&self.ring);
        self.is_lost = self.is_lost || self.note_lost();
        while let Some((frame, next)) = ring.frame(&mut at) {
            if self.is_lost && !frame.verify(at.sequence) {
                break;
            }
            match frame.kind {
                Kind::Metrics if !self.telemetry.is_empty() => return self.commit_telemetry(at),
                Kind::Metrics => {
                    if let Some(end) = self.add_call(&frame, at, next)? {
                        return self.commit(end);
                    }
                }
                Kind::Line if self.rows > 0 => return self.commit(at),
                Kind::Line => {
                    let Some((file, line)) = frame.line() else {
                        self.reporting.stats.frames_damaged.add(1);
                        at = next;
                        continue;
                    };
                    if file == LineFile::Telemetry {
                        if let Some(end) = self.add_telemetry(line, at, next)? {
                            return self.commit_telemetry(end);
                        }
                        at = next;
                        continue;
                    }
                    if !self.telemetry.is_empty() {
                        return self.commit_telemetry(at);
                    }
                    if !self.lost_meanwhile() {
                        self.append_line(file.into(), line, next)?;
                    }
                    return Ok(true);
                }
                Kind::Pad | Kind::End => {}
            }
            at = next;
        }
        if !self.telemetry.is_empty() {
            return self.commit_telemetry(at);
        }
        if self.is_lost && self.rows == 0 && at.position < ring.published() {
            self.skip_lost();
            return Ok(true);
        }
        self.commit(at)
    }

    /// Whether the journal lost bytes after the batch was begun, maybe under its reader: it is begun again then.
    fn lost_meanwhile(&self) -> bool {
        !self.is_lost && self.ring.memory().is_lost()
    }

    /// Whether the journal's file lost a part of what was stored, of which the user hears once.
    fn note_lost(&mut self) -> bool {
        if !self.ring.memory().is_lost() {
            return false;
        }
        self.reporting.stats.journal_errors.add(1);
        self.reporting.warnings.push("journal", || {
            "the journal's file was truncated or its disk failed: waiting rows would be lost if the process died now"
                .to_owned()
        });
        true
    }

    /// Goes on behind everything published: what cannot be read is gone, and counted.
    #[cold]
    fn skip_lost(&mut self) {
        let (end, published) = self.ring.end();
        let lost = published - self.rows_done;
        self.rows_done = published;
        self.reporting.stats.frames_damaged.add(end.sequence - self.cursor.sequence);
        self.reporting.stats.rows_dropped_journal.add(lost);
        self.rows_lost = Some(self.rows_lost.unwrap_or(0) + lost);
        self.cursor = end;
        self.ring.release(end.position);
    }

    /// The rows that were lost with the journal since this was last asked.
    pub fn take_lost(&mut self) -> Option<u64> {
        self.rows_lost.take()
    }

    /// Encodes the rest of a call. `Some(end)`: the batch must be written up to there first.
    fn add_call(&mut self, frame: &Frame<'_>, at: Cursor, next: Cursor) -> Result<Option<Cursor>> {
        let Some(call) = frame.metrics() else {
            self.reporting.stats.frames_damaged.add(1);
            return Ok(None);
        };
        if self.rows == 0 {
            self.look(FileKind::Metrics)?;
        }
        self.encoder.call(&call);
        for (index, (name, value)) in call.rows().enumerate().skip(at.rows as usize) {
            let before = (self.metrics.len(), self.manifest.len());
            self.encoder.row(name, &value, &mut self.metrics, &mut self.manifest);
            let full = |drain: &mut Self, kind, before: usize, length: usize| {
                drain.may_rotate() && drain.files.get(kind).must_rotate(before as u64, (length - before) as u64)
            };
            if self.manifest.len() > before.1 {
                if before.1 == 0 {
                    self.look(FileKind::Manifest)?;
                }
                if full(self, FileKind::Manifest, before.1, self.manifest.len()) {
                    if self.rows > 0 {
                        return Ok(Some(self.end_before(before, at, index)));
                    }
                    self.rotate(FileKind::Manifest);
                }
            }
            if full(self, FileKind::Metrics, before.0, self.metrics.len()) {
                if self.rows > 0 {
                    return Ok(Some(self.end_before(before, at, index)));
                }
                self.rotate(FileKind::Metrics);
            }
            self.rows += 1;
            if self.metrics.len() + self.manifest.len() >= BATCH_BYTES {
                let end = if index + 1 == call.rows as usize { next } else { Cursor { rows: index as u64 + 1, ..at } };
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    /// Takes the newest row out of the batch again, which then ends before it.
    fn end_before(&mut self, before: (usize, usize), at: Cursor, index: usize) -> Cursor {
        self.metrics.truncate(before.0);
        self.manifest.truncate(before.1);
        Cursor { rows: index as u64, ..at }
    }

    fn commit(&mut self, after: Cursor) -> Result<bool> {
        if self.lost_meanwhile() {
            return Ok(true);
        }
        if self.rows == 0 {
            // Nothing but padding was passed, which the stored cursor need not know.
            self.ring.release(after.position);
            self.cursor = after;
            return Ok(false);
        }
        let manifest = std::mem::take(&mut self.manifest);
        let metrics = std::mem::take(&mut self.metrics);
        let pieces = [(FileKind::Manifest, manifest.as_slice()), (FileKind::Metrics, &metrics)];
        let outcome = self.append(&pieces, after, self.rows);
        self.manifest = manifest;
        self.metrics = metrics;
        outcome.map(|()| true)
    }

    /// Writes one line that no frame holds to a file for which no batches are made. After an error it was not taken. One that
    /// may have arrived in part is taken, and finished before anything else is written.
    pub fn write_line(&mut self, kind: FileKind, line: &[u8]) -> Result<()> {
        self.settle()?;
        match self.append_line(kind, line, self.cursor) {
            Err(error) if self.owed.is_some() => {
                self.note_error(&error);
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn append_line(&mut self, kind: FileKind, line: &[u8], after: Cursor) -> Result<()> {
        self.settle()?;
        self.look(kind)?;
        if self.may_rotate() && self.files.get(kind).must_rotate(0, line.len() as u64) {
            self.rotate(kind);
        }
        self.append(&[(kind, line)], after, 0)
    }

    /// The place up to which everything is in the files.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Appends to one or two files under an intent and moves the cursor to `after`. After an error the append stays owed.
    fn append(&mut self, pieces: &[(FileKind, &[u8])], after: Cursor, rows: u64) -> Result<()> {
        let mut extents = [None; 2];
        for (slot, (kind, bytes)) in extents.iter_mut().zip(pieces) {
            if !bytes.is_empty() {
                let (id, length) = self.extent(*kind)?;
                *slot = Some(Extent { file: *kind as u64, id, length });
            }
        }
        let begun = cursor::begin(self.ring.memory(), &Intent { after, extents });
        self.journal_worked(begun)?;
        if let Err(error) = self.carry_out(pieces) {
            self.owed = Some(Owed::of(pieces, &extents, after, rows));
            return Err(error);
        }
        self.done(pieces.iter().map(|(kind, bytes)| (*kind, bytes.len())), after, rows);
        for feed in &self.reporting.feeds {
            for ((kind, bytes), extent) in pieces.iter().zip(extents) {
                if let Some(extent) = extent.filter(|_| *kind == FileKind::Metrics) {
                    feed.offer(extent.id, extent.length, bytes);
                }
            }
        }
        Ok(())
    }

    /// Identity and length of a file that is about to be appended to. A rotation that could not open the new file has left none
    /// open: without its length nobody could tell what of the append is missing.
    fn extent(&mut self, kind: FileKind) -> Result<(FileId, u64)> {
        if self.files.get(kind).extent().is_none() {
            self.look(kind)?;
        }
        let writer = self.files.get(kind);
        writer.extent().ok_or_else(|| Error::io("append to", writer.path(), ErrorKind::NotFound.into()))
    }

    /// Appends under the intent that was begun.
    fn carry_out(&mut self, pieces: &[(FileKind, &[u8])]) -> Result<()> {
        for (kind, bytes) in pieces.iter().filter(|(_, bytes)| !bytes.is_empty()) {
            self.files.get(*kind).append(bytes)?;
        }
        let completed = cursor::complete(self.ring.memory());
        self.journal_worked(completed)
    }

    /// Goes on behind an append that is in the files.
    fn done(&mut self, lengths: impl Iterator<Item = (FileKind, usize)>, after: Cursor, rows: u64) {
        for (kind, length) in lengths.filter(|(_, length)| *length > 0) {
            self.reporting.stats.bytes_written.add(length as u64);
            if let (Some(syncer), Some(file)) = (&self.reporting.syncer, self.files.get(kind).file()) {
                syncer.note(file);
            }
        }
        self.rows_done += rows;
        self.reporting.stats.rows_written.add(rows);
        self.cursor = after;
        self.ring.release(after.position);
    }

    fn journal_worked(&mut self, outcome: std::io::Result<()>) -> Result<()> {
        self.journal_fails = outcome.is_err();
        outcome.map_err(|source| Error::io("write", Path::new("the journal"), source))
    }

    /// Goes on without the journal at `path` if it is what cannot be written. It is deleted first, for who recovered from it
    /// would write rows again. Gives whether that was done.
    pub fn leave_journal(&mut self, path: &Path) -> bool {
        if !self.journal_fails || !self.ring.is_mirrored() || crate::fs::remove(path).is_err() {
            return false;
        }
        self.ring.memory().detach();
        self.journal_fails = false;
        true
    }

    /// Makes sure that the file is open and is still the one we left.
    fn look(&mut self, kind: FileKind) -> Result<()> {
        let torn = self.files.torn_tails();
        let outcome = self.open_or_adapt(kind);
        self.reporting.stats.torn_tails.add(self.files.torn_tails() - torn);
        outcome
    }

    fn open_or_adapt(&mut self, kind: FileKind) -> Result<()> {
        if self.files.get(kind).extent().is_none() {
            return self.open(kind);
        }
        let id = self.files.get(kind).extent().map(|(id, _)| id);
        let found = self.files.get(kind).look()?;
        if found != Found::Unchanged {
            if found == Found::Replaced {
                // It may have been rotated by another program.
                self.note_passed(kind, id);
            }
            self.reporting.stats.files_disturbed.add(1);
            self.note_folder(kind);
            let path = self.files.get(kind).path().display().to_string();
            self.reporting.warnings.push("disturbed", || match found {
                Found::Replaced => {
                    format!("{path} was moved or deleted by another program; writing continues in a new file")
                }
                Found::Closed => {
                    format!("this process closed the descriptor of {path}, which is not its own; it was opened again")
                }
                _ => format!("{path} was shortened or extended by another program; writing continues at its end"),
            });
        }
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
#[path = "drain_tests.rs"]
mod tests;
