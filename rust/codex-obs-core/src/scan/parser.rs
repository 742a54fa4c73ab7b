//! Lines to rows: the way for our own bytes first, then that for lines like the ones before, then the general one.

use super::canonical::Canonical;
use super::faults::Faults;
use super::lines::Piece;
use super::names::Names;
use super::reader::{LineReader, Lines, Parsed, is_blank};
use super::row::{Member, Refusal, Row, Scratch, parse};
use super::shape::Shapes;

/// What is kept from line to line.
#[derive(Debug, Default)]
pub struct Parser {
    /// The texts that rows refer to.
    pub names: Names,
    canonical: Canonical,
    shapes: Shapes,
    scratch: Scratch,
    members: Vec<Member>,
}

impl LineReader for Parser {
    type Row<'a> = Row<'a>;

    #[inline]
    fn read(
        &mut self,
        piece: Piece<'_>,
        lines: &mut Lines,
        row: impl FnMut(&Row<'_>, &Names, u64),
        refuse: impl FnMut(Refusal, u64),
    ) {
        Self::read(self, piece, lines, row, refuse);
    }

    #[inline]
    fn names(&self) -> &Names {
        &self.names
    }

    fn into_names(self) -> Names {
        self.names
    }
}

impl Parsed for Row<'_> {
    #[inline]
    fn step(&self) -> Option<i64> {
        self.step
    }

    #[inline]
    fn faults(&self) -> Faults {
        self.faults
    }
}

impl Parser {
    /// Gives each line of `piece` that is a row to `row` and each other one, unless it is blank, to `refuse`, with its number
    /// from 0.
    #[inline]
    pub fn read(
        &mut self,
        piece: Piece<'_>,
        lines: &mut Lines,
        mut row: impl FnMut(&Row<'_>, &Names, u64),
        mut refuse: impl FnMut(Refusal, u64),
    ) {
        let mut bytes = match piece {
            Piece::Lines(bytes) => bytes,
            Piece::Unfinished(line) => {
                self.general(line, lines, &mut row, &mut |refusal, number| {
                    let torn = matches!(refusal, Refusal::Syntax | Refusal::Encoding);
                    refuse(if torn { Refusal::Torn } else { refusal }, number);
                });
                lines.total += 1;
                return;
            }
            Piece::TooLong => {
                refuse(Refusal::TooLong, lines.total);
                lines.total += 1;
                return;
            }
        };
        while !bytes.is_empty() {
            let length = if let Some((found, length)) = self.canonical.parse(bytes, &mut self.names) {
                row(&found, &self.names, lines.total);
                length
            } else {
                let length = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
                self.general(&bytes[..length], lines, &mut row, &mut refuse);
                (length + 1).min(bytes.len())
            };
            lines.total += 1;
            bytes = &bytes[length..];
        }
    }

    fn general(
        &mut self,
        line: &[u8],
        lines: &mut Lines,
        row: &mut impl FnMut(&Row<'_>, &Names, u64),
        refuse: &mut impl FnMut(Refusal, u64),
    ) {
        if is_blank(line) {
            lines.blank += 1;
            return;
        }
        let Ok(line) = std::str::from_utf8(line) else { return refuse(Refusal::Encoding, lines.total) };
        if let Some(found) = self.shapes.read(line, &mut self.names) {
            return row(&found, &self.names, lines.total);
        }
        match parse(line, &mut self.names, &mut self.scratch, &mut self.members) {
            Ok(found) => {
                row(&found, &self.names, lines.total);
                self.shapes.learn(line, &self.members, &found);
            }
            Err(refusal) => refuse(refusal, lines.total),
        }
    }
}
