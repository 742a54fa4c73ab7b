//! The extension module `codex_obs._core`: convert in, detach, call, convert out.

#![expect(clippy::doc_markdown, reason = "comments on what Python sees are its docstrings")]
#![expect(clippy::needless_pass_by_value, reason = "what Python passes is converted into a value of our own")]

mod artifact;
mod bound_log;
mod canonical;
mod catalog;
mod clock;
mod convert;
mod deadline;
mod deferral;
mod destination;
mod error;
mod event;
mod fork;
mod interpreter;
mod last_exit;
mod latest;
mod line_log;
mod lines;
mod log_method;
mod mistakes;
mod places;
mod reading;
mod recorder;
mod recovery;
mod run_state;
mod series;
mod settings;
mod shard_names;
mod sidecar;
mod spare;
mod survey;
mod sync;
mod telemetry;
mod words;

use pyo3::prelude::*;

/// The engine of codex_obs. Import it through `codex_obs`.
#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use super::artifact::{artifacts, copy_artifact, note_artifacts};
    #[pymodule_export]
    use super::canonical::{canonical_json, config_hash};
    #[pymodule_export]
    use super::catalog::{Catalog, list_runs};
    #[pymodule_export]
    use super::clock::ManualClock;
    #[pymodule_export]
    use super::convert::object::{is_object, members_of};
    #[pymodule_export]
    use super::convert::step::checked_step;
    #[pymodule_export]
    use super::deferral::{count, deferred_metrics, drop_deferred, log_deferred};
    #[pymodule_export]
    use super::destination::{Destination, wandb_run_id};
    #[pymodule_export]
    use super::error::CoreError;
    #[pymodule_export]
    use super::event::listen_to_events;
    #[pymodule_export]
    use super::fork::resume_after_fork;
    #[pymodule_export]
    use super::latest::{Latest, LineFollower};
    #[pymodule_export]
    use super::line_log::{LineLog, LinePages, page_lines, writers};
    #[pymodule_export]
    use super::reading::{ArrowStream, Report, RowPages, page_rows, read_payloads, read_rows, summarize};
    #[pymodule_export]
    use super::recorder::Recorder;
    #[pymodule_export]
    use super::recovery::recover;
    #[pymodule_export]
    use super::run_state::{RunState, SessionRecord, run_state};
    #[pymodule_export]
    use super::series::Series;
    #[pymodule_export]
    use super::shard_names::{is_shard, shard_name};
    #[pymodule_export]
    use super::sidecar::{
        is_written, sidecar_again, sidecar_ends, sidecar_note, sidecar_start, sidecar_state_path, sidecar_stream,
        sidecar_turn_path, sidecar_words,
    };
    #[pymodule_export]
    use super::survey::{Survey, survey_run};
    #[pymodule_export]
    use super::sync::{StreamOutcome, SyncProgress, known_run, sync};
    use super::{Bound, PyModule, PyModuleMethods, PyResult};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::interpreter::require_main(module.py())?;
        super::log_method::add(module.py())?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
