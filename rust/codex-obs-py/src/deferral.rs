//! Rows whose values their device has not computed yet. They wait here, per metric in the order of the calls, until a thread of
//! Python's, or the next call, finds their values ready. What changes the lists does so without running any Python code in
//! between, so that neither a signal nor another thread sees a row twice or not at all.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use codex_obs_core::journal::frame::{Call, Frame};
use codex_obs_core::record::{Damage, Tags};
use codex_obs_core::session::{Session, Step, Time};
use codex_obs_core::worker::loss::Loss;
use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::convert::{self, Deferral, PendingValues};
use crate::recorder::Recorder;
use crate::settings::Deferred;
use crate::spare::Buffers;

/// A row that waits for its value.
#[pyclass(frozen, module = "codex_obs._core")]
struct DeferredRow {
    name: String,
    value: Py<PyAny>,
    timestamp: i64,
    step: Option<i64>,
    split: String,
    dataset: Option<String>,
    tags: Tags,
}

/// The rows of a run that wait.
pub struct Deferrals {
    kind: Deferred,
    count: AtomicU64,
    /// From split and name to a list of rows, oldest first.
    waiting: PyOnceLock<Py<PyDict>>,
}

impl Deferrals {
    pub fn new(kind: Deferred, is_disabled: bool) -> Self {
        let kind = if is_disabled { Deferred::No } else { kind };
        Self { kind, count: AtomicU64::new(0), waiting: PyOnceLock::new() }
    }

    /// How many there are.
    #[inline]
    pub fn count(&self) -> u64 {
        // Relaxed: who needs to see more holds the interpreter.
        self.count.load(Ordering::Relaxed)
    }

    /// How the values of a call are looked at.
    #[inline]
    pub fn of<'a>(&self, values: &'a PendingValues) -> Option<Deferral<'a>> {
        (self.kind != Deferred::No).then_some(Deferral { values, copies: self.kind == Deferred::Cuda })
    }

    fn forget(&self, py: Python<'_>) {
        self.count.store(0, Ordering::Relaxed);
        if let Some(waiting) = self.waiting.get(py) {
            waiting.bind(py).clear();
        }
    }

    fn add(&self, py: Python<'_>, row: DeferredRow) -> PyResult<()> {
        let waiting = self.waiting.get_or_init(py, || PyDict::new(py).unbind()).bind(py);
        let metric = (&row.split, &row.name).into_pyobject(py)?;
        let rows = if let Some(rows) = waiting.get_item(&metric)? {
            rows.cast_into::<PyList>()?
        } else {
            let rows = PyList::empty(py);
            waiting.set_item(&metric, &rows)?;
            rows
        };
        rows.append(Bound::new(py, row)?)
    }
}

/// As `Recorder::record`, where rows wait or begin to.
#[cold]
pub fn record(run: &Bound<'_, Recorder>, buffers: &mut Buffers, damage: &Damage, step: Step, time: Time) {
    let (py, this) = (run.py(), run.get());
    let pending = std::mem::take(buffers.pending.get_mut());
    if this.deferral.count() > 0 && buffers.frames.rows() > 0 {
        buffers.frames.finish();
        let metrics = metrics_of(buffers.frames.bytes_mut());
        told(py, run.call_method1(intern!(py, "_before_rows"), (metrics,)));
    }
    let has_rows = buffers.frames.rows() > 0;
    Recorder::record_now(run, buffers, damage, step, time);
    if pending.is_empty() {
        return;
    }
    let rows = pending.len() as u64;
    let step_of = buffers.frames.step();
    let lost = || Loss { rows, first_step: step_of, last_step: step_of };
    let Some(session) = Recorder::session(run, lost) else { return };
    if !has_rows {
        buffers.frames.finish();
        session.stats().damage(damage);
        py.detach(|| session.settle_call(&mut buffers.frames, step, time));
    }
    let Some(call) = Frame::parse(buffers.frames.bytes_mut()).and_then(|(frame, _)| frame.metrics()) else { return };
    if !session.defer(rows) {
        return Recorder::say(run);
    }
    this.deferral.count.fetch_add(rows, Ordering::Relaxed);
    for (name, value) in pending {
        let row = DeferredRow {
            name,
            value,
            timestamp: call.timestamp,
            step: call.step,
            split: call.split.to_owned(),
            dataset: call.dataset.map(str::to_owned),
            tags: Tags { text: call.tags.to_vec(), marks: call.marks },
        };
        told(py, this.deferral.add(py, row));
    }
    told(py, run.call_method0(intern!(py, "_deferred")));
}

/// Waits for the values of rows, and until they are in the files. Gives whether all of them are.
#[cold]
pub fn flush(run: &Bound<'_, Recorder>, session: &Session, deadline: Option<Instant>, sync: bool) -> PyResult<bool> {
    let rest = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()).as_secs_f64());
    let all_exist = run.call_method1(intern!(run.py(), "_await_deferred"), (rest,))?.is_truthy()?;
    Ok(run.py().detach(|| session.flush(deadline, sync)) && all_exist)
}

