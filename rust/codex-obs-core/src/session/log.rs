//! The way of a call into the ring, and what happens when there is no room.

use super::patience::Patience;
use super::{Overflow, Session, steps};
use crate::journal::frame::{FrameBuilder, first_length, rows_of};
use crate::journal::ring::{Appended, Producer};
use crate::primitives::Instant;
use crate::worker::loss::{Cause, Loss};
use std::sync::atomic::Ordering;

/// How the step of a call is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is in the frames.
    Given,
    /// One more than the stream's largest so far.
    Next,
}

/// Where the time of a call is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// The caller names it, and it stays as it is.
    Given,
    /// It is [`now_micros`](Session::now_micros), and never before that of an earlier row.
    Now,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    /// The rows are accounted for: in the ring, or dropped and counted.
    Settled,
    /// The caller has to wait for room, for another caller or for a look at the files.
    Wait,
}

impl Session {
    /// Bytes of the longest line that `write_line` takes, with its frame.
    #[must_use]
    pub fn max_line_bytes(&self) -> usize {
        usize::try_from(self.ring.largest_size() / 2).unwrap_or(usize::MAX)
    }

    /// Logs the finished frames of one call if that needs no waiting; `false` asks for [`log_slowly`](Self::log_slowly).
    #[inline]
    #[must_use]
    pub fn try_log(&self, frames: &mut FrameBuilder, step: Step, time: Time) -> bool {
        self.ensure_writer();
        self.attempt(frames, step, time) == Attempt::Settled
    }

    /// Logs the finished frames of one call, waiting as the settings say. Rows that find no room are dropped and counted.
    #[cold]
    pub fn log_slowly(&self, frames: &mut FrameBuilder, step: Step, time: Time) {
        if step == Step::Next {
            self.learn_largest_step();
        }
        let started = Instant::now();
        let mut patience = self.patience();
        while frames.len() as u64 > self.ring.size() / 2 && self.ring.ask_for_room() {
            if !self.wait_for_room(&mut patience) {
                self.drop_rows(Cause::Full, frames.rows(), frames.step());
                return self.note_blocked(started);
            }
        }
        if frames.len() as u64 > self.ring.size() / 2 {
            self.log_in_pieces(frames, step, time);
            return;
        }
        while self.attempt(frames, step, time) == Attempt::Wait {
            if !self.wait_for_room(&mut patience) {
                self.drop_rows(Cause::Full, frames.rows(), frames.step());
                break;
            }
        }
        self.note_blocked(started);
    }

    /// Steps given by the user take the place of those in the files: the next one left out is `step`.
    pub fn set_next_step(&self, step: i64) {
        let mut producer = self.ring.lock();
        producer.largest_step = step.checked_sub(1);
        producer.largest_step_known = true;
    }

    /// The step at which this session goes on: the one set, else one more than the largest in the last rows of an earlier
    /// session, without reading all of its files. `None` in a stream without rows.
    #[must_use]
    pub fn resume_step(&self) -> Option<i64> {
        {
            let producer = self.ring.lock();
            if producer.largest_step_known {
                return producer.largest_step.map(|largest| largest.saturating_add(1));
            }
        }
        if let Some(largest) = self.largest_before.get() {
            return largest.map(|largest| largest.saturating_add(1));
        }
        steps::recent(&self.directory, &self.stream).ok()?.map(|largest| largest.saturating_add(1))
    }

    /// The largest step of all rows of the stream, for the next session: `Some(None)` if no row has one, `None` where that would
    /// have to be looked up in the files.
    #[must_use]
    pub fn largest_step(&self) -> Option<Option<i64>> {
        let before = *self.largest_before.get()?;
        let producer = self.ring.lock();
        Some(if producer.rows > 0 { producer.largest_step.max(before) } else { before })
    }

    /// The step that a call without one would have now.
    #[must_use]
    pub fn next_step(&self) -> i64 {
        self.learn_largest_step();
        next_step(&self.ring.lock())
    }

