//! Logs of lines beside the rows: written without a journal, and read as they are.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use codex_obs_core::clock::Clock;
use codex_obs_core::log_lines;
use codex_obs_core::paths::FileKind;
use codex_obs_core::recovery::run;
use codex_obs_core::shard::line_log;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::to_python;
use crate::reading::interruptible;
use crate::settings::{RunSettings, choice};

/// A log that one process appends whole lines to, with rotation and archives.
#[pyclass(frozen, module = "codex_obs._core")]
pub struct LineLog {
    log: Mutex<line_log::LineLog>,
}

#[pymethods]
impl LineLog {
    #[new]
    fn new(py: Python<'_>, path: PathBuf, settings: RunSettings) -> PyResult<Self> {
        let settings = settings.parse().map_err(|error| to_python(py, &error))?;
        let (policy, retention, mode) = (settings.policy, settings.retention, settings.file_mode);
        Ok(Self { log: Mutex::new(line_log::LineLog::new(path, policy, retention, mode, Clock::System)) })
    }

    /// Appends a line, with its newline. Whether the log was rotated for it: then `settle` has something to do.
    fn append(&self, py: Python<'_>, line: &[u8]) -> PyResult<bool> {
        py.detach(|| self.lock().append(line)).map_err(|error| to_python(py, &error))
    }

    /// Packs or deletes rotated shards beyond the count.
    fn settle(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.lock().settle()).map_err(|error| to_python(py, &error))
    }
}

impl LineLog {
    fn lock(&self) -> std::sync::MutexGuard<'_, line_log::LineLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lines of a log, page by page.
#[pyclass(frozen, module = "codex_obs._core")]
pub struct LinePages {
    lines: Mutex<log_lines::LogLines>,
}

/// The lines of a log of runs, as they are, page by page: of `kind`, such as `system_metrics`.
#[pyfunction]
pub fn page_lines(py: Python<'_>, paths: Vec<PathBuf>, kind: &str) -> PyResult<LinePages> {
    let kinds = [FileKind::Params, FileKind::Summary, FileKind::Telemetry, FileKind::Samples];
    let Some(log) = kinds.into_iter().find(|known| known.base() == kind) else {
        let words = kinds.map(FileKind::base).join(" or ");
        return Err(to_python(py, &choice("kind", kind, &words)));
    };
    let lines = interruptible(py, None, |tick| log_lines::LogLines::open(log, &paths, &Clock::System, tick))?;
    Ok(LinePages { lines: Mutex::new(lines) })
}

#[pymethods]
impl LinePages {
    /// The name of a stream and whole lines of it; None behind the last.
    fn take<'py>(&self, py: Python<'py>) -> Option<(String, Bound<'py, PyBytes>)> {
        let page = py.detach(|| self.lock().next_page())?;
        Some((page.0.to_string(), PyBytes::new(py, &page.1)))
    }

    /// Why the rest of some files could not be read, each once.
    fn take_problems(&self) -> Vec<String> {
        self.lock().take_problems().iter().map(ToString::to_string).collect()
    }
}

impl LinePages {
    fn lock(&self) -> std::sync::MutexGuard<'_, log_lines::LogLines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stream and process id of each process of this machine that has a stream of the run open.
#[pyfunction]
pub fn writers(py: Python<'_>, directory: PathBuf) -> PyResult<Vec<(String, u32)>> {
    let found = py.detach(|| run::writers(&directory)).map_err(|error| to_python(py, &error))?;
    Ok(found.into_iter().map(|(stream, pid)| (stream.to_string(), pid)).collect())
}
