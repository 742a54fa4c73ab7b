//! Names in a run directory: which files a stream has, and where what is internal lies.

use std::path::{Path, PathBuf};

use crate::fs::INTERNALS;
use crate::journal::frame::LineFile;
use crate::shard::name::Stream;

/// Which file of a stream. The numbers stand in journals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum FileKind {
    /// `metrics.ndjson`
    Metrics = 0,
    /// `metrics_manifest.ndjson`
    Manifest = 1,
    /// `params.ndjson`
    Params = 2,
    /// `tracking_summary.ndjson`
    Summary = 3,
    /// `run.ndjson`
    Session = 4,
}

impl FileKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Metrics, Self::Manifest, Self::Params, Self::Summary, Self::Session];

    /// The kind behind a number in a journal.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u64 == number)
    }

    /// The first part of the file's name.
    #[must_use]
    pub fn base(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Manifest => "metrics_manifest",
            Self::Params => "params",
            Self::Summary => "tracking_summary",
            Self::Session => "run",
        }
    }

    /// Whether the rules of rotation govern the file.
    #[must_use]
    pub fn rotates(self) -> bool {
        matches!(self, Self::Metrics | Self::Manifest | Self::Summary)
    }

    /// The file's path in a run directory.
    #[must_use]
    pub fn path(self, directory: &Path, stream: &Stream) -> PathBuf {
        directory.join(stream.file_name(self.base(), "ndjson"))
    }
}

impl From<LineFile> for FileKind {
    fn from(file: LineFile) -> Self {
        match file {
            LineFile::Params => Self::Params,
            LineFile::Summary => Self::Summary,
            LineFile::Session => Self::Session,
        }
    }
}

/// The journal of `stream` in the run directory `directory`.
#[must_use]
pub fn journal_path(directory: &Path, stream: &Stream) -> PathBuf {
    directory.join(INTERNALS).join(format!("journal-{stream}"))
}

/// The lock of `stream`.
#[must_use]
pub fn lock_path(directory: &Path, stream: &Stream) -> PathBuf {
    directory.join(INTERNALS).join(format!("lock-{stream}"))
}
