//! One line at a time, for readers that follow a log.

use super::lines::Piece;
use super::names::Names;
use super::parser::Parser;
use super::reader::{LineReader, Lines};
use super::row::Refusal;

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<T> {
    /// One that says something, and what was made of it.
    Row(T),
    /// Nothing but space.
    Blank,
    /// No row.
    Refused(Refusal),
}

/// Reads lines one by one, those with rows unless told otherwise.
#[derive(Debug, Default)]
pub struct LineParser<R = Parser>(R);

impl<R: LineReader> LineParser<R> {
    /// Hands what is said in `line`, which may end with a newline, to `make`.
    pub fn read<T>(&mut self, line: &[u8], make: impl FnOnce(&R::Row<'_>, &Names) -> T) -> Line<T> {
        let mut found = Line::Blank;
        let mut refused = None;
        let mut make = Some(make);
        // A line that ends without its newline counts, if it is whole.
        let piece = if line.ends_with(b"\n") { Piece::Lines(line) } else { Piece::Unfinished(line) };
        self.0.read(
            piece,
            &mut Lines::default(),
            |row, names, _| {
                if let Some(make) = make.take() {
                    found = Line::Row(make(row, names));
                }
            },
            |refusal, _| refused = Some(refusal),
        );
        refused.map_or(found, Line::Refused)
    }

    /// The texts that rows refer to.
    #[must_use]
    pub fn names(&self) -> &Names {
        self.0.names()
    }
}
