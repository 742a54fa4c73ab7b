//! Failures of the engine as one Python exception that says of what kind it is.

use codex_obs_core::Error;
use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use crate::words::in_words;

create_exception!(codex_obs._core, CoreError, PyException, "A failure with its `kind`.");

/// `error` as an exception.
#[cold]
pub fn to_python(py: Python<'_>, error: &Error) -> PyErr {
    let exception = CoreError::new_err(in_words(py, error.problem()));
    let value = exception.value(py);
    let outcome = value.setattr("kind", error.kind_name()).and_then(|()| value.setattr("errno", error.raw_os_error()));
    outcome.map_or_else(|error| error, |()| exception)
}
