//! The settings of a run, read from the attributes of `codex_obs.Settings`, which has checked them.

use std::ffi::OsString;
use std::time::Duration;

use codex_obs_core::journal::memory::Backing;
use codex_obs_core::session::{Overflow, Settings};
use codex_obs_core::shard::policy::Policy;
use codex_obs_core::shard::retention::Retention;
use codex_obs_core::sidecar::SidecarSettings;
use codex_obs_core::spawn::Program;
use codex_obs_core::worker::syncer::SyncPolicy;
use codex_obs_core::{Error, Result};
use pyo3::Borrowed;
use pyo3::prelude::*;

/// What the engine takes of `codex_obs.Settings`, by the names that its fields have there.
#[derive(FromPyObject)]
pub struct RunSettings {
    rank: Option<u64>,
    max_shard_bytes: Option<u64>,
    max_shard_age_s: Option<f64>,
    backup_count: Option<Count>,
    archive: String,
    archive_max_bytes: Option<u64>,
    max_unexported_shards: u64,
    ring_bytes: u64,
    max_block_s: f64,
    overflow: String,
    fsync: String,
    fsync_interval_s: f64,
    file_mode: u32,
    pub legacy: bool,
    pub flatten: bool,
    pub disabled: bool,
    pub deferred: Deferred,
}

/// Which values are waited for behind the caller's back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deferred {
    /// None.
    No,
    /// Those that tell whether they exist.
    Yes,
    /// Tensors on a GPU as well.
    Cuda,
}

impl FromPyObject<'_, '_> for Deferred {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        match object.extract::<&str>() {
            Ok("cuda") => Ok(Self::Cuda),
            _ => Ok(if object.extract()? { Self::Yes } else { Self::No }),
        }
    }
}

/// A number of shards, or every one.
struct Count(u64);

impl FromPyObject<'_, '_> for Count {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        match object.extract::<&str>() {
            Ok("all") => Ok(Self(i64::MAX as u64)),
            _ => object.extract().map(Self),
        }
    }
}

/// What is started beside the trainer: the attributes of `codex_obs.sidecar.handle.Launch`.
#[derive(FromPyObject)]
pub struct Launch {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    input: Vec<u8>,
    token: String,
    at_once: bool,
    given_up: String,
}

impl Launch {
    /// The same, in the engine's words.
    pub fn parse(self) -> Result<SidecarSettings> {
        let arguments = [&self.program].into_iter().chain(&self.arguments).map(OsString::as_os_str);
        let environment = self.environment.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()));
        let program = Program::new(&self.program, arguments, environment, self.input)?;
        Ok(SidecarSettings { program, token: self.token, at_once: self.at_once, given_up: self.given_up })
    }
}

impl RunSettings {
    /// The settings of a stream, in the engine's words.
    pub fn parse(&self) -> Result<Settings> {
        let max_age = self.max_shard_age_s.map(|seconds| duration("max_shard_age_s", seconds)).transpose()?;
        Ok(Settings {
            rank: self.rank.unwrap_or_default(),
            policy: Policy {
                max_bytes: self.max_shard_bytes,
                max_age_micros: max_age.map(|age| age.as_micros() as u64),
                backup_count: self.backup_count.as_ref().map(|count| count.0),
            },
            retention: Retention {
                packs: match &*self.archive {
                    "zstd" => true,
                    "none" => false,
                    other => return Err(choice("archive", other, "zstd or none")),
                },
                max_archive_bytes: self.archive_max_bytes,
            },
            max_unexported_shards: self.max_unexported_shards,
            ring_bytes: self.ring_bytes,
            max_block: duration("max_block_s", self.max_block_s)?,
            overflow: match &*self.overflow {
                "block" => Overflow::Block,
                "drop" => Overflow::Drop,
                other => return Err(choice("overflow", other, "block or drop")),
            },
            sync: match &*self.fsync {
                "interval" => SyncPolicy::Interval(duration("fsync_interval_s", self.fsync_interval_s)?),
                "never" => SyncPolicy::Never,
                "always" => SyncPolicy::Always,
                other => return Err(choice("fsync", other, "interval, never or always")),
            },
            file_mode: self.file_mode,
            legacy: self.legacy,
            ..Settings::default()
        })
    }
}

/// How the ring outlives the process, by its word.
pub fn backing(word: &str) -> Result<Backing> {
    match word {
        "auto" => Ok(Backing::Auto),
        "mapped" => Ok(Backing::Mapped),
        "mirrored" => Ok(Backing::Mirrored),
        other => Err(choice("backing", other, "auto, mapped or mirrored")),
    }
}

/// A setting in seconds; what is longer than a century is one.
pub fn duration(name: &str, seconds: f64) -> Result<Duration> {
    // Nobody waits that long, and its microseconds fit everywhere.
    const LONGEST_S: f64 = 3.2e9;
    if seconds.is_nan() || seconds < 0.0 {
        return Err(Error::setting(name, format!("{seconds} is not a time in seconds")));
    }
    Ok(Duration::from_secs_f64(seconds.min(LONGEST_S)))
}

/// Says what a setting may be.
#[cold]
pub fn choice(name: &str, given: &str, choices: &str) -> Error {
    Error::setting(name, format!("{given:?} is not one of {choices}"))
}
