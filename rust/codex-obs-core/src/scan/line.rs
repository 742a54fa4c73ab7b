//! One line at a time, for readers that follow a log.

use super::lines::Piece;
use super::names::Names;
use super::parser::Parser;
use super::reader::Lines;
use super::row::{Refusal, Row};

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<T> {
    /// A row, and what was made of it.
    Row(T),
    /// Nothing but space.
    Blank,
    /// No row.
    Refused(Refusal),
}

/// Reads lines one by one.
#[derive(Debug, Default)]
pub struct LineParser(Parser);

impl LineParser {
    /// Hands the row in `line`, which may end with a newline, to `make`.
    pub fn read<T>(&mut self, line: &[u8], make: impl FnOnce(&Row<'_>, &Names) -> T) -> Line<T> {
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
        &self.0.names
    }
}
