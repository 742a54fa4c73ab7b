//! What a reader saw beside the rows it gave.

use std::path::{Path, PathBuf};

use super::row::Refusal;
use crate::limits::MAX_REPORTED_LINES;

/// Counts of lines, and the first ones that are no rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Lines that are rows.
    pub rows: u64,
    /// Lines that are not blank.
    pub lines: u64,
    /// Lines that are no rows.
    pub skipped: u64,
    /// The first of them in order of position: file, line (from 1; 0 for the file as a whole) and reason.
    pub examples: Vec<(PathBuf, u64, Refusal)>,
    /// Files that were read.
    pub files: u64,
    /// Rows that were brought back from journals.
    pub recovered: u64,
}

impl Report {
    /// A name that is a shard's, but leads to no file.
    pub(super) fn skip_name(&mut self, path: &Path) {
        self.skipped += 1;
        if self.examples.len() < MAX_REPORTED_LINES {
            self.examples.push((path.to_owned(), 0, Refusal::NoFile));
        }
    }
}
