//! Rows whose values do not exist yet: they are counted, and the journal knows how many they are, so that a recovery can tell.

use std::sync::PoisonError;

use super::Session;
use super::log::{Step, Time, next_step};
use crate::journal::frame::FrameBuilder;
use crate::worker::loss::{Cause, Loss};

impl Session {
    /// Gives a call none of whose values exists yet its step and its time, as if its rows were logged now.
    #[cold]
    pub fn settle_call(&self, frames: &mut FrameBuilder, step: Step, time: Time) {
        if step == Step::Next {
            self.learn_largest_step();
        }
        let mut producer = self.ring.lock();
        if step == Step::Next {
            frames.set_step(next_step(&producer));
        }
        if time == Time::Now {
            self.settle_time(frames);
        }
        producer.largest_step = producer.largest_step.max(frames.step());
    }

    /// Counts rows of a call as logged and waiting for their values. `false` if the run was closed: then they are dropped.
    #[must_use]
    pub fn defer(&self, rows: u64) -> bool {
        if self.is_closed() {
            self.refuse(rows);
            return false;
        }
        self.stats.rows_logged.add(rows);
        self.note_deferred(|deferred| deferred + rows);
        true
    }

    /// Begins to log a deferred row, which is counted once more by that.
    pub fn begin_deferred(&self) {
        self.stats.rows_logged.take_back(1);
    }

    /// Ends it: the row is in the journal, or dropped and counted.
    pub fn end_deferred(&self) {
        self.note_deferred(|deferred| deferred.saturating_sub(1));
    }

    /// Gives up waiting for the values of rows, which goes on record.
    pub fn drop_deferred(&self, loss: Loss) {
        if loss.rows > 0 {
            self.stats.rows_dropped_deferred.add(loss.rows);
            self.note_loss(Cause::Deferred, loss);
            self.note_deferred(|deferred| deferred.saturating_sub(loss.rows));
        }
    }

    fn note_deferred(&self, change: impl FnOnce(u64) -> u64) {
        let mut deferred = self.losses.deferred.lock().unwrap_or_else(PoisonError::into_inner);
        *deferred = change(*deferred);
        if self.ring.store_deferred(*deferred).is_err() {
            self.stats.journal_errors.add(1);
        }
    }
}
