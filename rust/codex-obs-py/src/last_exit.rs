//! The very end of Python, when no thread can log any more.

use std::panic::catch_unwind;
use std::sync::Once;

use codex_obs_core::session::close_ended;

static ARRANGED: Once = Once::new();

/// Sees to it that sessions which have ended are closed behind the last of Python.
pub fn arrange() {
    ARRANGED.call_once(|| {
        // SAFETY: `close` is a function of this module, which is never unloaded, and calls nothing of Python's. If the table
        // of such functions is full, the journal stays, from which the next reader has what came late.
        let _ = unsafe { pyo3::ffi::Py_AtExit(Some(close)) };
    });
}

extern "C" fn close() {
    // A panic would be a bug of ours; the journal has everything.
    let _ = catch_unwind(close_ended);
}
