//! A `timeout` argument as a point in time.

use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// When `timeout` seconds are over; `None` if never.
///
/// # Errors
///
/// `ValueError` if it is not a number.
pub fn deadline(timeout: Option<f64>) -> PyResult<Option<Instant>> {
    match timeout {
        None => Ok(None),
        Some(seconds) if seconds.is_nan() => Err(PyValueError::new_err("timeout is not a number of seconds")),
        // A time beyond what the clock can show is for ever.
        Some(seconds) => Ok(Duration::try_from_secs_f64(seconds.max(0.0))
            .ok()
            .and_then(|duration| Instant::now().checked_add(duration))),
    }
}
