//! A Python object as a destination: `codex_obs.destinations.base` says what it is called with.

use std::collections::HashMap;
use std::path::PathBuf;

use codex_obs_core::clock::Clock;
use codex_obs_core::deliver::destination::{Answer, Destination, Follows, Noted, RunFacts, Start};
use codex_obs_core::deliver::rejected::{Refused, RejectedLog};
use codex_obs_core::deliver::settings::RunFolder;
use codex_obs_core::follow::artifacts::Artifact;
use codex_obs_core::follow::point::{Point, Structured, Value};
use codex_obs_core::follow::points::Wanted;
use codex_obs_core::follow::reached::Reached;
use codex_obs_core::http::attempts::Complaint;
use codex_obs_core::paths::{FileKind, Stream};
use codex_obs_core::problem::Facts;
use codex_obs_core::run::ending::RunStatus;
use codex_obs_core::wait::Wait;
use codex_obs_core::{Error, Result};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::refusal::{BASE, Refusal, is_unreadable, refusal, unmade, words};

/// Longest state of a stream: it is written with every place, and a progress beyond 1 MiB is not read.
const STATE_BYTES: usize = 256 << 10;

/// A batch of which some was taken.
#[derive(Debug)]
struct Begun {
    points: Vec<Point>,
    /// How many are done, and how many of these were refused.
    done: usize,
    rejected: u64,
    /// What the last part gave to be kept with the place behind the batch, as JSON.
    state: Option<String>,
}

/// A plugin.
#[derive(Debug)]
pub struct Plugin {
    name: String,
    object: Py<PyAny>,
    follows: Follows,
    directory: PathBuf,
    file_mode: u32,
    clock: Clock,
    run_id: String,
    is_open: bool,
    /// What it gave to be kept, by stream, as JSON.
    states: HashMap<Stream, String>,
    rejected: HashMap<Stream, RejectedLog>,
    /// Batches of which some was taken when the rest had to wait.
    begun: HashMap<Stream, Begun>,
    /// Calls that failed, one after the other.
    failures: u32,
}

impl Plugin {
    /// Makes the object by calling `factory`.
    pub fn new(name: &str, factory: &Py<PyAny>, folder: &RunFolder<'_>) -> Result<Self> {
        Python::attach(|py| {
            let failed =
                |error: PyErr| Error::setting(name, format!("the plugin cannot be made: {}", words(py, &error)));
            let object = factory.call0(py).map_err(failed)?;
            let has = |method: &str| object.getattr(py, method).is_ok_and(|method| method.bind(py).is_callable());
            let follows = Follows {
                points: Some(Wanted { values: has("values"), tags: true, ..Wanted::default() }),
                params: has("params"),
                spans: has("spans"),
                samples: has("samples"),
                artifacts: has("artifacts"),
                holds: true,
                params_as_json: false,
            };
            Ok(Self {
                name: name.to_owned(),
                object,
                follows,
                directory: folder.directory.to_owned(),
                file_mode: folder.file_mode,
                clock: Clock::System,
                run_id: String::new(),
                is_open: false,
                states: HashMap::new(),
                rejected: HashMap::new(),
                begun: HashMap::new(),
                failures: 0,
            })
        })
    }

