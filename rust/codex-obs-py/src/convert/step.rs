//! The `step` argument, and the fields of an event that take its place.

use pyo3::exceptions::{PyException, PyOverflowError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt};

/// The step as a number of 64 bits: anything with `__index__` but no boolean, be it Python's, `NumPy`'s or a tensor.
///
/// # Errors
///
/// `TypeError` for any other object or where `__index__` raises, `ValueError` outside 64 bits.
#[inline]
pub fn step(step: &Bound<'_, PyAny>) -> PyResult<i64> {
    step_of("step", step)
}

/// The same for an argument of another name, which errors tell.
pub(super) fn step_of(name: &str, step: &Bound<'_, PyAny>) -> PyResult<i64> {
    if let Ok(number) = step.cast_exact::<PyInt>() {
        return within_64_bits(name, number);
    }
    if step.is_instance_of::<PyBool>()
        || is_boolean_array(step)
        || !step.get_type().hasattr(intern!(step.py(), "__index__"))?
    {
        return Err(wrong_type(name, step));
    }
    let py = step.py();
    let number = step.call_method0(intern!(py, "__index__")).and_then(|number| Ok(number.cast_into::<PyInt>()?));
    match number {
        Ok(number) => within_64_bits(name, &number),
        Err(error) if error.is_instance_of::<PyException>(py) => {
            let raised = wrong_type(name, step);
            raised.set_cause(py, Some(error));
            Err(raised)
        }
        Err(error) => Err(error),
    }
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
fn is_boolean_array(step: &Bound<'_, PyAny>) -> bool {
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
