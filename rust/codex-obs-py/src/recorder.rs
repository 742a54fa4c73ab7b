//! `Recorder`: one stream of a run, the base class of `codex_obs.Run`, whose name it shows in errors.

use std::path::{Path, PathBuf};

use codex_obs_core::journal::frame::{Call, FrameBuilder, LineFile};
use codex_obs_core::record::{DEFAULT_SPLIT, Damage};
use codex_obs_core::session::{Asked, Handle, Session, Settings, Step, Time};
use codex_obs_core::worker::loss::Loss;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::bound_log::BoundLog;
use crate::clock::ManualClock;
use crate::convert::{self, Options, PendingValues, Split};
use crate::deadline::deadline;
use crate::deferral::{self, Deferrals};
use crate::destination::{self, Destination};
use crate::error::to_python;
use crate::event;
use crate::last_exit;
use crate::lines::{self, Said};
use crate::places;
use crate::settings::{self, Launch, RunSettings};
use crate::spare::{Buffers, Spare};
use crate::telemetry;
use crate::words::{self, emit_warnings};

/// One stream of a run.
#[pyclass(name = "Run", subclass, frozen, weakref, module = "codex_obs._core")]
pub struct Recorder {
    pub(crate) handle: Handle,
    legacy: bool,
    flatten: bool,
    pub(crate) deferral: Deferrals,
    pub(crate) spare: Spare,
    pub(crate) said: Said,
    /// Whether nothing is written or counted.
    pub(crate) is_disabled: bool,
}

