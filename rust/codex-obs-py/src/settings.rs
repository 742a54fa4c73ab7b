//! Settings from Python's keyword arguments.

use std::time::Duration;

use codex_obs_core::clock::Clock;
use codex_obs_core::deliver::settings::DeliverySettings;
use codex_obs_core::journal::memory::Backing;
use codex_obs_core::session::{Overflow, Settings};
use codex_obs_core::shard::policy::Policy;
use codex_obs_core::shard::retention::Retention;
use codex_obs_core::worker::syncer::SyncPolicy;
use codex_obs_core::{Error, Result};

/// The arguments that need a look before they are settings.
pub struct Raw<'a> {
    pub rank: u64,
    pub own_stream: bool,
    pub max_shard_bytes: Option<u64>,
    pub max_shard_age_s: Option<f64>,
    pub backup_count: Option<u64>,
    pub archive: &'a str,
    pub archive_max_bytes: Option<u64>,
    pub max_unexported_shards: u64,
    pub ring_bytes: u64,
    pub max_block_s: f64,
    pub overflow: &'a str,
    pub fsync: &'a str,
    pub fsync_interval_s: f64,
    pub file_mode: u32,
    pub legacy: bool,
    pub clock: Clock,
    pub backing: &'a str,
    pub export: Option<DeliverySettings>,
}

impl Raw<'_> {
    /// The settings.
    pub fn parse(self) -> Result<Settings> {
        let max_age_micros = match self.max_shard_age_s {
            Some(seconds) => Some(duration("max_shard_age_s", seconds)?.as_micros() as u64),
            None => None,
        };
        if self.file_mode & 0o600 != 0o600 || self.file_mode > 0o777 {
            return Err(Error::setting(
                "file_mode",
                format!("{:#o} does not contain 0o600 or exceeds 0o777", self.file_mode),
            ));
        }
        Ok(Settings {
            rank: self.rank,
            own_stream: self.own_stream,
            policy: Policy {
                max_bytes: self.max_shard_bytes.filter(|&bytes| bytes > 0),
                max_age_micros: max_age_micros.filter(|&micros| micros > 0),
                backup_count: self.backup_count.filter(|&count| count > 0),
            },
            retention: Retention {
                packs: match self.archive {
                    "zstd" => true,
                    "none" => false,
                    other => return Err(choice("archive", other, "zstd or none")),
                },
                max_archive_bytes: self.archive_max_bytes.filter(|&bytes| bytes > 0),
            },
            max_unexported_shards: self.max_unexported_shards,
            ring_bytes: self.ring_bytes,
            max_block: duration("max_block_s", self.max_block_s)?,
            overflow: match self.overflow {
                "block" => Overflow::Block,
                "drop" => Overflow::Drop,
                other => return Err(choice("overflow", other, "block or drop")),
            },
            sync: match self.fsync {
                "interval" => SyncPolicy::Interval(duration("fsync_interval_s", self.fsync_interval_s)?),
                "never" => SyncPolicy::Never,
                "always" => SyncPolicy::Always,
                other => return Err(choice("fsync", other, "interval, never or always")),
            },
            file_mode: self.file_mode,
            legacy: self.legacy,
            clock: self.clock,
            export: self.export,
            backing: match self.backing {
                "auto" => Backing::Auto,
                "mapped" => Backing::Mapped,
                "mirrored" => Backing::Mirrored,
                other => return Err(choice("backing", other, "auto, mapped or mirrored")),
            },
        })
    }
}

/// A setting in seconds; what is longer than a century is one.
pub fn duration(name: &str, seconds: f64) -> Result<Duration> {
    // A century is for ever, and its microseconds fit everywhere.
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
