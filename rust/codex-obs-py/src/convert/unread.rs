//! Values that could not be read: what their library said, kept until the rows of the call are safe.

use std::cell::{Cell, RefCell};

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;

/// Most characters of an error that are repeated: its first line, as a rule.
const SHOWN_CHARACTERS: usize = 200;
/// Most values of a call that are kept; each metric is said once in any case.
const MOST: usize = 32;

create_exception!(
    codex_obs,
    PartialDTensor,
    PyException,
    "Each rank has a part of a sum, and the value itself nobody."
);

/// A value that could not be read.
#[derive(Debug)]
pub struct Unread {
    /// The metric.
    pub name: String,
    /// The error's class.
    pub class: String,
    /// The error's words.
    pub words: String,
}

thread_local! {
    /// What the error that a conversion met last has to say.
    static WORDS: Cell<String> = const { Cell::new(String::new()) };
    /// What could not be read in this call.
    static UNREAD: RefCell<Vec<Unread>> = const { RefCell::new(Vec::new()) };
}

/// Keeps the words of an error.
pub(super) fn hear(py: Python<'_>, error: &PyErr) {
    let said = error.value(py).str().map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
    let line = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    WORDS.set(line.chars().take(SHOWN_CHARACTERS).collect());
}

/// Keeps that the value of a metric could not be read for the error that was heard last.
pub(super) fn note(name: &str, class: &str) {
    let words = WORDS.take();
    UNREAD.with_borrow_mut(|unread| {
        if unread.len() < MOST {
            unread.push(Unread { name: name.to_owned(), class: class.to_owned(), words });
        }
    });
}

/// Takes what could not be read.
pub fn take_unread() -> Vec<Unread> {
    UNREAD.take()
}

/// Refuses a tensor of which this process has a part of a sum: its `item` would be that part. Nothing is sent to other
/// processes.
///
/// # Errors
/// If it is one.
pub(super) fn refuse_partial(value: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = value.py();
    if !value.get_type().hasattr(intern!(py, "placements"))? {
        return Ok(());
    }
    for placement in value.getattr(intern!(py, "placements"))?.try_iter()? {
        let placement = placement?;
        if placement.hasattr(intern!(py, "is_partial"))?
            && placement.call_method0(intern!(py, "is_partial"))?.is_truthy()?
        {
            return Err(PartialDTensor::new_err("this process has only its part of the value"));
        }
    }
    Ok(())
}
