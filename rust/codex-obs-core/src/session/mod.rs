//! A session: one process writing one stream of a run, from open to close.

pub mod claim;
mod close;
mod deferral;
mod delivery;
mod ended;
mod fork;
mod handle;
mod log;
#[cfg(all(test, loom))]
mod model;
mod open;
mod patience;
pub mod places;
pub mod settings;
mod shards;
pub mod steps;
mod telemetry;
mod threads;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use ended::close_ended;
pub use fork::{has_exporters, resume_exporters};
pub use handle::{Asked, Handle};
pub use log::{Step, Time};
pub use settings::{Overflow, Settings};

use crate::deliver::thread::DeliveryThread;
use crate::error::Result;
use crate::fs::RunFolder;
use crate::generation;
use crate::journal::frame::{LineFile, line_frame};
use crate::journal::ring::Ring;
use crate::paths::Stream;
use crate::primitives::{AtomicBool, AtomicU64, Instant, Mutex};
use crate::process::Process;
use crate::pulse::Pulse;
use crate::run::identity::Home;
use crate::run::records::Place;
use crate::sidecar::Sidecar;
use crate::stats::Stats;
use crate::timeline::Timeline;
use crate::worker::control::{Control, Waited};
use crate::worker::loss::{Losses, Reporter};
use crate::worker::packer::Packer;
use crate::worker::syncer::Syncer;
use crate::worker::tenure::Tenure;
use crate::worker::thread::Station;
use crate::worker::warnings::Warnings;
use close::Closing;
use threads::Threads;

/// A look at whether the writer thread still runs while waiting for it.
const WAIT_SLICE: Duration = Duration::from_millis(100);

/// One process writing one stream of a run.
///
/// Any thread may [`try_log`](Self::try_log); what it accepted survives the process at once and is written to the files by
/// a thread of the session's own, which is started when there is something to write.
#[derive(Debug)]
pub struct Session {
    directory: PathBuf,
    home: Home,
    stream: Stream,
    settings: Settings,
    process: Process,
    ring: Arc<Ring>,
    control: Arc<Control>,
    station: Arc<Station<Reporter>>,
    syncer: Arc<Syncer>,
    /// Packs old shards, where that is what happens to them.
    packer: Option<Arc<Packer>>,
    stats: Arc<Stats>,
    timeline: Arc<Timeline>,
    pulse: Arc<Pulse>,
    warnings: Arc<Warnings>,
    losses: Arc<Losses>,
    /// The largest step of the rows of earlier sessions, once it is known.
    largest_before: OnceLock<Option<i64>>,
    /// Where metrics go beside the files.
    exporters: Vec<DeliveryThread>,
    /// What runs beside this process.
    sidecar: Option<Arc<Sidecar>>,
    threads: Mutex<Threads>,
    /// Whether the writer thread was started and not stopped since.
    running: AtomicBool,
    /// How far the writer was when a call last gave up waiting for it; `u64::MAX` if none did.
    stalled_at: AtomicU64,
    tenure: Arc<Tenure>,
    /// What came of [`close`](Self::close).
    closing: Closing,
    /// Whether destinations were told how the run ended.
    delivered: AtomicBool,
    /// What it recovers when it is closed is what its own helpers left, of which a helper has none.
    is_helper: bool,
    /// See [`generation`].
    generation: u64,
    /// Where in the metrics its rows begin.
    begins_at: Option<Place>,
    /// Its directory, open. The last field: the locks and files that go before it are in there.
    folder: Mutex<Option<Arc<RunFolder>>>,
}

impl Session {
    /// The run directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The run's identity.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The stream that this session writes.
    #[must_use]
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Where in the metrics of the stream its rows begin, if that could be told.
    #[must_use]
    pub fn begins_at(&self) -> Option<Place> {
        self.begins_at
    }

    /// Where the other streams stand that nobody writes any more; nothing for a session of another than the main stream.
    #[must_use]
    pub fn ended_streams(&self) -> BTreeMap<String, Place> {
        if self.stream.is_main() {
            places::ended(&self.directory, &self.stream).unwrap_or_default()
        } else {
            BTreeMap::new()
        }
    }

    /// Longest frame that a call may be put into: a quarter of the ring.
    #[must_use]
    pub fn max_frame_bytes(&self) -> usize {
        (self.ring.size() / 4) as usize
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The present time for a row that is about to be logged.
    #[must_use]
    #[inline]
    pub fn now_micros(&self) -> i64 {
        self.timeline.now_micros()
    }

    /// The present time for a record, not before that of any row.
    #[must_use]
    pub fn present_micros(&self) -> i64 {
        self.timeline.present_micros()
    }

    /// What runs beside this process, if it started something.
    #[must_use]
    pub fn sidecar(&self) -> Option<&Sidecar> {
        self.sidecar.as_deref()
    }

    /// Words for the user.
    #[must_use]
    pub fn warnings(&self) -> &Warnings {
        &self.warnings
    }

    /// Whether the ring is written by system calls, which nobody should make while others wait for a lock of theirs.
    #[must_use]
    pub fn is_mirrored(&self) -> bool {
        self.ring.is_mirrored()
    }

    /// Whether this session belongs to a process that this one was forked from. Then nothing but this may be asked of it.
    #[must_use]
    #[inline]
    pub fn is_inherited(&self) -> bool {
        generation::current() != self.generation
    }

    /// Writes a finished line (with its newline) to another file, in order with the rows. Gives whether it was accepted.
    pub fn write_line(&self, file: LineFile, line: &[u8]) -> bool {
        let mut frame = line_frame(file, line);
        if frame.len() as u64 > self.ring.largest_size() / 2 || self.is_closed() {
            return false;
        }
        self.append_patiently(&mut frame)
    }

    /// Waits until everything logged so far is in the files and, with `sync`, on the disk. `false` at the deadline, or once
    /// the writer cannot write.
    #[must_use]
    pub fn flush(&self, deadline: Option<Instant>, sync: bool) -> bool {
        // What the clock was set by until now is known from now on, without the writer's next look.
        self.timeline.compare();
        if self.is_closed() {
            return self.closing.wait(deadline);
        }
        if self.wait_until_written(self.ring.published(), deadline) {
            return !sync || self.syncer.sync(deadline);
        }
        // A close that began meanwhile has taken the writer over.
        self.is_closed() && self.closing.wait(deadline)
    }

    /// Waits until everything before `position` is in the files. `false` at the deadline, or once the writer cannot write.
    fn wait_until_written(&self, position: u64, deadline: Option<Instant>) -> bool {
        loop {
            if !self.ensure_writer() {
                return self.station.work_here(&self.control);
            }
            // In slices: a fork elsewhere stops the writer for a moment, and someone has to start it again.
            let slice = Instant::now() + WAIT_SLICE;
            match self.control.wait_until_written(position, deadline.map_or(slice, |deadline| deadline.min(slice))) {
                Waited::Written => return true,
                Waited::Failing => return false,
                Waited::TimedOut if deadline.is_some_and(|deadline| Instant::now() >= deadline) => return false,
                Waited::TimedOut => {}
            }
        }
    }
}

/// Packs what writers of the run in `directory` that are gone left to be packed.
///
/// # Errors
/// If something cannot be packed: it stays as it is, and is read as it is.
pub fn pack_directory(directory: &Path) -> Result<()> {
    shards::pack_left(directory, &Process::current(), &|| true)
}
