//! Which lines of a journal's frames are missing from the files, found by comparing bytes: for a journal whose progress cannot
//! be trusted.
//!
//! A file was written in the order of the frames, so what belongs before lines that are there was there before them. What is
//! missing stands behind the newest frame whose lines are all there. Lines are compared by their hashes and encoded each time
//! that they are needed: a frame of a few bytes may stand for megabytes, since all of its rows carry the tags of their call.

mod window;

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use window::Window;
use xxhash_rust::xxh3::xxh3_64;

use crate::clock::Clock;
use crate::encode::row::RowEncoder;
use crate::error::Result;
use crate::journal::cursor::Cursor;
use crate::journal::floor;
use crate::journal::frame::{Kind, Value};
use crate::journal::identity::Identity;
use crate::journal::ring::Ring;
use crate::limits::BATCH_BYTES;
use crate::paths::{FileKind, Stream, journal_path};
use crate::recovery::space;
use crate::scan::Lines;
use crate::stats::Stats;
use crate::worker::files::Files;
use crate::worker::loss::{self, Cause, Loss};

/// Frames whose lines are compared at a time, in bytes. A row takes three at least, and its hash some thirty.
const WINDOW_BYTES: usize = 8 << 20;

/// The files in the order in which they are completed: a manifest line is in its file before its row.
pub const ORDER: [FileKind; 6] = [
    FileKind::Manifest,
    FileKind::Metrics,
    FileKind::Params,
    FileKind::Summary,
    FileKind::Session,
    FileKind::Telemetry,
];

/// Appends the lines of all frames of `ring` from `from` on that are missing from the files, and counts their rows as written.
/// Rows whose frames cannot be read and that are not in the files are put on record before.
#[expect(clippy::too_many_arguments, reason = "what a recovery has, for one call")]
pub fn replay(
    directory: &Path,
    stream: &Stream,
    ring: &Arc<Ring>,
    identity: &Identity,
    from: Cursor,
    files: &mut Files,
    stats: &Stats,
    clock: &Clock,
) -> Result<()> {
    let frames = Arc::new(Frames::new(ring, identity, from));
    for kind in ORDER {
        let missing = Missing::find(&frames, kind, directory, stream)?;
        if kind == FileKind::Metrics {
            space::require(directory, &journal_path(directory, stream), missing.bytes())?;
        }
        let (unreadable, rows) = if kind == FileKind::Metrics { missing.lost() } else { (0, 0) };
        if unreadable > 0 {
            let loss = Loss { rows, ..Loss::default() };
            append(files, FileKind::Summary, &loss::record(clock.now_micros(), Cause::Damaged, &loss), stats)?;
            stats.rows_damaged.add(rows);
            stats.frames_damaged.add(unreadable);
        }
        let mut lines = missing.lines();
        while lines.fill() {
            append(files, kind, &lines.chunk, stats)?;
        }
    }
    Ok(())
}

/// Bytes that the lines of all frames of `ring` take at most, as a rule.
#[must_use]
pub fn bytes(ring: &Arc<Ring>, identity: &Identity) -> u64 {
    Frames::new(ring, identity, Cursor::default()).bytes_from(0)
}

/// Appends whole lines, rotating where the rules say so.
pub fn append(files: &mut Files, kind: FileKind, chunk: &[u8], stats: &Stats) -> Result<()> {
    let torn = files.torn_tails();
    let writer = files.get(kind);
    writer.open()?;
    let mut begin = 0;
    let mut end = 0;
    for line in chunk.split_inclusive(|&byte| byte == b'\n') {
        if writer.must_rotate((end - begin) as u64, line.len() as u64) {
            if end > begin {
                writer.append(&chunk[begin..end])?;
            }
            begin = end;
            writer.rotate()?;
            stats.rotations.add(1);
        }
        end += line.len();
        stats.rows_written.add(u64::from(kind == FileKind::Metrics));
    }
    if end > begin {
        writer.append(&chunk[begin..end])?;
    }
    stats.torn_tails.add(files.torn_tails() - torn);
    Ok(())
}

/// The whole frames of a journal from a place on, in order of their sequence numbers.
#[derive(Debug)]
pub struct Frames {
    ring: Arc<Ring>,
    /// Sequence number, position and length of each.
    places: Vec<(u64, usize, usize)>,
    /// Rows of the first frame that are before that place.
    skipped: u64,
    /// Up to where the rows of each file are on the disk for good, wherever they are now.
    floors: [Option<Cursor>; FileKind::ALL.len()],
    run_id: String,
    legacy: bool,
}

/// A place between two rows of [`Frames`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    frame: usize,
    row: u64,
}

impl Frames {
    /// The frames of `ring` from `from` on. The default cursor stands before all of them.
    #[must_use]
    pub fn new(ring: &Arc<Ring>, identity: &Identity, from: Cursor) -> Self {
        let mut places = ring.survey();
        places.retain(|(sequence, ..)| *sequence >= from.sequence);
        let is_within = places.first().is_some_and(|(sequence, ..)| *sequence == from.sequence);
        let skipped = if is_within { from.rows } else { 0 };
        // What the floor of a copy says of files is true of others.
        let floors = FileKind::ALL.map(|kind| floor::current(ring.memory(), kind as u64).filter(|_| !ring.is_copy()));
        Self {
            ring: Arc::clone(ring),
            places,
            skipped,
            floors,
            run_id: identity.run_id.clone(),
            legacy: identity.legacy,
        }
    }

