//! A clock for tests.

use std::sync::Arc;

use codex_obs_core::clock::{Clock, ManualTime};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

const MICROS_PER_SECOND: f64 = 1e6;

/// A clock that stands still until it is moved. Times are seconds since the epoch. Moving it forward lets time pass, moving
/// it back does not.
#[pyclass(frozen, module = "codex_obs._core")]
pub struct ManualClock {
    time: Arc<ManualTime>,
}

impl ManualClock {
    /// The engine's end of this clock.
    pub fn clock(&self) -> Clock {
        Clock::Manual(Arc::clone(&self.time))
    }
}

#[pymethods]
impl ManualClock {
    #[new]
    #[pyo3(signature = (now_s = 0.0))]
    fn new(now_s: f64) -> PyResult<Self> {
        Ok(Self { time: Arc::new(ManualTime::new(micros(now_s)?)) })
    }

    /// Seconds since the epoch.
    #[getter]
    fn now_s(&self) -> f64 {
        self.time.micros() as f64 / MICROS_PER_SECOND
    }

    /// Moves the clock by some seconds, back if they are negative.
    fn advance(&self, seconds: f64) -> PyResult<()> {
        self.time.advance(micros(seconds)?);
        Ok(())
    }

    /// Sets the clock to a time in seconds since the epoch.
    fn set(&self, now_s: f64) -> PyResult<()> {
        self.time.set(micros(now_s)?);
        Ok(())
    }
}

/// Seconds as microseconds, rounded.
fn micros(seconds: f64) -> PyResult<i64> {
    let micros = (seconds * MICROS_PER_SECOND).round();
    // The largest double below 2^63.
    if micros.abs() < 9.223_372_036_854_775e18 {
        return Ok(micros as i64);
    }
    Err(PyValueError::new_err(format!("{seconds} is no time in seconds that a clock can show")))
}
