//! The classes of `NumPy` that are worth knowing by name: its numbers are a tenth as dear as through their attributes.

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

/// Names of classes whose numbers are read by a function written in C.
const NUMBERS: [&str; 10] =
    ["float32", "int64", "float16", "int32", "uint64", "uint32", "uint8", "int16", "uint16", "int8"];
static NUMBER_CLASSES: PyOnceLock<Vec<Py<PyType>>> = PyOnceLock::new();

/// Whether `value` is of one of `NumPy`'s own number classes, which [`is_float`] has met: converting it runs no Python code.
#[inline]
pub(super) fn is_plain_number(value: &Bound<'_, PyAny>) -> bool {
    let class = value.get_type_ptr();
    NUMBER_CLASSES.get(value.py()).is_some_and(|known| known.iter().any(|known| known.as_ptr().cast() == class))
}

/// Whether `value` is a `numpy.floating`. The package is not imported: before somebody else did, no such value exists.
pub(super) fn is_float(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    static FLOATING: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = value.py();
    if let Some(floating) = FLOATING.get(py) {
        return value.get_type().is_subclass(floating.bind(py));
    }
    if !value.get_type().module().is_ok_and(|module| module == "numpy") {
        return Ok(false);
    }
    let modules = py.import(intern!(py, "sys"))?.getattr(intern!(py, "modules"))?.cast_into::<PyDict>()?;
    let Some(numpy) = modules.get_item(intern!(py, "numpy"))? else { return Ok(false) };
    let Some(Ok(floating)) = numpy.getattr_opt(intern!(py, "floating"))?.map(Bound::cast_into::<PyType>) else {
        return Ok(false);
    };
    NUMBER_CLASSES.get_or_init(py, || NUMBERS.iter().filter_map(|name| class_in_c(&numpy, name)).collect());
    value.get_type().is_subclass(FLOATING.get_or_init(py, || floating.unbind()).bind(py))
}

/// A class of `NumPy`, unless somebody put one written in Python in its place.
fn class_in_c(numpy: &Bound<'_, PyAny>, name: &str) -> Option<Py<PyType>> {
    let class = numpy.getattr(name).ok()?.cast_into::<PyType>().ok()?;
    // SAFETY: a class, as was just found.
    let flags = unsafe { ffi::PyType_GetFlags(class.as_type_ptr()) };
    (flags & ffi::Py_TPFLAGS_HEAPTYPE == 0).then(|| class.unbind())
}
