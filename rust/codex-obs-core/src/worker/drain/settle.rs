//! What is owed from before: an append that failed, that a panic ended, or that a dead writer had begun.

use std::os::unix::fs::FileExt;
use std::path::Path;

use super::Drain;
use crate::error::{Error, Result};
use crate::fs::FileId;
use crate::journal::cursor::{self, Cursor, Extent, Intent};
use crate::journal::ring::Gap;
use crate::paths::{FileKind, Stream};
use crate::worker::owed::Owed;

impl Drain {
    /// Takes on what a dead writer had begun. `false`: its intent or the files do not fit to each other, so that nothing that
    /// the journal says of its progress is certain.
    pub fn take_on(&mut self, directory: &Path, stream: &Stream) -> Result<bool> {
        let Some(intent) = cursor::unfinished(self.ring.memory()) else { return Ok(true) };
        let is_record = intent.extents.iter().flatten().all(|extent| extent.file == FileKind::Summary as u64);
        let gap = self.ring.gap(&self.cursor).filter(|gap| is_record && gap.to.position == intent.after.position);
        if let Some(gap) = gap {
            let after = gap.to;
            return self.take_on_record(directory, stream, &intent, after).map(|()| true);
        }
        let owed = Owed::again(&self.ring, self.cursor, &intent, &mut self.encoder);
        let Some(owed) = owed.filter(|owed| !owed.pieces.is_empty() || owed.after == self.cursor) else {
            return Ok(false);
        };
        let fits = owed.fits(directory, stream)?;
        self.owed = fits.then_some(owed);
        Ok(fits)
    }

    /// Puts a gap of a dead process's journal on record with `line` and goes on behind it, in one append.
    pub fn pass_gap(&mut self, gap: &Gap, line: &[u8]) -> Result<()> {
        self.append_line(FileKind::Summary, line, gap.to)
    }

    /// Takes on [the record of a gap](Self::pass_gap). If it is in the file as a whole, it is done; else it is made again, and
    /// what is torn of it is set aside when the file is opened.
    fn take_on_record(&mut self, directory: &Path, stream: &Stream, intent: &Intent, after: Cursor) -> Result<()> {
        let mut is_done = false;
        for extent in intent.extents.into_iter().flatten() {
            let Some(kind) = FileKind::from_number(extent.file) else { continue };
            let path = kind.path(directory, stream);
            let Some(file) = crate::fs::open_ours(&path)? else { continue };
            let failed = |source| Error::io("read", &path, source);
            let found = file.metadata().map_err(failed)?;
            let mut last = [0];
            if FileId::from(&found) == extent.id && found.len() > extent.length {
                file.read_exact_at(&mut last, found.len() - 1).map_err(failed)?;
            }
            is_done = last == *b"\n";
        }
        let memory = self.ring.memory();
        let settled = if is_done { cursor::complete(memory) } else { cursor::abandon(memory) };
        self.journal_worked(settled)?;
        if is_done {
            self.cursor = after;
            self.ring.release(after.position);
        }
        Ok(())
    }

    /// Says before the frames are compared with the files that nothing in the journal tells how far they are in them: what was
    /// begun may fit again once some of them were appended.
    pub fn distrust(&mut self) -> Result<()> {
        let (after, _) = self.ring.end();
        let extent = Extent { file: FileKind::Metrics as u64, id: FileId::default(), length: 0 };
        let begun = cursor::begin(self.ring.memory(), &Intent { after, extents: [Some(extent), None] });
        self.journal_worked(begun)
    }

    /// Goes on behind everything in the ring, which was written by other means. That is noted in one piece: a death before it
    /// leaves the intent that does not fit, never an old cursor that seems to be right.
    pub fn pass_all(&mut self) -> Result<()> {
        let (after, _) = self.ring.end();
        let begun = cursor::begin(self.ring.memory(), &Intent { after, extents: [None; 2] });
        self.journal_worked(begun)?;
        let completed = cursor::complete(self.ring.memory());
        self.journal_worked(completed)?;
        self.cursor = after;
        self.ring.release(after.position);
        Ok(())
    }

    /// Finishes an append that failed, or that was begun before a panic. Until that is done nothing else is appended, for what
    /// is there already would come twice.
    pub(super) fn settle(&mut self) -> Result<()> {
        if self.owed.is_none() {
            let Some(intent) = cursor::unfinished(self.ring.memory()) else { return Ok(()) };
            self.owed = Owed::again(&self.ring, self.cursor, &intent, &mut self.encoder);
            if self.owed.is_none() {
                // A line that no frame holds. What is torn of it is set aside when the file is opened again.
                for kind in intent.extents.into_iter().flatten().filter_map(|extent| FileKind::from_number(extent.file))
                {
                    self.files.get(kind).forget();
                }
                let abandoned = cursor::abandon(self.ring.memory());
                return self.journal_worked(abandoned);
            }
        }
        let Some(mut owed) = self.owed.take() else { return Ok(()) };
        let settled = self.settle_pieces(&mut owed);
        if settled.is_ok() {
            self.done(owed.lengths(), owed.after, owed.rows);
        } else {
            self.owed = Some(owed);
        }
        settled
    }

    fn settle_pieces(&mut self, owed: &mut Owed) -> Result<()> {
        for piece in &mut owed.pieces {
            self.files.get(piece.kind).finish(&mut piece.id, &mut piece.noted, &mut piece.lines)?;
        }
        let completed = cursor::complete(self.ring.memory());
        self.journal_worked(completed)
    }
}
