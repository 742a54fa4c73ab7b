//! Journals of processes that are gone: what of them can be read, and how much cannot.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::gap::{self, Gap};
use super::{Cursor, Frame, Identity, Kind, Memory, Ring};
use crate::error::{Error, Result};
use crate::fs::FileId;
use crate::journal::check::Rules;
use crate::journal::cursor;
use crate::journal::frame::expansion::LEAST_ROW_BYTES;
use crate::journal::frame::{self, FIRST_HEADER_BYTES};
use crate::journal::header::Header;
use crate::journal::layout::{
    self, HEADER_BYTES, LAYOUT_VERSION, OFFSET_DEFERRED, OFFSET_DROPPED, OFFSET_PUBLISHED, OFFSET_PUBLISHED_ROWS,
    OFFSET_VERSION,
};
use crate::journal::number;
use crate::limits::{JOURNAL_LOOKS, MAX_RING_BYTES};

/// Which layout a journal has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Version {
    /// That of journals made now.
    #[default]
    Current,
    /// The one before it.
    First,
}

/// What is known of a journal that was left behind; nothing for one that is written.
#[derive(Debug, Default)]
pub(super) struct Dead {
    pub(super) version: Version,
    /// In order.
    gaps: Vec<Gap>,
    is_copy: AtomicBool,
    is_sound: bool,
    rules: Rules,
}

impl Dead {
    /// Bytes before the body of its frames.
    pub(super) fn header_bytes(&self) -> usize {
        match self.version {
            Version::Current => frame::HEADER_BYTES,
            Version::First => FIRST_HEADER_BYTES,
        }
    }
}

/// Looks at frames by their checksums, of which there are so many that a hostile journal takes no longer than another.
struct Looks(u64);

impl Looks {
    fn at(size: u64) -> Self {
        Self(size.saturating_mul(JOURNAL_LOOKS))
    }

    fn is_whole(&mut self, frame: &Frame<'_>, length: usize) -> bool {
        let cost = if frame.kind == Kind::Pad { 0 } else { length as u64 };
        let Some(rest) = self.0.checked_sub(cost) else { return false };
        self.0 = rest;
        frame.verify(frame.sequence)
    }
}

impl Ring {
    /// Opens the journal of a process that is gone, or `None` if it was never finished being made: then it holds nothing.
    /// It is read into memory, so that nothing that is done to the file changes what was found.
    ///
    /// # Errors
    /// If the file cannot be read, or is no journal, or of another version.
    pub fn attach(file: File, path: &Path) -> Result<Option<(Self, Identity)>> {
        let metadata = file.metadata().map_err(|source| Error::io("examine", path, source))?;
        if metadata.len() == 0 {
            return Ok(None);
        }
        if metadata.len() > HEADER_BYTES as u64 + MAX_RING_BYTES {
            return Err(Error::corrupt(path, "it is longer than a journal can be"));
        }
        let head = file.try_clone().map_err(|source| Error::io("open", path, source))?;
        let head = Memory::snapshot(head, path, HEADER_BYTES)?;
        let Some(header) = Header::read(&head).map_err(|why| Error::corrupt(path, why))? else { return Ok(None) };
        let size = header.ring_bytes_in_use(&head);
        let version = if header.version == layout::FIRST_VERSION { Version::First } else { Version::Current };
        let is_possible = size.is_power_of_two() && (8..=MAX_RING_BYTES).contains(&size);
        if !is_possible || (version == Version::First && HEADER_BYTES as u64 + size != metadata.len()) {
            return Err(Error::corrupt(path, "its length is not the one it was made with"));
        }
        let memory = Memory::snapshot(file, path, HEADER_BYTES + size as usize)?;
        if version == Version::Current {
            // Whoever asks what the words mean looks at this one, which may be damaged.
            // SAFETY: nobody else knows the copy.
            unsafe { memory.copy_in(OFFSET_VERSION, &LAYOUT_VERSION.to_le_bytes()) };
        }
        let is_copy = AtomicBool::new(header.id.is_some_and(|own| own != FileId::from(&metadata)));
        let is_sound = cursor::is_sound(&memory);
        let rules = Rules::new(&header.identity.run_id, header.ring_bytes);
        let mut dead = Dead { version, gaps: Vec::new(), is_copy, is_sound, rules };
        let start = if is_sound { cursor::current(&memory) } else { Cursor::default() };
        let mut ring = Self::over(memory, size, start, start);
        ring.dead = Dead { version, rules: dead.rules.clone(), ..Dead::default() };
        let mut end = start;
        if is_sound {
            (end, dead.gaps) = ring.walk(start);
            if version == Version::First && !ring.is_reached(start, end, &dead.gaps) {
                (dead.is_sound, dead.gaps, end) = (false, Vec::new(), start);
            }
        }
        let mut ring = Self::over(ring.memory, size, start, end);
        ring.dead = dead;
        Ok(Some((ring, header.identity)))
    }

