//! The `split` argument.

use pyo3::Borrowed;
use pyo3::prelude::*;

/// The argument `split`, of which None is a value like any other: it is written as `str()` gives it.
#[derive(Default)]
pub struct Split<'py>(pub Option<Bound<'py, PyAny>>);

impl<'py> FromPyObject<'_, 'py> for Split<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        Ok(Self(Some(object.to_owned())))
    }
}