    /// Before the first row that may be missing from the file `kind`.
    fn start(&self, kind: FileKind) -> Place {
        let Some(floor) = self.floors[kind as usize] else { return Place { frame: 0, row: self.skipped } };
        let frame = self.places.partition_point(|(sequence, ..)| *sequence < floor.sequence);
        let is_within = self.places.get(frame).is_some_and(|(sequence, ..)| *sequence == floor.sequence);
        let row = if is_within { floor.rows } else { 0 };
        Place { frame, row: if frame == 0 { row.max(self.skipped) } else { row } }
    }

    fn encoder(&self) -> RowEncoder {
        RowEncoder::new(&self.run_id, self.legacy)
    }

    /// Adds lines for the file `kind` of the frame at `place` to `out`, all of them or as many as a batch has, and moves
    /// `place` behind them.
    fn encode(&self, kind: FileKind, place: &mut Place, encoder: &mut RowEncoder, out: &mut Vec<u8>) {
        let (_, at, length) = self.places[place.frame];
        if let Some(frame) = self.ring.surveyed(at, length) {
            match (frame.kind, frame.metrics(), frame.line()) {
                (Kind::Metrics, Some(call), _) if matches!(kind, FileKind::Metrics | FileKind::Manifest) => {
                    encoder.call(&call);
                    let mut other = Vec::new();
                    for (name, value) in call.rows().skip(usize::try_from(place.row).unwrap_or(usize::MAX)) {
                        if out.len() >= BATCH_BYTES {
                            return;
                        }
                        place.row += 1;
                        if kind == FileKind::Metrics {
                            encoder.row(name, &value, out, &mut other);
                        } else if matches!(value, Value::Structured { .. }) {
                            encoder.row(name, &value, &mut other, out);
                        }
                        other.clear();
                    }
                }
                (Kind::Line, _, Some((file, line))) if FileKind::from(file) == kind => out.extend_from_slice(line),
                // Of another file, a pad, or a frame of a version to come, which its checksum has shown to be whole.
                _ => {}
            }
        }
        *place = Place { frame: place.frame + 1, row: 0 };
    }

    /// Frames that cannot be read behind the frame `known`, and rows in them. Of journals that do not number rows the rows are
    /// not known.
    fn lost(&self, known: Option<u64>) -> (u64, u64) {
        let (mut frames, mut rows) = (0, 0);
        // Rows before the floor are in an archive.
        let floor = self.floors[FileKind::Metrics as usize].unwrap_or_default();
        let settled = floor.row + floor.rows;
        let mut before: Option<(u64, Option<u64>)> = None;
        for &(sequence, at, length) in &self.places {
            let Some(frame) = self.ring.surveyed(at, length) else { continue };
            if let Some((last, end)) =
                before.filter(|(last, _)| sequence > last + 1 && known.is_none_or(|n| sequence > n))
            {
                frames += sequence.saturating_sub(floor.sequence.max(last + 1));
                rows += frame.row.zip(end).map_or(0, |(row, end)| row.saturating_sub(end.max(settled)));
            }
            before = Some((sequence, frame.row.map(|row| row.saturating_add(frame.rows()))));
        }
        let published = self.ring.rows_published().zip(before.and_then(|(_, end)| end));
        let behind = published.map_or(0, |(published, end)| published.saturating_sub(end.max(settled)));
        (frames + u64::from(behind > 0), rows + behind)
    }

    /// Bytes that the lines take of the frame `first` and those behind it.
    fn bytes_from(&self, first: usize) -> u64 {
        let bytes = |&(_, at, length): &(u64, usize, usize)| {
            self.ring.surveyed(at, length).map_or(0, |frame| space::of_frame(&frame, &self.run_id))
        };
        self.places.iter().skip(first).map(bytes).fold(0, u64::saturating_add)
    }

    /// Rows of metrics from `place` on.
    fn rows_from(&self, place: Place) -> u64 {
        let rows = |&(_, at, length): &(u64, usize, usize)| {
            let call = self.ring.surveyed(at, length).and_then(|frame| frame.metrics());
            call.map_or(0, |call| call.rows().count() as u64)
        };
        let all: u64 = self.places.iter().skip(place.frame).map(rows).sum();
        all.saturating_sub(place.row)
    }
}

/// The lines that one file lacks.
#[derive(Clone, Debug)]
pub struct Missing {
    frames: Arc<Frames>,
    kind: FileKind,
    start: Place,
    /// Lines behind the start that are there nevertheless, by hash, with their number.
    present: HashMap<u64, u32>,
    /// Lines of none of the frames that the files have behind the newest line of one.
    behind: u64,
}

