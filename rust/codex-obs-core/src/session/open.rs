//! Opens a session: which stream it writes, what is recovered, and everything that writing takes.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::Session;
use super::claim::{self, Claim, Seat};
use super::close::Closing;
use super::delivery::{self, Exporting};
use super::settings::{Overflow, Settings};
use super::{fork, places, shards, steps};
use crate::encode::row::RowEncoder;
use crate::error::{Error, Result};
use crate::fs::RunFolder;
use crate::generation;
use crate::journal::identity::Identity;
use crate::journal::ring::Ring;
use crate::limits::FIRST_RING_BYTES;
use crate::lock::{self, Owner};
use crate::paths::{FileKind, INTERNALS, Stream, journal_path, lock_path};
use crate::primitives::{AtomicBool, AtomicU64, Mutex};
use crate::process::Process;
use crate::recovery::run::{recover_all, recover_one};
use crate::recovery::stream::Recovered;
use crate::run::identity::Home;
use crate::run::records::Place;
use crate::sidecar::{self, Sidecar};
use crate::stats::Stats;
use crate::timeline::Timeline;
use crate::words::{count, was};
use crate::worker::control::Control;
use crate::worker::drain::{Drain, Reporting};
use crate::worker::files::Files;
use crate::worker::loss::{Losses, Reporter};
use crate::worker::notes::Notes;
use crate::worker::passed::Passed;
use crate::worker::syncer::Syncer;
use crate::worker::tenure::Tenure;
use crate::worker::thread::Station;
use crate::worker::warnings::Warnings;
use crate::worker::watch::Watch;

/// How a process comes to a run.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) run_id: Option<&'a str>,
    pub(super) name: Option<&'a str>,
    pub(super) seat: Seat,
    /// The session of the process that this one was forked from.
    pub(super) parent: Option<&'a Session>,
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
    pub(super) fn enter(directory: &Path, entry: &Entry<'_>, settings: Settings) -> Result<Option<Arc<Self>>> {
        fork::settle();
        let ring_size = settings.ring_size()?;
        let internals = directory.join(INTERNALS);
        crate::fs::create_folder(directory, settings.file_mode)?;
        // From here on names in it are looked up where it lies, whatever becomes of the path.
        let folder = RunFolder::open(directory)?;
        crate::fs::create_folder(&internals, settings.file_mode)?;
        crate::fs::require_folder(&internals)?;
        let home = Home::open(directory, entry.run_id, entry.name, settings.file_mode, &settings.clock)?;
        let process = Process::current();
        let claim = claim::claim(directory, entry.seat, settings.rank, &process, &settings.clock)?;
        let Some(claim) = claim else { return Ok(None) };
        let session = Self::begin(directory, folder, home, claim, process, entry, settings, ring_size)?;
        match &session.sidecar {
            Some(sidecar) if sidecar.is_at_once() => sidecar.start(),
            // One that does not hear of it delivers what this session logs too, which does no harm.
            _ if session.stream.is_main() => drop(sidecar::retract(directory, session.settings.file_mode)),
            _ => {}
        }
        Ok(Some(session))
    }

    /// Writes the stream that `claim` gave to this process.
    #[expect(clippy::too_many_arguments, reason = "what `enter` has found, for one call")]
    fn begin(
        directory: &Path,
        folder: Arc<RunFolder>,
        home: Home,
        claim: Claim,
        process: Process,
        entry: &Entry<'_>,
        settings: Settings,
        ring_size: u64,
    ) -> Result<Arc<Self>> {
        let Claim { stream, owner, mut recovered } = claim;
        let is_helper = entry.seat == Seat::Process;
        let (stats, warnings) = (Arc::new(Stats::default()), Arc::new(Warnings::about_run(&home.name)));
        if !is_helper || !steps::is_fresh(directory, &stream)? {
            shards::adopt_packed(directory, &stream, &warnings)?;
        }
        // What is not ours is refused now: later it would hold up the rows behind it.
        for kind in FileKind::ALL {
            crate::fs::require_usable(&kind.path(directory, &stream))?;
        }
        recover_others(directory, entry, &stream, &process, &settings, &mut recovered);
        // A step may be left out without looking at the files only where there are none. The folder of a run with many
        // helpers is long, so they look at the names that a stream has if it has any.
        let is_new = if is_helper { steps::is_fresh(directory, &stream)? } else { steps::is_new(directory, &stream)? };

        note_recovered(&recovered, &stats, &warnings);
        note_owner(directory, settings.rank, &owner, &process, &warnings);
        let kept = delivery::keep(directory, &stream, &settings, &warnings, is_helper && is_new);
        let exporting = Exporting::prepare(directory, &stream, &settings, &kept)?;
        let syncer = Arc::new(Syncer::new(settings.sync, Arc::clone(&stats)));
        let mut files = Files::new(directory, &stream, settings.policy, settings.file_mode, &settings.clock);
        let ring = Arc::new(create_ring(directory, &stream, &home, &settings, &process, ring_size)?);
        let passed = shards::needs_floors(&settings)
            .then(|| Arc::new(Passed::new(Arc::clone(&ring), directory.join(INTERNALS))));
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
        let keeper = shards::keeper(&around, &mut files, kept, passed.clone(), is_new);
        let packer = keeper.packer.clone();
        let reporting = Reporting {
            stats: Arc::clone(&stats),
            warnings: Arc::clone(&warnings),
            syncer: Some(Arc::clone(&syncer)),
            feeds: exporting.iter().map(|exporting| Arc::clone(&exporting.feed)).collect(),
            passed,
            packer: packer.clone(),
        };
        let pulse = Arc::clone(files.pulse());
        let mut drain = Drain::new(Arc::clone(&ring), files, RowEncoder::new(&home.run_id, settings.legacy), reporting);
        let largest_before = largest_before(directory, &stream, is_new)?;
        if let Err(error) = drain.open(FileKind::Metrics) {
            let _ = crate::fs::remove(&journal_path(directory, &stream));
            return Err(error);
        }
        stats.torn_tails.add(drain.files().torn_tails());
        ring.lock().largest_step_known = is_new;

        // Nobody else appends to the stream now, and what was recovered is in it.
        let begins_at = if is_helper && is_new { Some(Place::START) } else { places::end(directory, &stream).ok() };
        let (losses, notes) = (Arc::new(Losses::default()), Arc::new(Notes::default()));
        let (counters, words) = (Arc::clone(&stats), Arc::clone(&warnings));
        let tenure = Arc::new(Tenure::new(owner, process.clone(), settings.file_mode, counters, words));
        let sidecar = beside(directory, &stream, &settings, is_helper);
        let reporter = Reporter {
            losses: Arc::clone(&losses),
            notes: Arc::clone(&notes),
            timeline: Arc::clone(&timeline),
            tenure: Arc::clone(&tenure),
            watch: Watch::over(&journal_path(directory, &stream)),
            keeper,
            sidecar: sidecar.clone(),
        };
        let begin = |exporting: Exporting| exporting.begin(directory, &stream, &settings, &stats, &warnings, &notes);
        let exporters = exporting.into_iter().map(begin).collect();
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
            exporters,
            sidecar,
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
            folder: Mutex::new(Some(folder)),
        });
        fork::register(&session);
        Ok(session)
    }
}

