//! `sync`: what a run has logged, delivered later.

use std::path::PathBuf;

use codex_obs_core::clock::Clock;
use codex_obs_core::deliver::sync as engine;
use codex_obs_core::deliver::sync::{Aside, SyncOptions};
use codex_obs_core::paths::Stream;
use codex_obs_core::run::ending::RunStatus;
use pyo3::prelude::*;

use crate::destination::Destination;
use crate::error::to_python;
use crate::words::in_words;

/// How far a delivery has come.
#[pyclass(frozen, get_all, module = "codex_obs._core")]
pub struct SyncProgress {
    stream: String,
    delivered: u64,
    rejected: u64,
    bytes_left: u64,
    bytes_total: u64,
    looks: u64,
    waiting: Option<String>,
}

impl From<&engine::SyncProgress> for SyncProgress {
    fn from(progress: &engine::SyncProgress) -> Self {
        Self {
            stream: progress.stream.clone(),
            delivered: progress.delivered,
            rejected: progress.rejected,
            bytes_left: progress.bytes_left,
            bytes_total: progress.bytes_total,
            looks: progress.looks,
            waiting: progress.waiting.clone(),
        }
    }
}

/// What came of a stream's delivery.
#[pyclass(frozen, get_all, module = "codex_obs._core")]
pub struct StreamOutcome {
    stream: String,
    delivered: u64,
    rejected: u64,
    spans: u64,
    params: u64,
    tags: u64,
    lines_skipped: u64,
    rows_structured: u64,
    rows_without_step: u64,
    rows_without_value: u64,
    rows_missing: u64,
    rows_missing_new: u64,
    gaps: u64,
    gaps_new: u64,
    remote_run: Option<String>,
    page: Option<String>,
    done: bool,
    problem: Option<String>,
    status: Option<&'static str>,
    notices: Vec<String>,
}

impl StreamOutcome {
    fn new(py: Python<'_>, outcome: engine::StreamOutcome) -> Self {
        Self {
            stream: outcome.stream,
            delivered: outcome.delivered,
            rejected: outcome.rejected,
            spans: outcome.spans,
            params: outcome.params,
            tags: outcome.tags,
            lines_skipped: outcome.lines_skipped,
            rows_structured: outcome.unshown.structured,
            rows_without_step: outcome.unshown.without_step,
            rows_without_value: outcome.unshown.without_value,
            rows_missing: outcome.missing.rows,
            rows_missing_new: outcome.missing_new.rows,
            gaps: outcome.missing.gaps,
            gaps_new: outcome.missing_new.gaps,
            remote_run: outcome.remote_run,
            page: outcome.page,
            done: outcome.done,
            problem: outcome.problem.map(|problem| in_words(py, problem)),
            status: outcome.status.map(RunStatus::word),
            notices: outcome.notices.into_iter().map(|notice| in_words(py, notice)).collect(),
        }
    }
}

/// Delivers what the run in `directory` has logged and a destination does not have yet. `progress` is called several times a
/// second; False, or what it raises, ends the work. What was delivered by then stays delivered.
#[pyfunction]
#[pyo3(signature = (directory, destination, *, follow = false, dry_run = false, aside = None, progress = None))]
pub fn sync(
    py: Python<'_>,
    directory: PathBuf,
    destination: &Destination,
    follow: bool,
    dry_run: bool,
    aside: Option<bool>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Vec<StreamOutcome>> {
    let aside = aside.map(|tells_killed| Aside { stream: Stream::of_sidecar(), tells_killed });
    let options = SyncOptions { follow, dry_run, aside };
    let (outcome, raised) = py.detach(|| {
        let mut raised = None;
        let outcome = engine::sync(&directory, &destination.settings, &options, &Clock::System, &mut |state| {
            let goes_on = Python::attach(|py| {
                py.check_signals()?;
                let Some(progress) = &progress else { return Ok(true) };
                progress.call1(py, (SyncProgress::from(state),))?.is_truthy(py)
            });
            goes_on.unwrap_or_else(|error| {
                raised = Some(error);
                false
            })
        });
        (outcome, raised)
    });
    if let Some(error) = raised {
        return Err(error);
    }
    let outcome = outcome.map_err(|error| to_python(py, &error))?;
    Ok(outcome.streams.into_iter().map(|stream| StreamOutcome::new(py, stream)).collect())
}

/// The remote run that `run.json` names for a destination, without contacting it.
#[pyfunction]
pub fn known_run(py: Python<'_>, directory: PathBuf, destination: &Destination) -> PyResult<Option<String>> {
    let known = py.detach(|| engine::known_run(&directory, &destination.settings, &Clock::System));
    known.map_err(|error| to_python(py, &error))
}