impl Missing {
    /// Everything from where `frames` begin, for a journal whose progress is trusted.
    #[must_use]
    pub fn all(frames: &Arc<Frames>, kind: FileKind) -> Self {
        Self { frames: Arc::clone(frames), kind, start: frames.start(kind), present: HashMap::new(), behind: 0 }
    }

    /// What of `frames` is not in the files.
    pub fn find(frames: &Arc<Frames>, kind: FileKind, directory: &Path, stream: &Stream) -> Result<Self> {
        let mut missing = Self::all(frames, kind);
        let mut end = frames.places.len();
        let first = missing.start.frame;
        while end > first {
            let mut begin = end;
            let mut bytes = 0;
            while begin > first && (begin == end || bytes + frames.places[begin - 1].2 <= WINDOW_BYTES) {
                begin -= 1;
                bytes += frames.places[begin].2;
            }
            let mut window = Window::new(frames, kind, begin..end);
            let known = if window.counts.is_empty() { None } else { window.look(directory, stream, kind)? };
            for (hash, count) in &window.counts {
                let left = count.there.saturating_sub(count.passed);
                if left > 0 {
                    *missing.present.entry(*hash).or_default() += left;
                }
            }
            if let Some(known) = known {
                missing.start = Place { frame: known + 1, row: 0 };
                missing.behind = window.behind;
                break;
            }
            end = begin;
        }
        Ok(missing)
    }

    /// Frames that cannot be read and rows of theirs that are not in the files either.
    #[must_use]
    pub fn lost(&self) -> (u64, u64) {
        let known =
            self.start.frame.checked_sub(1).and_then(|known| self.frames.places.get(known)).map(|known| known.0);
        let (frames, rows) = self.frames.lost(known);
        // What the files have behind the newest line that is known is of frames that cannot be read.
        let left = rows.saturating_sub(self.behind);
        if left == 0 && rows > 0 { (0, 0) } else { (frames, left) }
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.lines().fill()
    }

    /// Whether the files have a line of the frames.
    #[must_use]
    pub fn is_any_there(&self) -> bool {
        self.start != self.frames.start(self.kind) || !self.present.is_empty()
    }

    /// Bytes that the lines from where it begins take at most, as a rule.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.frames.bytes_from(self.start.frame)
    }

    /// How many lines are missing.
    #[must_use]
    pub fn count(&self) -> u64 {
        if self.kind == FileKind::Metrics && self.present.is_empty() {
            return self.frames.rows_from(self.start);
        }
        let (mut lines, mut count) = (self.lines(), 0);
        while lines.fill() {
            count += memchr::memchr_iter(b'\n', &lines.chunk).count() as u64;
        }
        count
    }

    /// The sequence number and row where it begins: two findings that agree in this and in their number are the same.
    #[must_use]
    pub fn begin(&self) -> (Option<u64>, u64) {
        (self.frames.places.get(self.start.frame).map(|(sequence, ..)| *sequence), self.start.row)
    }

    /// The lines, encoded as they are read.
    #[must_use]
    pub fn lines(&self) -> MissingLines {
        MissingLines {
            frames: Arc::clone(&self.frames),
            kind: self.kind,
            encoder: self.frames.encoder(),
            present: self.present.clone(),
            place: self.start,
            chunk: Vec::new(),
            read: 0,
        }
    }
}

impl Lines for Missing {
    fn read(&self) -> Box<dyn Read + Send + '_> {
        Box::new(self.lines())
    }
}

/// Reads the lines of [`Missing`] in memory for one batch.
#[derive(Debug)]
pub struct MissingLines {
    frames: Arc<Frames>,
    kind: FileKind,
    encoder: RowEncoder,
    present: HashMap<u64, u32>,
    place: Place,
    chunk: Vec<u8>,
    read: usize,
}

impl MissingLines {
    /// Puts the next lines into the chunk; `false` at the end.
    fn fill(&mut self) -> bool {
        self.chunk.clear();
        self.read = 0;
        while self.place.frame < self.frames.places.len() && self.chunk.len() < BATCH_BYTES {
            let before = self.chunk.len();
            self.frames.encode(self.kind, &mut self.place, &mut self.encoder, &mut self.chunk);
            if !self.present.is_empty() {
                self.leave_out(before);
            }
        }
        !self.chunk.is_empty()
    }

    /// Takes the lines from `begin` on out again that are in the file.
    fn leave_out(&mut self, begin: usize) {
        let (mut from, mut to) = (begin, begin);
        while from < self.chunk.len() {
            let length = memchr::memchr(b'\n', &self.chunk[from..]).map_or(self.chunk.len() - from, |at| at + 1);
            match self.present.get_mut(&xxh3_64(&self.chunk[from..from + length])) {
                Some(count) if *count > 0 => *count -= 1,
                _ => {
                    self.chunk.copy_within(from..from + length, to);
                    to += length;
                }
            }
            from += length;
        }
        self.chunk.truncate(to);
    }
}

impl Read for MissingLines {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.chunk.len() && !self.fill() {
            return Ok(0);
        }
        let count = (&self.chunk[self.read..]).read(buffer)?;
        self.read += count;
        Ok(count)
    }
}
