//! Words of the engine for the user: what can be done is worded in Python, and said on the logger of the package.

use codex_obs_core::problem::Problem;
use codex_obs_core::session::{Handle, Session};
use pyo3::exceptions::PyImportError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyString};

/// Gives out what the session has to say.
#[cold]
pub fn emit_warnings(py: Python<'_>, session: &Session) {
    if session.warnings().waiting() {
        emit(py, taken(py, session));
    }
}

/// Takes what the session has to say.
pub fn taken(py: Python<'_>, session: &Session) -> Vec<String> {
    session.warnings().take().into_iter().map(|problem| in_words(py, problem)).collect()
}

/// What is wrong, and what can be done, which `codex_obs._problems` knows.
pub fn in_words(py: Python<'_>, problem: Problem) -> String {
    if problem.kind.is_empty() {
        return problem.what;
    }
    let worded = || -> PyResult<String> {
        let facts = problem.facts.iter().map(|(name, value)| (*name, value)).into_py_dict(py)?;
        let module = py.import(intern!(py, "codex_obs._problems"))?;
        module.call_method1(intern!(py, "in_words"), (&problem.what, problem.kind, facts))?.extract()
    };
    worded().unwrap_or_else(|error| {
        // As below: what went wrong is said in any case.
        if !error.is_instance_of::<PyImportError>(py) {
            error.write_unraisable(py, None);
        }
        problem.what
    })
}

/// Logs `texts` on the `codex_obs` logger. What a handler raises is not the caller's business.
pub fn emit(py: Python<'_>, texts: Vec<String>) {
    let emitted = py
        .import(intern!(py, "codex_obs._backend"))
        .and_then(|module| module.call_method1(PyString::intern(py, "emit_warnings"), (texts,)));
    if let Err(error) = emitted
        // Nothing can be imported once the interpreter is being taken down, and nobody is left to be told.
        && !error.is_instance_of::<PyImportError>(py)
    {
        error.write_unraisable(py, None);
    }
}

/// Tells, if there is something new to tell, that rows have nowhere to go.
#[cold]
pub fn without_stream<T>(py: Python<'_>, handle: &Handle, why: Option<String>) -> Option<T> {
    if let Some(why) = why {
        let (name, directory) = (handle.name(), handle.directory().display());
        emit(py, vec![format!("run {name}: rows are dropped: this process has no stream in {directory} ({why})")]);
    }
    None
}
