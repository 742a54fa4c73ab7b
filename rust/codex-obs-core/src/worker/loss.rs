//! Rows that could not be kept: counted at once, put on record as soon as writing works again.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use serde_json::json;

use super::drain::Drain;
use super::keeper::Keeper;
use super::notes::Notes;
use super::tenure::Tenure;
use super::thread::Errands;
use super::watch::Watch;
use crate::encode::extra::extra;
use crate::encode::line::{Tracking, tracking};
use crate::journal::ring::Gap;
use crate::paths::FileKind;
use crate::primitives::{AtomicBool, Mutex, MutexGuard};
use crate::sidecar::Sidecar;
use crate::timeline::Timeline;
use crate::words::{count, was};

/// Why rows were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The ring was full and the writer stood still.
    Full,
    /// The call alone was larger than half of the ring.
    Oversize,
    /// The journal's file was truncated, or its disk failed, before they were written out.
    Journal,
    /// A process that died had dropped them and could not say so.
    Died,
    /// A process could not open its stream at first.
    Unopened,
    /// They were in the journal of a process that died, which was damaged since.
    Damaged,
    /// Their process ended before its device had computed their values.
    Deferred,
}

impl Cause {
    /// The name used in counters and records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Oversize => "oversize",
            Self::Journal => "journal",
            Self::Died => "died",
            Self::Unopened => "unopened",
            Self::Damaged => "damaged",
            Self::Deferred => "deferred",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Full => "the journal was full and could not be written out",
            Self::Oversize => "one call was larger than half of the journal's ring (see ring_bytes)",
            Self::Journal => "the journal's file was truncated or its disk failed",
            Self::Died => "an earlier process could not write them out and died",
            Self::Unopened => "this process could not open its stream at first",
            Self::Damaged => "the journal of an earlier process was damaged before they were written out",
            Self::Deferred => "their values did not exist yet when their process ended (see deferred)",
        }
    }
}

/// A loss of one cause that is not on record yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Rows dropped.
    pub rows: u64,
    /// Step of the first of them.
    pub first_step: Option<i64>,
    /// Step of the last of them.
    pub last_step: Option<i64>,
}

impl Loss {
    /// Adds a later loss of the same cause.
    pub fn add(&mut self, later: &Self) {
        if self.rows == 0 {
            *self = *later;
            return;
        }
        self.rows += later.rows;
        self.last_step = later.last_step.or(self.last_step);
    }
}

/// The line that puts the rows of a gap on record.
#[must_use]
pub fn damaged(micros: i64, gap: &Gap) -> Vec<u8> {
    record(micros, Cause::Damaged, &Loss { rows: gap.rows(), first_step: gap.first_step, last_step: gap.last_step })
}

/// The losses that are not on record yet.
#[derive(Debug, Default)]
pub struct Losses {
    waiting: AtomicBool,
    by_cause: Mutex<BTreeMap<Cause, Loss>>,
    /// Rows whose values do not exist yet: lost, should the process die now. Held while the journal is told.
    pub deferred: Mutex<u64>,
}

impl Losses {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Cause, Loss>> {
        self.by_cause.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a loss and hands the number of all rows that are not on record to `keep`.
    pub fn note(&self, cause: Cause, loss: Loss, keep: impl FnOnce(u64)) {
        let mut by_cause = self.lock();
        by_cause.entry(cause).or_default().add(&loss);
        keep(by_cause.values().map(|loss| loss.rows).sum());
        // Release: pairs with the acquire in `after_batch`.
        self.waiting.store(true, Ordering::Release);
    }
}

/// The line that puts a loss on record.
#[must_use]
pub fn record(micros: i64, cause: Cause, loss: &Loss) -> Vec<u8> {
    let Loss { rows, first_step, last_step } = loss;
    let own = json!({"cause": cause.name(), "count": rows, "first_step": first_step, "last_step": last_step});
    let extra = extra(own, &json!({"rows_dropped": rows}));
    let reason = format!("ndjson:{} {} dropped: {}", count(*rows, "row"), was(*rows), cause.sentence());
    let pieces = Tracking { component: "ndjson", status: "degraded", reason: Some(&reason), extra: &extra };
    tracking(micros, &pieces)
}

/// The writer thread's errand: losses go on record behind the batch that shows that writing works.
#[derive(Debug)]
pub struct Reporter {
    /// What there is to report.
    pub losses: Arc<Losses>,
    /// What others have to report.
    pub notes: Arc<Notes>,
    /// The time of the record. The clocks are compared at every look at the ring.
    pub timeline: Arc<Timeline>,
    /// The hold on the stream.
    pub tenure: Arc<Tenure>,
    /// Looks after the names of lock and journal.
    pub watch: Watch,
    /// Looks after the shards that rotation leaves behind.
    pub keeper: Keeper,
    /// What runs beside the trainer.
    pub sidecar: Option<Arc<Sidecar>>,
}

impl Errands for Reporter {
    fn after_failure(&mut self, drain: &mut Drain) {
        // Rows that cannot be written are in the journal alone.
        self.watch.look(&self.tenure, drain);
    }

    fn after_batch(&mut self, drain: &mut Drain) {
        self.timeline.compare();
        self.notes.write(drain);
        self.watch.look(&self.tenure, drain);
        self.keeper.after_batch(drain);
        for words in self.sidecar.iter().flat_map(|sidecar| sidecar.look()) {
            self.keeper.warnings.say(words);
        }
        if let Some(rows) = drain.take_lost() {
            self.losses.note(Cause::Journal, Loss { rows, ..Loss::default() }, |_| {});
        }
        // Acquire: pairs with the release in `note`.
        if !self.losses.waiting.load(Ordering::Acquire) {
            return;
        }
        let waiting = {
            let mut by_cause = self.losses.lock();
            self.losses.waiting.store(false, Ordering::Release);
            std::mem::take(&mut *by_cause)
        };
        for (cause, loss) in waiting {
            let line = record(self.timeline.present_micros(), cause, &loss);
            if let Err(error) = drain.write_line(FileKind::Summary, &line) {
                drain.note_error(&error);
                self.losses.note(cause, loss, |_| {});
            }
        }
        // Under the lock, or what is noted meanwhile would be forgotten again.
        let by_cause = self.losses.lock();
        drain.keep_unreported(by_cause.values().map(|loss| loss.rows).sum());
    }
}
