//! The `timestamp` argument.

use codex_obs_core::record::{Damage, timestamp as range};
use codex_obs_core::session::Time;
use pyo3::exceptions::{PyException, PyOverflowError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDateTime, PyDelta, PyFloat, PyInt, PyTzInfo};

use super::array::Array;
use super::text;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// The time of a call: the one that is given, else `now`.
///
/// # Errors
///
/// As for [`timestamp`].
#[inline]
pub fn time(given: Option<&Bound<'_, PyAny>>, now: i64, damage: &mut Damage) -> PyResult<(i64, Time)> {
    let Some(given) = given else { return Ok((now, Time::Now)) };
    let replaced = damage.timestamps_replaced;
    let micros = timestamp(given, now, damage)?;
    Ok((micros, if damage.timestamps_replaced > replaced { Time::Now } else { Time::Given }))
}

/// Seconds since the epoch or an aware datetime, as microseconds; `now` in place of what is outside the years 1 to 9999 or
/// not a number, which counts.
///
/// # Errors
///
/// `TypeError` for a naive datetime or any other object, or where its methods raise.
fn timestamp(value: &Bound<'_, PyAny>, now: i64, damage: &mut Damage) -> PyResult<i64> {
    let py = value.py();
    let micros = match micros(value) {
        Ok(micros) => micros,
        Err(error) if error.is_instance_of::<PyTypeError>(py) || !error.is_instance_of::<PyException>(py) => {
            return Err(error);
        }
        Err(error) => {
            let raised = wrong_type(value);
            raised.set_cause(py, Some(error));
            return Err(raised);
        }
    };
    Ok(micros.filter(|micros| (range::MIN..=range::MAX).contains(micros)).unwrap_or_else(|| {
        damage.timestamps_replaced += 1;
        now
    }))
}

/// The microseconds; `None` for what no number of 64 bits holds.
fn micros(value: &Bound<'_, PyAny>) -> PyResult<Option<i64>> {
    let py = value.py();
    if let Ok(seconds) = value.cast::<PyFloat>() {
        return Ok(rounded(seconds.value()));
    }
    if value.is_instance_of::<PyBool>() {
        return Err(wrong_type(value));
    }
    if let Ok(seconds) = value.cast::<PyInt>() {
        return whole(seconds.extract());
    }
    if let Ok(moment) = value.cast::<PyDateTime>() {
        return of_datetime(moment);
    }
    let class = value.get_type();
    if Array::of(value)?.is_some_and(|array| array.is_time()) {
        return Err(wrong_type(value));
    }
    if class.hasattr(intern!(py, "__float__"))? {
        return Ok(rounded(value.extract()?));
    }
    if class.hasattr(intern!(py, "__index__"))? {
        return whole(value.extract());
    }
    Err(wrong_type(value))
}

fn whole(seconds: PyResult<i64>) -> PyResult<Option<i64>> {
    match seconds {
        Ok(seconds) => Ok(seconds.checked_mul(MICROS_PER_SECOND)),
        Err(error) => {
            Python::attach(|py| if error.is_instance_of::<PyOverflowError>(py) { Ok(None) } else { Err(error) })
        }
    }
}

/// To the nearest microsecond, to the even one between two, as `datetime.fromtimestamp` does.
fn rounded(seconds: f64) -> Option<i64> {
    // Splitting first keeps the fraction exact; the whole seconds alone tell whether the product fits.
    let whole = seconds.floor();
    let fraction = ((seconds - whole) * 1e6).round_ties_even() as i64;
    (whole.abs() < 1e12).then(|| whole as i64 * MICROS_PER_SECOND + fraction)
}

fn of_datetime(moment: &Bound<'_, PyDateTime>) -> PyResult<Option<i64>> {
    static EPOCH: PyOnceLock<(Py<PyDateTime>, Py<PyDelta>)> = PyOnceLock::new();
    let py = moment.py();
    if moment.call_method0(intern!(py, "utcoffset"))?.is_none() {
        return Err(PyTypeError::new_err("timestamp must be an aware datetime: this one has no time zone"));
    }
    let (epoch, microsecond) = EPOCH.get_or_try_init(py, || {
        let utc = PyTzInfo::utc(py)?.to_owned();
        let epoch = PyDateTime::new(py, 1970, 1, 1, 0, 0, 0, 0, Some(&utc))?;
        PyResult::Ok((epoch.unbind(), PyDelta::new(py, 0, 0, 1, false)?.unbind()))
    })?;
    let count = moment.sub(epoch)?.floor_div(microsecond)?;
    Ok(Some(count.extract()?))
}

fn wrong_type(value: &Bound<'_, PyAny>) -> PyErr {
    let class = text::class_name(&value.get_type(), &mut Damage::default());
    PyTypeError::new_err(format!("timestamp must be seconds or an aware datetime, not {class}"))
}
