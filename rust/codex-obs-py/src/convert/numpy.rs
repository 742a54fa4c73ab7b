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
/// `numpy.float32`, if its number stands where [`number_in_place`] looks for it.
static FLOAT32: PyOnceLock<Option<Py<PyType>>> = PyOnceLock::new();
/// Numbers that are looked for in a `float32` before it is trusted: no two bytes of all these are alike.
const PROBES: [f32; 2] = [1.234_567_9, -9.876_543e-21];

/// Whether `value` is of one of `NumPy`'s own number classes, which [`is_float`] has met: converting it runs no Python code.
#[inline]
pub(super) fn is_plain_number(value: &Bound<'_, PyAny>) -> bool {
    let class = value.get_type_ptr();
    NUMBER_CLASSES.get(value.py()).is_some_and(|known| known.iter().any(|known| known.as_ptr().cast() == class))
}

/// The number of a `numpy.float32`, without a call.
#[inline]
pub(super) fn float32(value: &Bound<'_, PyAny>) -> Option<f64> {
    let class = FLOAT32.get(value.py())?.as_ref()?;
    // SAFETY: an object of this very class, which was probed.
    (value.get_type_ptr() == class.as_ptr().cast()).then(|| f64::from(unsafe { number_in_place(value) }))
}

/// The number behind the header of an object.
///
/// # Safety
///
/// The object has four bytes more than a header.
#[inline]
unsafe fn number_in_place(value: &Bound<'_, PyAny>) -> f32 {
    // SAFETY: as the caller says; objects are aligned for a pointer, and so is the end of their header.
    unsafe { value.as_ptr().add(1).cast::<f32>().read() }
}

/// The class, if numbers of it have the layout that the package's headers (`PyFloatScalarObject`) give away.
fn probed_float32(numpy: &Bound<'_, PyAny>) -> Option<Py<PyType>> {
    let class = class_in_c(numpy, "float32")?;
    let class = class.bind(numpy.py());
    let size: usize = class.getattr("__basicsize__").ok()?.extract().ok()?;
    if size < size_of::<ffi::PyObject>() + size_of::<f32>() {
        return None;
    }
    let probe = |number: f32| {
        let value = class.call1((number,)).ok()?;
        // SAFETY: an object of the class, whose size was just looked at.
        (value.get_type().is(class) && unsafe { number_in_place(&value) }.to_bits() == number.to_bits()).then_some(())
    };
    PROBES.into_iter().try_for_each(probe)?;
    Some(class.clone().unbind())
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
    FLOAT32.get_or_init(py, || probed_float32(&numpy));
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
