//! Every name in a run directory: which files a stream has, and where what is internal lies.

mod shard;
mod stream;

use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

pub use shard::{Coding, ShardName, extension, shard_path};
pub use stream::{MAIN, Stream};

/// Folder of the internals in a run directory.
pub const INTERNALS: &str = ".codex_obs";

/// What a journal's name begins with; its stream follows.
const JOURNAL: &str = "journal-";

/// What a lock's name begins with; its stream follows.
const LOCK: &str = "lock-";

/// What the name of a stream's note that there is something to pack begins with.
const PACK_NOTE: &str = "pack-";

/// Which file of a stream. The numbers stand in journals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// `telemetry.ndjson`: spans and their events.
    Telemetry = 5,
    /// `system_metrics.jsonl`: samples of the machine.
    Samples = 6,
}

impl FileKind {
    /// Every kind that goes through a journal.
    pub const ALL: [Self; 6] =
        [Self::Metrics, Self::Manifest, Self::Params, Self::Summary, Self::Session, Self::Telemetry];

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
            Self::Telemetry => "telemetry",
            Self::Samples => "system_metrics",
        }
    }

    /// Whether the rules of rotation govern the file.
    #[must_use]
    pub fn rotates(self) -> bool {
        !matches!(self, Self::Params | Self::Session)
    }

    /// The stream whose current file of this kind has this name.
    #[must_use]
    pub fn stream_of(self, file_name: &str) -> Option<Stream> {
        let name = ShardName::parse(file_name, self.base())?;
        (name.number == 0 && name.coding == Coding::Plain).then_some(name.stream)
    }

    /// The file's path in a run directory.
    #[must_use]
    pub fn path(self, directory: &Path, stream: &Stream) -> PathBuf {
        directory.join(stream.file_name(self.base(), extension(self.base())))
    }
}

/// The journal of `stream` in the run directory `directory`.
#[must_use]
pub fn journal_path(directory: &Path, stream: &Stream) -> PathBuf {
    directory.join(INTERNALS).join(format!("{JOURNAL}{stream}"))
}

/// The stream whose journal has this name among the internals.
#[must_use]
pub fn stream_of_journal(file_name: &str) -> Option<Stream> {
    file_name.strip_prefix(JOURNAL).and_then(Stream::parse)
}

/// What `log_artifact` copied.
#[must_use]
pub fn artifacts_path(directory: &Path) -> PathBuf {
    directory.join("artifacts")
}

/// Shared by those who copy artifacts.
#[must_use]
pub fn artifacts_lock_path(directory: &Path) -> PathBuf {
    directory.join(INTERNALS).join("artifacts-lock")
}

/// Which artifacts a destination has.
#[must_use]
pub fn artifact_notes_path(directory: &Path, address: &str) -> PathBuf {
    directory.join(INTERNALS).join(format!("artifacts-{:016x}.ndjson", xxh3_64(address.as_bytes())))
}

/// What a sidecar says, which writes as `stream`.
#[must_use]
pub fn sidecar_words_path(directory: &Path, stream: &Stream) -> PathBuf {
    directory.join(INTERNALS).join(format!("{stream}.log"))
}

/// Which sidecar's turn it is, of those that write as `stream`.
#[must_use]
pub fn sidecar_turn_path(directory: &Path, stream: &Stream) -> PathBuf {
    directory.join(INTERNALS).join(format!("{stream}.turn"))
}

/// How a sidecar stands, which writes as `stream`.
#[must_use]
pub fn sidecar_state_path(directory: &Path, stream: &Stream) -> PathBuf {
    directory.join(INTERNALS).join(format!("{stream}.json"))
}

/// Where it stands that shards of `stream` are to be packed.
#[must_use]
pub fn pack_note_path(directory: &Path, stream: &Stream) -> PathBuf {
    directory.join(INTERNALS).join(format!("{PACK_NOTE}{stream}"))
}

/// The stream whose [note](pack_note_path) has this name among the internals.
#[must_use]
pub fn stream_of_pack_note(file_name: &str) -> Option<Stream> {
    file_name.strip_prefix(PACK_NOTE).and_then(Stream::parse)
}

/// The lock of `stream`.
#[must_use]
pub fn lock_path(directory: &Path, stream: &Stream) -> PathBuf {
    directory.join(INTERNALS).join(format!("{LOCK}{stream}"))
}

/// The stream whose lock has this name among the internals.
#[must_use]
pub fn stream_of_lock(file_name: &str) -> Option<Stream> {
    file_name.strip_prefix(LOCK).and_then(Stream::parse)
}
