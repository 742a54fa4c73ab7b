//! Calls that are wrong in a way that many make: Python words what would be right.

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

/// The error of a call of `log` without metrics, or with arguments that it does not have.
#[cold]
pub fn log(
    py: Python<'_>,
    metrics: Option<&Bound<'_, PyAny>>,
    step: Option<&Bound<'_, PyAny>>,
    unknown: Option<&Bound<'_, PyDict>>,
) -> PyErr {
    let words = py
        .import(intern!(py, "codex_obs._mistakes"))
        .and_then(|module| module.call_method1(intern!(py, "of_log"), (metrics, step, unknown)));
    words.map_or_else(|error| error, |words| PyTypeError::new_err(words.unbind()))
}

/// The error of a call of `log` that was given the argument `name` by its place and, with `value`, by its name.
#[cold]
pub fn given_twice(
    name: &str,
    metrics: &Bound<'_, PyAny>,
    step: Option<&Bound<'_, PyAny>>,
    value: &Bound<'_, PyAny>,
) -> PyErr {
    let named = PyDict::new(metrics.py());
    match named.set_item(name, value) {
        Ok(()) if metrics.is_instance_of::<PyString>() => log(metrics.py(), Some(metrics), step, Some(&named)),
        Ok(()) => PyTypeError::new_err(format!("log got multiple values for argument '{name}'")),
        Err(error) => error,
    }
}

/// The error of a call of `log`; another one if a name stands where the mapping belongs.
#[cold]
pub fn of_metrics(error: PyErr, metrics: &Bound<'_, PyAny>, step: Option<&Bound<'_, PyAny>>) -> PyErr {
    let py = metrics.py();
    if metrics.is_instance_of::<PyString>() && error.is_instance_of::<PyTypeError>(py) {
        return log(py, Some(metrics), step, None);
    }
    error
}
