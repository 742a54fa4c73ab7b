//! Progress of a delivery, for its caller.

use std::sync::Arc;

use super::{StreamOutcome, SyncProgress};
use crate::deliver::context::Context;
use crate::follow::points::UnshownRows;
use crate::follow::progress::Missing;
use crate::paths::Stream;
use crate::problem::Problem;
use crate::run::ending::RunStatus;

/// What the thread that delivers lets others see.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    pub(super) progress: SyncProgress,
    pub(super) accounts: Vec<Account>,
}

/// How far a stream is.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) stream: Stream,
    pub(super) context: Arc<Context>,
    pub(super) remote_run: Option<String>,
    pub(super) page: Option<String>,
    pub(super) missing: Missing,
    pub(super) done: bool,
    pub(super) problem: Option<Problem>,
    pub(super) status: Option<RunStatus>,
}

impl Account {
    /// What came of its delivery. Takes what the user should hear.
    pub(super) fn outcome(&self) -> StreamOutcome {
        let stats = &self.context.stats;
        let stopped = || (!self.done).then(|| Problem::from("it was stopped before the end"));
        StreamOutcome {
            stream: self.stream.to_string(),
            delivered: stats.metrics_exported.get(),
            rejected: stats.metrics_rejected.get() + stats.spans_rejected.get(),
            spans: stats.spans_exported.get(),
            params: stats.params_exported.get(),
            tags: 0,
            lines_skipped: stats.export_lines_skipped.get(),
            unshown: UnshownRows {
                structured: stats.export_rows_structured.get(),
                without_step: stats.export_rows_without_step.get(),
                without_value: stats.export_rows_without_value.get(),
            },
            missing: self.missing,
            missing_new: Missing { rows: stats.export_rows_missing.get(), gaps: stats.export_gaps.get() },
            remote_run: self.remote_run.clone(),
            page: self.page.clone(),
            done: self.done,
            problem: self.problem.clone().or_else(stopped),
            status: self.status,
            notices: self.context.warnings.take(),
        }
    }
}