    /// Calls a method.
    fn call<'py>(
        &mut self,
        py: Python<'py>,
        method: &str,
        arguments: impl FnOnce(&Bound<'py, PyModule>) -> PyResult<Bound<'py, PyTuple>>,
    ) -> std::result::Result<Bound<'py, PyAny>, Refusal> {
        // What we cannot make of a row is never its fault.
        let arguments = py.import(BASE).and_then(|base| arguments(&base)).map_err(|error| unmade(py, &error))?;
        let outcome = self.object.bind(py).call_method1(method, arguments).map_err(|error| refusal(py, &error));
        self.failures = if outcome.is_ok() { 0 } else { self.failures.saturating_add(1) };
        outcome
    }

    /// The state that a call gave, as JSON; None leaves the one before.
    fn state(&self, py: Python<'_>, given: &Bound<'_, PyAny>) -> std::result::Result<Option<String>, Refusal> {
        if given.is_none() {
            return Ok(None);
        }
        let dumped = || -> PyResult<String> {
            let options = PyDict::new(py);
            options.set_item("allow_nan", false)?;
            py.import("json")?.call_method("dumps", (given,), Some(&options))?.extract()
        };
        let text = dumped().map_err(|error| Refusal::Stop {
            why: format!("what the plugin {} returned as its state is not JSON: {}", self.name, words(py, &error)),
        })?;
        if text.len() > STATE_BYTES {
            let why = format!(
                "what the plugin {} returned as its state has {} bytes, more than {STATE_BYTES}",
                self.name,
                text.len()
            );
            return Err(Refusal::Stop { why });
        }
        Ok(Some(text))
    }

    /// Notes the state that a call for a stream gave.
    fn note_state(
        &mut self,
        py: Python<'_>,
        stream: &Stream,
        given: &Bound<'_, PyAny>,
    ) -> std::result::Result<(), Refusal> {
        if let Some(state) = self.state(py, given)? {
            self.states.insert(stream.clone(), state);
        }
        Ok(())
    }

    /// Hands over points that are all numbers, or all structured values. Gives the state.
    fn offer(&mut self, stream: &Stream, points: &[Point]) -> std::result::Result<Option<String>, Refusal> {
        Python::attach(|py| {
            let given = self.call(py, if is_number(&points[0]) { "points" } else { "values" }, |base| {
                let made: Vec<_> = points.iter().map(|point| row(base, point)).collect::<PyResult<_>>()?;
                (stream.as_str(), PyList::new(py, made)?).into_pyobject(py)
            })?;
            self.state(py, &given)
        })
    }

    /// Hands over artifacts.
    fn offer_artifacts(&mut self, stream: &Stream, artifacts: &[Artifact]) -> std::result::Result<(), Refusal> {
        Python::attach(|py| {
            let given = self.call(py, "artifacts", |base| {
                let class = base.getattr(intern!(py, "Artifact"))?;
                let made = |each: &Artifact| class.call1((&each.name, &each.path, each.size, each.mtime_ns));
                let made: Vec<_> = artifacts.iter().map(made).collect::<PyResult<_>>()?;
                (PyList::new(py, made)?,).into_pyobject(py)
            })?;
            self.note_state(py, stream, &given)
        })
    }

    /// Keeps what was refused where it can be found again.
    fn reject(
        &mut self,
        stream: &Stream,
        refused: Refused<'_>,
        name: &str,
        why: &str,
    ) -> std::result::Result<(), Refusal> {
        let mut keep = || -> Result<()> {
            if !self.rejected.contains_key(stream) {
                let folder = RunFolder { directory: &self.directory, file_mode: self.file_mode };
                let mut log = RejectedLog::new(&folder, stream, self.clock.clone(), self.name.clone())?;
                log.set_run(&self.run_id);
                self.rejected.insert(stream.clone(), log);
            }
            let Some(log) = self.rejected.get_mut(stream) else { return Ok(()) };
            let complaint = Complaint { status: 0, words: why.to_owned() };
            log.append(refused, name, "", &complaint)?;
            log.sync()
        };
        keep().map_err(|error: Error| Refusal::Later { pause: None, why: error.to_string() })
    }

    fn answer(&self, refusal: Refusal) -> Answer {
        refusal.answer(self.failures)
    }

    fn settle(&self, outcome: std::result::Result<(), Refusal>) -> Answer {
        outcome.map_or_else(|refusal| self.answer(refusal), |()| Answer::TAKEN)
    }
}

impl Destination for Plugin {
    fn address(&self) -> String {
        self.name.clone()
    }

    fn follows(&self) -> Follows {
        self.follows
    }

    fn prepare(&mut self, run: &RunFacts, _: &Wait) -> Answer {
        if self.is_open {
            return Answer::TAKEN;
        }
        run.run_id.clone_into(&mut self.run_id);
        let states = match run.states.read() {
            Ok(states) => states,
            Err(error) => return Answer::Never { why: error.problem() },
        };
        let directory = self.directory.clone();
        let outcome = Python::attach(|py| {
            self.call(py, "open", |base| {
                let loads = loads(py)?;
                let state = PyDict::new(py);
                for (stream, text) in &states {
                    state.set_item(stream.as_str(), loads.call1((text,))?)?;
                }
                let started = run.start_micros as f64 / 1e6;
                let facts = base.getattr("RunFacts")?.call1((&run.run_id, &run.name, directory, started))?;
                (facts, state).into_pyobject(py)
            })?;
            Ok(())
        });
        self.is_open = outcome.is_ok();
        if self.is_open {
            self.states = states.into_iter().collect();
        }
        self.settle(outcome)
    }

    fn open(&mut self, _: &Stream, _: &Noted<'_>) -> Start {
        Start::AsNoted
    }

    fn params(&mut self, stream: &Stream, params: &[(String, String)], _: &Wait) -> Answer {
        let outcome = Python::attach(|py| {
            let given = self.call(py, "params", |_| {
                let given = PyDict::new(py);
                params.iter().try_for_each(|(key, value)| given.set_item(key, value))?;
                (given,).into_pyobject(py)
            })?;
            self.note_state(py, stream, &given)
        });
        self.settle(outcome)
    }

    fn tags(&mut self, _: &Stream, _: &[(String, String)], _: &Wait) -> Answer {
        Answer::TAKEN
    }

