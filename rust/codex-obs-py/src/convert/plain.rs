//! The usual call: a dict from text to numbers of Python's own or `NumPy`'s.

use std::ptr;

use codex_obs_core::journal::frame::FrameBuilder;
use codex_obs_core::limits::MAX_TEXT_BYTES;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::critical_section::with_critical_section;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyString};

use super::numpy;

/// Adds a row for each of the leading items that is a plain number, boolean or None under a name that needs no care, and
/// gives their number.
///
/// Items are read in place, without a count of references: that is a tenth of the time of a call with eight numbers.
pub(super) fn rows(dict: &Bound<'_, PyDict>, builder: &mut FrameBuilder) -> usize {
    let py = dict.py();
    with_critical_section(dict, || {
        let (mut position, mut key, mut value) = (0, ptr::null_mut(), ptr::null_mut());
        let mut rows = 0;
        // SAFETY: `dict` is a dict. It does not change between two calls: `row` runs no Python code while it gives `true`,
        // and after the first `false` there is no further call.
        while unsafe { ffi::PyDict_Next(dict.as_ptr(), &raw mut position, &raw mut key, &raw mut value) } != 0 {
            // SAFETY: `PyDict_Next` gave two objects, which the unchanged dict keeps alive until `row` is through.
            let (key, value) = unsafe { (Bound::ref_from_ptr(py, &key), Bound::ref_from_ptr(py, &value)) };
            if !row(key, value, builder) {
                break;
            }
            rows += 1;
        }
        rows
    })
}

/// Whether every value is a plain number, boolean or None.
pub(super) fn is_all(dict: &Bound<'_, PyDict>) -> bool {
    dict.iter().all(|(_, value)| number(&value).is_some() || value.is_exact_instance_of::<PyBool>() || value.is_none())
}

/// Adds the row of a plain number, boolean or None under a name that needs no care; `false` if it is
/// something else.
///
/// No Python code runs, not even the garbage collector, before this gives `false`: nothing that it tracks is made but
/// exceptions, and each of those is the end.
#[inline]
fn row(key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>, builder: &mut FrameBuilder) -> bool {
    let Ok(key) = key.cast_exact::<PyString>() else { return false };
    let Ok(name) = key.to_str() else { return false };
    if name.len() > MAX_TEXT_BYTES {
        return false;
    }
    if let Some(number) = number(value) {
        builder.float(name, number);
    } else if let Ok(flag) = value.cast_exact::<PyBool>() {
        builder.boolean(name, flag.is_true());
    } else if value.is_none() {
        builder.null(name);
    } else {
        return false;
    }
    true
}

/// The number that `value` is, if it is a float, an int or a number of `NumPy`'s. No Python code runs.
#[inline]
pub fn number(value: &Bound<'_, PyAny>) -> Option<f64> {
    value.cast_exact::<PyFloat>().map_or_else(|_| other_number(value), |number| Some(number.value()))
}

fn other_number(value: &Bound<'_, PyAny>) -> Option<f64> {
    if let Some(number) = numpy::float32(value) {
        return Some(number);
    }
    // Comparing a few addresses is cheaper than asking whether a class is made from float.
    if value.is_exact_instance_of::<PyInt>() || numpy::is_plain_number(value) {
        return value.extract().ok();
    }
    value.cast::<PyFloat>().ok().map(PyFloatMethods::value)
}
