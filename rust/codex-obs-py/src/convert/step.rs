//! The `step` argument, and the fields of an event that take its place.

use pyo3::exceptions::{PyException, PyOverflowError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt};

use super::array::Array;

/// The step as a number of 64 bits: anything with `__index__`, and an array, tensor or variable with one element that is a
/// whole number; no boolean and no float.
///
/// # Errors
///
/// `TypeError` for any other object, `ValueError` outside 64 bits.
#[inline]
pub fn step(step: &Bound<'_, PyAny>) -> PyResult<i64> {
    step_of("step", step)
}

/// A step as it is taken, for a double of a run: errors tell the name.
#[pyfunction]
pub fn checked_step(step: &Bound<'_, PyAny>, name: &str) -> PyResult<i64> {
    step_of(name, step)
}

/// The same for an argument of another name, which errors tell.
pub(super) fn step_of(name: &str, step: &Bound<'_, PyAny>) -> PyResult<i64> {
    if let Ok(number) = step.cast_exact::<PyInt>() {
        return within_64_bits(name, number);
    }
    match whole_number(step) {
        Ok(Some(number)) => within_64_bits(name, &number),
        Ok(None) => Err(wrong_type(name, step)),
        Err(error) if error.is_instance_of::<PyException>(step.py()) => {
            let raised = wrong_type(name, step);
            raised.set_cause(step.py(), Some(error));
            Err(raised)
        }
        Err(error) => Err(error),
    }
}

/// The whole number that an object is, or that is its one element.
fn whole_number<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyInt>>> {
    let raised = match index(value) {
        Ok(Some(number)) => return Ok(Some(number)),
        Ok(None) => None,
        Err(error) if error.is_instance_of::<PyException>(value.py()) => Some(error),
        Err(error) => return Err(error),
    };
    let element = match Array::of(value)? {
        Some(array) if array.elements() == 1 && !array.is_time() && !is_boolean(value) => array.only_element()?,
        _ => return raised.map_or(Ok(None), Err),
    };
    index(&element)
}

/// What `__index__` gives, of anything but a boolean.
fn index<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyInt>>> {
    let py = value.py();
    if is_boolean(value) || !value.get_type().hasattr(intern!(py, "__index__"))? {
        return Ok(None);
    }
    Ok(Some(value.call_method0(intern!(py, "__index__"))?.cast_into::<PyInt>()?))
}

fn within_64_bits(name: &str, number: &Bound<'_, PyInt>) -> PyResult<i64> {
    number.extract().map_err(|error: PyErr| {
        if error.is_instance_of::<PyOverflowError>(number.py()) {
            PyValueError::new_err(format!("{name} must fit in 64 bits"))
        } else {
            error
        }
    })
}

/// Booleans of `NumPy` and of frameworks tell of themselves by their dtype: `bool`, `torch.bool`, `<dtype: 'bool'>`.
fn is_boolean(step: &Bound<'_, PyAny>) -> bool {
    if step.is_instance_of::<PyBool>() {
        return true;
    }
    let dtype = step.getattr_opt(intern!(step.py(), "dtype")).ok().flatten().and_then(|dtype| dtype.str().ok());
    dtype
        .is_some_and(|dtype| dtype.to_str().is_ok_and(|name| name.trim_end_matches(['\'', '>', '_']).ends_with("bool")))
}

fn wrong_type(name: &str, step: &Bound<'_, PyAny>) -> PyErr {
    let class = step.get_type();
    match class.name() {
        Ok(class) => PyTypeError::new_err(format!("{name} must be an integer, not {class}")),
        Err(_) => PyTypeError::new_err(format!("{name} must be an integer")),
    }
}
