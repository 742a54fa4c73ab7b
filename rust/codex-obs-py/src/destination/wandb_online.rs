//! W&B's own client, through the Python object that calls it: `codex_obs.destinations.wandb_online`.

use codex_obs_core::paths::Stream;
use codex_obs_core::wandb::message::Run;
use codex_obs_core::wandb::online::{Outcome, Sink};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::refusal::refusal;

/// The object.
#[derive(Debug)]
pub struct Client {
    object: Py<PyAny>,
    /// Calls that failed, one after the other.
    failures: u32,
}

impl Client {
    /// Calls what makes the object.
    pub fn new(object: Py<PyAny>) -> Self {
        Self { object, failures: 0 }
    }

    /// Calls a method. Gives what it gave.
    fn call(
        &mut self,
        method: &str,
        arguments: impl for<'py> FnOnce(Python<'py>) -> PyResult<Bound<'py, PyTuple>>,
    ) -> Outcome<Py<PyAny>> {
        let outcome = Python::attach(|py| {
            let called = || Ok(self.object.bind(py).call_method1(method, arguments(py)?)?.unbind());
            called().map_err(|error| refusal(py, &error))
        });
        self.failures = if outcome.is_ok() { 0 } else { self.failures.saturating_add(1) };
        outcome.map_err(|refusal| refusal.answer(self.failures))
    }
}

impl Sink for Client {
    fn prepare(&mut self) -> Outcome<()> {
        self.call("prepare", |py| Ok(PyTuple::empty(py))).map(drop)
    }

    fn open(&mut self, stream: &Stream, run: &Run) -> Outcome<i64> {
        let on_server = self.call("open", |py| {
            let given = PyDict::new(py);
            for (name, value) in [
                ("id", &run.run_id),
                ("entity", &run.entity),
                ("project", &run.project),
                ("group", &run.run_group),
                ("job_type", &run.job_type),
                ("name", &run.display_name),
                ("notes", &run.notes),
            ] {
                if !value.is_empty() {
                    given.set_item(name, value)?;
                }
            }
            (stream.as_str(), given, &run.tags).into_pyobject(py)
        })?;
        Python::attach(|py| on_server.extract(py).map_err(|error| refusal(py, &error).answer(self.failures)))
    }

    fn history(&mut self, stream: &Stream, records: &[(i64, String)]) -> Outcome<()> {
        self.call("history", |py| (stream.as_str(), records).into_pyobject(py)).map(drop)
    }

    fn config(&mut self, stream: &Stream, params: &[(String, String)]) -> Outcome<()> {
        self.call("config", |py| (stream.as_str(), params).into_pyobject(py)).map(drop)
    }

    fn tags(&mut self, stream: &Stream, tags: &[String]) -> Outcome<()> {
        self.call("tags", |py| (stream.as_str(), tags).into_pyobject(py)).map(drop)
    }

    fn finish(&mut self, stream: &Stream, exit_code: i32) -> Outcome<()> {
        self.call("finish", |py| (stream.as_str(), exit_code).into_pyobject(py)).map(drop)
    }

    fn leave(&mut self, exit_code: i32) {
        // What is not sure to have arrived then is sent by the next delivery.
        let _ = self.call("leave", |py| (exit_code,).into_pyobject(py));
    }

    fn page(&self) -> Option<String> {
        Python::attach(|py| self.object.getattr(py, "page").and_then(|page| page.extract(py)).ok().flatten())
    }
}
