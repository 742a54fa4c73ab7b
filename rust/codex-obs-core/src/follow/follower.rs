//! What comes next: the lines of one stream's log in order, from live batches where they fit, else from the shards.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::cursor::Cursor;
use super::locate::{behind, first_lines, likeliest, locate};
use super::reader::{Next, Shard};
use crate::error::Result;
use crate::fs::FileId;
use crate::paths::{FileKind, Stream};
use crate::scan::{Snapshot, Source};
use crate::shard::hold::Part;
use crate::shard::ordinal::gone;
use crate::worker::feed::{Batch, Feed};

/// Bytes read in one go before others are looked after: a wish to close, the time of a batch that waits.
const STRETCH_BYTES: u64 = 4 << 20;
/// How often the shards are listed again when one of them vanishes.
const LOOKS: u32 = 16;
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Why a reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The [`Intake`] takes no more.
    Full,
    /// There is nothing more at the moment.
    AtEnd,
    /// It took long; there is more.
    Stretch,
}

/// What is made of the lines.
pub trait Intake {
    /// Takes a line with its newline; only the last one of an archive may have none. What fails is asked again with the same line.
    ///
    /// # Errors
    /// If something that belongs to the line cannot be read.
    fn take(&mut self, line: &[u8]) -> Result<Taken>;

    /// Whether it takes no more.
    fn is_full(&self) -> bool;
}

/// What a line was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// One that goes with those before it, or by itself.
    Line,
    /// The first of several that are not parted: the place before it is [kept](Follower::before_group).
    GroupBegins,
    /// One of another kind than the log's.
    Refused,
}

/// A cursor, and how many lines of the stream stand before it, also those that were deleted; `None` where that is not known.
pub type Position = (Cursor, Option<u64>);

/// What was met that does not go on to a destination. Every number only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Lines that are no rows, and archives whose rest cannot be read.
    pub refused: u64,
    /// Times that the cursor's shard, or one behind it, was gone, so that rows may be missing, nobody knows how many.
    pub gaps: u64,
    /// Lines that were deleted before they were read.
    pub missing: u64,
}

/// What the writer of this process knows of the files.
#[derive(Debug)]
struct Writer {
    feed: Arc<Feed>,
    hold: Part,
    /// The losses of `hold` that are accounted for.
    lost: u64,
    /// A file that seems to have been cut, of which the writer has not said so yet, and up to where it is accounted for.
    settled: Option<(FileId, u64)>,
}

impl Writer {
    /// Whether rows of `file` behind `reached` were cut off; `None` if the writer says nothing new of a cut.
    fn misses_cut_rows(&mut self, file: FileId, reached: u64) -> Option<bool> {
        let length = self.feed.take_cut(file)?;
        let settled = self.settled.take_if(|(settled, _)| *settled == file);
        Some(settled.map_or(reached, |(_, settled)| settled.max(reached)) < length)
    }
}

/// A place in a stream that moves on.
#[derive(Debug)]
pub struct Follower {
    directory: PathBuf,
    stream: Stream,
    log: FileKind,
    base: PathBuf,
    live: Option<Receiver<Batch>>,
    shard: Option<Shard>,
    /// Whether the cursor is in `shard`, which it is once a line of it was read.
    entered: bool,
    /// The shards behind it, with the hashes of their first lines.
    queue: VecDeque<(Source, Option<u64>)>,
    cursor: Cursor,
    /// What the writer of this process knows.
    writer: Option<Writer>,
    /// The shard whose absence was counted as a gap.
    missed: Option<u64>,
    /// Lines read.
    passed: u64,
    /// Lines of the stream before the place, also those that were deleted; `None` where that is not known.
    position: Option<u64>,
    /// The place before the newest group.
    before_group: Option<Position>,
    losses: Losses,
}

impl Follower {
    /// Follows `log`. Goes on at `cursor`, which has `position` lines before it; without one at the start of the oldest shard.
    pub fn open(
        log: FileKind,
        directory: &Path,
        stream: &Stream,
        live: Option<Receiver<Batch>>,
        cursor: Option<Cursor>,
        position: Option<u64>,
    ) -> Result<Self> {
        let position = if cursor.is_none() { Some(0) } else { position };
        let mut follower = Self {
            directory: directory.to_owned(),
            stream: stream.clone(),
            log,
            base: log.path(directory, stream),
            live,
            shard: None,
            entered: false,
            queue: VecDeque::new(),
            cursor: cursor.unwrap_or_default(),
            writer: None,
            missed: None,
            passed: 0,
            position,
            before_group: None,
            losses: Losses::default(),
        };
        if follower.has_begun() {
            follower.locate()?;
        }
        Ok(follower)
    }

