//! How the lines of a log are read, whatever they are.

use super::faults::Faults;
use super::lines::Piece;
use super::names::Names;
use super::row::Refusal;

/// A way to read lines. One thread's own.
pub trait LineReader: Default {
    /// What a line says.
    type Row<'a>: Parsed;

    /// Gives each line of `piece` that says something to `row` and each other one, unless it is blank, to `refuse`, with its
    /// number from 0.
    fn read(
        &mut self,
        piece: Piece<'_>,
        lines: &mut Lines,
        row: impl FnMut(&Self::Row<'_>, &Names, u64),
        refuse: impl FnMut(Refusal, u64),
    );

    /// The texts that lines refer to.
    fn names(&self) -> &Names;

    /// The same, to keep.
    fn into_names(self) -> Names;
}

/// What a pass asks of each line, whatever it says.
pub trait Parsed {
    /// The step.
    fn step(&self) -> Option<i64>;

    /// What could not be read as it stands.
    fn faults(&self) -> Faults;
}

/// How many lines a part of a file has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// All of them.
    pub total: u64,
    /// Those that are blank.
    pub blank: u64,
}

/// Whether a line says nothing at all.
#[inline]
pub(super) fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}
