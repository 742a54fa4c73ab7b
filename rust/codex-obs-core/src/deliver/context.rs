//! The surroundings of a delivery: files, settings, counters, lock.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Receiver;

use super::settings::{DeliverySettings, RunFolder};
use crate::clock::Clock;
use crate::deliver::destination::Destination;
use crate::error::Result;
use crate::lock::Owner;
use crate::paths::Stream;
use crate::run::ending::RunStatus;
use crate::shard::hold::Part;
use crate::stats::Stats;
use crate::worker::feed::{Batch, Feed};
use crate::worker::notes::Notes;
use crate::worker::warnings::Warnings;

/// What a delivery is told of its surroundings.
#[derive(Clone, Debug)]
pub struct Context {
    /// The run directory.
    pub directory: PathBuf,
    /// The stream that is delivered.
    pub stream: Stream,
    /// Settings.
    pub settings: DeliverySettings,
    /// Mode of new files.
    pub file_mode: u32,
    /// Wall-clock time.
    pub clock: Clock,
    /// Counters.
    pub stats: Arc<Stats>,
    /// Words for the user.
    pub warnings: Arc<Warnings>,
    /// Records for the tracking summary.
    pub notes: Arc<Notes>,
    /// Told how far old shards are needed.
    pub hold: Option<Part>,
    /// The same of old shards of telemetry.
    pub telemetry_hold: Option<Part>,
    /// Batches of this process's writer.
    pub live: Option<(Arc<Feed>, Receiver<Batch>)>,
    /// Whether a process writes the run.
    pub is_live: bool,
    /// How the run ended and when, by its own record, where nobody writes it.
    pub ended: Option<(RunStatus, i64)>,
    /// Whether the stream creates the remote run, gives it its parameters and ends it: the main one, or who stands in for it.
    pub leads: bool,
    /// Held by the delivery of the stream. Here, so that a forked child gets at it while the delivery is on its way.
    pub lock: Arc<Mutex<Option<Owner>>>,
}

impl Context {
    /// A destination for the run.
    pub fn connect(&self) -> Result<Box<dyn Destination>> {
        self.settings.connector.connect(&RunFolder { directory: &self.directory, file_mode: self.file_mode })
    }

    /// Lets go of the lock. In a forked child it is the parent's, and only this process's part of it is let go of.
    pub fn unlock(&self) {
        if let Ok(mut lock) = self.lock.try_lock() {
            drop(lock.take());
        }
    }

    /// The lock.
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Owner>> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the writer's batches are of use.
    pub fn want_live(&self, wanted: bool) {
        if let Some((feed, _)) = &self.live {
            feed.want(wanted);
        }
    }
}
