//! One pass over a snapshot on every core.
//!
//! Shards are cut into units at fixed offsets; a unit has the lines that begin in it. Threads take units in order of
//! position, so each thread sees its rows in that order, and what they found is put together at the end.

use std::cell::RefCell;
use std::io::{self, Read};
use std::num::NonZero;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, unbounded};

use super::faults::{Fault, Faults};
use super::lines::{self, Piece};
use super::names::Names;
use super::reader::{LineReader, Lines, Parsed};
use super::report::Report;
use super::row::Refusal;
use super::snapshot::Snapshot;
use super::source::Source;
use super::unit::{Unit, chunks, units};
use crate::error::{Error, Result};
use crate::limits::{
    ALONE, MAX_GROUP_BYTES, MAX_REPORTED_LINES, MAX_SCAN_THREADS, MAX_ZSTD_WINDOW_BITS, PAGE_BYTES,
    USUAL_ZSTD_WINDOW_BITS,
};
use crate::paths::Coding;

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

/// A part of a source, all of one session.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// In order of position.
    pub number: usize,
    /// Index of the source in its snapshot.
    pub source: usize,
    /// The stream.
    pub stream: &'a Arc<str>,
    /// The session that wrote it, if that is known.
    pub session: Option<u64>,
}

/// What becomes of the rows that one thread reads.
pub trait Sink: Send {
    /// What makes rows of lines.
    type Reader: LineReader;

    /// Most bytes that the texts of all threads, and what [`held`](Self::held) counts, may take.
    const MAX_HELD: usize = MAX_GROUP_BYTES;

