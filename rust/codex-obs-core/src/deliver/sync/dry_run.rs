//! What a delivery would send.

use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;

use super::{COUNT_POINTS, StreamOutcome, SyncOutcome, SyncProgress, Tick, context, streams};
use crate::clock::Clock;
use crate::deliver::destination::Destination;
use crate::deliver::settings::DeliverySettings;
use crate::error::{Error, Result};
use crate::follow::backlog::bytes_left;
use crate::follow::follower::{Follower, Stopped};
use crate::follow::params::Params;
use crate::follow::points::{Content, Rows};
use crate::follow::progress::{Missing, Progress};
use crate::follow::records::Records;
use crate::paths::{FileKind, Stream};
use crate::recovery::pending::{Pending, recover_for_reading};
use crate::recovery::run::is_written;
use crate::run::identity::Home;
use crate::run::records::last_status;
use crate::scan::Snapshot;

/// Counts what would be sent, also of what dead writers left in journals: like every reader it brings that back first, on disk
/// where it may write.
pub(super) fn count(
    directory: &Path,
    settings: &DeliverySettings,
    clock: &Clock,
    home: &Home,
    tick: Tick<'_>,
) -> Result<SyncOutcome> {
    let (recovered, pending) = recover_for_reading(directory, clock)?;
    let mut outcome = SyncOutcome { rows_recovered: recovered.rows_recovered, ..SyncOutcome::default() };
    let mut progress = SyncProgress::default();
    let destination = context(directory, &Stream::main(), settings, clock, false).connect()?;
    let (address, follows) = (destination.address(), destination.follows());
    for (index, stream) in streams(directory, settings, follows)?.into_iter().enumerate() {
        let known = if destination.makes_new_run() {
            Progress::default()
        } else {
            Progress::known(directory, &stream, &address, destination.meant_run())?
        };
        let known = Progress { is_without_rows: follows.points.is_none(), ..known };
        let spans = if follows.spans { spans_of(directory, &stream, &*destination, &known)? } else { 0 };
        progress.stream = stream.to_string();
        progress.bytes_total += bytes_left(directory, &stream, &known)?;
        let wanted = follows.points.unwrap_or_default();
        let mut rows = Rows::new("", home.created_micros).wanting(wanted, directory, &stream, known.manifest)?;
        rows.most = COUNT_POINTS;
        let mut follower = Follower::open(FileKind::Metrics, directory, &stream, None, known.cursor, known.rows)?;
        let mut counted = StreamOutcome { stream: stream.to_string(), spans, ..StreamOutcome::default() };
        // The others' parameters and ends stay here, as in a delivery.
        if follows.params && (stream.is_main() || index == 0) {
            (counted.params, counted.tags) = Params::new(directory, &stream).count(known.params_offset)?;
            let ended = if is_written(directory, &stream) { None } else { last_status(directory, &stream)? };
            counted.status = ended.filter(|_| known.told != ended).map(|(status, _)| status);
        }
        while follows.points.is_some() {
            let stopped = follower.read(&mut rows)?;
            let count = rows.points.len();
            counted.delivered += count as u64;
            rows.release(count);
            let reached = Progress { cursor: Some(follower.cursor().clone()), ..Progress::default() };
            progress.bytes_left = bytes_left(directory, &stream, &reached)?;
            counted.done = stopped == Stopped::AtEnd;
            if counted.done || !tick(&progress) {
                break;
            }
        }
        counted.done |= follows.points.is_none();
        for pending in pending.iter().filter(|pending| pending.stream == stream) {
            outcome.rows_recovered += pending.rows;
            let (more, fewer) = points_of(directory, pending, home)?;
            counted.delivered = (counted.delivered + more).saturating_sub(fewer);
        }
        counted.remote_run = destination.meant_run().map(str::to_owned);
        counted.remote_run = counted.remote_run.or_else(|| home.destinations.get(&address).cloned());
        counted.remote_run = counted.remote_run.filter(|_| !destination.makes_new_run());
        let losses = follower.losses();
        (counted.lines_skipped, counted.unshown) = (losses.refused, rows.unshown());
        counted.missing_new = Missing { rows: losses.missing, gaps: losses.gaps };
        counted.missing = known.missing.and(counted.missing_new);
        outcome.streams.push(counted);
    }
    Ok(outcome)
}

/// The spans that a destination makes of what it has not got; those that a dead process left open are some.
fn spans_of(directory: &Path, stream: &Stream, destination: &dyn Destination, known: &Progress) -> Result<u64> {
    // Looked at first: what is written until then is there at the look that follows.
    let is_over = !is_written(directory, stream);
    let cursor = known.records.get(FileKind::Telemetry.base()).cloned();
    let mut follower = Follower::open(FileKind::Telemetry, directory, stream, None, cursor, None)?;
    let (mut records, mut state, mut count) = (Records::default(), known.state.clone(), 0);
    while follower.read(&mut records)? != Stopped::AtEnd {
        count += destination.count_spans(&mut state, &records.lines, false);
        records.clear();
    }
    Ok(count + destination.count_spans(&mut state, &records.lines, is_over))
}

/// The points that a journal adds, and those in the files that it has as well.
fn points_of(directory: &Path, pending: &Pending, home: &Home) -> Result<(u64, u64)> {
    let mut rows = Rows::new("", home.created_micros);
    let mut is_point = |line: &[u8]| u64::from(matches!(rows.read(line), Ok(Content::Point(_))));
    let mut more = 0;
    for line in BufReader::new(pending.tail.lines()).split(b'\n') {
        more += is_point(&line.map_err(|error| Error::io("read", directory, error))?);
    }
    let Some((file, length)) = pending.cut else { return Ok((more, 0)) };
    let mut fewer = 0;
    let sources = Snapshot::of_stream(FileKind::Metrics, directory, &pending.stream)?.sources;
    if let Some(source) = sources.iter().find(|source| source.file_id() == Some(file))
        && let Some(bytes) = source.bytes(length.min(source.stored_length()))?
    {
        for line in BufReader::new(bytes).split(b'\n') {
            fewer += is_point(&line.map_err(|error| Error::io("read", &source.path, error))?);
        }
    }
    Ok((more, fewer))
}
