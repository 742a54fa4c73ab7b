//! `Run.bind`: a call of `log` whose names, split, dataset and tags were read before.

use std::borrow::Cow;

use codex_obs_core::journal::frame::{Call, Template};
use codex_obs_core::record::{DEFAULT_SPLIT, Damage, Tags};
use codex_obs_core::session::{Step, Time};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::convert::{self, KnownTags};
use crate::recorder::Recorder;
use crate::spare::Buffers;

/// What a prepared call knows. Python sees its method `log`: a function that takes its arguments as they lie on the stack,
/// which an instance with a `__call__` does not.
#[pyclass(frozen, module = "codex_obs._core")]
pub struct BoundLog {
    run: Py<Recorder>,
    names: Vec<String>,
    split: String,
    dataset: Option<String>,
    tags: Tags,
    /// What had to be changed in all of them: it counts at every call, as in `log`.
    damage: Damage,
    /// `None` if a call takes several frames.
    template: Option<Template>,
}

#[pymethods]
impl BoundLog {
    /// Log one row per name; returns when the rows are safe against the death of this process.
    ///
    /// Args:
    ///     *values: A value for each of the names, of any kind that ``Run.log`` takes.
    ///     step: Training step; one more than the stream's largest so far if left out.
    ///     timestamp: Seconds since the epoch or an aware datetime, for backfilling; the time of the call if left out.
    ///
    /// Raises:
    ///     TypeError: If there are more or fewer values than names, or an argument has a wrong type; no row is written.
    ///     ValueError: If the step is outside of 64 bits; no row is written.
    #[pyo3(signature = (*values, step = None, timestamp = None))]
    fn log(
        &self,
        values: &Bound<'_, PyTuple>,
        step: Option<&Bound<'_, PyAny>>,
        timestamp: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        if values.len() != self.names.len() {
            return Err(self.wrong_number(values.len()));
        }
        let run = self.run.bind(values.py());
        let this = run.get();
        let mut buffers = this.spare.take();
        let mut damage = self.damage;
        let outcome = self
            .convert(this, &mut buffers, &mut damage, values, step, timestamp)
            .map(|(step, time)| Recorder::record(run, &mut buffers, &damage, step, time));
        this.spare.give(buffers);
        // As in `Recorder.log`: the rows are safe now.
        outcome.and_then(|()| convert::take_interrupt().map_or(Ok(()), Err))
    }

    /// A bound logger pickles as what it was made from. It opens nothing where it arrives, before its first call.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let names = PyTuple::new(py, &self.names)?;
        let tags = String::from_utf8_lossy(&self.tags.text);
        let arguments = (names, &self.split, &self.dataset, (!tags.is_empty()).then_some(tags));
        Ok((self.run.bind(py).getattr(intern!(py, "_bound"))?, arguments.into_pyobject(py)?))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.run)
    }
}

impl BoundLog {
    pub fn new(
        run: &Bound<'_, Recorder>,
        names: &Bound<'_, PyTuple>,
        split: Option<&Bound<'_, PyAny>>,
        dataset: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let mut damage = Damage::default();
        let given = names;
        let names = given
            .iter()
            .map(|name| convert::name(&name, &mut damage).map(Cow::into_owned))
            .collect::<PyResult<Vec<_>>>()?;
        let seen = PyDict::new(run.py());
        for name in given {
            if seen.contains(&name)? {
                return Err(PyValueError::new_err(format!("the metric {} is named twice", name.repr()?)));
            }
            seen.set_item(&name, ())?;
        }
        let mut known = KnownTags::default();
        let tags = convert::tags(tags, &mut known, &mut damage)?.clone();
        let mut text = |value| {
            let mut buffer = String::new();
            convert::text(value, &mut damage, &mut buffer).to_owned()
        };
        let split = split.map_or_else(|| DEFAULT_SPLIT.to_owned(), &mut text);
        let dataset = dataset.map(text);
        if let Some(interrupt) = convert::take_interrupt() {
            return Err(interrupt);
        }
        let mut this = Self { run: run.clone().unbind(), names, split, dataset, tags, damage, template: None };
        this.template = Template::new(&this.call(0, 0), &this.names, run.get().handle.max_frame_bytes());
        Ok(this)
    }

    fn call(&self, timestamp: i64, step: i64) -> Call<'_> {
        Call { timestamp, step: Some(step), split: &self.split, dataset: self.dataset.as_deref(), tags: &self.tags }
    }

    /// Puts a call's frames together, as `Recorder.log` does.
    fn convert(
        &self,
        run: &Recorder,
        buffers: &mut Buffers,
        damage: &mut Damage,
        values: &Bound<'_, PyTuple>,
        step: Option<&Bound<'_, PyAny>>,
        timestamp: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<(Step, Time)> {
        let number = step.map(convert::step).transpose()?;
        let now = run.handle.now_micros();
        let (timestamp, time) = convert::time(timestamp, now, damage)?;
        let Buffers { frames, collided, pending, .. } = buffers;
        let numbers = values.iter_borrowed().map(|value| convert::number(&value));
        let is_filled = self
            .template
            .as_ref()
            .is_some_and(|template| frames.fill(template, timestamp, Some(number.unwrap_or(0)), numbers));
        if !is_filled {
            frames.begin(&self.call(timestamp, number.unwrap_or(0)), run.handle.max_frame_bytes());
            let named = self.names.iter().map(String::as_str).zip(values);
            *collided = convert::rows(values.py(), named, frames, damage, run.options(pending));
        }
        Ok((if number.is_some() { Step::Given } else { Step::Next }, time))
    }

    #[cold]
    fn wrong_number(&self, given: usize) -> PyErr {
        let count = self.names.len();
        let values = if count == 1 { "value" } else { "values" };
        PyTypeError::new_err(format!("log takes {count} {values}, one for each name of bind, and {given} were given"))
    }
}