#[pymethods]
impl Recorder {
    #[new]
    #[pyo3(signature = (
        directory, settings, *, run_id = None, name = None, own_stream = false, clock = None, backing = "auto", destinations = Vec::new(),
        sidecar = None, dormant = false, is_worker = false,
    ))]
    #[expect(clippy::too_many_arguments, reason = "who and where, by keyword")]
    fn new(
        py: Python<'_>,
        directory: PathBuf,
        settings: RunSettings,
        run_id: Option<&str>,
        name: Option<&str>,
        own_stream: bool,
        clock: Option<&ManualClock>,
        backing: &str,
        destinations: Vec<PyRef<'_, Destination>>,
        sidecar: Option<Launch>,
        dormant: bool,
        is_worker: bool,
    ) -> PyResult<Self> {
        let RunSettings { legacy, flatten, disabled, .. } = settings;
        let deferral = Deferrals::new(settings.deferred, disabled);
        let parse = || {
            Ok(Settings {
                own_stream,
                clock: clock.map(ManualClock::clock).unwrap_or_default(),
                backing: settings::backing(backing)?,
                sidecar: sidecar.map(Launch::parse).transpose()?,
                exports: destinations.iter().map(|destination| destination.settings.clone()).collect(),
                ..settings.parse()?
            })
        };
        let settings = parse().map_err(|error| to_python(py, &error))?;
        // A fork must not find the path relative to another folder than this one.
        let directory = std::path::absolute(&directory)?;
        let handle = if dormant || disabled {
            let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
            Handle::dormant(&directory, text(run_id), text(name), settings, is_worker).switched_off(disabled)
        } else {
            py.detach(|| Handle::init(&directory, run_id, name, settings)).map_err(|error| to_python(py, &error))?
        };
        Ok(Self {
            handle,
            legacy,
            flatten,
            deferral,
            spare: Spare::default(),
            said: Said::default(),
            is_disabled: disabled,
        })
    }

    /// Identifier of the run, part of every row.
    #[getter]
    fn run_id(&self) -> &str {
        self.handle.run_id()
    }

    /// Name of the run.
    #[getter]
    fn name(&self) -> &str {
        self.handle.name()
    }

    /// Absolute path of the run directory.
    #[getter]
    fn directory(&self) -> &Path {
        self.handle.directory()
    }

    /// Name of the stream that this process writes, or will if it logs; `main` for rank 0 or no rank.
    #[getter]
    fn stream(&self) -> &str {
        self.handle.stream().as_str()
    }

    /// Whether rows are refused.
    #[getter]
    fn closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Whether this process has a session of its own, which is true of a stream other than the main one from its first row.
    #[getter]
    fn _is_open(&self) -> bool {
        self.handle.session().is_some()
    }

    /// Refuse rows, in a process that has no session yet.
    fn _refuse(&self) {
        self.handle.refuse();
    }

    /// Prepare calls of `log` that have the same names each time, for the tightest loops.
    ///
    /// Args:
    ///     *names: Names of the metrics, each once.
    ///     split: As for `log`.
    ///     dataset: As for `log`.
    ///     tags: As for `log`; read now, not at each call.
    ///
    /// Returns:
    ///     A function of as many values as there are names. ``f(0.5, 0.9, step=1)`` writes the rows that ``log`` writes for
    ///     a dict of the names and those values. It takes ``step`` and ``timestamp``, and raises what ``log`` raises for
    ///     them, and TypeError for another number of values. It keeps the run alive.
    ///
    /// Raises:
    ///     TypeError: If a name is no text or `tags` is no mapping.
    ///     ValueError: If a name is given twice.
    #[pyo3(
        signature = (*names, split = Split::default(), dataset = None, tags = None),
        text_signature = "($self, *names, split='train', dataset=None, tags=None)",
    )]
    fn bind<'py>(
        slf: &Bound<'py, Self>,
        names: &Bound<'py, PyTuple>,
        split: Split<'py>,
        dataset: Option<&Bound<'py, PyAny>>,
        tags: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let bound = BoundLog::new(slf, names, split.0.as_ref(), dataset, tags)?;
        Bound::new(slf.py(), bound)?.getattr(intern!(slf.py(), "log"))
    }

    /// What `bind` makes, from what a pickle says of it; `tags` is JSON text.
    #[pyo3(signature = (names, split, dataset, tags))]
    fn _bound(
        slf: &Bound<'_, Self>,
        names: &Bound<'_, PyTuple>,
        split: &Bound<'_, PyAny>,
        dataset: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<BoundLog> {
        let py = slf.py();
        let tags = tags.map(|text| py.import(intern!(py, "json"))?.call_method1(intern!(py, "loads"), (text,)));
        BoundLog::new(slf, names, Some(split), dataset, tags.transpose()?.as_ref())
    }

    /// Log an event of a trainer: a row for each field that is a number, with the message and the other fields as tags.
    ///
    /// An event without any number is one row of the metric ``event`` without a value, so that its words are kept.
    ///
    /// Args:
    ///     category: Where it happened, in any case: ``TRAINER`` or ``TRAIN``, ``ACTOR`` or ``ACT``, ``EVALUATOR`` or ``EVAL``.
    ///         The split of the rows is ``trainer``, ``actor``, ``evaluator`` or, for anything else, ``misc``; the tag
    ///         ``category`` then has the text.
    ///     message: Words, kept in the tag ``message``.
    ///     **fields: Numbers become metrics; booleans, texts, None, containers and, whatever it is, ``telemetry`` become tags.
    ///         The step is the first of ``timesteps``, ``policy_version``, ``step``, ``global_step`` and ``update`` that is
    ///         there and not None; the others become tags, never metrics. Without one the rows have no step.
    ///
    /// Raises:
    ///     TypeError: If the field that tells the step is no integer; no row is written.
    ///     ValueError: If it is outside of 64 bits; no row is written.
    #[pyo3(signature = (category, message = None, **fields))]
    fn event(
        slf: &Bound<'_, Self>,
        category: &Bound<'_, PyAny>,
        message: Option<&Bound<'_, PyAny>>,
        fields: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        event::record(slf, category, message, fields)
    }

    /// Wait until everything logged so far is in the files and, with `sync`, on the disk.
    ///
    /// Args:
    ///     timeout: Longest wait in seconds; None waits as long as the writer can write.
    ///     sync: Whether to wait for the disk as well.
    ///
    /// Returns:
    ///     False at the timeout, or once the writer cannot write.
    #[pyo3(signature = (timeout = None, *, sync = false))]
    fn flush(slf: &Bound<'_, Self>, timeout: Option<f64>, sync: bool) -> PyResult<bool> {
        let deadline = deadline(timeout)?;
        let Some(session) = slf.get().handle.session() else { return Ok(true) };
        let flushed = slf.py().detach(|| session.flush(deadline, sync));
        let flushed = if deferral::count(slf) > 0 { deferral::flush(slf, session, deadline, sync)? } else { flushed };
        emit_warnings(slf.py(), session);
        Ok(flushed)
    }

    /// Counters of this stream since it was opened by this process.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counts = PyDict::new(py);
        for (name, count) in self.handle.stats().snapshot() {
            counts.set_item(name, count)?;
        }
        Ok(counts)
    }

    #[pyo3(signature = (timeout, status = "finished"))]
    fn _close(slf: &Bound<'_, Self>, timeout: Option<f64>, status: &str) -> PyResult<bool> {
        let deadline = deadline(timeout)?;
        let status = destination::status(status).map_err(|error| to_python(slf.py(), &error))?;
        let handle = &slf.get().handle;
        let drained = slf.py().detach(|| handle.close(status, deadline));
        Self::say(slf);
        Ok(drained)
    }

    /// As `_close`, at the end of the process: rows that threads still log are written out when Python is gone.
    #[pyo3(signature = (timeout, status = "finished"))]
    fn _end(slf: &Bound<'_, Self>, timeout: Option<f64>, status: &str) -> PyResult<bool> {
        let deadline = deadline(timeout)?;
        let status = destination::status(status).map_err(|error| to_python(slf.py(), &error))?;
        last_exit::arrange();
        let handle = &slf.get().handle;
        let drained = slf.py().detach(|| handle.end(status, deadline));
        Self::say(slf);
        Ok(drained)
    }

    fn _begins_at(&self) -> Option<(u64, u64)> {
        self.handle.session()?.begins_at().map(codex_obs_core::run::records::Place::parts)
    }

    /// Shard and offset of the other streams whose processes have all ended.
    fn _ended_streams(&self, py: Python<'_>) -> places::Ended {
        py.detach(|| places::ended(self.handle.session()))
    }

    /// Nothing if the largest step of the stream is not known, else that step, which is None if no row has one.
    fn _largest_step(&self, py: Python<'_>) -> Option<(Option<i64>,)> {
        py.detach(|| self.handle.session().and_then(Session::largest_step)).map(|largest| (largest,))
    }

    /// Open a session once more, if rows were lost for want of one, so that they are on record.
    fn _record_losses(slf: &Bound<'_, Self>) {
        let handle = &slf.get().handle;
        if slf.py().detach(|| handle.has_lost()) {
            let _ = Self::open(slf, None);
        }
    }

    fn _resume_step(&self, py: Python<'_>) -> Option<i64> {
        py.detach(|| self.handle.session().and_then(Session::resume_step))
    }

    fn _set_next_step(&self, py: Python<'_>, step: i64) {
        py.detach(|| self.handle.set_next_step(step));
    }

    fn _take_warnings(&self, py: Python<'_>) -> Vec<String> {
        self.handle.session().map(|session| words::taken(py, session)).unwrap_or_default()
    }

    /// Called when a session was opened for a first row.
    #[expect(clippy::unused_self, reason = "subclasses override it")]
    fn _opened(&self) {}

    fn _write_params(
        slf: &Bound<'_, Self>,
        config: &Bound<'_, PyAny>,
        argv: Vec<String>,
        derived: &Bound<'_, PyAny>,
        metadata: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        lines::params(slf, config, argv, derived, metadata)
    }

    fn _write_session(slf: &Bound<'_, Self>, record: &str, fields: &Bound<'_, PyAny>) -> PyResult<bool> {
        lines::session(slf, record, fields)
    }

    /// Write a line of telemetry; False if it was dropped, which is counted. `ids`: token, trace, span, parent.
    fn _write_telemetry(
        slf: &Bound<'_, Self>,
        event: &str,
        ids: Option<telemetry::Ids>,
        measurements: &Bound<'_, PyAny>,
        metadata: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        telemetry::record(slf, event, ids.as_ref(), measurements, metadata)
    }

    #[pyo3(signature = (component, status, reason, extra))]
    fn _write_summary(
        slf: &Bound<'_, Self>,
        component: &str,
        status: &str,
        reason: Option<&str>,
        extra: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        lines::summary(slf, component, status, reason, extra)
    }
}

