//! Which interpreter this is: the engine's statics know of one only.

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

/// Python's own number for the interpreter that the process began with.
const MAIN: i64 = 0;

/// Refuses to be imported by a sub-interpreter.
///
/// # Errors
///
/// `ImportError` in any interpreter but the main one.
pub fn require_main(_: Python<'_>) -> PyResult<()> {
    // SAFETY: the token proves that this thread is attached to an interpreter, so there is one and it stays.
    let interpreter = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    if interpreter == MAIN {
        return Ok(());
    }
    Err(PyImportError::new_err("codex_obs does not work in a sub-interpreter: use a process or a thread instead"))
}