    fn deliver(&mut self, stream: &Stream, points: &[Point], _: &Wait) -> Answer {
        let begun = self.begun.remove(stream).filter(|begun| begun.points == points);
        let (mut done, mut rejected, mut state) =
            begun.map_or((0, 0, None), |begun| (begun.done, begun.rejected, begun.state));
        // Where parts end, the next one last: one that is refused is halved until what is refused is alone.
        let mut ends = vec![points.len()];
        while let Some(&end) = ends.last() {
            if done >= end {
                ends.pop();
                continue;
            }
            // Numbers and structured values come in calls of their own, in the order of the rows.
            let part = &points[done..end];
            let alike = part.iter().take_while(|point| is_number(point) == is_number(&part[0])).count();
            let outcome = match self.offer(stream, &part[..alike]) {
                Err(Refusal::Never { why }) if alike == 1 => {
                    let point = &part[0];
                    let name = format!("{}{}/{}", point.stream_prefix, point.split, point.metric);
                    self.reject(stream, Refused::Metric(point), &name, &why).map(|()| {
                        rejected += 1;
                        None
                    })
                }
                Err(Refusal::Never { .. }) => {
                    ends.push(done + alike / 2);
                    continue;
                }
                outcome => outcome,
            };
            match outcome {
                Ok(given) => state = given.or(state),
                Err(refusal) => {
                    self.begun.insert(stream.clone(), Begun { points: points.to_vec(), done, rejected, state });
                    return self.answer(refusal);
                }
            }
            done += alike;
        }
        if let Some(state) = state {
            self.states.insert(stream.clone(), state);
        }
        Answer::Taken { rejected }
    }

    fn records(&mut self, stream: &Stream, log: FileKind, lines: &[Box<str>], _: &Wait) -> Answer {
        let outcome = Python::attach(|py| {
            let is_spans = log == FileKind::Telemetry;
            let given = self.call(py, if is_spans { "spans" } else { "samples" }, |_| {
                let loads = loads(py)?;
                let made = lines.iter().map(|line| loads.call1((&**line,)));
                let made = made.filter(|made| made.as_ref().err().is_none_or(|error| !is_unreadable(py, error)));
                let made: Vec<_> = made.collect::<PyResult<_>>()?;
                let made = PyList::new(py, made)?;
                if is_spans { (stream.as_str(), made).into_pyobject(py) } else { (made,).into_pyobject(py) }
            })?;
            self.note_state(py, stream, &given)
        });
        self.settle(outcome)
    }

    fn artifacts(&mut self, stream: &Stream, artifacts: &[Artifact], _: &Wait) -> Answer {
        let mut rejected = 0;
        // One that is refused is found by handing over each by itself.
        let mut parts = vec![artifacts];
        while let Some(part) = parts.pop() {
            let outcome = match self.offer_artifacts(stream, part) {
                Err(Refusal::Never { .. }) if part.len() > 1 => {
                    parts.extend(part.chunks(1).rev());
                    continue;
                }
                Err(Refusal::Never { why }) => {
                    let (refused, name) = (Refused::Artifact(part[0].size), &part[0].name);
                    self.reject(stream, refused, name, &why).map(|()| rejected += 1)
                }
                outcome => outcome,
            };
            if let Err(refusal) = outcome {
                return self.answer(refusal);
            }
        }
        Answer::Taken { rejected }
    }

    fn keep(&mut self, stream: &Stream, _: &Reached) -> Result<Option<String>> {
        Ok(self.states.get(stream).cloned())
    }

    fn finish(&mut self, stream: &Stream, status: RunStatus, _: i64, _: &Wait) -> Answer {
        let outcome = Python::attach(|py| {
            if !self.object.bind(py).hasattr("finish").unwrap_or(false) {
                return Ok(());
            }
            let given = self.call(py, "finish", |_| (status.word(),).into_pyobject(py))?;
            self.note_state(py, stream, &given)
        });
        self.settle(outcome)
    }

    fn address_facts(&self) -> Facts {
        vec![("to", self.name.clone())]
    }
}

/// Reads JSON, integers of any length too.
fn loads(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    py.import(intern!(py, "codex_obs._json"))?.getattr(intern!(py, "loads"))
}

fn is_number(point: &Point) -> bool {
    matches!(point.value, Value::Number(_))
}

/// A point or a structured value as the plugin gets it.
fn row<'py>(base: &Bound<'py, PyModule>, point: &Point) -> PyResult<Bound<'py, PyAny>> {
    let py = base.py();
    let metric = format!("{}{}", point.stream_prefix, point.metric);
    let time = point.timestamp_micros as f64 / 1e6;
    let loads = |text: &str| loads(py)?.call1((text,));
    let tags = point.tags.as_deref().map_or_else(|| Ok(PyDict::new(py).into_any()), loads)?;
    let dataset = point.dataset.as_deref();
    match &point.value {
        Value::Number(number) => {
            base.getattr(intern!(py, "Point"))?.call1((metric, &*point.split, point.step, *number, time, dataset, tags))
        }
        Value::Structured(value) => {
            let Structured { class, payload, .. } = &**value;
            let payload = payload.as_deref().map(loads).transpose()?;
            base.getattr(intern!(py, "Value"))?.call1((
                metric,
                &*point.split,
                point.step,
                class,
                payload,
                time,
                dataset,
                tags,
            ))
        }
    }
}
