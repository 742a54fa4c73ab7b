//! A run as tables: what journals hold is brought back first, then one pass over the shards.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::journal::aside::set_aside_in;
use crate::limits::MAX_REPORTED_LINES;
use crate::lock::Patience;
use crate::paths::{FileKind, INTERNALS, Stream, journal_path};
use crate::problem::Problem;
use crate::recovery::pending::{Found, Pending, READER_WAIT, Why, is_written_now, look};
use crate::recovery::run::journals;
use crate::rows::payloads::{self, Payloads};
use crate::rows::{self, Columns};
use crate::run::identity::{self, Home};
use crate::scan::{self, Progress, Report, Snapshot, Source, Tail, Tick};
use crate::series::{Axis, Grid, Key, Picks, Pixel, Series};
use crate::sessions;
use crate::summary::{self, Totals};
use crate::words::{count, some_of};

/// One row a group: the statistics of the runs in `paths`, which are run directories, or files of them.
///
/// # Errors
/// If there is no log, or it cannot be read, or `tick` says to stop.
pub fn summarize(paths: &[PathBuf], superseded: bool, clock: &Clock, tick: Tick<'_>) -> Result<(RecordBatch, Report)> {
    let outcome =
        scan::run(&snapshot(FileKind::Metrics, paths, superseded, clock, tick)?, Totals::default, has_writer, tick)?;
    let batch = summary::to_batch(&summary::merge(outcome.parts)).map_err(|error| not_a_table(&error))?;
    Ok((batch, outcome.report))
}

/// Every row of the runs in `paths`, in order of position.
///
/// # Errors
/// As [`summarize`].
pub fn read_rows(
    paths: &[PathBuf],
    superseded: bool,
    clock: &Clock,
    tick: Tick<'_>,
) -> Result<(Vec<RecordBatch>, Report)> {
    let outcome =
        scan::run(&snapshot(FileKind::Metrics, paths, superseded, clock, tick)?, Columns::default, has_writer, tick)?;
    let batches = rows::to_batches(outcome.parts).map_err(|error| not_a_table(&error))?;
    Ok((batches, outcome.report))
}

/// Every row of the runs in `paths` in order of position, page by page.
#[derive(Debug)]
pub struct RowPages(scan::Pages);

impl RowPages {
    /// Of one snapshot.
    ///
    /// # Errors
    /// As [`summarize`].
    pub fn open(paths: &[PathBuf], superseded: bool, clock: &Clock, tick: Tick<'_>) -> Result<Self> {
        Ok(Self(scan::Pages::new(snapshot(FileKind::Metrics, paths, superseded, clock, tick)?)))
    }

    /// The next page; `None` behind the last.
    ///
    /// # Errors
    /// As [`summarize`].
    pub fn next(&mut self, tick: Tick<'_>) -> Result<Option<(Vec<RecordBatch>, Report)>> {
        let Some(outcome) = self.0.next(Columns::default, has_writer, tick)? else { return Ok(None) };
        let batches = rows::to_batches(outcome.parts).map_err(|error| not_a_table(&error))?;
        Ok(Some((batches, outcome.report)))
    }
}

/// Reads into `series` what the run at `path`, a run directory or a file of one, has more than what it has.
///
/// # Errors
/// As [`summarize`].
pub fn refresh(series: &mut Series, path: &Path, superseded: bool, clock: &Clock, tick: Tick<'_>) -> Result<Report> {
    if !series.knows_own_run() {
        series.set_own_run(own_run(path));
    }
    series.refresh(snapshot(FileKind::Metrics, &[path.to_owned()], superseded, clock, tick)?, has_writer, tick)
}

/// Reads into `picks` what the manifest of the run at `path` has more than what they have.
///
/// # Errors
/// As [`summarize`].
pub fn refresh_picks(picks: &mut Picks, path: &Path, clock: &Clock, tick: Tick<'_>) -> Result<()> {
    picks.set_own_run(own_run(path));
    picks.refresh(snapshot(FileKind::Manifest, &[path.to_owned()], true, clock, tick)?, has_writer, tick)
}

/// The id of the run in whose directory `path` is, if that says so. It only tells curves apart: a record that cannot be read is no
/// reason not to draw them.
fn own_run(path: &Path) -> Option<String> {
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    Home::look_at(&folder.join(identity::FILE_NAME)).ok().flatten().map(|home| home.run_id)
}

