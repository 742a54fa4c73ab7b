//! Values that their device has not computed yet, recognised by what they can do: `is_ready()` gives False.
//!
//! One that can change in place, as a tensor on a GPU, is copied at the call, and the copy is waited for.

use std::cell::RefCell;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBool;

use super::interrupt::swallow;
use super::kind::is_builtin;
use super::known_classes;

/// The values of one call that do not exist yet, with the names of their metrics.
pub type PendingValues = RefCell<Vec<(String, Py<PyAny>)>>;

/// Where such values are put, and which of them are.
#[derive(Clone, Copy, Debug)]
pub struct Deferral<'a> {
    pub values: &'a PendingValues,
    /// Whether tensors on a GPU are copied.
    pub copies: bool,
}

impl Deferral<'_> {
    /// Whether `value` does not exist yet. Then it, or a copy, is put aside for the metric `name`.
    #[inline]
    pub(super) fn takes(&self, name: &str, value: &Bound<'_, PyAny>) -> bool {
        let pending = self.pending(value);
        let is_pending = pending.is_some();
        if let Some(pending) = pending {
            self.values.borrow_mut().push((name.to_owned(), pending.unbind()));
        }
        is_pending
    }

    /// What is to be waited for in the place of `value`, if that does not exist yet.
    #[inline]
    pub(super) fn pending<'py>(&self, value: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
        self.asked(value).unwrap_or_else(|error| {
            // What cannot be asked is read, which shows what is wrong with it.
            swallow(value.py(), error);
            None
        })
    }

    fn asked<'py>(&self, value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if is_builtin(value) || value.is_exact_instance_of::<PyBool>() || value.is_none() {
            return Ok(None);
        }
        let py = value.py();
        if self.copies && value.getattr_opt(intern!(py, "is_cuda"))?.is_some_and(|is_cuda| is_true(&is_cuda)) {
            let module = py.import(intern!(py, "codex_obs._cuda"))?;
            let copy = module.call_method1(intern!(py, "copied"), (value,))?;
            return Ok((!copy.is_none() && !is_ready(&copy)?).then_some(copy));
        }
        let can_tell = match known_classes::can_tell(value) {
            Some(can_tell) => can_tell,
            None => value.get_type().hasattr(intern!(py, "is_ready"))?,
        };
        Ok((can_tell && !is_ready(value)?).then(|| value.clone()))
    }
}

/// Whether a value exists. Only an honest False says that it does not.
pub fn is_ready(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = value.py();
    // jaxlib ends the process if an array without a buffer, which was deleted or donated, is asked. Reading it raises.
    if value.get_type().hasattr(intern!(py, "is_deleted"))? && is_true(&value.call_method0(intern!(py, "is_deleted"))?)
    {
        return Ok(true);
    }
    let answer = value.call_method0(intern!(py, "is_ready"))?;
    Ok(!answer.cast::<PyBool>().is_ok_and(|answer| !answer.is_true()))
}

fn is_true(value: &Bound<'_, PyAny>) -> bool {
    value.cast::<PyBool>().is_ok_and(PyBoolMethods::is_true)
}
