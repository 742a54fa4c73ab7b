//! `Run.event`: an event of a trainer as rows.

use codex_obs_core::journal::frame::Call;
use codex_obs_core::record::Damage;
use codex_obs_core::session::{Step, Time};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::convert::{self, Event};
use crate::recorder::Recorder;
use crate::spare::Buffers;

/// Hears of every event, once there is something that may be interested: spans.
static LISTENER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Have `listener` called with the category, message and fields of every event of a trainer, from now on. One is enough.
#[pyfunction]
pub fn listen_to_events(py: Python<'_>, listener: Py<PyAny>) {
    LISTENER.get_or_init(py, || listener);
}

/// Records an event; the arguments are those of the method.
///
/// # Errors
///
/// `TypeError` or `ValueError` for the field that tells the step; then no row is written.
pub fn record(
    run: &Bound<'_, Recorder>,
    category: &Bound<'_, PyAny>,
    message: Option<&Bound<'_, PyAny>>,
    fields: Option<&Bound<'_, PyDict>>,
) -> PyResult<()> {
    let this = run.get();
    let mut buffers = this.spare.take();
    let mut damage = Damage::default();
    let outcome = convert(this, &mut buffers, &mut damage, category, message, fields)
        .map(|()| Recorder::record(run, &mut buffers, &damage, Step::Given, Time::Now));
    this.spare.give(buffers);
    if outcome.is_ok()
        && let Some(listener) = LISTENER.get(run.py())
    {
        let none = PyDict::new(run.py());
        listener.call1(run.py(), (category, message, fields.unwrap_or(&none)))?;
    }
    // As in `Recorder.log`: the rows are safe now.
    outcome.and_then(|()| convert::take_interrupt().map_or(Ok(()), Err))
}

fn convert(
    run: &Recorder,
    buffers: &mut Buffers,
    damage: &mut Damage,
    category: &Bound<'_, PyAny>,
    message: Option<&Bound<'_, PyAny>>,
    fields: Option<&Bound<'_, PyDict>>,
) -> PyResult<()> {
    let timestamp = run.handle.now_micros();
    let deferral = run.deferral.of(&buffers.pending);
    let (event, facts) = Event::new(category, message, fields, damage, deferral)?;
    let tags = facts.tags(&mut buffers.tags, damage);
    let call = Call { timestamp, step: event.step, split: event.category.split(), dataset: None, tags };
    buffers.frames.begin(&call, run.handle.max_frame_bytes());
    event.rows(&mut buffers.frames, damage);
    Ok(())
}