    /// The rows of a part of a shard follow. Parts come in order of their numbers; other threads have those between.
    fn begin(&mut self, part: &Part<'_>);

    /// The next row.
    fn row(&mut self, row: &<Self::Reader as LineReader>::Row<'_>, names: &Names, position: Position);

    /// Bytes of memory that it takes beside what the table will have: distinct texts and groups. They never become less.
    fn held(&self) -> usize;
}

/// What the threads of a pass have.
#[derive(Debug)]
pub struct Outcome<S> {
    /// For each thread its sink and its texts.
    pub parts: Vec<(S, Names)>,
    /// What was read.
    pub report: Report,
}

/// What one thread has besides its sink.
#[derive(Debug, Default)]
struct Tally {
    rows: u64,
    superseded: u64,
    skipped: u64,
    /// Lines of each unit it read.
    lines: Vec<(usize, Lines)>,
    /// Unit, line in it, reason.
    examples: Vec<(usize, u64, Refusal)>,
    /// Lines at the end of a file that are not ended.
    open_ends: Vec<(usize, u64)>,
    faulty_fields: u64,
    valueless_rows: u64,
    /// Unit, line in it, fault.
    faults: Vec<(usize, u64, Fault)>,
}

impl Tally {
    fn refuse(&mut self, unit: usize, line: u64, refusal: Refusal) {
        if refusal == Refusal::Torn {
            // What becomes of it is decided at the end: its writer may still be at it.
            self.open_ends.push((unit, line));
            return;
        }
        self.skipped += 1;
        if self.examples.len() < MAX_REPORTED_LINES {
            self.examples.push((unit, line, refusal));
        }
    }

    #[cold]
    fn note(&mut self, unit: usize, line: u64, faults: Faults) {
        for fault in faults.iter() {
            match fault {
                Fault::NoValue => self.valueless_rows += 1,
                Fault::Unreadable(_) | Fault::Cut(_) => self.faulty_fields += 1,
            }
            if self.faults.len() < MAX_REPORTED_LINES {
                self.faults.push((unit, line, fault));
            }
        }
    }
}

/// What every thread has: its sink and its texts, and beside them its tally.
type Found<S> = (Vec<(S, Names)>, Vec<Tally>);

/// What the threads share.
#[derive(Debug, Default)]
struct Shared {
    /// The next chunk of units to be taken.
    next: AtomicUsize,
    /// Threads that take chunks.
    readers: AtomicUsize,
    /// Whether to stop.
    stopped: AtomicBool,
    /// Bytes that the sinks and texts of all threads take.
    held: AtomicUsize,
    /// Held by who reads a long line.
    long_lines: Mutex<()>,
    /// Held by who decompresses with a large window.
    large_windows: Mutex<()>,
}

/// Reads every row of `snapshot` into sinks, one a thread. `is_written` tells whether a source has a writer that is alive: the
/// line that it is writing is no fault.
///
/// # Errors
/// If a shard cannot be read, or `tick` says to stop.
pub fn run<S: Sink>(
    snapshot: &Snapshot,
    new_sink: impl Fn() -> S + Sync,
    is_written: impl Fn(&Source) -> bool,
    tick: Tick<'_>,
) -> Result<Outcome<S>> {
    run_units(snapshot, &units(&snapshot.sources), &new_sink, is_written, tick)
}

/// A pass in pages, each of which takes about as much memory, however many there are.
#[derive(Debug)]
pub struct Pages {
    snapshot: Snapshot,
    units: Vec<Unit>,
    next: usize,
}

impl Pages {
    /// Of the rows of `snapshot`.
    #[must_use]
    pub fn new(snapshot: Snapshot) -> Self {
        let units = units(&snapshot.sources);
        Self { snapshot, units, next: 0 }
    }

    /// The next page; `None` behind the last. Its report counts what was read since the page before and names no lines.
    ///
    /// # Errors
    /// As [`run`].
    pub fn next<S: Sink>(
        &mut self,
        new_sink: impl Fn() -> S + Sync,
        is_written: impl Fn(&Source) -> bool,
        tick: Tick<'_>,
    ) -> Result<Option<Outcome<S>>> {
        let first = self.next;
        let mut bytes = 0;
        while bytes < PAGE_BYTES && self.next < self.units.len() {
            let lines::Range { start, end } = self.units[self.next].range;
            // How long a compressed file is shows when it is read.
            bytes += if end == u64::MAX { PAGE_BYTES / 2 } else { end - start };
            self.next += 1;
        }
        if first == self.next && first > 0 {
            return Ok(None);
        }
        let mut outcome = run_units(&self.snapshot, &self.units[first..self.next], &new_sink, is_written, tick)?;
        outcome.report.examples.clear();
        outcome.report.faults.clear();
        // What was said of the files is said once.
        self.snapshot.report = Report::default();
        // A run without rows has one page.
        self.next = self.next.max(1);
        Ok(Some(outcome))
    }
}

fn run_units<S: Sink>(
    snapshot: &Snapshot,
    units: &[Unit],
    new_sink: &(impl Fn() -> S + Sync),
    is_written: impl Fn(&Source) -> bool,
    tick: Tick<'_>,
) -> Result<Outcome<S>> {
    let chunks = chunks(&snapshot.sources, units);
    // Asked only where it matters: the answer comes out of several files.
    let cores = if chunks.len() > 1 { std::thread::available_parallelism().map_or(1, NonZero::get) } else { 1 };
    let mut threads = cores.min(MAX_SCAN_THREADS).min(chunks.len()).max(1);
    loop {
        match run_on(threads, snapshot, units, &chunks, new_sink, tick)? {
            Some((parts, tallies)) => {
                let report = report(snapshot, units, tallies, is_written);
                return Ok(Outcome { parts, report });
            }
            // Threads that meet the same groups have each of them once more. How many fit must not depend on the cores, so
            // what is too much for many is read by one.
            None if threads > 1 => threads = 1,
            None => return Err(too_many_groups(&first_path(snapshot), S::MAX_HELD)),
        }
    }
}

fn first_path(snapshot: &Snapshot) -> PathBuf {
    snapshot.sources.first().map(|source| source.path.clone()).unwrap_or_default()
}

/// What some threads found; `None` if that is more than they may hold.
fn run_on<S: Sink>(
    threads: usize,
    snapshot: &Snapshot,
    units: &[Unit],
    chunks: &[Range<usize>],
    new_sink: &(impl Fn() -> S + Sync),
    tick: Tick<'_>,
) -> Result<Option<Found<S>>> {
    let mut goes_on = true;
    let shared = Shared { readers: AtomicUsize::new(threads), ..Shared::default() };
    let work = || read_units(&snapshot.sources, units, chunks, &shared, new_sink());
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
                    Err(RecvTimeoutError::Timeout)
                        if !tick(progress(&snapshot.sources, units, chunks, &shared.next)) =>
                    {
                        goes_on = false;
                        shared.stopped.store(true, Ordering::Relaxed);
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                }
            }
        })
    };
    if !goes_on {
        return Err(Error::io("read", &first_path(snapshot), io::ErrorKind::Interrupted.into()));
    }
    if shared.held.load(Ordering::Relaxed) > S::MAX_HELD {
        return Ok(None);
    }
    let mut parts = Vec::with_capacity(results.len());
    let mut tallies = Vec::with_capacity(results.len());
    for result in results {
        let (sink, names, tally) = result?;
        parts.push((sink, names));
        tallies.push(tally);
    }
    Ok(Some((parts, tallies)))
}

