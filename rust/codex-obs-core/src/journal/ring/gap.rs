//! What of a dead process's journal cannot be read.

use crate::journal::cursor::Cursor;

/// A stretch of a journal without a whole frame, between two places that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where it begins.
    pub from: Cursor,
    /// Where whole frames go on, or the journal ends.
    pub to: Cursor,
    /// Step of the first frame in it, where its head can still be read.
    pub first_step: Option<i64>,
    /// Step of the last frame in it, where its head can still be read.
    pub last_step: Option<i64>,
}

impl Gap {
    /// Frames in it. Behind the last whole frame of a journal it is not known how many there were, and they count as one.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.to.sequence.saturating_sub(self.from.sequence).max(1)
    }

    /// Rows in it that are not in the files. Journals of the first version do not number rows: there it is what heads of
    /// frames still say.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.to.row.saturating_sub(self.from.row).saturating_sub(self.from.rows)
    }

    /// Adds a gap that begins where this one ends.
    fn join(&mut self, next: &Self) {
        self.to = next.to;
        self.last_step = next.last_step;
    }
}

/// Frames and rows of `gaps`, all together.
#[must_use]
pub fn lost(gaps: &[Gap]) -> (u64, u64) {
    gaps.iter().fold((0, 0), |(frames, rows), gap| (frames + gap.frames(), rows + gap.rows()))
}

/// Adds `gap` behind all others.
pub fn push(gaps: &mut Vec<Gap>, gap: Gap) {
    match gaps.last_mut().filter(|last| last.to == gap.from) {
        Some(last) => last.join(&gap),
        None => gaps.push(gap),
    }
}
