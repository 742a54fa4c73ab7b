//! A session: one process writing one stream of a run, from open to close.

pub mod claim;
mod close;
mod ended;
mod export;
mod fork;
mod handle;
mod log;
#[cfg(all(test, loom))]
mod model;
mod patience;
pub mod pending;
pub mod places;
pub mod records;
pub mod settings;
mod shards;
pub mod steps;
mod threads;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use ended::close_ended;
pub use fork::{has_exporters, resume_exporters};
pub use handle::{Asked, Handle};
pub use log::{Step, Time};
pub use pending::{Pending, recover_for_reading};
pub use settings::{Overflow, Settings};

use crate::clock::Clock;
use crate::encode::row::RowEncoder;
use crate::error::{Error, Result};
use crate::export::Exporter;
use crate::generation;
use crate::home::Home;
use crate::journal::frame::{LineFile, line_frame};
use crate::journal::identity::{Identity, Process};
use crate::journal::owner::{self, Owner};
use crate::journal::ring::Ring;
use crate::limits::FIRST_RING_BYTES;
use crate::pulse::Pulse;
use crate::shard::name::Stream;
use crate::shard::tail::INTERNALS;
use crate::stats::Stats;
use crate::sync::{AtomicBool, AtomicU64, Instant, Mutex};
use crate::timeline::Timeline;
use crate::words::{count, was};
use crate::worker::control::{Control, Waited};
use crate::worker::drain::{Drain, Reporting};
use crate::worker::files::{FileKind, Files};
use crate::worker::loss::{Losses, Reporter};
use crate::worker::notes::Notes;
use crate::worker::packer::Packer;
use crate::worker::recover::{Recovered, journal_path};
use crate::worker::syncer::Syncer;
use crate::worker::tenure::Tenure;
use crate::worker::thread::Station;
use crate::worker::warnings::Warnings;
use claim::{Claim, Seat};
use close::Closing;
use export::Exporting;
use records::Place;
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
    exporter: Option<Exporter>,
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
}

/// How a process comes to a run.
#[derive(Debug)]
struct Entry<'a> {
    run_id: Option<&'a str>,
    name: Option<&'a str>,
    seat: Seat,
    /// The session of the process that this one was forked from.
    parent: Option<&'a Session>,
}

impl Session {
    /// Opens a stream of the run in `directory`, which is created if it is missing, and recovers what dead writers left.
    ///
    /// # Errors
    /// If the directory or its files cannot be used, or if `run_id` is not the run's.
    pub fn open(directory: &Path, run_id: Option<&str>, name: Option<&str>, settings: Settings) -> Result<Arc<Self>> {
        let entry = Entry { run_id, name, seat: Seat::Rank, parent: None };
        Self::enter(directory, &entry, settings)?.ok_or_else(|| claim::nothing_free(directory))
    }