#[cold]
fn too_many_groups(path: &Path, most: usize) -> Error {
    let folder = path.parent().unwrap_or(path).display();
    let limit = most >> 20;
    Error::too_large(format!(
        "{folder} has more different names, or groups of them, than fit into {limit} MiB, the limit of one reading: read fewer \
         of its files at once"
    ))
}

/// The units that were taken count as done: what is being read is small beside the rest, where progress matters.
fn progress(sources: &[Source], units: &[Unit], chunks: &[Range<usize>], next: &AtomicUsize) -> Progress {
    let bytes = |unit: &Unit| match unit.range.end {
        u64::MAX => sources[unit.source].stored_length(),
        end => end - unit.range.start,
    };
    // Relaxed: a number to show.
    let taken = next.load(Ordering::Relaxed).checked_sub(1).and_then(|last| chunks.get(last));
    let taken = taken.map_or(if next.load(Ordering::Relaxed) == 0 { 0 } else { units.len() }, |chunk| chunk.end);
    let done = units[..taken].iter().map(bytes).sum();
    Progress { done, total: done + units[taken..].iter().map(bytes).sum::<u64>() }
}

impl Shared {
    /// Whether a thread leaves the rest to the others, because the tables of all of them together take too much. One always stays.
    fn is_left_to_others(&self, most: usize) -> bool {
        // Relaxed: numbers that guard nothing but themselves.
        self.held.load(Ordering::Relaxed) > most / ALONE
            && self
                .readers
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |readers| (readers > 1).then(|| readers - 1))
                .is_ok()
    }
}

fn read_units<S: Sink>(
    sources: &[Source],
    units: &[Unit],
    chunks: &[Range<usize>],
    shared: &Shared,
    mut sink: S,
) -> Result<(S, Names, Tally)> {
    let mut parser = S::Reader::default();
    let mut tally = Tally::default();
    let mut buffer = Vec::new();
    let mut held = 0;
    let mut chunk = 0..0;
    let mut next = || {
        chunk.next().or_else(|| {
            if shared.is_left_to_others(S::MAX_HELD) {
                return None;
            }
            // Relaxed: each number is had by one thread, and nothing else is handed over with it.
            chunk = chunks.get(shared.next.fetch_add(1, Ordering::Relaxed))?.clone();
            chunk.next()
        })
    };
    while let Some(number) = next() {
        let unit = &units[number];
        let source = &sources[unit.source];
        let window_bits = source.window_bits()?;
        if window_bits > MAX_ZSTD_WINDOW_BITS {
            tally.refuse(number, 0, Refusal::Window);
            tally.lines.push((number, Lines { total: 1, blank: 0 }));
            continue;
        }
        let is_usual = window_bits <= USUAL_ZSTD_WINDOW_BITS;
        // What a panic of another thread leaves is no state to worry about.
        let turn = (!is_usual).then(|| shared.large_windows.lock().unwrap_or_else(PoisonError::into_inner));
        let Some(mut bytes) = source.bytes(unit.range.read_from())? else { continue };
        let (stream, session) = (&source.stream, unit.segment.session);
        sink.begin(&Part { number, source: unit.source, stream, session });
        let superseded_from = unit.segment.superseded_from.unwrap_or(i64::MAX);
        let is_rewound = unit.segment.superseded_from.is_some();
        let mut lines = Lines::default();
        let (mut rows, mut superseded) = (0, 0);
        let passed_over = match source.coding {
            Coding::Plain => Ok(()),
            _ => pass_over(&mut bytes, unit.range.read_from()),
        };
        let tally_cell = RefCell::new(&mut tally);
        let mut handle = |piece: Piece<'_>| {
            parser.read(
                piece,
                &mut lines,
                |row, names, line| {
                    if is_rewound && row.step().is_some_and(|step| step >= superseded_from) {
                        superseded += 1;
                        return;
                    }
                    rows += 1;
                    if !row.faults().is_empty() {
                        tally_cell.borrow_mut().note(number, line, row.faults());
                    }
                    sink.row(row, names, Position::new(number, line));
                },
                |refusal, line| tally_cell.borrow_mut().refuse(number, line, refusal),
            );
            let now = sink.held() + parser.names().held();
            if now > held {
                // Relaxed, as below: numbers that guard nothing but themselves.
                let all = shared.held.fetch_add(now - held, Ordering::Relaxed) + (now - held);
                held = now;
                if all > S::MAX_HELD {
                    shared.stopped.store(true, Ordering::Relaxed);
                }
            }
            !shared.stopped.load(Ordering::Relaxed)
        };
        let outcome = passed_over
            .and_then(|()| lines::read(&mut bytes, unit.range, &mut buffer, &shared.long_lines, &mut handle));
        drop(bytes);
        drop(turn);
        match outcome {
            Ok(()) => {}
            // Any error of a decoder is about what the archive holds, as far as one can tell.
            Err(_) if source.coding != Coding::Plain => {
                tally.refuse(number, lines.total, Refusal::Archive);
                lines.total += 1;
            }
            Err(error) => return Err(Error::io("read", &source.path, error)),
        }
        tally.rows += rows;
        tally.superseded += superseded;
        tally.lines.push((number, lines));
        if shared.stopped.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok((sink, parser.into_names(), tally))
}

