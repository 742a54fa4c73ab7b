//! The process beside the trainer, as both sides need it.

use std::path::PathBuf;

use codex_obs_core::clock::Clock;
use codex_obs_core::deliver::sync::note_aside;
use codex_obs_core::paths::Stream;
use codex_obs_core::session::Session;
use codex_obs_core::sidecar::Sidecar;
use pyo3::prelude::*;

use crate::error::to_python;
use crate::recorder::Recorder;

fn of<'a>(run: &'a Bound<'_, Recorder>) -> Option<&'a Sidecar> {
    run.get().handle.session().and_then(Session::sidecar)
}

/// Starts the sidecar of `run`, if there is one that is not started with the session.
#[pyfunction]
pub fn sidecar_start(run: &Bound<'_, Recorder>) {
    if let Some(sidecar) = of(run) {
        run.py().detach(|| sidecar.start());
    }
}

/// Starts the sidecar of `run` at once where it has died and may be started again. None if there is none to wait for; False if it
/// cannot be kept running, which is said to nobody yet.
#[pyfunction]
pub fn sidecar_again(run: &Bound<'_, Recorder>) -> Option<bool> {
    let sidecar = of(run)?;
    run.py().detach(|| sidecar.again())
}

/// A descriptor that is readable once the sidecar of `run` has ended; None if it does not run. It stays open as long as `run` lives.
#[pyfunction]
pub fn sidecar_ends(run: &Bound<'_, Recorder>) -> Option<i32> {
    of(run)?.ends()
}

/// What the sidecar of `run` has said that nobody has heard yet.
#[pyfunction]
pub fn sidecar_words(run: &Bound<'_, Recorder>) -> Vec<String> {
    of(run).map(|sidecar| run.py().detach(|| sidecar.unheard())).unwrap_or_default()
}

/// The stream as which the sidecar of this machine writes.
#[pyfunction]
pub fn sidecar_stream() -> String {
    Stream::of_sidecar().to_string()
}

/// Where the sidecar of this machine says how it stands.
#[pyfunction]
pub fn sidecar_state_path(directory: PathBuf) -> PathBuf {
    codex_obs_core::paths::sidecar_state_path(&directory, &Stream::of_sidecar())
}

/// Where it is noted which sidecar's turn it is on this machine.
#[pyfunction]
pub fn sidecar_turn_path(directory: PathBuf) -> PathBuf {
    codex_obs_core::paths::sidecar_turn_path(&directory, &Stream::of_sidecar())
}

/// Whether a process writes a stream of the run in `directory`.
#[pyfunction]
pub fn is_written(py: Python<'_>, directory: PathBuf, rank: u64) -> bool {
    py.detach(|| codex_obs_core::recovery::run::is_written(&directory, &Stream::of_rank(rank)))
}

/// Puts on record, as the sidecar of this machine, how something stands. `extra` is a JSON object.
#[pyfunction]
pub fn sidecar_note(
    py: Python<'_>,
    directory: PathBuf,
    component: &str,
    status: &str,
    reason: Option<&str>,
    extra: &str,
) -> PyResult<()> {
    let noted = py.detach(|| note_aside(&directory, component, status, reason, extra, &Clock::System));
    noted.map_err(|error| to_python(py, &error))
}