/// How many rows of `run` wait for their values.
#[pyfunction(name = "deferred_rows")]
pub fn count(run: &Bound<'_, Recorder>) -> u64 {
    run.get().deferral.count()
}

/// Split and name of the metrics of `run` that have such rows.
#[pyfunction]
pub fn deferred_metrics<'py>(run: &Bound<'py, Recorder>) -> Vec<Bound<'py, PyAny>> {
    let waiting = run.get().deferral.waiting.get(run.py());
    waiting.map(|waiting| waiting.bind(run.py()).keys().iter().collect()).unwrap_or_default()
}

/// Logs the first rows of a metric: those whose values exist or, with `at_once`, all, however long that takes. Gives their number.
#[pyfunction]
#[pyo3(signature = (run, metric, *, at_once = false))]
pub fn log_deferred(run: &Bound<'_, Recorder>, metric: &Bound<'_, PyTuple>, at_once: bool) -> PyResult<u64> {
    let (py, this) = (run.py(), run.get());
    let Some(waiting) = this.deferral.waiting.get(py).map(|waiting| waiting.bind(py)) else { return Ok(0) };
    let Some(rows) = waiting.get_item(metric)?.map(Bound::cast_into::<PyList>).transpose()? else { return Ok(0) };
    let mut done = 0;
    while !rows.is_empty() {
        let first = rows.get_item(0)?.cast_into::<DeferredRow>()?;
        let row = first.get();
        // What cannot be asked is read, which shows what is wrong with it.
        let is_ready = || convert::is_ready(row.value.bind(py)).map_err(|error| convert::swallow(py, error));
        if !at_once && is_ready() == Ok(false) {
            break;
        }
        log(run, row);
        // Rows of a run that was forked meanwhile, or given up, are gone already.
        if rows.get_item(0).is_ok_and(|still| still.is(&first)) {
            rows.del_item(0)?;
            this.deferral.count.fetch_sub(1, Ordering::Relaxed);
        }
        done += 1;
    }
    if rows.is_empty() && waiting.get_item(metric)?.is_some_and(|still| still.is(&rows)) {
        waiting.del_item(metric)?;
    }
    convert::take_interrupt().map_or(Ok(done), Err)
}

fn log(run: &Bound<'_, Recorder>, row: &DeferredRow) {
    let (py, this) = (run.py(), run.get());
    let Some(session) = this.handle.session() else { return };
    let mut buffers = this.spare.take();
    let mut damage = Damage::default();
    let call = Call {
        timestamp: row.timestamp,
        step: row.step,
        split: &row.split,
        dataset: row.dataset.as_deref(),
        tags: &row.tags,
    };
    buffers.frames.begin(&call, this.handle.max_frame_bytes());
    convert::row(&row.name, row.value.bind(py), &mut buffers.frames, &mut damage, this.options_at_once());
    session.begin_deferred();
    Recorder::record_now(run, &mut buffers, &damage, Step::Given, Time::Given);
    session.end_deferred();
    this.spare.give(buffers);
}

/// Gives up every row of `run` that waits, and gives their number. In a child, `as_parents`, they are its parent's to log.
#[pyfunction]
#[pyo3(signature = (run, *, as_parents = false))]
pub fn drop_deferred(run: &Bound<'_, Recorder>, as_parents: bool) -> u64 {
    let (py, this) = (run.py(), run.get());
    if as_parents {
        this.deferral.forget(py);
        return 0;
    }
    let Some(waiting) = this.deferral.waiting.get(py) else { return 0 };
    let mut loss = Loss::default();
    for rows in waiting.bind(py).values() {
        for row in rows.cast::<PyList>().into_iter().flat_map(PyListMethods::iter) {
            let step = row.cast::<DeferredRow>().ok().and_then(|row| row.get().step);
            let (first, last) = (loss.first_step.into_iter().chain(step).min(), loss.last_step.max(step));
            loss = Loss { rows: loss.rows + 1, first_step: first, last_step: last };
        }
    }
    this.deferral.forget(py);
    if let Some(session) = this.handle.session() {
        session.drop_deferred(loss);
    }
    loss.rows
}

/// Split and name of every row in finished frames.
fn metrics_of(mut bytes: &[u8]) -> Vec<(&str, &str)> {
    let mut metrics = Vec::new();
    while let Some((frame, length)) = Frame::parse(bytes) {
        if let Some(call) = frame.metrics() {
            metrics.extend(call.rows().map(|(name, _)| (call.split, name)));
        }
        bytes = &bytes[length..];
    }
    metrics
}

/// Hands an interrupt on to the end of the call; anything else is a bug, and is shown.
fn told<T>(py: Python<'_>, outcome: PyResult<T>) {
    if let Err(error) = outcome {
        if error.is_instance_of::<PyException>(py) {
            error.write_unraisable(py, None);
        } else {
            convert::hand_on(error);
        }
    }
}