/// What runs beside the process: the one that writes its rank's own stream has it, its helpers do not.
fn beside(directory: &Path, stream: &Stream, settings: &Settings, is_helper: bool) -> Option<Arc<Sidecar>> {
    if is_helper || *stream != Stream::of_rank(settings.rank) {
        return None;
    }
    let wanted = settings.sidecar.clone()?;
    Some(Arc::new(Sidecar::new(wanted, directory, settings.file_mode)))
}

/// Recovers what the writers of other streams left.
fn recover_others(
    directory: &Path,
    entry: &Entry<'_>,
    stream: &Stream,
    process: &Process,
    settings: &Settings,
    recovered: &mut Recovered,
) {
    // One process looks after the others: if each of many did, it would take as many looks as their square.
    if stream.is_main()
        && let Ok(others) = recover_all(directory, Some(stream), process, &settings.clock, false, None)
    {
        recovered.add(&others);
    }
    if entry.seat == Seat::Process && entry.parent.is_none() {
        // It was refused the rank's stream, or did not ask for it. If nobody alive has that, the user hears why.
        recovered.add(&recover_one(directory, &Stream::of_rank(settings.rank), process, &settings.clock));
    }
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
    if let Some((pid, host)) = lock::stranger(&lock_path(directory, &wanted), process) {
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
    if recovered.rows_deferred > 0 {
        warnings.push("deferred", || {
            let rows = count(recovered.rows_deferred, "row");
            let were = was(recovered.rows_deferred);
            format!("{rows} of an earlier process {were} never computed: it died before its device had their values")
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
                "{} of another machine {} left alone: if no writer is alive there, `codex-ndjson recover` brings the \
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
        packs: settings.retention.packs,
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
            format!("the disk has no room for a journal of {first} bytes ({error}); free some space or set a smaller ring_bytes"),
        ),
        _ => error,
    })
}

/// The largest step of earlier sessions, as far as it is known without reading all of their files.
fn largest_before(directory: &Path, stream: &Stream, is_new: bool) -> Result<OnceLock<Option<i64>>> {
    if is_new {
        return Ok(OnceLock::from(None));
    }
    let Some(noted) = steps::noted(directory, stream)? else { return Ok(OnceLock::new()) };
    // Threads may have logged behind the finish record, while their process ended.
    Ok(OnceLock::from(noted.max(steps::recent(directory, stream)?)))
}
