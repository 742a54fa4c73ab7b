//! How well a run is, as plain values.

use std::path::PathBuf;

use codex_obs_core::clock::Clock;
use codex_obs_core::survey::{self, survey as look};
use pyo3::prelude::*;

use crate::reading::{Report, interruptible};

/// Stream, number, start and end in microseconds, host, pid, status, step that it went back to, rows.
type SessionFacts = (String, u64, i64, Option<i64>, String, u32, Option<&'static str>, Option<i64>, u64);
/// Stream, whether its writer lives, bytes on disk, rows that waited in it.
type JournalFacts = (String, bool, u64, Option<u64>);
/// Stream, address, remote run, rows and bytes that are left, parameters, tags, whether the end is, rows that are missing, gaps, points
/// that were taken and refused, rows that were not sent, the status that was told.
type DeliveryFacts = (
    String,
    String,
    Option<String>,
    (Option<u64>, u64, u64, u64, bool),
    (u64, u64),
    (u64, u64, u64),
    Option<&'static str>,
);

/// What there is to say of a run.
#[pyclass(frozen, get_all, module = "codex_obs._core")]
pub struct Survey {
    /// Name, whether a process writes it, rows, and those of which the session cannot be told.
    streams: Vec<(String, bool, u64, u64)>,
    /// The last ones of each stream.
    sessions: Vec<SessionFacts>,
    /// How many began before those.
    earlier_sessions: u64,
    journals: Vec<JournalFacts>,
    deliveries: Vec<DeliveryFacts>,
    report: Py<Report>,
}

/// How well the run in `directory` is. Like every reader, this first recovers what dead writers left.
#[pyfunction]
pub fn survey_run(py: Python<'_>, directory: PathBuf) -> PyResult<Survey> {
    let found = interruptible(py, None, |tick| look(&directory, &Clock::System, tick))?;
    let mut sessions = Vec::new();
    for stream in &found.streams {
        for (number, session) in &stream.sessions {
            sessions.push((
                stream.stream.to_string(),
                *number,
                session.started_micros,
                session.finish.map(|(_, micros)| micros),
                session.host.clone(),
                session.pid,
                session.finish.map(|(status, _)| status.word()),
                session.rewind_to,
                stream.rows.get(&Some(*number)).copied().unwrap_or(0),
            ));
        }
    }
    let delivery = |state: &survey::DeliveryState| {
        let (left, totals) = (&state.left, &state.totals);
        let unshown = &totals.unshown;
        (
            state.stream.to_string(),
            state.address.clone(),
            state.remote_run.clone(),
            (left.rows, left.bytes, left.params, left.tags, left.status),
            (state.missing.rows, state.missing.gaps),
            (totals.points, totals.rejected, unshown.structured + unshown.without_step + unshown.without_value),
            state.told.map(codex_obs_core::run::ending::RunStatus::word),
        )
    };
    let rows = |stream: &survey::StreamState| {
        let unknown = stream.rows.get(&None).copied().unwrap_or(0);
        (stream.stream.to_string(), stream.is_live, stream.rows.values().sum(), unknown)
    };
    Ok(Survey {
        streams: found.streams.iter().map(rows).collect(),
        sessions,
        earlier_sessions: found.streams.iter().map(|stream| stream.earlier_sessions).sum(),
        journals: found.journals.iter().map(|one| (one.stream.to_string(), one.is_live, one.bytes, one.rows)).collect(),
        deliveries: found.deliveries.iter().map(delivery).collect(),
        report: Py::new(py, Report::new(py, found.report))?,
    })
}
