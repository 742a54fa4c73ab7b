//! What an object is by its class.

use std::borrow::Cow;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyByteArray, PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PyMemoryView, PySet, PyString, PyTuple, PyType,
};

/// Whether it is text, a number, bytes, or a container of Python's own or of a class made from one.
pub(super) fn is_builtin(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyFloat>() || value.is_instance_of::<PyInt>() || is_builtin_without_number(value)
}

/// The same without numbers.
pub(super) fn is_builtin_without_number(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyString>()
        || value.is_instance_of::<PyDict>()
        || value.is_instance_of::<PyList>()
        || value.is_instance_of::<PyTuple>()
        || value.is_instance_of::<PyBytes>()
        || value.is_instance_of::<PyByteArray>()
        || value.is_instance_of::<PyMemoryView>()
        || value.is_instance_of::<PySet>()
        || value.is_instance_of::<PyFrozenSet>()
}

/// Whether it is a mapping: a dict or a `collections.abc.Mapping`.
pub(super) fn is_mapping(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    static MAPPING: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    Ok(value.is_instance_of::<PyDict>() || is_a(value, &MAPPING, "Mapping")?)
}

/// Whether it can be asked for keys and values, as `dict()` does.
pub(super) fn is_mapping_like(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let (py, class) = (value.py(), value.get_type());
    Ok(is_mapping(value)? || (class.hasattr(intern!(py, "keys"))? && class.hasattr(intern!(py, "__getitem__"))?))
}

/// Whether it is a set or a `collections.abc.Set`.
pub(super) fn is_set(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    static SET: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    Ok(value.is_instance_of::<PySet>() || value.is_instance_of::<PyFrozenSet>() || is_a(value, &SET, "Set")?)
}

/// Whether it is a list, a tuple or another `collections.abc.Sequence`, but neither text nor bytes.
pub(super) fn is_sequence(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    static SEQUENCE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        return Ok(true);
    }
    Ok(!is_builtin(value) && is_a(value, &SEQUENCE, "Sequence")?)
}

/// Whether a number can be had from it.
pub(super) fn is_number_like(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let (py, class) = (value.py(), value.get_type());
    Ok(class.hasattr(intern!(py, "__float__"))? || class.hasattr(intern!(py, "__index__"))?)
}

/// The content of an object that is bytes.
pub(super) fn bytes<'a>(value: &'a Bound<'_, PyAny>) -> PyResult<Option<Cow<'a, [u8]>>> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(Some(Cow::Borrowed(bytes.as_bytes())));
    }
    if let Ok(bytes) = value.cast::<PyByteArray>() {
        return Ok(Some(Cow::Owned(bytes.to_vec())));
    }
    if value.is_instance_of::<PyMemoryView>() {
        let copy = value.call_method0(intern!(value.py(), "tobytes"))?;
        return Ok(Some(Cow::Owned(copy.cast::<PyBytes>()?.as_bytes().to_vec())));
    }
    Ok(None)
}

fn is_a(value: &Bound<'_, PyAny>, class: &PyOnceLock<Py<PyType>>, name: &str) -> PyResult<bool> {
    value.is_instance(class.import(value.py(), "collections.abc", name)?)
}
