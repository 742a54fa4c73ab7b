//! Lines of telemetry: what agents and trainers do, as spans and events.

use codex_obs_core::encode::line::{self, Telemetry};
use codex_obs_core::encode::trim::Cuts;
use codex_obs_core::limits::MAX_PAYLOAD_BYTES;
use codex_obs_core::record::{Damage, text::cut};
use codex_obs_core::worker::loss::Loss;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;

use crate::convert::{self, json::object};
use crate::recorder::Recorder;
use crate::words::emit_warnings;

/// Token, trace, span and parent of a span.
pub type Ids = (PyBackedStr, PyBackedStr, PyBackedStr, Option<PyBackedStr>);

/// Writes a line. `false` if it was dropped, which is counted.
pub fn record(
    run: &Bound<'_, Recorder>,
    event: &str,
    ids: Option<&Ids>,
    measurements: &Bound<'_, PyAny>,
    metadata: &Bound<'_, PyAny>,
) -> PyResult<bool> {
    if run.get().is_disabled {
        return Ok(true);
    }
    let Some(session) = Recorder::session(run, Loss::default) else {
        run.get().handle.stats().telemetry_dropped.add(1);
        return Ok(false);
    };
    let mut damage = Damage::default();
    let most = (session.max_line_bytes() / 2).min(MAX_PAYLOAD_BYTES);
    let measurements = object(measurements, most / 8, &mut damage, &mut Cuts::default());
    let metadata = object(metadata, most, &mut damage, &mut Cuts::default());
    let (event, was_cut) = cut(event);
    damage.texts_cut += u64::from(was_cut);
    session.stats().damage(&damage);
    let span = ids.map(|(token, trace, span, parent)| line::Ids { token, trace, span, parent: parent.as_deref() });
    let pieces = Telemetry { event, span, measurements: &measurements, metadata: &metadata };
    let line = line::telemetry(session.present_micros(), &session.home().run_id, &pieces);
    // A line that finds room takes no system call, unless the ring is written by one.
    let written = if session.is_mirrored() {
        run.py().detach(|| session.write_telemetry(&line))
    } else {
        session.try_write_telemetry(&line).unwrap_or_else(|| run.py().detach(|| session.write_telemetry(&line)))
    };
    if session.warnings().waiting() {
        emit_warnings(run.py(), session);
    }
    convert::take_interrupt().map_or(Ok(written), Err)
}
