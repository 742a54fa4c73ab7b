//! What a reader saw beside the rows it gave.

use std::path::{Path, PathBuf};

use super::faults::Fault;
use super::row::Refusal;
use crate::limits::MAX_REPORTED_LINES;
use crate::problem::Problem;

/// Counts of lines, and the first ones that are no rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Lines that are rows.
    pub rows: u64,
    /// Lines that are not blank, without one that a writer is about to end.
    pub lines: u64,
    /// Lines that are no rows.
    pub skipped: u64,
    /// The first of them in order of position: file, line (from 1; 0 for the file as a whole) and reason.
    pub examples: Vec<(PathBuf, u64, Refusal)>,
    /// Fields of rows that could not be read, or not whole.
    pub faulty_fields: u64,
    /// Rows that have no `value`.
    pub valueless_rows: u64,
    /// The first of both in order of position: file, line and fault.
    pub faults: Vec<(PathBuf, u64, Fault)>,
    /// Files that were read.
    pub files: u64,
    /// Files that look like a log and were not read.
    pub unread_files: u64,
    /// The first of them by name.
    pub unread: Vec<PathBuf>,
    /// Journals whose rows may be missing, and why.
    pub journals: Vec<(PathBuf, Problem)>,
    /// What else the user should hear.
    pub notes: Vec<String>,
    /// Rows that a later session has superseded; they are in none of the other counts but the lines.
    pub superseded: u64,
    /// Rows that were brought back from journals.
    pub recovered: u64,
    /// Rows that retention deleted, by the records of the streams.
    pub retired: u64,
}

impl Report {
    /// Adds what a reader saw elsewhere. Of examples the first ones stay.
    pub(super) fn add(&mut self, mut other: Self) {
        let room = |shown: usize| MAX_REPORTED_LINES.saturating_sub(shown);
        self.rows += other.rows;
        self.lines += other.lines;
        self.skipped += other.skipped;
        self.examples.extend(other.examples.into_iter().take(room(self.examples.len())));
        self.faulty_fields += other.faulty_fields;
        self.valueless_rows += other.valueless_rows;
        self.faults.extend(other.faults.into_iter().take(room(self.faults.len())));
        self.files += other.files;
        self.unread_files += other.unread_files;
        self.unread.extend(other.unread.into_iter().take(room(self.unread.len())));
        self.journals.append(&mut other.journals);
        self.notes.append(&mut other.notes);
        self.superseded += other.superseded;
        self.recovered += other.recovered;
        self.retired += other.retired;
    }

    /// A name that is a shard's, but leads to no file.
    pub(super) fn skip_name(&mut self, path: &Path) {
        self.skipped += 1;
        if self.examples.len() < MAX_REPORTED_LINES {
            self.examples.push((path.to_owned(), 0, Refusal::NoFile));
        }
    }

    /// Files that look like a log and are not read.
    pub(super) fn leave_unread(&mut self, mut paths: Vec<PathBuf>) {
        self.unread_files += paths.len() as u64;
        paths.truncate(MAX_REPORTED_LINES);
        self.unread.append(&mut paths);
    }

    /// Files that are left out because their rows stand in another one, each with that one.
    pub(super) fn name_doubles(&mut self, doubled: &[(PathBuf, PathBuf)]) {
        self.notes.extend(doubled.iter().map(|(double, whole)| {
            let (double, whole) = (double.display(), whole.display());
            format!("{double} holds the same rows as {whole}, as in a copy that was made during a rotation; they are read once")
        }));
    }
}