impl Recorder {
    /// As `Run.log`, of which a missing argument is `None`.
    #[inline]
    pub(crate) fn log(
        slf: &Bound<'_, Self>,
        metrics: &Bound<'_, PyAny>,
        step: Option<&Bound<'_, PyAny>>,
        split: Option<&Bound<'_, PyAny>>,
        dataset: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
        timestamp: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let this = slf.get();
        let mut buffers = this.spare.take();
        let mut damage = Damage::default();
        let outcome = this
            .convert(&mut buffers, &mut damage, metrics, step, split, dataset, tags, timestamp)
            .map(|(step, time)| Self::record(slf, &mut buffers, &damage, step, time));
        this.spare.give(buffers);
        // Ctrl-C in the middle of a conversion: the rows are safe now, and the interrupt goes its way.
        outcome.and_then(|()| convert::take_interrupt().map_or(Ok(()), Err))
    }

    /// Puts a call's frames together. No lock is held: values may run code of their own, which may log, fork or close.
    #[expect(clippy::too_many_arguments, reason = "the arguments of `log`")]
    fn convert(
        &self,
        buffers: &mut Buffers,
        damage: &mut Damage,
        metrics: &Bound<'_, PyAny>,
        step: Option<&Bound<'_, PyAny>>,
        split: Option<&Bound<'_, PyAny>>,
        dataset: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
        timestamp: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<(Step, Time)> {
        let Buffers { frames, tags: tag_buffer, split: split_buffer, dataset: dataset_buffer, collided, pending } =
            buffers;
        let number = step.map(convert::step).transpose()?;
        let now = self.handle.now_micros();
        let (timestamp, time) = convert::time(timestamp, now, damage)?;
        let tags = convert::tags(tags, tag_buffer, damage)?;
        let call = Call {
            timestamp,
            step: Some(number.unwrap_or(0)),
            split: split.map_or(DEFAULT_SPLIT, |split| convert::text(split, damage, split_buffer)),
            dataset: dataset.map(|dataset| convert::text(dataset, damage, dataset_buffer)),
            tags,
        };
        frames.begin(&call, self.handle.max_frame_bytes());
        *collided = convert::metrics(metrics, frames, damage, self.options(pending))?;
        Ok((if number.is_some() { Step::Given } else { Step::Next }, time))
    }

    /// How the values of a call are written; those that do not exist yet are put into `pending`.
    pub(crate) fn options<'a>(&self, pending: &'a PendingValues) -> Options<'a> {
        Options { deferral: self.deferral.of(pending), ..self.options_at_once() }
    }

    /// The same, where all of them are waited for.
    pub(crate) fn options_at_once(&self) -> Options<'static> {
        Options { legacy: self.legacy, flatten: self.flatten, deferral: None }
    }

    /// Hands a call's frames to the session, and what does not exist yet to those who wait for it.
    pub(crate) fn record(slf: &Bound<'_, Self>, buffers: &mut Buffers, damage: &Damage, step: Step, time: Time) {
        if slf.get().deferral.count() > 0 || !buffers.pending.get_mut().is_empty() {
            deferral::record(slf, buffers, damage, step, time);
        } else {
            Self::record_now(slf, buffers, damage, step, time);
        }
    }

    /// Hands a call's frames to the session.
    #[inline]
    pub(crate) fn record_now(slf: &Bound<'_, Self>, buffers: &mut Buffers, damage: &Damage, step: Step, time: Time) {
        let py = slf.py();
        let frames = &mut buffers.frames;
        if frames.rows() == 0 {
            return;
        }
        frames.finish();
        let lost =
            |frames: &FrameBuilder| Loss { rows: frames.rows(), first_step: frames.step(), last_step: frames.step() };
        let Some(session) = Self::session(slf, || lost(frames)) else { return };
        session.stats().damage(damage);
        if damage.payloads_cut + damage.metrics_collided + damage.values_unreadable > 0 {
            lines::say_what_changed(slf.get(), session, buffers);
        }
        let frames = &mut buffers.frames;
        if session.is_mirrored() {
            // The ring is written by a system call, which must not keep Python waiting.
            py.detach(|| {
                session.try_log(frames, step, time) || {
                    session.log_slowly(frames, step, time);
                    true
                }
            });
        } else if !session.try_log(frames, step, time) {
            py.detach(|| session.log_slowly(frames, step, time));
        }
        if session.warnings().waiting() {
            emit_warnings(py, session);
        }
    }

    /// Gives out what the engine has to say.
    pub(crate) fn say(slf: &Bound<'_, Self>) {
        if let Some(session) = slf.get().handle.session() {
            emit_warnings(slf.py(), session);
        }
    }

    /// Writes a line that is not a row. `false` if there is no room for it. An interrupt that a conversion met is raised
    /// afterwards.
    pub(crate) fn write(
        slf: &Bound<'_, Self>,
        file: LineFile,
        damage: &Damage,
        line: impl FnOnce(i64, &str) -> Vec<u8>,
    ) -> PyResult<bool> {
        let written = Self::session(slf, Loss::default).is_some_and(|session| {
            session.stats().damage(damage);
            let line = line(session.present_micros(), &session.home().run_id);
            slf.py().detach(|| session.write_line(file, &line))
        });
        convert::take_interrupt().map_or(Ok(written), Err)
    }

    /// The session to log to. Where there is none yet, one is opened; `None` counts the rows of `call` as dropped.
    #[inline]
    pub(crate) fn session<'a>(slf: &'a Bound<'_, Self>, call: impl FnOnce() -> Loss) -> Option<&'a Session> {
        let handle = &slf.get().handle;
        handle.session().or_else(|| Self::open(slf, Some(call())))
    }

    /// Asks for a session for a call, or once more for what was lost, without keeping Python waiting. A new one's first
    /// records are written.
    #[cold]
    fn open<'a>(slf: &'a Bound<'_, Self>, call: Option<Loss>) -> Option<&'a Session> {
        let (py, handle) = (slf.py(), &slf.get().handle);
        match py.detach(|| call.map_or_else(|| handle.ask_at_once(), |call| handle.ask(call))) {
            Asked::There(session) => Some(session),
            Asked::Opened(session) => {
                if let Err(error) = slf.call_method0(intern!(py, "_opened")) {
                    error.write_unraisable(py, Some(slf.as_any()));
                }
                emit_warnings(py, session);
                Some(session)
            }
            Asked::Missing(why) => words::without_stream(py, handle, why.clone()),
        }
    }
}
