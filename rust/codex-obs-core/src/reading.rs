//! A run as tables: what journals hold is brought back first, then one pass over the shards.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::fs::INTERNALS;
use crate::rows::{self, Columns};
use crate::scan::{self, Report, Snapshot, Source, Tail, Tick};
use crate::session::is_written;
use crate::session::pending::{Pending, recover_for_reading};
use crate::sessions;
use crate::shard::name::Stream;
use crate::summary::{self, Totals};
use crate::words::count;

/// One row a group: the statistics of the run in `paths`, which is one run directory or files of one.
///
/// # Errors
/// If there is no log, or it cannot be read, or `tick` says to stop.
pub fn summarize(paths: &[PathBuf], superseded: bool, clock: &Clock, tick: Tick<'_>) -> Result<(RecordBatch, Report)> {
    let outcome = scan::run(&snapshot(paths, superseded, clock)?, Totals::default, has_writer, tick)?;
    let batch = summary::to_batch(&summary::merge(outcome.parts)).map_err(|error| not_a_table(&error))?;
    Ok((batch, outcome.report))
}

/// Every row of the run in `paths`, in order of position.
///
/// # Errors
/// As [`summarize`].
pub fn read_rows(
    paths: &[PathBuf],
    superseded: bool,
    clock: &Clock,
    tick: Tick<'_>,
) -> Result<(Vec<RecordBatch>, Report)> {
    let outcome = scan::run(&snapshot(paths, superseded, clock)?, Columns::default, has_writer, tick)?;
    let batches = rows::to_batches(outcome.parts).map_err(|error| not_a_table(&error))?;
    Ok((batches, outcome.report))
}

/// Whether a process that lives writes to a source.
fn has_writer(source: &Source) -> bool {
    let folder = source.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Stream::parse(&source.stream).is_some_and(|stream| is_written(folder, &stream))
}

fn snapshot(paths: &[PathBuf], superseded: bool, clock: &Clock) -> Result<Snapshot> {
    let [directory] = paths else { return Snapshot::of_files(paths) };
    if !directory.is_dir() {
        return Snapshot::of_files(paths);
    }
    let mut rows_recovered = 0;
    let mut looks = 1;
    loop {
        let (recovered, pending) = recover_for_reading(directory, clock)?;
        rows_recovered += recovered.rows_recovered;
        let tails: Vec<Tail> = pending.iter().map(tail).collect();
        let mut snapshot = Snapshot::of_directory(directory, &tails)?;
        // Another process may have brought the same rows back on disk meanwhile. Then the journal says something else now.
        if tails.is_empty() || looks == LOOKS || recover_for_reading(directory, clock)?.1 == pending {
            snapshot.report.recovered += rows_recovered;
            if recovered.journals_unreadable > 0 {
                let why = format!(
                    "holds {} that this user may not read; if a writer was killed, `codex-ndjson recover`, run by the \
                     owner, brings its last rows back",
                    count(recovered.journals_unreadable, "journal")
                );
                snapshot.report.journals.push((directory.join(INTERNALS), why));
            }
            sessions::mark(directory, &mut snapshot)?;
            if superseded {
                keep_superseded(&mut snapshot);
            }
            return Ok(snapshot);
        }
        looks += 1;
    }
}

/// Has rows given out that a later session has superseded.
fn keep_superseded(snapshot: &mut Snapshot) {
    for segment in snapshot.sources.iter_mut().flat_map(|source| &mut source.segments) {
        segment.superseded_from = None;
    }
}

/// How often journals are looked at until they say the same before and after a snapshot.
const LOOKS: u32 = 16;

fn tail(pending: &Pending) -> Tail {
    let lines = Arc::new(pending.tail.clone());
    Tail { stream: pending.stream.clone(), cut: pending.cut, lines, rows: pending.rows }
}

/// The columns are built to fit their schema, so Arrow has no reason to refuse them.
#[cold]
fn not_a_table(error: &ArrowError) -> Error {
    Error::conflict(format!("the columns do not make a table: {error}"))
}
