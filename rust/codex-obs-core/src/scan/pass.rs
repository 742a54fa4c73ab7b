//! One pass over a snapshot on every core.
//!
//! Shards are cut into units at fixed offsets; a unit has the lines that begin in it. Threads take units in order of
//! position, so each thread sees its rows in that order, and what they found is put together at the end.

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, unbounded};

use super::lines::{self, Range};
use super::names::Names;
use super::parser::{Lines, Parser};
use super::report::Report;
use super::row::{Refusal, Row};
use super::snapshot::Snapshot;
use super::source::Source;
use crate::error::{Error, Result};
use crate::limits::{MAX_REPORTED_LINES, SCAN_UNIT_BYTES};
use crate::shard::name::Coding;

/// Time between two calls of [`Tick`].
const TICK: Duration = Duration::from_millis(50);

/// Asked now and then, in the thread that called [`run`], whether to go on.
pub type Tick<'a> = &'a mut dyn FnMut(Progress) -> bool;

/// How far a pass has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the files that threads have taken so far, compressed ones as they are stored.
    pub done: u64,
    /// Bytes of all files.
    pub total: u64,
}

/// Place of a row among all rows: later ones are greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u64);

impl Position {
    const LINE_BITS: u32 = 36;

    fn new(unit: usize, line: u64) -> Self {
        Self((unit as u64) << Self::LINE_BITS | line.min((1 << Self::LINE_BITS) - 1))
    }
}

/// What becomes of the rows that one thread reads.
pub trait Sink: Send {
    /// The rows of a part of a shard follow. Parts come in order of `number`; other threads have those between.
    fn begin(&mut self, number: usize, stream: &Arc<str>);

