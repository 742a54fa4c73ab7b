//! The files that one stream writes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock::Clock;
use crate::journal::frame::LineFile;
use crate::pulse::Pulse;
use crate::shard::name::Stream;
use crate::shard::policy::Policy;
use crate::shard::writer::ShardWriter;

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

/// A writer for each file of a stream.
#[derive(Debug)]
pub struct Files {
    writers: [ShardWriter; 5],
    pulse: Arc<Pulse>,
}

impl Files {
    /// Writers for the files of `stream` in `directory`; none is touched before it is needed.
    #[must_use]
    pub fn new(directory: &Path, stream: &Stream, policy: Policy, mode: u32, clock: &Clock) -> Self {
        let pulse = Arc::default();
        let writers = FileKind::ALL.map(|kind| {
            let policy = if kind.rotates() { policy } else { Policy::OFF };
            let mut writer = ShardWriter::new(kind.path(directory, stream), policy, mode, clock.clone());
            writer.show_by(&pulse);
            writer
        });
        Self { writers, pulse }
    }

    /// The writer of one file.
    pub fn get(&mut self, kind: FileKind) -> &mut ShardWriter {
        &mut self.writers[kind as usize]
    }

    /// Signs of life of whoever writes them.
    #[must_use]
    pub fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// Partial lines set aside in all files.
    #[must_use]
    pub fn torn_tails(&self) -> u64 {
        self.writers.iter().map(ShardWriter::torn_tails).sum()
    }
}