    /// Asks the writer of this process what it did with the files where that cannot be seen.
    pub fn ask(&mut self, feed: Arc<Feed>, hold: Part) {
        self.writer = Some(Writer { lost: hold.lost(), feed, hold, settled: None });
    }

    /// Declares the log complete up to the cursor, so a missing shard is no gap.
    pub fn miss_nothing(&mut self) {
        (self.losses.gaps, self.losses.missing) = (0, 0);
    }

    /// Lines of the stream before the place, also those that were deleted; `None` where that is not known.
    #[must_use]
    pub fn position(&self) -> Option<u64> {
        self.position
    }

    /// The place behind everything that was read.
    #[must_use]
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// The place before the newest group of lines that are not parted, if one began since the follower was opened.
    #[must_use]
    pub fn before_group(&self) -> Option<&Position> {
        self.before_group.as_ref()
    }

    /// How many lines were read.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// What was met that does not go on.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.losses
    }

    /// Whether anything was read, now or earlier.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.cursor != Cursor::default()
    }

    /// The ordinal of the shard that the cursor is in, and its place there, if they are known.
    #[must_use]
    pub fn place(&self) -> Option<(u64, u64)> {
        (self.cursor.ordinal > 0).then_some((self.cursor.ordinal, self.cursor.offset))
    }

    /// Hands over what comes next until no more is taken, or there is nothing more. Never waits.
    pub fn read(&mut self, intake: &mut impl Intake) -> Result<Stopped> {
        let mut stretch = 0;
        loop {
            if intake.is_full() {
                return Ok(Stopped::Full);
            }
            let Some(shard) = &mut self.shard else {
                if self.open_next()? {
                    continue;
                }
                return Ok(Stopped::AtEnd);
            };
            let (id, start) = ((shard.id, shard.ordinal), shard.offset());
            if let Next::Line(line) = shard.peek() {
                let length = line.len();
                let taken = take(intake, line, start == 0)?;
                let end = start + length as u64;
                note(taken, &self.cursor, self.position, &mut self.before_group, &mut self.losses);
                pass(&mut self.cursor, &mut self.entered, id, end, line);
                shard.advance(length);
                self.passed += 1;
                self.position = self.position.map(|lines| lines + 1);
                stretch += length as u64;
                if stretch >= STRETCH_BYTES && !intake.is_full() {
                    return Ok(Stopped::Stretch);
                }
                continue;
            }
            if shard.skip_too_long() {
                self.losses.refused += 1;
                continue;
            }
            if self.read_on()? {
                continue;
            }
            if !self.leave(intake)? {
                return Ok(Stopped::AtEnd);
            }
        }
    }

    /// Gets more bytes of the shard. `false` if there are none.
    fn read_on(&mut self) -> Result<bool> {
        let mut is_sure = true;
        while let Some(batch) = self.live.as_ref().and_then(|live| live.try_recv().ok()) {
            let Some(shard) = &self.shard else { return Ok(false) };
            // It was read from the file before. Or the file was truncated, and the next ones may seem to fit.
            is_sure &= batch.file != shard.id || batch.offset >= shard.read_end();
            if (is_sure || self.is_intact()?) && self.shard.as_mut().is_some_and(|shard| shard.extend(&batch)) {
                return Ok(true);
            }
        }
        if !self.is_intact()? {
            self.locate()?;
            return Ok(true);
        }
        let Some(shard) = &mut self.shard else { return Ok(false) };
        // Cut behind the place, which cannot be seen in the file.
        if self.writer.as_mut().is_some_and(|writer| writer.misses_cut_rows(shard.id, shard.offset()) == Some(true)) {
            self.losses.gaps += 1;
        }
        match shard.fill() {
            Ok(count) => Ok(count > 0),
            Err(error) if error.io_kind().is_none() => {
                self.losses.refused += 1;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the shard still holds what was read of it, as far as can be told.
    fn is_intact(&self) -> Result<bool> {
        let Some(shard) = &self.shard else { return Ok(true) };
        let is_behind_line = self.entered && self.cursor.offset > 0 && self.cursor.offset == shard.offset();
        match shard.is_intact(is_behind_line.then_some(self.cursor.last)) {
            // The program closed a descriptor that was not its own.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BADF.raw_os_error()) => Ok(false),
            outcome => outcome,
        }
    }

    /// At the end of what a shard holds now: goes on to the next one if this one no longer grows. `false` if there is nothing
    /// more.
    fn leave(&mut self, intake: &mut impl Intake) -> Result<bool> {
        let Some(shard) = &mut self.shard else { return Ok(true) };
        if shard.is_plain() {
            let is_current = FileId::at(&self.base)? == Some(shard.id);
            // A rotation follows the last append, so that what is there now is everything.
            if !is_current && shard.fill()? > 0 {
                return Ok(true);
            }
            if shard.length()? < shard.offset() + shard.rest().len() as u64 {
                self.locate()?;
                return Ok(true);
            }
            if is_current {
                return Ok(false);
            }
        }
        if self.queue.is_empty() {
            self.look_ahead()?;
        }
        // Where there is no newer one, the writer has not turned away from this one yet.
        if self.queue.is_empty() {
            return Ok(false);
        }
        if let Some(shard) = &mut self.shard
            && !shard.rest().is_empty()
        {
            let line = shard.rest();
            let (id, length) = ((shard.id, shard.ordinal), line.len());
            let end = shard.offset() + length as u64;
            let taken = take(intake, line, end == length as u64)?;
            note(taken, &self.cursor, self.position, &mut self.before_group, &mut self.losses);
            pass(&mut self.cursor, &mut self.entered, id, end, line);
            shard.advance(length);
            self.passed += 1;
            self.position = self.position.map(|lines| lines + 1);
        }
        self.open_next()
    }

    /// Opens the next shard that exists. `false` if there is none.
    fn open_next(&mut self) -> Result<bool> {
        if self.queue.is_empty() {
            self.look_ahead()?;
        }
        for _ in 0..LOOKS {
            let Some((source, first_line)) = self.queue.pop_front() else { break };
            if let Some(shard) = Shard::open(&source)? {
                self.shard = Some(shard);
                self.entered = false;
                self.skip_deleted()?;
                return Ok(true);
            }
            // Deleted since it was listed, or compressed.
            self.look_ahead()?;
            let is_there = self.queue.iter().any(|(_, other)| *other == first_line);
            let is_counted = self.position.is_some() && self.is_on_record(source.ordinal)?;
            self.losses.gaps += u64::from(first_line.is_some() && !is_there && !is_counted);
        }
        Ok(false)
    }

    /// Lists the shards behind the one of the moment.
    fn look_ahead(&mut self) -> Result<()> {
        let sources = Snapshot::of_stream(self.log, &self.directory, &self.stream)?.sources;
        let here = self.shard.as_ref().map(|shard| shard.id);
        let known = sources.iter().position(|source| here.is_some() && source.file_id() == here);
        let next = match known {
            Some(index) => index + 1,
            None => self.behind_cursor(&sources)?,
        };
        self.enqueue(sources, next)
    }

    fn enqueue(&mut self, mut sources: Vec<Source>, first: usize) -> Result<()> {
        let mut behind = sources.split_off(first.min(sources.len()));
        let hashes = first_lines(&behind)?;
        // So that a shard that retention deletes during an outage gives its room on the disk back.
        behind.iter_mut().for_each(Source::close);
        self.queue = behind.into_iter().zip(hashes).collect();
        Ok(())
    }

    /// Index of the first of `sources` that comes behind the cursor's shard, whose file is not among them.
    fn behind_cursor(&mut self, sources: &[Source]) -> Result<usize> {
        if !self.has_begun() {
            return Ok(0);
        }
        let hashes = first_lines(sources)?;
        if let Some(index) = likeliest(sources, &hashes, &self.cursor) {
            return Ok(index + 1);
        }
        // What retention deleted is on record, with its number of rows, which is counted where the next shard is entered.
        let is_counted = self.position.is_some() && self.is_on_record(self.cursor.ordinal)?;
        if self.missed != Some(self.cursor.shard) && !is_counted && !self.misses_nothing() {
            self.missed = Some(self.cursor.shard);
            self.losses.gaps += 1;
        }
        Ok(behind(sources, &hashes, &self.cursor).unwrap_or(0))
    }

    /// Whether the deletion of the shard with this ordinal is on record.
    fn is_on_record(&self, ordinal: u64) -> Result<bool> {
        Ok(ordinal > 0 && gone(&self.base)?.ordinal >= ordinal)
    }

    /// Counts what was deleted between the place and the shard that begins now: all that was deleted came before it.
    fn skip_deleted(&mut self) -> Result<()> {
        let Some(position) = self.position else { return Ok(()) };
        let deleted = gone(&self.base)?.rows;
        self.losses.missing += deleted.saturating_sub(position);
        self.position = Some(position.max(deleted));
        Ok(())
    }

    /// Whether nothing was in the cursor's shard, which is gone, behind the cursor, nor in those that went with it.
    fn misses_nothing(&mut self) -> bool {
        let Some(writer) = &mut self.writer else { return false };
        let (file, lost) = (self.cursor.file, writer.hold.lost());
        let cut = writer.feed.take_cut(file);
        // The writer says it later, at its next append, of what is accounted for here.
        writer.settled = cut.is_none().then_some((file, u64::MAX));
        if std::mem::replace(&mut writer.lost, lost) != lost {
            return false;
        }
        // What is open was read to its end. Else it was cut where it was.
        let length = cut.or_else(|| writer.feed.reach(file));
        self.shard.is_some() || length.is_some_and(|length| self.cursor.offset >= length)
    }

    /// Finds the cursor's place again.
    fn locate(&mut self) -> Result<()> {
        self.shard = None;
        self.queue.clear();
        let sources = Snapshot::of_stream(self.log, &self.directory, &self.stream)?.sources;
        let hashes = first_lines(&sources)?;
        let Some((index, shard)) = locate(&sources, &hashes, &self.cursor)? else {
            let next = self.behind_cursor(&sources)?;
            return self.enqueue(sources, next);
        };
        if self.misses_behind(&shard)? {
            self.losses.gaps += 1;
        }
        (self.cursor.file, self.cursor.ordinal) = (shard.id, shard.ordinal);
        if self.cursor.offset != shard.offset() {
            self.position = None;
        }
        self.cursor.offset = shard.offset();
        if shard.offset() == 0 {
            self.cursor.last = 0;
        }
        self.shard = Some(shard);
        self.entered = true;
        self.enqueue(sources, index + 1)
    }

    /// Whether the cursor's file was cut and not all of it that was behind the cursor is in `shard`, where the cursor was found.
    fn misses_behind(&mut self, shard: &Shard) -> Result<bool> {
        let Some(writer) = &mut self.writer else { return Ok(false) };
        let (file, offset) = (self.cursor.file, self.cursor.offset);
        let reached = match (shard.id == file, shard.is_plain()) {
            (true, _) => offset,
            (false, true) => offset.max(shard.length()?),
            // A copy that was compressed is a whole one.
            (false, false) => u64::MAX,
        };
        let misses = writer.misses_cut_rows(file, reached);
        if misses.is_none() {
            writer.settled = Some((file, reached));
        }
        Ok(misses == Some(true))
    }
}

/// Moves the cursor behind a line.
fn pass(cursor: &mut Cursor, entered: &mut bool, (file, ordinal): (FileId, u64), end: u64, line: &[u8]) {
    if !*entered {
        cursor.enter(super::cursor::hash(line), ordinal, file);
        *entered = true;
    }
    cursor.pass(end, line);
}

/// Hands a line over without the mark that may stand before the first one of a file.
fn take(intake: &mut impl Intake, line: &[u8], is_first: bool) -> Result<Taken> {
    intake.take(if is_first { line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line) } else { line })
}

/// Notes what a line was, before the cursor passes it.
fn note(
    taken: Taken,
    cursor: &Cursor,
    position: Option<u64>,
    before_group: &mut Option<Position>,
    losses: &mut Losses,
) {
    match taken {
        Taken::Line => {}
        Taken::GroupBegins => *before_group = Some((cursor.clone(), position)),
        Taken::Refused => losses.refused += 1,
    }
}

#[cfg(test)]
#[path = "follower_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "cut_tests.rs"]
mod cut_tests;