    /// The next row.
    fn row(&mut self, row: &Row<'_>, names: &Names, position: Position);
}

/// What the threads of a pass have.
#[derive(Debug)]
pub struct Outcome<S> {
    /// For each thread its sink and its texts.
    pub parts: Vec<(S, Names)>,
    /// What was read.
    pub report: Report,
}

/// A part of a source.
#[derive(Clone, Copy, Debug)]
struct Unit {
    source: usize,
    range: Range,
}

/// What one thread has besides its sink.
#[derive(Debug, Default)]
struct Tally {
    rows: u64,
    skipped: u64,
    /// Lines of each unit it read.
    lines: Vec<(usize, Lines)>,
    /// Unit, line in it, reason.
    examples: Vec<(usize, u64, Refusal)>,
}

/// Reads every row of `snapshot` into sinks, one a thread.
///
/// # Errors
/// If a shard cannot be read, or `tick` says to stop.
pub fn run<S: Sink>(snapshot: &Snapshot, new_sink: impl Fn() -> S + Sync, tick: Tick<'_>) -> Result<Outcome<S>> {
    let units = units(&snapshot.sources);
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = cores.min(units.len()).max(1);
    let next = AtomicUsize::new(0);
    let stopped = AtomicBool::new(false);
    let work = || read_units(&snapshot.sources, &units, &next, &stopped, new_sink());
    // A run that fits into one unit is not worth a thread.
    let results = if units.len() <= 1 && units.iter().all(|unit| unit.range.end < u64::MAX) {
        vec![work()]
    } else {
        std::thread::scope(|scope| {
            let (sender, receiver) = unbounded();
            for _ in 0..threads {
                let sender = sender.clone();
                scope.spawn(move || {
                    // The receiver outlives the threads.
                    let _ = sender.send(work());
                });
            }
            drop(sender);
            let mut results = Vec::with_capacity(threads);
            loop {
                match receiver.recv_timeout(TICK) {
                    Ok(result) => results.push(result),
                    // A thread that panics lets go of its sender; the scope passes the panic on.
                    Err(RecvTimeoutError::Disconnected) => break results,
                    // Relaxed: the flag guards nothing but itself.
                    Err(RecvTimeoutError::Timeout) if !tick(progress(&snapshot.sources, &units, &next)) => {
                        stopped.store(true, Ordering::Relaxed);
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                }
            }
        })
    };
    if stopped.load(Ordering::Relaxed) {
        let path = snapshot.sources.first().map(|source| source.path.clone()).unwrap_or_default();
        return Err(Error::io("read", &path, io::ErrorKind::Interrupted.into()));
    }
    let mut parts = Vec::with_capacity(results.len());
    let mut tallies = Vec::with_capacity(results.len());
    for result in results {
        let (sink, names, tally) = result?;
        parts.push((sink, names));
        tallies.push(tally);
    }
    Ok(Outcome { parts, report: report(snapshot, &units, tallies) })
}

/// The units that were taken count as done: what is being read is small beside the rest, where progress matters.
fn progress(sources: &[Source], units: &[Unit], next: &AtomicUsize) -> Progress {
    let bytes = |unit: &Unit| match unit.range.end {
        u64::MAX => sources[unit.source].stored_length(),
        end => end - unit.range.start,
    };
    // Relaxed: a number to show.
    let taken = next.load(Ordering::Relaxed).min(units.len());
    let done = units[..taken].iter().map(bytes).sum();
    Progress { done, total: done + units[taken..].iter().map(bytes).sum::<u64>() }
}

fn units(sources: &[Source]) -> Vec<Unit> {
    let mut units = Vec::new();
    for (source, file) in sources.iter().enumerate() {
        let Some(length) = file.length() else {
            units.push(Unit { source, range: Range { start: 0, end: u64::MAX } });
            continue;
        };
        let starts = (0..length).step_by(SCAN_UNIT_BYTES as usize);
        units.extend(starts.map(|start| {
            let end = (start + SCAN_UNIT_BYTES).min(length);
            Unit { source, range: Range { start, end } }
        }));
    }
    units
}

fn read_units<S: Sink>(
    sources: &[Source],
    units: &[Unit],
    next: &AtomicUsize,
    stopped: &AtomicBool,
    mut sink: S,
) -> Result<(S, Names, Tally)> {
    let mut parser = Parser::default();
    let mut tally = Tally::default();
    let mut buffer = Vec::new();
    loop {
        // Relaxed: each number is had by one thread, and nothing else is handed over with it.
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(unit) = units.get(number) else { break };
        let source = &sources[unit.source];
        let Some(mut bytes) = source.bytes(unit.range.read_from())? else { continue };
        sink.begin(number, &source.stream);
        let mut lines = Lines::default();
        let Tally { rows, skipped, examples, .. } = &mut tally;
        let mut refuse = |refusal, line| {
            *skipped += 1;
            if examples.len() < MAX_REPORTED_LINES {
                examples.push((number, line, refusal));
            }
        };
        let outcome = lines::read(&mut bytes, unit.range, &mut buffer, |piece| {
            parser.read(
                piece,
                &mut lines,
                |row, names, line| {
                    *rows += 1;
                    sink.row(row, names, Position::new(number, line));
                },
                &mut refuse,
            );
            !stopped.load(Ordering::Relaxed)
        });
        match outcome {
            Ok(()) => {}
            // Any error of a decoder is about what the archive holds, as far as one can tell.
            Err(_) if source.coding != Coding::Plain => {
                refuse(Refusal::Archive, lines.total);
                lines.total += 1;
            }
            Err(error) => return Err(Error::io("read", &source.path, error)),
        }
        tally.lines.push((number, lines));
        if stopped.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok((sink, parser.names, tally))
}

fn report(snapshot: &Snapshot, units: &[Unit], tallies: Vec<Tally>) -> Report {
    let mut report = snapshot.report.clone();
    let mut lines = vec![0; units.len()];
    let mut examples = Vec::new();
    for tally in tallies {
        report.rows += tally.rows;
        report.skipped += tally.skipped;
        for (unit, count) in tally.lines {
            lines[unit] = count.total;
            report.lines += count.total - count.blank;
        }
        examples.extend(tally.examples);
    }
    examples.sort_unstable_by_key(|&(unit, line, _)| (unit, line));
    let room = MAX_REPORTED_LINES - report.examples.len().min(MAX_REPORTED_LINES);
    report.examples.extend(examples.into_iter().take(room).map(|(number, line, refusal)| {
        let source = units[number].source;
        let before: u64 = (0..number).filter(|&other| units[other].source == source).map(|other| lines[other]).sum();
        (snapshot.sources[source].path.clone(), before + line + 1, refusal)
    }));
    report
}