    /// As [`open`](Self::open). `None` if the main stream is asked for and not free.
    fn enter(directory: &Path, entry: &Entry<'_>, settings: Settings) -> Result<Option<Arc<Self>>> {
        fork::settle();
        let ring_size = settings.ring_size()?;
        let internals = directory.join(INTERNALS);
        crate::fs::create_folder(directory, settings.file_mode)?;
        crate::fs::create_folder(&internals, settings.file_mode)?;
        crate::fs::require_folder(&internals)?;
        let home = Home::open(directory, entry.run_id, entry.name, settings.file_mode, &settings.clock)?;
        let process = Process::current();
        let claim = claim::claim(directory, entry.seat, settings.rank, &process, &settings.clock)?;
        let Some(Claim { stream, owner, mut recovered }) = claim else { return Ok(None) };
        let is_helper = entry.seat == Seat::Process;
        let (stats, warnings) = (Arc::new(Stats::default()), Arc::new(Warnings::about_run(&home.name)));
        if !is_helper || !steps::is_fresh(directory, &stream)? {
            shards::adopt_packed(directory, &stream, &warnings)?;
        }
        // What is not ours is refused now: later it would hold up the rows behind it.
        for kind in FileKind::ALL {
            crate::fs::require_usable(&kind.path(directory, &stream))?;
        }
        // One process looks after the others: if each of many did, it would take as many looks as their square.
        if stream.is_main()
            && let Ok(others) = claim::recover_all(directory, Some(&stream), &process, &settings.clock, false)
        {
            recovered.add(&others);
        }
        if is_helper && entry.parent.is_none() {
            // It was refused the rank's stream, or did not ask for it. If nobody alive has that, the user hears why.
            recovered.add(&claim::recover_one(directory, &Stream::of_rank(settings.rank), &process, &settings.clock));
        }
        // A step may be left out without looking at the files only where there are none. The folder of a run with many
        // helpers is long, so they look at the names that a stream has if it has any.
        let is_new = if is_helper { steps::is_fresh(directory, &stream)? } else { steps::is_new(directory, &stream)? };

        note_recovered(&recovered, &stats, &warnings);
        note_owner(directory, settings.rank, &owner, &process, &warnings);
        let kept = export::keep(directory, &stream, &settings, &warnings, is_helper && is_new);
        let exporting = Exporting::prepare(directory, &stream, &settings, kept.as_ref())?;
        let syncer = Arc::new(Syncer::new(settings.sync, Arc::clone(&stats)));
        let mut files = Files::new(directory, &stream, settings.policy, settings.file_mode, &settings.clock);
        let ring = Arc::new(create_ring(directory, &stream, &home, &settings, &process, ring_size)?);
        let reporting = Reporting {
            stats: Arc::clone(&stats),
            warnings: Arc::clone(&warnings),
            syncer: Some(Arc::clone(&syncer)),
            feed: exporting.as_ref().map(|exporting| Arc::clone(&exporting.feed)),
        };
        let encoder = RowEncoder::new(&home.run_id, settings.legacy);
        let timeline = Arc::new(match entry.parent {
            Some(parent) => Timeline::after(&parent.timeline, Arc::clone(&stats)),
            None => Timeline::new(settings.clock.clone(), Arc::clone(&stats)),
        });
        let around = shards::Around {
            directory,
            stream: &stream,
            home: &home,
            settings: &settings,
            timeline: &timeline,
            stats: &stats,
            warnings: &warnings,
        };
        let keeper = shards::keeper(&around, &mut files, kept, is_new);
        let packer = keeper.packer.clone();
        let pulse = Arc::clone(files.pulse());
        let mut drain = Drain::new(Arc::clone(&ring), files, encoder, reporting);
        let largest_before = OnceLock::new();
        if is_new {
            let _ = largest_before.set(None);
        } else if let Some(noted) = steps::noted(directory, &stream)? {
            // Threads may have logged behind the finish record, while their process ended.
            let _ = largest_before.set(noted.max(steps::recent(directory, &stream)?));
        }
        if let Err(error) = drain.open(FileKind::Metrics) {
            let _ = crate::fs::remove(&journal_path(directory, &stream));
            return Err(error);
        }
        stats.torn_tails.add(drain.files().torn_tails());
        ring.lock().largest_step_known = is_new;

        // Nobody else appends to the stream now, and what was recovered is in it.
        let begins_at = places::end(directory, &stream).ok();
        let losses = Arc::new(Losses::default());
        let notes = Arc::new(Notes::default());
        let (counters, words) = (Arc::clone(&stats), Arc::clone(&warnings));
        let tenure = Arc::new(Tenure::new(owner, process.clone(), settings.file_mode, counters, words));
        let reporter = Reporter {
            losses: Arc::clone(&losses),
            notes: Arc::clone(&notes),
            timeline: Arc::clone(&timeline),
            tenure: Arc::clone(&tenure),
            looked: drain.position(),
            keeper,
        };
        let exporter =
            exporting.and_then(|exporting| exporting.begin(directory, &stream, &settings, &stats, &warnings, &notes));
        let session = Arc::new(Self {
            directory: directory.to_owned(),
            home,
            stream,
            process,
            ring,
            control: Arc::new(Control::default()),
            station: Arc::new(Station::new(drain, reporter)),
            syncer,
            packer,
            stats,
            timeline,
            pulse,
            warnings,
            losses,
            largest_before,
            exporter,
            threads: Mutex::default(),
            running: AtomicBool::new(false),
            stalled_at: AtomicU64::new(u64::MAX),
            tenure,
            closing: Closing::default(),
            delivered: AtomicBool::new(false),
            is_helper,
            generation: generation::current(),
            begins_at,
            settings,
        });
        fork::register(&session);
        Ok(Some(session))
    }

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

/// Brings back what dead writers of the run in `directory` left in their journals; with `foreign`, also those of other
/// machines, which is right only if no writer lives there any more.
///
/// # Errors
/// If there is no run, or if something could not be written: then the journals are kept.
pub fn recover_directory(directory: &Path, foreign: bool) -> Result<Recovered> {
    if !directory.is_dir() {
        return Err(Error::no_log(format!("{} is no run directory", directory.display())));
    }
    claim::recover_all(directory, None, &Process::current(), &Clock::System, foreign)
}

/// Packs what writers of the run in `directory` that are gone left to be packed.
///
/// # Errors
/// If something cannot be packed: it stays as it is, and is read as it is.
pub fn pack_directory(directory: &Path) -> Result<()> {
    shards::pack_left(directory, &Process::current())
}

/// Whether a process writes `stream` of the run in `directory`, as far as can be told.
#[must_use]
pub fn is_written(directory: &Path, stream: &Stream) -> bool {
    owner::is_held(&claim::lock_path(directory, stream), &Process::current())
}

/// Queues what the user should hear of who may write the streams.
fn note_owner(directory: &Path, rank: u64, owner: &Owner, process: &Process, warnings: &Warnings) {
    if !owner.is_record_alone() {
        return;
    }
    warnings.push("locks", || {
        format!(
            "the file system of {} has no file locks: a record of its owner protects each stream instead",
            directory.display()
        )
    });
    let wanted = Stream::of_rank(rank);
    if let Some((pid, host)) = owner::stranger(&claim::lock_path(directory, &wanted), process) {
        warnings.push("stranger", || {
            format!(
                "{} is recorded as written by process {pid} on {host}: if that process is dead, \
                 `codex-ndjson recover` frees the stream and recovers its rows",
                FileKind::Metrics.path(directory, &wanted).display()
            )
        });
    }
}

/// Counts what was recovered and queues what the user should hear of it.
fn note_recovered(recovered: &Recovered, stats: &Stats, warnings: &Warnings) {
    stats.rows_recovered.add(recovered.rows_recovered);
    stats.rows_damaged.add(recovered.rows_damaged);
    stats.frames_damaged.add(recovered.frames_damaged);
    stats.torn_tails.add(recovered.torn_tails);
    if recovered.rows_dropped > 0 {
        warnings.push("dropped", || {
            format!("an earlier process dropped {} before it died", count(recovered.rows_dropped, "row"))
        });
    }
    if recovered.rows_damaged > 0 {
        warnings.push("unreadable", || {
            let rows = count(recovered.rows_damaged, "row");
            format!("{rows} of an earlier process {} lost: its journal was damaged", was(recovered.rows_damaged))
        });
    }
    if recovered.journals_damaged > 0 {
        warnings.push("damaged", || {
            let journals = count(recovered.journals_damaged, "journal");
            format!(
                "{journals} could not be read and {} kept as {INTERNALS}/damaged-journal-*",
                was(recovered.journals_damaged)
            )
        });
    }
    if recovered.journals_foreign > 0 {
        warnings.push("foreign", || {
            format!(
                "{} of another machine {} left alone: if no writer lives there any more, `codex-ndjson recover` brings the \
                 rows back",
                count(recovered.journals_foreign, "journal"),
                was(recovered.journals_foreign)
            )
        });
    }
}

fn create_ring(
    directory: &Path,
    stream: &Stream,
    home: &Home,
    settings: &Settings,
    process: &Process,
    size: u64,
) -> Result<Ring> {
    let identity = Identity {
        process: process.clone(),
        run_id: home.run_id.clone(),
        stream: stream.to_string(),
        legacy: settings.legacy,
        file_mode: settings.file_mode,
        max_shard_bytes: settings.policy.max_bytes.unwrap_or(u64::MAX),
        max_shard_age: settings.policy.max_age_micros.unwrap_or(u64::MAX),
        backup_count: settings.policy.backup_count.unwrap_or(u64::MAX),
    };
    let path = journal_path(directory, stream);
    let file = crate::fs::create_new(&path, 0o600)?;
    // Whoever never waits for the writer does not wait for it to make room either.
    let first = if settings.overflow == Overflow::Drop { size } else { size.min(FIRST_RING_BYTES) };
    let ring = Ring::create_part(file, &path, first, size, settings.backing, &identity);
    if ring.is_err() {
        let _ = crate::fs::remove(&path);
    }
    ring.map_err(|error| match error.io_kind() {
        Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge) => Error::setting(
            "ring_bytes",
            format!("there is no room on the disk for a journal of {first} bytes ({error}); free some or ask for less"),
        ),
        _ => error,
    })
}
