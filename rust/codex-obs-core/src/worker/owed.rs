//! An append that was begun and is not known to be done: it stays owed until all of it is in the files, once.
//!
//! A write may fail after a part of it, or after all of it, has reached the file. So what stands behind the noted length is
//! compared with what was to be written, and only what is missing is written. No whole line is ever taken back: whoever
//! follows the file would see it shrink, and read what comes again.

use std::path::Path;

use crate::encode::row::RowEncoder;
use crate::error::{Error, Result};
use crate::fs::FileId;
use crate::journal::cursor::{Cursor, Extent, Intent};
use crate::journal::frame::{Kind, LineFile};
use crate::journal::ring::Ring;
use crate::limits::BATCH_BYTES;
use crate::paths::{FileKind, Stream};
use crate::shard::behind::Behind;

/// What one file is owed.
#[derive(Debug)]
pub struct Piece {
    /// Which file.
    pub kind: FileKind,
    /// Which inode it was when it was begun.
    pub id: FileId,
    /// Its length then.
    pub noted: u64,
    /// Whole lines that belong behind that.
    pub lines: Vec<u8>,
}

impl Piece {
    /// Whether the file that has the name is the one whose length was noted, and goes on as the lines do. What cannot be looked
    /// at right now is not known to be another: it may fit at the next attempt, which must not find it half replayed.
    fn fits(&self, directory: &Path, stream: &Stream) -> Result<bool> {
        let path = self.kind.path(directory, stream);
        if FileId::at(&path)? != Some(self.id) {
            return Ok(false);
        }
        let Some(file) = crate::fs::open_ours(&path)? else { return Ok(false) };
        if FileId::of(&file, &path)? != self.id {
            return Ok(false);
        }
        let behind = Behind::compare(&file, self.noted, &self.lines);
        Ok(!matches!(behind.map_err(|source| Error::io("read", &path, source))?, Behind::Other(_)))
    }
}

/// The unfinished append of a batch.
#[derive(Debug)]
pub struct Owed {
    /// Where the journal is read on once it is done.
    pub after: Cursor,
    /// Rows of metrics in it.
    pub rows: u64,
    /// What is missing from which file, in the order of writing.
    pub pieces: Vec<Piece>,
}

impl Owed {
    /// The append of `pieces` to files that had `extents`.
    #[must_use]
    pub fn of(pieces: &[(FileKind, &[u8])], extents: &[Option<Extent>; 2], after: Cursor, rows: u64) -> Self {
        let pieces = pieces.iter().zip(extents).filter_map(|((kind, lines), extent)| {
            extent.map(|extent| Piece { kind: *kind, id: extent.id, noted: extent.length, lines: lines.to_vec() })
        });
        Self { after, rows, pieces: pieces.collect() }
    }

    /// What `intent` was to write, made again from the frames of `ring` from `cursor` on. `None` if no writer's intent reads
    /// like that.
    #[must_use]
    pub fn again(ring: &Ring, cursor: Cursor, intent: &Intent, encoder: &mut RowEncoder) -> Option<Self> {
        let most = BATCH_BYTES + usize::try_from(ring.size()).ok()?;
        let mut lines: [Vec<u8>; FileKind::ALL.len()] = Default::default();
        let (mut at, mut rows, mut is_line) = (cursor, 0, false);
        let is_end = |at: Cursor| {
            let end = &intent.after;
            (at.position, at.sequence, at.rows) == (end.position, end.sequence, end.rows)
        };
        while !is_end(at) {
            let frame = ring.frame(&mut at);
            // What stood between was padding.
            if is_end(at) {
                break;
            }
            let (frame, next) = frame?;
            let is_last = at.sequence == intent.after.sequence;
            match (frame.kind, frame.metrics(), frame.line()) {
                (Kind::Metrics, Some(call), _) if !is_line => {
                    let [metrics, manifest, ..] = &mut lines;
                    let wanted = if is_last { intent.after.rows.checked_sub(at.rows)? } else { u64::MAX };
                    encoder.call(&call);
                    let before = rows;
                    for ((name, value), _) in call.rows().skip(usize::try_from(at.rows).ok()?).zip(0..wanted) {
                        encoder.row(name, &value, metrics, manifest);
                        rows += 1;
                        if metrics.len() + manifest.len() > most {
                            return None;
                        }
                    }
                    at = if is_last && rows - before == wanted { intent.after } else { next };
                }
                // A line is written alone, but for those of telemetry, which go together.
                (Kind::Line, _, Some((file, line))) if rows == 0 && !is_last => {
                    let lines = &mut lines[FileKind::from(file) as usize];
                    let goes_on = file == LineFile::Telemetry && !lines.is_empty();
                    if is_line && !goes_on || lines.len() > most {
                        return None;
                    }
                    lines.extend_from_slice(line);
                    is_line = true;
                    at = next;
                }
                _ => return None,
            }
        }
        let mut pieces = Vec::new();
        for extent in intent.extents.into_iter().flatten() {
            let kind = FileKind::from_number(extent.file)?;
            let lines = std::mem::take(&mut lines[kind as usize]);
            pieces.push(Piece { kind, id: extent.id, noted: extent.length, lines });
        }
        // Lines of a file whose length was not noted.
        let is_whole = lines.iter().all(Vec::is_empty);
        is_whole.then_some(Self { after: intent.after, rows, pieces })
    }

    /// The file of each piece, and the bytes that are owed to it.
    pub fn lengths(&self) -> impl Iterator<Item = (FileKind, usize)> + use<> {
        let lengths: Vec<_> = self.pieces.iter().map(|piece| (piece.kind, piece.lines.len())).collect();
        lengths.into_iter()
    }

    /// Whether the files of `stream` are those that it was begun with, and hold nothing else behind their noted lengths.
    pub fn fits(&self, directory: &Path, stream: &Stream) -> Result<bool> {
        for piece in &self.pieces {
            if !piece.fits(directory, stream)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