    fn attempt(&self, frames: &mut FrameBuilder, step: Step, time: Time) -> Attempt {
        let mut producer = self.ring.lock();
        if producer.closed {
            drop(producer);
            self.refuse(frames.rows());
            return Attempt::Settled;
        }
        if producer.reserved.is_some() || frames.len() as u64 > self.ring.size() / 2 {
            return Attempt::Wait;
        }
        if step == Step::Next {
            if !producer.largest_step_known {
                return Attempt::Wait;
            }
            frames.set_step(next_step(&producer));
        }
        if time == Time::Now {
            self.settle_time(frames);
        }
        match self.append(&mut producer, frames.bytes_mut()) {
            Appended::Done { backlog } => {
                producer.largest_step = producer.largest_step.max(frames.step());
                self.stats.rows_logged.add(frames.rows());
                drop(producer);
                if backlog {
                    self.control.kick_if_parked();
                }
                Attempt::Settled
            }
            Appended::Full => {
                drop(producer);
                let stalled = self.stalled_at.load(Ordering::Relaxed) == self.progress();
                if stalled || self.settings.overflow == Overflow::Drop {
                    self.control.kick_if_parked();
                    self.drop_rows(Cause::Full, frames.rows(), frames.step());
                    return Attempt::Settled;
                }
                Attempt::Wait
            }
        }
    }

    /// Gives a call that is about to be appended its time. The journal's lock is held.
    #[inline]
    pub(super) fn settle_time(&self, frames: &mut FrameBuilder) {
        let asked = frames.timestamp();
        let settled = self.timeline.settle(asked);
        if settled != asked {
            frames.set_timestamp(settled);
        }
    }

    pub(super) fn append(&self, producer: &mut Producer, frames: &mut [u8]) -> Appended {
        let (appended, outcome) = self.ring.append(producer, frames);
        if let Err(error) = outcome {
            self.stats.journal_errors.add(1);
            self.warnings.push("journal", || {
                format!("the journal cannot be written ({error}): waiting rows would be lost if the process died now")
            });
        }
        appended
    }

    /// Publishes a call that is too large to be put into the ring at once, frame by frame; nobody else logs meanwhile.
    fn log_in_pieces(&self, frames: &mut FrameBuilder, step: Step, time: Time) {
        let started = Instant::now();
        let mut patience = self.patience();
        let Some(reservation) = self.reserve(&mut patience) else {
            self.drop_rows(Cause::Full, frames.rows(), frames.step());
            return;
        };
        {
            let producer = self.ring.lock();
            if step == Step::Next {
                frames.set_step(next_step(&producer));
            }
            if time == Time::Now {
                self.settle_time(frames);
            }
        }
        let step = frames.step();
        let mut rest = frames.bytes_mut();
        let mut waiting = true;
        while let Some(length) = first_length(rest) {
            let (frame, behind) = rest.split_at_mut(length);
            rest = behind;
            let rows = rows_of(frame);
            if length as u64 > self.ring.size() / 2 {
                self.drop_rows(Cause::Oversize, rows, step);
                continue;
            }
            loop {
                let mut producer = self.ring.lock();
                if producer.closed {
                    drop(producer);
                    self.refuse(rows);
                    break;
                }
                if self.append(&mut producer, frame) != Appended::Full {
                    producer.largest_step = producer.largest_step.max(step);
                    self.stats.rows_logged.add(rows);
                    break;
                }
                drop(producer);
                waiting = waiting && self.settings.overflow == Overflow::Block && self.wait_for_room(&mut patience);
                if !waiting {
                    self.drop_rows(Cause::Full, rows, step);
                    break;
                }
            }
        }
        drop(reservation);
        self.note_blocked(started);
    }

