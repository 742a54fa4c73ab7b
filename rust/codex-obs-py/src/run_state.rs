//! What a run directory says of its run, before anyone opens it.

use std::path::{Path, PathBuf};

use codex_obs_core::paths::Stream;
use codex_obs_core::recovery::run::is_written;
use codex_obs_core::run::identity::Home;
use codex_obs_core::run::records;
use pyo3::prelude::*;

use crate::error::to_python;

/// A job's key: name, restart count, launcher, launching process, number of the run.
type JobKey = (Option<String>, u64, Option<String>, Option<String>, u64);

/// One session of the main stream.
#[pyclass(frozen, get_all, module = "codex_obs._core")]
#[derive(Clone)]
pub struct SessionRecord {
    started_micros: i64,
    host: String,
    pid: u32,
    job: Option<JobKey>,
    config_hash: Option<String>,
    status: Option<&'static str>,
    ended_micros: Option<i64>,
}

/// The run in a directory.
#[pyclass(frozen, get_all, module = "codex_obs._core")]
pub struct RunState {
    run_id: String,
    name: String,
    /// Whether a process writes its main stream.
    is_live: bool,
    /// The first session of the main stream.
    first_session: Option<SessionRecord>,
    /// The last one.
    last_session: Option<SessionRecord>,
}

/// What a directory says of its run; None if it holds none.
#[pyfunction]
pub fn run_state(py: Python<'_>, directory: PathBuf) -> PyResult<Option<RunState>> {
    py.detach(|| state(&directory)).map_err(|error| to_python(py, &error))
}

fn state(directory: &Path) -> codex_obs_core::Result<Option<RunState>> {
    let Some(home) = Home::begun(directory)? else { return Ok(None) };
    let main = Stream::main();
    // Looked at before the records: a session that ends between the two has its finish then.
    let is_live = is_written(directory, &main);
    let (first_session, last_session) =
        records::ends(directory, &main)?.map(|(first, last)| (first.into(), last.into())).unzip();
    Ok(Some(RunState { run_id: home.run_id, name: home.name, is_live, first_session, last_session }))
}

impl From<records::Recorded> for SessionRecord {
    fn from(session: records::Recorded) -> Self {
        let job = session.job.map(|job| (job.name, job.restart, job.launcher, job.process, job.number));
        Self {
            started_micros: session.started_micros,
            host: session.host,
            pid: session.pid,
            job,
            config_hash: session.config_hash,
            status: session.finish.map(|(status, _)| status.word()),
            ended_micros: session.finish.map(|(_, micros)| micros),
        }
    }
}
