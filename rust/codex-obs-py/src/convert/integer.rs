//! Whole numbers of any size.

use codex_obs_core::encode::number::push_i64;
use codex_obs_core::limits::MAX_PAYLOAD_BYTES;
use num_bigint::BigInt;
use pyo3::PyTypeInfo;
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyBytes, PyInt};

/// Adds every digit, also where Python's own limit on the digits of a text would refuse.
///
/// # Errors
///
/// `ValueError` for a number that no payload could hold.
pub(super) fn push_int(out: &mut Vec<u8>, number: &Bound<'_, PyInt>) -> PyResult<()> {
    if let Ok(small) = number.extract::<i64>() {
        push_i64(out, small);
        return Ok(());
    }
    out.extend_from_slice(big(number)?.to_string().as_bytes());
    Ok(())
}

/// The nearest double; infinite beyond the largest one.
pub(super) fn to_f64(number: &Bound<'_, PyInt>) -> PyResult<f64> {
    let py = number.py();
    // Through the type: a subclass may have a `__float__` of its own, but its value is the int's.
    let double = PyInt::type_object(py).getattr(intern!(py, "__float__"))?.call1((number,));
    match double {
        Ok(double) => double.extract(),
        Err(error) if error.is_instance_of::<PyOverflowError>(py) => {
            Ok(if is_negative(number)? { f64::NEG_INFINITY } else { f64::INFINITY })
        }
        Err(error) => Err(error),
    }
}

fn is_negative(number: &Bound<'_, PyInt>) -> PyResult<bool> {
    let py = number.py();
    PyInt::type_object(py).getattr(intern!(py, "__lt__"))?.call1((number, 0))?.extract()
}

fn big(number: &Bound<'_, PyInt>) -> PyResult<BigInt> {
    let py = number.py();
    let class = PyInt::type_object(py);
    let bits: usize = class.getattr(intern!(py, "bit_length"))?.call1((number,))?.extract()?;
    // Ten bits make more than three digits.
    if bits / 10 * 3 > MAX_PAYLOAD_BYTES {
        return Err(PyValueError::new_err("more digits than are kept"));
    }
    let signed = [(intern!(py, "signed"), true)].into_py_dict(py)?;
    let arguments = (number, bits / 8 + 1, intern!(py, "little"));
    let bytes = class.getattr(intern!(py, "to_bytes"))?.call(arguments, Some(&signed))?.cast_into::<PyBytes>()?;
    Ok(BigInt::from_signed_bytes_le(bytes.as_bytes()))
}
