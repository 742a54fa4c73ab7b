//! Exceptions that a conversion meets: their class is recorded, and what is no error is handed on.

use std::cell::Cell;

use codex_obs_core::record::Damage;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use super::{text, unread};

thread_local! {
    /// The first exception of this thread that no conversion may swallow, until [`take_interrupt`].
    static PENDING: Cell<Option<PyErr>> = const { Cell::new(None) };
}

/// Takes the `KeyboardInterrupt`, `SystemExit` or other exception that is no `Exception`, if one was raised inside a
/// conversion on this thread.
///
/// The conversion went on as for any other exception, so that the rows of the call are complete. Whoever converts must
/// raise what this gives once the rows are safe: nothing is lost, and Ctrl-C works.
pub fn take_interrupt() -> Option<PyErr> {
    PENDING.take()
}

/// The class name of `error`, which goes no further unless [`take_interrupt`] has to hand it on.
#[cold]
pub fn swallow(py: Python<'_>, error: PyErr) -> String {
    let class = text::class_name(&error.get_type(py), &mut Damage::default());
    unread::hear(py, &error);
    if !error.is_instance_of::<PyException>(py) {
        hand_on(error);
    }
    class
}

/// Keeps an interrupt for [`take_interrupt`].
pub fn hand_on(interrupt: PyErr) {
    let first = PENDING.take().unwrap_or(interrupt);
    PENDING.set(Some(first));
}