/// The pixels of curves as [`Series::pixels`] gives them. Where rows are taken together and the range is narrow, the single ones are read
/// again from the run at `path`.
///
/// # Errors
/// As [`Series::pixels`] and [`summarize`].
pub fn pixels(
    series: &Series,
    (path, superseded): (&Path, bool),
    (keys, axis): (&[Key], Axis),
    grid: Grid,
    clock: &Clock,
    tick: Tick<'_>,
) -> Result<Vec<Vec<(u32, Pixel)>>> {
    if series.is_coarse(keys, axis, grid) {
        let snapshot = snapshot(FileKind::Metrics, &[path.to_owned()], superseded, clock, tick)?;
        if let Some(detail) = series.read_again(snapshot, keys, axis, grid, tick)? {
            return detail.pixels(keys, axis, grid);
        }
    }
    series.pixels(keys, axis, grid)
}

/// Every structured value of the runs in `paths`, in order of position.
///
/// # Errors
/// As [`summarize`].
pub fn read_payloads(paths: &[PathBuf], clock: &Clock, tick: Tick<'_>) -> Result<(Vec<RecordBatch>, Report)> {
    let outcome =
        scan::run(&snapshot(FileKind::Manifest, paths, true, clock, tick)?, Payloads::default, has_writer, tick)?;
    let batches = payloads::to_batches(outcome.parts).map_err(|error| not_a_table(&error))?;
    Ok((batches, outcome.report))
}

/// Whether a process that lives writes to a source.
pub(crate) fn has_writer(source: &Source) -> bool {
    let folder = source.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Stream::parse(&source.stream).is_some_and(|stream| is_written_now(folder, &stream))
}

/// The shards of a log beside the rows of the run in `directory`, with what journals add where it goes through them.
pub(crate) fn log_of(log: FileKind, directory: &Path, clock: &Clock, tick: Tick<'_>) -> Result<Snapshot> {
    if FileKind::ALL.contains(&log) {
        of_run(log, directory, true, clock, tick)
    } else {
        Snapshot::of_log(log, directory, &[])
    }
}

/// The rows of the run in `directory` that count, as [`summarize`] reads them.
pub(crate) fn snapshot_of(directory: &Path, clock: &Clock, tick: Tick<'_>) -> Result<Snapshot> {
    of_run(FileKind::Metrics, directory, false, clock, tick)
}

/// What is read of run directories and files, in the order in which they are given; files come last. A file or folder that
/// is given twice is read once.
fn snapshot(log: FileKind, paths: &[PathBuf], superseded: bool, clock: &Clock, tick: Tick<'_>) -> Result<Snapshot> {
    let (directories, files): (Vec<PathBuf>, Vec<PathBuf>) = paths.iter().cloned().partition(|path| path.is_dir());
    if directories.is_empty() {
        return Snapshot::of_files(log, &files);
    }
    let mut all = Snapshot::default();
    let mut known = HashSet::new();
    for directory in &directories {
        if known.insert(directory.canonicalize().unwrap_or_else(|_| directory.clone())) {
            all.add(of_run(log, directory, superseded, clock, tick)?);
        }
    }
    if !files.is_empty() {
        all.add(Snapshot::of_files(log, &files)?);
    }
    Ok(all)
}

fn of_run(log: FileKind, directory: &Path, superseded: bool, clock: &Clock, tick: Tick<'_>) -> Result<Snapshot> {
    let patience = Patience::of(READER_WAIT);
    let mut rows_recovered = 0;
    let mut lost = (0, 0);
    let mut looks = 1;
    loop {
        let mut found = attended(log, directory, clock, &patience, tick)?;
        rows_recovered += found.recovered.rows_recovered;
        lost.0 += found.recovered.frames_damaged;
        lost.1 += found.recovered.rows_damaged;
        let tails: Vec<Tail> = found.pending.iter().map(tail).collect();
        let mut snapshot = match log {
            FileKind::Metrics => Snapshot::of_directory(directory, &tails)?,
            other => beside_rows(other, directory, &tails)?,
        };
        // Another process may have brought the same rows back on disk meanwhile. Then the journal says something else now.
        if tails.is_empty() || looks == LOOKS || {
            let again = attended(log, directory, clock, &patience, tick)?;
            let same = again.pending == found.pending;
            found.lost_sight = again.lost_sight;
            same
        } {
            snapshot.report.recovered += rows_recovered;
            note_losses(directory, &found, lost, &mut snapshot.report);
            note_journals(directory, found, &mut snapshot.report);
            if log == FileKind::Metrics {
                sessions::mark(directory, &mut snapshot, superseded)?;
            }
            return Ok(snapshot);
        }
        looks += 1;
    }
}

/// A log that stands beside the rows of a run, and which many runs have not.
fn beside_rows(log: FileKind, directory: &Path, tails: &[Tail]) -> Result<Snapshot> {
    let snapshot = Snapshot::of_log(log, directory, tails)?;
    if snapshot.sources.is_empty() && tails.is_empty() && Snapshot::streams(directory)?.is_empty() {
        // Says why there is no run.
        Snapshot::of_directory(directory, &[])?;
    }
    Ok(snapshot)
}

