//! Lines to rows: the fast way first, the general way for what it leaves.

use super::canonical::Canonical;
use super::lines::Piece;
use super::names::Names;
use super::row::{Refusal, Row, Scratch, parse};

/// What is kept from line to line.
#[derive(Debug, Default)]
pub struct Parser {
    /// The texts that rows refer to.
    pub names: Names,
    canonical: Canonical,
    scratch: Scratch,
}

/// How many lines a part of a file has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// All of them.
    pub total: u64,
    /// Those that are blank.
    pub blank: u64,
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

    #[cold]
    fn general(
        &mut self,
        line: &[u8],
        lines: &mut Lines,
        row: &mut impl FnMut(&Row<'_>, &Names, u64),
        refuse: &mut impl FnMut(Refusal, u64),
    ) {
        if line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
            lines.blank += 1;
            return;
        }
        match parse(line, &mut self.names, &mut self.scratch) {
            Ok(found) => row(&found, &self.names, lines.total),
            Err(refusal) => refuse(refusal, lines.total),
        }
    }
}
