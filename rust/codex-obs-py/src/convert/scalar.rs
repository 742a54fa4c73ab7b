//! Objects that hold exactly one number.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyComplex, PyFloat, PyInt};

use super::array::Array;
use super::frame::is_missing;
use super::integer;
use super::kind::{is_builtin_without_number, is_mapping, is_number_like};
use super::{known_classes, numpy, unread};

/// The value of a metric that needs no manifest line.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scalar {
    Float(f64),
    Bool(bool),
    Null,
}

/// The one number, boolean or None that `value` holds; `None` if it is structured.
///
/// Booleans, numbers and None; `NumPy`'s and frameworks' scalars, arrays and tensors of one element, whatever their shape;
/// anything else with `__float__` or `__index__` that is neither text, bytes nor a container.
///
/// # Errors
///
/// What the conversion raises.
pub(super) fn scalar(value: &Bound<'_, PyAny>) -> PyResult<Option<Scalar>> {
    if let Some(scalar) = plain(value)? {
        return Ok(Some(scalar));
    }
    if let Some(scalar) = known_classes::number(value)? {
        return Ok(Some(scalar));
    }
    if is_structured(value) {
        return Ok(None);
    }
    if numpy::is_float(value)? {
        return Ok(Some(Scalar::Float(value.extract()?)));
    }
    if let Some(scalar) = known_classes::meet(value)? {
        return Ok(Some(scalar));
    }
    // A mapping may give its items as attributes, also one called `shape`; but none has a class with a dtype.
    let has_dtype = value.get_type().hasattr(intern!(value.py(), "dtype"))?;
    if !has_dtype && is_mapping(value)? {
        return Ok(None);
    }
    if has_dtype {
        unread::refuse_partial(value)?;
    }
    let Some(array) = Array::of(value)? else {
        return number_like(value);
    };
    if array.elements() != 1 {
        return Ok(None);
    }
    let element = array.only_element()?;
    if let Some(scalar) = plain(&element)? {
        // A date finer than a microsecond gives a whole number, one that is missing gives None.
        let may_be_time = matches!(scalar, Scalar::Null) || element.is_exact_instance_of::<PyInt>();
        return Ok(if may_be_time && array.is_time() { None } else { Some(scalar) });
    }
    // Long doubles, numbers of other packages' dtypes, or an object that stands in an array.
    if is_structured(&element) || array.is_complex() { Ok(None) } else { number_like(&element) }
}

/// None, a boolean or a number of Python's own, or of a class made from it.
#[inline]
pub(super) fn plain(value: &Bound<'_, PyAny>) -> PyResult<Option<Scalar>> {
    Ok(if let Ok(number) = value.cast::<PyFloat>() {
        Some(Scalar::Float(number.value()))
    } else if let Ok(flag) = value.cast::<PyBool>() {
        Some(Scalar::Bool(flag.is_true()))
    } else if let Ok(number) = value.cast::<PyInt>() {
        Some(Scalar::Float(integer::to_f64(number)?))
    } else if value.is_none() {
        Some(Scalar::Null)
    } else {
        None
    })
}

fn is_structured(value: &Bound<'_, PyAny>) -> bool {
    is_builtin_without_number(value) || value.is_instance_of::<PyComplex>()
}

fn number_like(value: &Bound<'_, PyAny>) -> PyResult<Option<Scalar>> {
    if is_missing(value) {
        return Ok(Some(Scalar::Null));
    }
    if !is_number_like(value)? {
        return Ok(None);
    }
    let py = value.py();
    if value.get_type().hasattr(intern!(py, "__float__"))? {
        return Ok(Some(Scalar::Float(value.extract()?)));
    }
    let whole = value.call_method0(intern!(py, "__index__"))?.cast_into::<PyInt>()?;
    Ok(Some(Scalar::Float(integer::to_f64(&whole)?)))
}