/// Looks at the journals, and meanwhile asks `tick` whether to go on: another process may keep this one waiting.
fn attended(log: FileKind, directory: &Path, clock: &Clock, patience: &Patience, tick: Tick<'_>) -> Result<Found> {
    if journals(directory).is_ok_and(|streams| streams.is_empty()) {
        return Ok(Found::default());
    }
    let found = std::thread::scope(|scope| {
        let looker = scope.spawn(|| look(directory, log, clock, patience));
        let mut last = Instant::now();
        while !looker.is_finished() {
            std::thread::park_timeout(LOOK);
            if last.elapsed() >= TICK {
                last = Instant::now();
                if !tick(Progress { done: 0, total: 0 }) {
                    patience.stop();
                }
            }
        }
        looker.join()
    });
    if patience.is_stopped() {
        return Err(Error::io("read", directory, io::ErrorKind::Interrupted.into()));
    }
    found.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// How often it is looked whether the journals have been read, which takes microseconds as a rule.
const LOOK: Duration = Duration::from_micros(200);
const TICK: Duration = Duration::from_millis(50);

/// How often journals are looked at until they say the same before and after a snapshot.
const LOOKS: u32 = 16;

fn tail(pending: &Pending) -> Tail {
    let lines = Arc::new(pending.tail.clone());
    Tail { stream: pending.stream.clone(), cut: pending.cut, lines, rows: pending.rows }
}

/// Tells of journals whose rows are not there, and of those that were only read.
fn note_journals(directory: &Path, found: Found, report: &mut Report) {
    for (path, why) in found.lost_sight {
        let why = match why {
            Why::Foreign => {
                let facts = vec![("directory", directory.to_string_lossy().into_owned())];
                Problem::new("foreign_journal", "was left by a process on another machine", facts)
            }
            Why::Recovering => {
                "is being recovered by a process that makes no progress. Resume or end that process, then read again"
                    .into()
            }
            Why::Unreadable(why) => format!("cannot be read: {why}").into(),
        };
        report.journals.push((path, why));
    }
    if found.recovered.journals_unreadable > 0 {
        let why = format!(
            "holds {} that this user may not read; if a writer was killed, the owner can recover its last rows with \
             `codex-ndjson recover`",
            count(found.recovered.journals_unreadable, "journal")
        );
        report.journals.push((directory.join(INTERNALS), why.into()));
    }
    if found.stuck {
        report.notes.push(format!(
            "Rows of killed writers were read from their journals and not recovered to the files of {}: another process holds \
             its lock and makes no progress",
            directory.display()
        ));
    }
}

/// Tells of rows that were in journals and cannot be read: of damaged frames, which were passed just now or are still there, and
/// of journals that were set aside.
fn note_losses(directory: &Path, found: &Found, (frames, rows): (u64, u64), report: &mut Report) {
    let internals = directory.join(INTERNALS);
    if frames > 0 {
        let why = format!(
            "had {}; the records in tracking_summary.ndjson say when that was noticed",
            damaged_frames(frames, rows)
        );
        report.journals.push((internals.clone(), why.into()));
    }
    for pending in &found.pending {
        let (frames, rows) = pending.lost;
        if frames > 0 {
            report.journals.push((
                journal_path(directory, &pending.stream),
                format!("has {}", damaged_frames(frames, rows)).into(),
            ));
        }
    }
    let kept = set_aside_in(directory);
    if !kept.is_empty() {
        let rows = kept.iter().map(|(_, rows)| rows).sum();
        let names: Vec<String> = kept.into_iter().map(|(name, _)| name).collect();
        let why = format!(
            "keeps {} with {} that could not be recovered: {}. Delete what is not needed any more",
            count(names.len() as u64, "damaged journal"),
            if rows == 0 { "rows".to_owned() } else { count(rows, "row") },
            some_of(&names, MAX_REPORTED_LINES)
        );
        report.journals.push((internals, why.into()));
    }
}

fn damaged_frames(frames: u64, rows: u64) -> String {
    let frames = count(frames, "damaged frame");
    if rows == 0 { format!("{frames} whose rows are lost") } else { format!("{frames}: {} lost", count_lost(rows)) }
}

fn count_lost(rows: u64) -> String {
    format!("{} {}", count(rows, "row"), if rows == 1 { "is" } else { "are" })
}

/// The columns are built to fit their schema, so Arrow has no reason to refuse them.
#[cold]
fn not_a_table(error: &ArrowError) -> Error {
    Error::conflict(format!("the columns do not make a table: {error}"))
}
