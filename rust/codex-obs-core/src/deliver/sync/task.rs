//! One stream on its way.

use std::path::PathBuf;
use std::sync::Arc;

use super::account::Account;
use crate::deliver::context::Context;
use crate::deliver::delivery::{Delivery, Step};
use crate::paths::Stream;
use crate::primitives::Instant;
use crate::problem::Problem;
use crate::run::ending::RunStatus;

/// One stream's delivery and what became of it.
pub(super) struct Task {
    pub(super) stream: Stream,
    pub(super) delivery: Delivery,
    pub(super) context: Arc<Context>,
    /// Not before this.
    pub(super) pause_until: Option<Instant>,
    pub(super) problem: Option<Problem>,
    /// There was nothing more at the last look.
    pub(super) is_idle: bool,
    /// Nothing can be delivered any more.
    pub(super) has_ended: bool,
    /// What grows when something is written.
    pub(super) metrics: Watched,
    pub(super) records: Watched,
    /// The session records, as far as they were read.
    pub(super) looked_at: Watched,
    /// Its last session has put its end on record.
    pub(super) is_finished: bool,
}

/// A file and how long it was.
pub(super) struct Watched {
    path: PathBuf,
    length: u64,
}

impl Watched {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, length: 0 }
    }

    /// Whether its length is another than at the last look.
    fn has_changed(&mut self) -> bool {
        let length = self.path.metadata().map_or(0, |found| found.len());
        std::mem::replace(&mut self.length, length) != length
    }
}

impl Task {
    /// Whether something was written since the last look.
    pub(super) fn has_grown(&mut self) -> bool {
        let has_rows = self.metrics.has_changed();
        self.records.has_changed() || has_rows
    }

    /// Whether there are session records that were not read yet.
    pub(super) fn has_new_records(&mut self) -> bool {
        self.looked_at.has_changed()
    }

    pub(super) fn account(&self, status: Option<RunStatus>, page: Option<String>) -> Account {
        Account {
            stream: self.stream.clone(),
            context: Arc::clone(&self.context),
            remote_run: self.delivery.remote_run().map(str::to_owned),
            page,
            missing: self.delivery.missing(),
            done: self.is_idle && self.problem.is_none(),
            problem: self.problem.clone(),
            status: status.filter(|told| self.delivery.told() == Some(*told)),
        }
    }

    /// Notes what came of a step. Gives whether another may follow at once. A run that is followed is waited for where another
    /// process delivers it.
    pub(super) fn take(&mut self, step: Step, follow: bool) -> bool {
        self.pause_until = None;
        match step {
            Step::Worked => {
                self.problem = None;
                return true;
            }
            Step::Idle(_) => {
                self.problem = None;
                self.is_idle = true;
            }
            Step::Later { why, .. } if !follow && self.delivery.is_held_elsewhere() => {
                self.problem = Some(Problem::new("held_elsewhere", why, Vec::new()));
                self.has_ended = true;
            }
            Step::Later { pause, why } => {
                self.problem = Some(why.into());
                self.pause_until = Some(Instant::now() + pause);
            }
            Step::Stopped { why } => {
                self.problem = Some(why);
                self.has_ended = true;
            }
        }
        false
    }
}
