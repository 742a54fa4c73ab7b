//! Curves of a run for charts, as plain lists.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError, RwLock};

use codex_obs_core::clock::Clock;
use codex_obs_core::reading;
use codex_obs_core::series::{self, Axis, Grid, Pixel, Values};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::reading::{Report, interruptible};

/// Stream, split, metric, dataset and run.
type Key = (String, String, String, Option<String>, Option<String>);
/// Of each pixel its number; first and last x; smallest, largest, first and last finite value; rows; those that are not a number, and
/// those that are infinite, positive and negative.
type Columns = (
    Vec<u32>,
    (Vec<i64>, Vec<i64>),
    (Vec<Option<f64>>, Vec<Option<f64>>, Vec<Option<f64>>, Vec<Option<f64>>),
    (Vec<u64>, Vec<u64>, Vec<u64>, Vec<u64>),
);

/// Step, time and JSON text of a structured value.
type Structured = (Option<i64>, Option<i64>, String);

/// The curves of the run at `path`: a run directory, or a file of one. They are empty until `refresh` is called.
#[pyclass(frozen, module = "codex_obs._core")]
pub struct Series {
    path: PathBuf,
    superseded: bool,
    curves: RwLock<series::Series>,
    picks: Mutex<series::Picks>,
}

#[pymethods]
impl Series {
    #[new]
    #[pyo3(signature = (path, *, superseded = false))]
    fn new(path: PathBuf, superseded: bool) -> Self {
        Self { path, superseded, curves: RwLock::default(), picks: Mutex::default() }
    }

    /// Reads what was added since the last time. `progress` is called now and then with the bytes done and all bytes; what it raises
    /// ends the work.
    #[pyo3(signature = (*, progress = None))]
    fn refresh(&self, py: Python<'_>, progress: Option<Py<PyAny>>) -> PyResult<Report> {
        let report = interruptible(py, progress.as_ref(), |tick| {
            let mut series = self.curves.write().unwrap_or_else(PoisonError::into_inner);
            reading::refresh(&mut series, &self.path, self.superseded, &Clock::System, tick)
        })?;
        Ok(Report::new(py, report))
    }

    /// What there is, each with its rows that have a number, a structured value, and neither.
    fn keys(&self, py: Python<'_>) -> Vec<(Key, u64, u64, u64)> {
        self.read(py, |series| {
            let keys = series.keys().into_iter();
            keys.map(|(key, counts)| (named(key), counts.numbers, counts.structured, counts.empty)).collect()
        })
    }

    /// First and last x of what `keys` have together.
    #[pyo3(signature = (keys, *, axis))]
    fn range(&self, py: Python<'_>, keys: Vec<Key>, axis: &str) -> PyResult<Option<(i64, i64)>> {
        let axis = of_axis(axis)?;
        let keys: Vec<series::Key> = keys.into_iter().map(key_of).collect();
        Ok(self.read(py, |series| series.range(&keys, axis)))
    }

    /// The pixels of each key that have rows, column by column.
    #[pyo3(signature = (keys, *, axis, start, stop, pixels))]
    fn pixels(
        &self,
        py: Python<'_>,
        keys: Vec<Key>,
        axis: &str,
        start: i64,
        stop: i64,
        pixels: u32,
    ) -> PyResult<Vec<Columns>> {
        let axis = of_axis(axis)?;
        let keys: Vec<series::Key> = keys.into_iter().map(key_of).collect();
        let grid = Grid { start, stop, pixels };
        let drawn = interruptible(py, None, |tick| {
            let curves = self.curves.read().unwrap_or_else(PoisonError::into_inner);
            reading::pixels(&curves, (&self.path, self.superseded), (&keys, axis), grid, &Clock::System, tick)
        })?;
        Ok(drawn.into_iter().map(columns).collect())
    }

    /// Step, time and JSON text of the structured values of `key` in the order in which they were logged, evenly chosen if they are
    /// many. What was added since the last time is read.
    fn values(&self, py: Python<'_>, key: Key) -> PyResult<Vec<Structured>> {
        let key = key_of(key);
        interruptible(py, None, |tick| {
            let mut picks = self.picks.lock().unwrap_or_else(PoisonError::into_inner);
            reading::refresh_picks(&mut picks, &self.path, &Clock::System, tick)?;
            Ok(picks.of(&key).into_iter().map(|pick| (pick.step, pick.time, pick.payload.to_string())).collect())
        })
    }

    /// Bytes of memory that the numbers and the structured values take.
    fn held(&self, py: Python<'_>) -> usize {
        self.read(py, series::Series::held)
            + py.detach(|| self.picks.lock().unwrap_or_else(PoisonError::into_inner).held())
    }
}

impl Series {
    fn read<T: Send>(&self, py: Python<'_>, work: impl FnOnce(&series::Series) -> T + Send) -> T {
        // A refresh may hold the lock for as long as it reads.
        py.detach(|| work(&self.curves.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn of_axis(axis: &str) -> PyResult<Axis> {
    match axis {
        "step" => Ok(Axis::Step),
        "time" => Ok(Axis::Time),
        _ => Err(PyValueError::new_err(format!("axis={axis:?} is neither \"step\" nor \"time\""))),
    }
}

fn named(key: &series::Key) -> Key {
    (key.stream.clone(), key.split.clone(), key.metric.clone(), key.dataset.clone(), key.run_id.clone())
}

fn key_of((stream, split, metric, dataset, run_id): Key) -> series::Key {
    series::Key { stream, split, metric, dataset, run_id }
}

fn columns(pixels: Vec<(u32, Pixel)>) -> Columns {
    let places = pixels.iter().map(|&(place, _)| place).collect();
    let x = |of: fn(&Pixel) -> i64| pixels.iter().map(|(_, pixel)| of(pixel)).collect();
    let count = |of: fn(&Values) -> u64| pixels.iter().map(|(_, pixel)| of(&pixel.values)).collect();
    let value = |of: fn(&Values) -> f64| {
        pixels.iter().map(|(_, pixel)| Some(of(&pixel.values)).filter(|value| value.is_finite())).collect()
    };
    (
        places,
        (x(|pixel| pixel.first_x), x(|pixel| pixel.last_x)),
        (
            value(|values| values.min),
            value(|values| values.max),
            value(|values| values.first),
            value(|values| values.last),
        ),
        (
            count(|values| values.count),
            count(|values| values.nan),
            count(|values| values.positive_infinity),
            count(|values| values.negative_infinity),
        ),
    )
}
