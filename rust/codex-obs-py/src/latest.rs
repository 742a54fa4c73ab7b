//! What a run shows to who looks now and then: the last values of its metrics, and the newest lines of its other logs.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use codex_obs_core::follow::follower::{Follower, Stopped};
use codex_obs_core::follow::latest;
use codex_obs_core::follow::records::Records;
use codex_obs_core::paths::{FileKind, Stream};
use codex_obs_core::scan::Snapshot;
use codex_obs_core::{Error, Result};
use pyo3::prelude::*;

use crate::error::to_python;
use crate::settings::choice;

/// The last value of each metric of the run in `directory`.
#[pyclass(frozen, module = "codex_obs._core")]
pub struct Latest {
    latest: Mutex<latest::Latest>,
}

#[pymethods]
impl Latest {
    #[new]
    fn new(directory: PathBuf) -> Self {
        Self { latest: Mutex::new(latest::Latest::of(&directory)) }
    }

    /// Reads what was written since the last time.
    fn refresh(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.lock().refresh()).map_err(|error| to_python(py, &error))
    }

    /// Of each stream its rows and its last step.
    fn rows(&self, py: Python<'_>) -> Vec<(String, u64, Option<i64>)> {
        py.detach(|| {
            self.lock().streams().map(|(stream, track)| (stream.to_string(), track.rows(), track.step)).collect()
        })
    }

    /// Stream, split, metric and last value, in order.
    fn values(&self, py: Python<'_>) -> Vec<(String, String, String, f64)> {
        py.detach(|| {
            let latest = self.lock();
            let mut values: Vec<_> = latest
                .streams()
                .flat_map(|(stream, track)| {
                    let named = track.values.iter();
                    named.map(|((split, metric), value)| {
                        (stream.to_string(), split.to_string(), metric.to_string(), *value)
                    })
                })
                .collect();
            values.sort_unstable_by(|one, other| (&one.0, &one.1, &one.2).cmp(&(&other.0, &other.1, &other.2)));
            values
        })
    }
}

impl Latest {
    fn lock(&self) -> MutexGuard<'_, latest::Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lines of a log of the run in `directory`, such as `telemetry`, as they are written.
#[pyclass(frozen, module = "codex_obs._core")]
pub struct LineFollower {
    directory: PathBuf,
    log: FileKind,
    streams: Mutex<BTreeMap<Stream, Follower>>,
}

#[pymethods]
impl LineFollower {
    #[new]
    fn new(py: Python<'_>, directory: PathBuf, kind: &str) -> PyResult<Self> {
        let kinds = [FileKind::Summary, FileKind::Telemetry, FileKind::Samples];
        let log = kinds.into_iter().find(|known| known.base() == kind);
        let log =
            log.ok_or_else(|| to_python(py, &choice("kind", kind, "tracking_summary, telemetry or system_metrics")))?;
        Ok(Self { directory, log, streams: Mutex::default() })
    }

    /// The lines that were written since the last time, at most a batch of each stream; nothing where there are no more.
    fn take(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        py.detach(|| self.read()).map_err(|error| to_python(py, &error))
    }
}

impl LineFollower {
    fn read(&self) -> Result<Vec<String>> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let sources = Snapshot::of_log(self.log, &self.directory, &[])?.sources;
        for stream in sources.iter().filter_map(|source| Stream::parse(&source.stream)) {
            if let Entry::Vacant(place) = streams.entry(stream) {
                let follower = Follower::open(self.log, &self.directory, place.key(), None, None, None)?;
                place.insert(follower);
            }
        }
        let mut lines = Vec::new();
        for follower in streams.values_mut() {
            let mut records = Records::default();
            while records.lines.is_empty() {
                if follower.read(&mut records)? == Stopped::AtEnd {
                    break;
                }
            }
            lines.extend(records.lines.into_iter().map(String::from));
        }
        Ok::<_, Error>(lines)
    }
}
