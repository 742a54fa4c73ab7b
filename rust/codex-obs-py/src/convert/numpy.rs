//! The one class of `NumPy` that is worth knowing by name: its floats are a fifth as dear as through their attributes.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

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
    let numpy = modules.get_item(intern!(py, "numpy"))?;
    let floating = numpy.map(|numpy| numpy.getattr_opt(intern!(py, "floating"))).transpose()?.flatten();
    let Some(Ok(floating)) = floating.map(Bound::cast_into::<PyType>) else {
        return Ok(false);
    };
    value.get_type().is_subclass(FLOATING.get_or_init(py, || floating.unbind()).bind(py))
}