    /// Appends one frame that holds no rows, waiting for room. Gives whether it is in the ring.
    pub(super) fn append_patiently(&self, frame: &mut [u8]) -> bool {
        let mut patience = self.patience();
        loop {
            self.ensure_writer();
            let mut producer = self.ring.lock();
            if producer.closed {
                return false;
            }
            if producer.reserved.is_none()
                && let Appended::Done { backlog } = self.append(&mut producer, frame)
            {
                drop(producer);
                if backlog {
                    self.control.kick_if_parked();
                }
                return true;
            }
            drop(producer);
            if !self.wait_for_room(&mut patience) {
                return false;
            }
        }
    }

    fn reserve(&self, patience: &mut Patience) -> Option<Reservation<'_>> {
        loop {
            let mut producer = self.ring.lock();
            if producer.reserved.is_none() {
                producer.reserved = Some(std::thread::current().id());
                return Some(Reservation(self));
            }
            drop(producer);
            if !self.wait_for_room(patience) {
                return None;
            }
        }
    }

    /// Takes over what was lost before there was a session, to put it on record, and the count of what was refused.
    pub(super) fn adopt(&self, lost: Loss, refused: u64) {
        self.stats.rows_logged.add(lost.rows + refused);
        self.stats.rows_dropped_closed.add(refused);
        self.stats.rows_dropped_unopened.add(lost.rows);
        if lost.rows > 0 {
            self.note_loss(Cause::Unopened, lost);
        }
    }

    pub(super) fn note_loss(&self, cause: Cause, loss: Loss) {
        self.losses.note(cause, loss, |unreported| {
            if self.ring.store_dropped(unreported).is_err() {
                self.stats.journal_errors.add(1);
            }
        });
    }

    #[cold]
    fn drop_rows(&self, cause: Cause, rows: u64, step: Option<i64>) {
        if rows == 0 {
            return;
        }
        self.stats.rows_logged.add(rows);
        match cause {
            Cause::Full => self.stats.rows_dropped_full.add(rows),
            Cause::Oversize => self.stats.rows_dropped_oversize.add(rows),
            // Told of by others, never by a call.
            Cause::Journal | Cause::Died | Cause::Unopened | Cause::Damaged | Cause::Deferred => {}
        }
        self.note_loss(cause, Loss { rows, first_step: step, last_step: step });
        self.warnings.push("dropped", || {
            let directory = self.directory.display();
            match cause {
                Cause::Oversize => format!("rows are dropped: a call is larger than half of the ring of {directory}"),
                _ => format!("rows are dropped: the journal of {directory} is full and cannot be written out"),
            }
        });
    }

    #[cold]
    pub(super) fn refuse(&self, rows: u64) {
        self.stats.rows_logged.add(rows);
        self.stats.rows_dropped_closed.add(rows);
        if rows > 0 {
            self.warnings.push("closed", || format!("rows are dropped: {} was closed", self.directory.display()));
        }
    }

    #[cold]
    fn note_blocked(&self, started: Instant) {
        self.stats.calls_blocked.add(1);
        self.stats.blocked_ns.add(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }

    /// Looks the largest step up in the files of earlier sessions, once.
    pub(super) fn learn_largest_step(&self) {
        if self.ring.lock().largest_step_known {
            return;
        }
        // No lock is held while reading. Rows of this session that are seen do no harm: the largest of all is wanted.
        let known = self.largest_before.get().copied();
        let found = match known.map_or_else(|| steps::largest(&self.directory, &self.stream), Ok) {
            Ok(found) => *self.largest_before.get_or_init(|| found),
            Err(error) => {
                self.warnings
                    .push("steps", || format!("{error}: steps that are left out are counted from this run on"));
                None
            }
        };
        let mut producer = self.ring.lock();
        if !producer.largest_step_known {
            producer.largest_step = producer.largest_step.max(found);
            producer.largest_step_known = true;
        }
    }
}

pub(super) fn next_step(producer: &Producer) -> i64 {
    producer.largest_step.map_or(0, |largest| largest.saturating_add(1))
}

/// The right to log alone, given back when it is dropped.
struct Reservation<'a>(&'a Session);

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.0.ring.lock().reserved = None;
    }
}