    /// The rows that the control words of a journal say were waiting, for one that cannot be [attached](Self::attach).
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn rows_waiting(file: File, path: &Path) -> Result<u64> {
        let memory = Memory::snapshot(file, path, HEADER_BYTES)?;
        let at = cursor::current(&memory);
        let published = number::open(memory.load(OFFSET_PUBLISHED_ROWS));
        let is_known = memory.load(OFFSET_VERSION) == LAYOUT_VERSION && cursor::is_sound(&memory);
        let rows = published.filter(|_| is_known).unwrap_or(0);
        Ok(rows.saturating_sub(at.row).saturating_sub(at.rows))
    }

    /// Whether the file is not the one that the journal was made in: what its cursor says of files is true of others.
    #[must_use]
    pub fn is_copy(&self) -> bool {
        // Relaxed: a journal that is found belongs to one thread.
        self.dead.is_copy.load(Ordering::Relaxed)
    }

    /// Says that the file is a copy, which the header of the first version does not tell.
    pub fn take_for_copy(&self) {
        self.dead.is_copy.store(true, Ordering::Relaxed);
    }

    /// Whether the journal has the first layout.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.dead.version == Version::First
    }

    /// Whether the cursor can be believed. Otherwise all that can be told is which frames [there are](Self::survey).
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.dead.is_sound
    }

    /// What cannot be read behind the cursor, in order.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.dead.gaps
    }

    /// The gap that begins at `cursor`.
    #[must_use]
    #[inline]
    pub fn gap(&self, cursor: &Cursor) -> Option<&Gap> {
        let gaps = &self.dead.gaps;
        if gaps.is_empty() {
            return None;
        }
        gaps.binary_search_by_key(&cursor.position, |gap| gap.from.position).ok().map(|index| &gaps[index])
    }

    /// The number of rows published, as the control words have it; `None` if they cannot be read or do not say.
    #[must_use]
    pub fn rows_published(&self) -> Option<u64> {
        let is_numbered = self.dead.version == Version::Current;
        number::open(self.memory.load(OFFSET_PUBLISHED_ROWS)).filter(|_| is_numbered)
    }

    /// The number that [`store_dropped`](Self::store_dropped) kept; 0 if both copies of it are damaged.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        match self.dead.version {
            Version::First => self.memory.load(OFFSET_DROPPED),
            Version::Current => number::first(&self.memory, OFFSET_DROPPED).unwrap_or(0),
        }
    }

    /// Keeps the number of rows whose values do not exist yet where a recovery finds it.
    pub fn store_deferred(&self, rows: u64) -> io::Result<()> {
        match self.dead.version {
            Version::First => Ok(()),
            Version::Current => number::store(&self.memory, OFFSET_DEFERRED, rows),
        }
    }

    /// The number that [`store_deferred`](Self::store_deferred) kept; 0 if both copies of it are damaged.
    #[must_use]
    pub fn deferred(&self) -> u64 {
        match self.dead.version {
            Version::First => 0,
            Version::Current => number::first(&self.memory, OFFSET_DEFERRED).unwrap_or(0),
        }
    }

    /// The frame at `position`, if one of this journal's version can stand there, and its length.
    fn frame_at(&self, position: u64, limit: u64) -> Option<(Frame<'_>, usize)> {
        let (at, room) = self.place(position);
        let room = (room as u64).min(limit.saturating_sub(position));
        // SAFETY: nobody writes the journal.
        let bytes = unsafe { self.memory.bytes(at, room as usize) };
        let is_ours = |frame: &Frame<'_>| frame.row.is_none() == (self.dead.version == Version::First);
        Frame::parse(bytes).filter(|(frame, _)| is_ours(frame))
    }

    /// Follows the frames from `start`. Behind one that is damaged, the next whole one is looked for.
    fn walk(&self, start: Cursor) -> (Cursor, Vec<Gap>) {
        let limit = start.position + self.size();
        let (mut at, mut gaps, mut looks) = (start, Vec::new(), Looks::at(self.size()));
        while at.position < limit {
            let (_, room) = self.place(at.position);
            if room < self.dead.header_bytes() {
                at.position += room as u64;
                continue;
            }
            let next = self
                .frame_at(at.position, limit)
                .filter(|(frame, _)| frame.row.is_none_or(|row| row == at.row) && frame.verify(at.sequence));
            match next {
                Some((frame, _)) if frame.kind == Kind::End => return (at, gaps),
                Some((frame, length)) if self.dead.rules.allow(&frame) => at = at.behind(&frame, length),
                Some((frame, length)) => {
                    let to = at.behind(&frame, length);
                    gap::push(&mut gaps, Gap { from: at, to, first_step: None, last_step: None });
                    at = to;
                }
                None => {
                    let Some(to) = self.next_whole(at, limit, &mut looks) else { break };
                    let gap = self.gap_between(at, to);
                    at = gap.to;
                    gap::push(&mut gaps, gap);
                }
            }
        }
        if let Some(to) = self.published_behind(at, limit) {
            let gap = self.gap_between(at, to);
            at = gap.to;
            gap::push(&mut gaps, gap);
        }
        (at, gaps)
    }

    /// The first place behind `at` where a whole frame stands that can follow.
    fn next_whole(&self, at: Cursor, limit: u64, looks: &mut Looks) -> Option<Cursor> {
        let mut position = at.position + 8;
        while position < limit {
            let (_, room) = self.place(position);
            if room < self.dead.header_bytes() {
                position += room as u64;
                continue;
            }
            let distance = position - at.position;
            let can_follow = |frame: &Frame<'_>| {
                let frames = frame.sequence.checked_sub(at.sequence);
                let rows = frame.row.unwrap_or(at.row).checked_sub(at.row);
                frames.is_some_and(|n| n > 0 && n <= distance / FIRST_HEADER_BYTES as u64)
                    && rows.is_some_and(|n| n <= distance / LEAST_ROW_BYTES)
            };
            let found = self.frame_at(position, limit).filter(|(frame, _)| can_follow(frame));
            if let Some((frame, _)) = found.filter(|(frame, length)| looks.is_whole(frame, *length)) {
                return Some(Cursor { position, sequence: frame.sequence, rows: 0, row: frame.row.unwrap_or(at.row) });
            }
            position += 8;
        }
        None
    }

    /// The place up to which the control words say that frames were published, if that is behind `at` and possible.
    fn published_behind(&self, at: Cursor, limit: u64) -> Option<Cursor> {
        let (position, row) = match self.dead.version {
            Version::First => (self.memory.load(OFFSET_PUBLISHED), at.row),
            Version::Current => {
                let position = number::open(self.memory.load(OFFSET_PUBLISHED))?;
                (position * 8, number::open(self.memory.load(OFFSET_PUBLISHED_ROWS))?)
            }
        };
        let distance = position.checked_sub(at.position).filter(|&distance| distance > 0)?;
        let rows = row.checked_sub(at.row)?;
        let is_possible = position <= limit && position.is_multiple_of(8) && rows <= distance / LEAST_ROW_BYTES;
        is_possible.then_some(Cursor { position, sequence: at.sequence + 1, rows: 0, row })
    }

    /// The gap from `from` to `to`. If it is one frame whose head fits, that says which step it had, and in journals that do
    /// not number rows how many those were.
    fn gap_between(&self, from: Cursor, mut to: Cursor) -> Gap {
        let head = self.frame_at(from.position, to.position).filter(|(frame, length)| {
            let is_alone = from.position + *length as u64 == to.position && frame.sequence == from.sequence;
            is_alone && frame.row.is_none_or(|row| row == from.row)
        });
        let call = head.and_then(|(frame, _)| frame.metrics());
        if let Some(call) = call.filter(|_| self.dead.version == Version::First) {
            to.row = from.row + u64::from(call.rows).min((to.position - from.position) / LEAST_ROW_BYTES);
        }
        let call = call.filter(|call| to.row.checked_sub(from.row) == Some(call.rows.into()));
        let step = call.and_then(|call| call.step);
        Gap { from, to, first_step: step, last_step: step }
    }

    /// Whether every frame from `start` on was met on the way to `end`. The cursor of the first version has no checksum: one
    /// that leads elsewhere is damaged.
    fn is_reached(&self, start: Cursor, end: Cursor, gaps: &[Gap]) -> bool {
        let lost: u64 = gaps.iter().map(Gap::frames).sum();
        let met = (end.sequence - start.sequence).saturating_sub(lost);
        let survey = self.survey();
        let there = survey.iter().filter(|frame| frame.0 >= start.sequence).count() as u64;
        // Behind the newest frame there is one place only.
        let is_within = survey.last().is_none_or(|newest| start.sequence <= newest.0.saturating_add(1));
        there <= met && is_within
    }

    /// Every whole frame in the ring, whatever the cursor says, as its sequence number, position in the ring and length:
    /// for a journal whose control words cannot be trusted.
    #[must_use]
    pub fn survey(&self) -> Vec<(u64, usize, usize)> {
        let (mut found, mut looks) = (Vec::new(), Looks::at(self.size()));
        let mut at = 0;
        while at + self.dead.header_bytes() as u64 <= self.size() {
            match self.frame_at(at, self.size()) {
                Some((frame, length)) if looks.is_whole(&frame, length) => {
                    if frame.kind != Kind::End && self.dead.rules.allow(&frame) {
                        found.push((frame.sequence, at as usize, length));
                    }
                    // A pad says nothing of the bytes that it fills: newer frames may stand there.
                    let is_pad = frame.kind == Kind::Pad;
                    at += if is_pad { self.dead.header_bytes() } else { length } as u64;
                }
                _ => at += 8,
            }
        }
        found.sort_unstable();
        found
    }

    /// The frame that [`survey`](Self::survey) found at `at`.
    #[must_use]
    pub fn surveyed(&self, at: usize, length: usize) -> Option<Frame<'_>> {
        self.frame_at(at as u64, (at + length) as u64).map(|(frame, _)| frame)
    }
}

#[cfg(all(test, not(loom)))]
#[path = "dead_tests.rs"]
mod tests;
