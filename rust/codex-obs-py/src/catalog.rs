//! A folder of runs as columns.

use std::ffi::OsString;
use std::path::PathBuf;

use codex_obs_core::catalog::{self, Extremes, Point, Wanted};
use codex_obs_core::clock::Clock;
use codex_obs_core::problem::Problem;
use pyo3::prelude::*;

use crate::error::to_python;
use crate::words::in_words;

/// Values and their steps.
type Points = (Vec<Option<f64>>, Vec<Option<i64>>);

/// The runs of a folder, column by column.
#[pyclass(frozen, get_all, module = "codex_obs._core")]
pub struct Catalog {
    paths: Vec<OsString>,
    names: Vec<Option<String>>,
    run_ids: Vec<Option<String>>,
    statuses: Vec<Option<&'static str>>,
    started_micros: Vec<Option<i64>>,
    ended_micros: Vec<Option<i64>>,
    last_steps: Vec<Option<i64>>,
    rows: Vec<Option<u64>>,
    /// Parameters as JSON objects.
    configs: Vec<Option<String>>,
    /// For each metric asked for: how many runs have it; last, smallest and largest value of each run.
    metrics: Vec<(usize, Points, Points, Points)>,
    /// What could not be read, and why.
    problems: Vec<(OsString, String)>,
}

/// The runs in a folder and below it. A metric is asked for by its name, or as `split/metric`. Without metrics and `live_rows`, the rows
/// of runs that are written now are not counted.
#[pyfunction]
#[pyo3(signature = (folder, *, metrics = Vec::new(), live_rows = true))]
pub fn list_runs(py: Python<'_>, folder: PathBuf, metrics: Vec<String>, live_rows: bool) -> PyResult<Catalog> {
    let wanted = match (metrics.is_empty(), live_rows) {
        (false, _) => Wanted::Metrics,
        (true, true) => Wanted::Facts,
        (true, false) => Wanted::FactsBesideLiveRows,
    };
    let (outcome, raised) = py.detach(|| {
        let mut raised = None;
        let outcome = catalog::Catalog::of(&folder, wanted, &Clock::System, &mut || {
            // Asked again while threads are stopping: what was raised first stays.
            if raised.is_none() {
                raised = Python::attach(|py| py.check_signals().err());
            }
            raised.is_none()
        });
        (outcome.map(|catalog| columns(catalog, &metrics)), raised)
    });
    match raised {
        Some(error) => Err(error),
        None => outcome.map_err(|error| to_python(py, &error)),
    }
}

fn columns(catalog: catalog::Catalog, metrics: &[String]) -> Catalog {
    let catalog::Catalog { entries, unread } = catalog;
    let courses = |asked: &String| {
        let found: Vec<Option<Extremes>> = entries.iter().map(|entry| entry.metric(asked).copied()).collect();
        let points = |of: fn(&Extremes) -> Option<Point>| -> Points {
            let points = found.iter().map(|course| course.as_ref().and_then(of));
            points.map(|point| (point.and_then(|point| point.value), point.and_then(|point| point.step))).unzip()
        };
        let count = found.iter().flatten().count();
        (count, points(|course| Some(course.last)), points(|course| course.min), points(|course| course.max))
    };
    let metrics = metrics.iter().map(courses).collect();
    let mut problems: Vec<(OsString, String)> =
        unread.into_iter().map(|(path, why)| (path.into_os_string(), why)).collect();
    let worded = |problem: &Problem| Python::attach(|py| in_words(py, problem.clone()));
    for entry in &entries {
        problems.extend(entry.problems.iter().map(|why| (entry.path.clone().into_os_string(), worded(why))));
    }
    Catalog {
        statuses: entries.iter().map(|entry| entry.status.map(catalog::Status::word)).collect(),
        started_micros: entries.iter().map(|entry| entry.started_micros).collect(),
        ended_micros: entries.iter().map(|entry| entry.ended_micros).collect(),
        last_steps: entries.iter().map(|entry| entry.last_step).collect(),
        rows: entries.iter().map(|entry| entry.rows).collect(),
        names: entries.iter().map(|entry| entry.name.clone()).collect(),
        run_ids: entries.iter().map(|entry| entry.run_id.clone()).collect(),
        configs: entries.iter().map(|entry| entry.config.clone()).collect(),
        paths: entries.into_iter().map(|entry| entry.path.into_os_string()).collect(),
        metrics,
        problems,
    }
}
