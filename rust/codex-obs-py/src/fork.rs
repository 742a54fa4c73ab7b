//! After a fork: what is exported goes on.

use std::ffi::{c_int, c_void};
use std::panic::catch_unwind;

use codex_obs_core::session::{has_exporters, resume_exporters};
use pyo3::prelude::*;

/// In the parent of a fork that Python made: has runs that export go on, with `at_once` before the fork returns, else as soon as
/// the main thread goes on with Python, since `os.fork` (from Python 3.12 on) warns of every thread that there is when it returns.
#[pyfunction]
#[pyo3(signature = (*, at_once))]
pub fn resume_after_fork(py: Python<'_>, at_once: bool) {
    if !has_exporters() {
        return;
    }
    // SAFETY: `resume` is a function of this module, which is never unloaded, and takes no argument.
    let is_arranged = !at_once && unsafe { pyo3::ffi::Py_AddPendingCall(Some(resume), std::ptr::null_mut()) } == 0;
    if !is_arranged {
        py.detach(resume_exporters);
    }
}

extern "C" fn resume(_: *mut c_void) -> c_int {
    // A panic would be a bug of ours, and the next call of `log` starts the threads all the same.
    let _ = catch_unwind(resume_exporters);
    0
}
