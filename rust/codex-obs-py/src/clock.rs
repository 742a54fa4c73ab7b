//! A clock for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use codex_obs_core::clock::Clock;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

const MICROS_PER_SECOND: f64 = 1e6;

/// A clock that stands still until it is moved. Times are seconds since the epoch.
#[pyclass(frozen, module = "codex_obs._core")]
pub struct ManualClock {
    micros: Arc<AtomicI64>,
}

impl ManualClock {
    /// The engine's end of this clock.
    pub fn clock(&self) -> Clock {
        Clock::Manual(Arc::clone(&self.micros))
    }
}

#[pymethods]
impl ManualClock {
    #[new]
    #[pyo3(signature = (now_s = 0.0))]
    fn new(now_s: f64) -> PyResult<Self> {
        Ok(Self { micros: Arc::new(AtomicI64::new(micros(now_s)?)) })
    }

    /// Seconds since the epoch.
    #[getter]
    fn now_s(&self) -> f64 {
        // Relaxed here and below: the value stands alone.
        self.micros.load(Ordering::Relaxed) as f64 / MICROS_PER_SECOND
    }

    /// Moves the clock by some seconds, back if they are negative.
    fn advance(&self, seconds: f64) -> PyResult<()> {
        self.micros.fetch_add(micros(seconds)?, Ordering::Relaxed);
        Ok(())
    }

    /// Sets the clock to a time in seconds since the epoch.
    fn set(&self, now_s: f64) -> PyResult<()> {
        self.micros.store(micros(now_s)?, Ordering::Relaxed);
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