/// Reads what is before a place in a stream that cannot be entered anywhere else than at its start.
fn pass_over(bytes: &mut impl Read, count: u64) -> io::Result<()> {
    io::copy(&mut bytes.take(count), &mut io::sink()).map(drop)
}

fn report(snapshot: &Snapshot, units: &[Unit], tallies: Vec<Tally>, is_written: impl Fn(&Source) -> bool) -> Report {
    let mut report = snapshot.report.clone();
    let mut lines = vec![0; units.len()];
    let (mut examples, mut faults) = (Vec::new(), Vec::new());
    for tally in tallies {
        report.rows += tally.rows;
        report.superseded += tally.superseded;
        report.skipped += tally.skipped;
        report.faulty_fields += tally.faulty_fields;
        report.valueless_rows += tally.valueless_rows;
        for (unit, count) in tally.lines {
            lines[unit] = count.total;
            report.lines += count.total - count.blank;
        }
        examples.extend(tally.examples);
        faults.extend(tally.faults);
        for (unit, line) in tally.open_ends {
            let source = &snapshot.sources[units[unit].source];
            if source.coding == Coding::Plain && (source.has_grown() || is_written(source)) {
                report.lines -= 1;
            } else {
                report.skipped += 1;
                examples.push((unit, line, Refusal::Torn));
            }
        }
    }
    let place = |unit: usize, line: u64| {
        let source = units[unit].source;
        // The units of a source stand together.
        let before = units[..unit].iter().zip(&lines[..unit]).rev().take_while(|(unit, _)| unit.source == source);
        (snapshot.sources[source].path.clone(), before.map(|(_, lines)| lines).sum::<u64>() + line + 1)
    };
    examples.sort_unstable_by_key(|&(unit, line, _)| (unit, line));
    let room = MAX_REPORTED_LINES - report.examples.len().min(MAX_REPORTED_LINES);
    report.examples.extend(examples.into_iter().take(room).map(|(unit, line, refusal)| {
        let (path, line) = place(unit, line);
        (path, line, refusal)
    }));
    // Stable: the faults of a row stay in the order of its fields.
    faults.sort_by_key(|&(unit, line, _)| (unit, line));
    report.faults.extend(faults.into_iter().take(MAX_REPORTED_LINES).map(|(unit, line, fault)| {
        let (path, line) = place(unit, line);
        (path, line, fault)
    }));
    report
}
