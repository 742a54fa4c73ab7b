//! What a stream is opened with.

use std::time::Duration;

use crate::clock::Clock;
use crate::deliver::settings::DeliverySettings;
use crate::error::{Error, Result};
use crate::journal::memory::Backing;
use crate::limits;
use crate::shard::policy::Policy;
use crate::shard::retention::Retention;
use crate::sidecar::SidecarSettings;
use crate::worker::syncer::SyncPolicy;

/// What `log` does when the ring is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// It waits as long as the writer makes progress.
    #[default]
    Block,
    /// It drops the call's rows and counts them.
    Drop,
}

/// Settings of a stream.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Rank of this process in a distributed job; 0 without one.
    pub rank: u64,
    /// Whether the process has a rank that cannot be told, so that it writes a stream of its own.
    pub own_stream: bool,
    /// When files are rotated and how many shards are kept.
    pub policy: Policy,
    /// What happens to rotated shards beyond the policy's count.
    pub retention: Retention,
    /// Shards kept beyond limit and count while a destination lags.
    pub max_unexported_shards: u64,
    /// Size of the ring; rounded up to a power of two.
    pub ring_bytes: u64,
    /// Longest wait for a writer that takes no byte.
    pub max_block: Duration,
    /// What happens when the ring is full.
    pub overflow: Overflow,
    /// When files are synced to the disk.
    pub sync: SyncPolicy,
    /// Mode of new files; the umask may narrow it.
    pub file_mode: u32,
    /// Rows without timestamp, run id and manifest.
    pub legacy: bool,
    /// Wall-clock time.
    pub clock: Clock,
    /// How the ring outlives the process.
    pub backing: Backing,
    /// Where metrics go beside the files; `None`: nowhere.
    pub exports: Vec<DeliverySettings>,
    /// What is started beside the process that writes the rank's own stream.
    pub sidecar: Option<SidecarSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rank: 0,
            own_stream: false,
            policy: Policy {
                max_bytes: Some(limits::DEFAULT_MAX_SHARD_BYTES),
                max_age_micros: Some((limits::DEFAULT_MAX_SHARD_AGE_S * 1e6) as u64),
                backup_count: Some(limits::DEFAULT_BACKUP_COUNT),
            },
            retention: Retention::default(),
            max_unexported_shards: limits::DEFAULT_MAX_UNEXPORTED_SHARDS,
            ring_bytes: limits::DEFAULT_RING_BYTES,
            max_block: Duration::from_secs_f64(limits::DEFAULT_MAX_BLOCK_S),
            overflow: Overflow::Block,
            sync: SyncPolicy::Interval(Duration::from_secs_f64(limits::DEFAULT_FSYNC_INTERVAL_S)),
            file_mode: limits::DEFAULT_FILE_MODE,
            legacy: false,
            clock: Clock::System,
            backing: Backing::Auto,
            exports: Vec::new(),
            sidecar: None,
        }
    }
}

impl Settings {
    /// Longest frame that a call may be put into: a quarter of the ring.
    #[must_use]
    pub fn max_frame_bytes(&self) -> usize {
        (self.ring_bytes.next_power_of_two() / 4) as usize
    }

    /// The ring's size as it will be.
    ///
    /// # Errors
    /// If the size asked for is out of bounds.
    pub fn ring_size(&self) -> Result<u64> {
        if !(limits::MIN_RING_BYTES..=limits::MAX_RING_BYTES).contains(&self.ring_bytes) {
            let (least, most) = (limits::MIN_RING_BYTES, limits::MAX_RING_BYTES);
            return Err(Error::setting("ring_bytes", format!("{} is not between {least} and {most}", self.ring_bytes)));
        }
        Ok(self.ring_bytes.next_power_of_two())
    }
}
