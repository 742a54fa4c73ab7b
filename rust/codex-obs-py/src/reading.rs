//! Tables out of a run, handed over through the Arrow C stream interface.

use std::ffi::{CStr, OsString};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{RecordBatch, RecordBatchIterator};
use arrow_schema::{FieldRef, SchemaRef};
use codex_obs_core::clock::Clock;
use codex_obs_core::scan::{Progress, Tick};
use codex_obs_core::{reading, rows, scan, summary};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::error::to_python;
use crate::words::in_words;

/// The capsule's name in the Arrow PyCapsule interface.
const STREAM_NAME: &CStr = c"arrow_array_stream";

/// A table as an Arrow C stream; it can be taken once.
#[pyclass(frozen, module = "codex_obs._core")]
pub struct ArrowStream {
    table: Mutex<Option<(SchemaRef, Vec<RecordBatch>)>>,
}

#[pymethods]
impl ArrowStream {
    /// The stream in a capsule. The columns are of one type each, so a requested schema is not looked at, as the
    /// interface allows.
    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let _ = requested_schema;
        let (schema, batches) = self.take()?;
        let reader = RecordBatchIterator::new(batches.into_iter().map(Ok), schema);
        // The struct's own drop calls its release function, unless a consumer took it and left a released one.
        PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(Box::new(reader)), STREAM_NAME)
    }

    /// The columns by name, each as a stream of its own: memory of one can be let go of before that of the others.
    fn columns(&self) -> PyResult<Vec<(String, Self)>> {
        let (schema, batches) = self.take()?;
        let failed = |error: arrow_schema::ArrowError| PyValueError::new_err(error.to_string());
        let column = |(index, field): (usize, &FieldRef)| {
            let column = batches.iter().map(|batch| batch.project(&[index])).collect::<Result<_, _>>();
            let schema = Arc::new(schema.project(&[index]).map_err(failed)?);
            Ok((field.name().clone(), Self::new(schema, column.map_err(failed)?)))
        };
        schema.fields().iter().enumerate().map(column).collect()
    }
}

impl ArrowStream {
    fn take(&self) -> PyResult<(SchemaRef, Vec<RecordBatch>)> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.take().ok_or_else(|| PyValueError::new_err("the stream was taken already"))
    }

    fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self { table: Mutex::new(Some((schema, batches))) }
    }
}

/// A file, a line in it and what is to be said of that.
type Example = (OsString, u64, &'static str);

/// What a reader saw beside the rows it gave.
#[pyclass(frozen, get_all, module = "codex_obs._core")]
pub struct Report {
    rows: u64,
    lines: u64,
    skipped: u64,
    skipped_examples: Vec<Example>,
    faulty_fields: u64,
    valueless_rows: u64,
    fault_examples: Vec<Example>,
    files: u64,
    unread_files: u64,
    unread_examples: Vec<OsString>,
    journals: Vec<(OsString, String)>,
    notes: Vec<String>,
    recovered: u64,
    retired: u64,
    superseded: u64,
}

impl Report {
    /// What a reader saw, in words.
    pub fn new(py: Python<'_>, report: scan::Report) -> Self {
        let skipped = report.examples.into_iter().map(|(path, line, why)| (path.into_os_string(), line, why.words()));
        let faults = report.faults.into_iter().map(|(path, line, fault)| (path.into_os_string(), line, fault.words()));
        let journals = report.journals.into_iter().map(|(path, why)| (path.into_os_string(), in_words(py, why)));
        Self {
            rows: report.rows,
            lines: report.lines,
            skipped: report.skipped,
            skipped_examples: skipped.collect(),
            faulty_fields: report.faulty_fields,
            valueless_rows: report.valueless_rows,
            fault_examples: faults.collect(),
            files: report.files,
            unread_files: report.unread_files,
            unread_examples: report.unread.into_iter().map(PathBuf::into_os_string).collect(),
            journals: journals.collect(),
            notes: report.notes,
            recovered: report.recovered,
            retired: report.retired,
            superseded: report.superseded,
        }
    }
}

/// One row a group of the run in `paths`: one run directory, or files of one. `progress` is called now and then with the
/// bytes done and all bytes; what it raises ends the work.
#[pyfunction]
#[pyo3(signature = (paths, *, superseded = false, progress = None))]
pub fn summarize(
    py: Python<'_>,
    paths: Vec<PathBuf>,
    superseded: bool,
    progress: Option<Py<PyAny>>,
) -> PyResult<(ArrowStream, Report)> {
    let (batch, report) =
        interruptible(py, progress.as_ref(), |tick| reading::summarize(&paths, superseded, &Clock::System, tick))?;
    Ok((ArrowStream::new(summary::schema(), vec![batch]), Report::new(py, report)))
}

/// Every row of the run in `paths`, in order of position.
#[pyfunction]
#[pyo3(signature = (paths, *, superseded = false))]
pub fn read_rows(py: Python<'_>, paths: Vec<PathBuf>, superseded: bool) -> PyResult<(ArrowStream, Report)> {
    let (batches, report) =
        interruptible(py, None, |tick| reading::read_rows(&paths, superseded, &Clock::System, tick))?;
    Ok((ArrowStream::new(rows::schema(), batches), Report::new(py, report)))
}

/// Every structured value of the run in `paths`, in order of position.
#[pyfunction]
pub fn read_payloads(py: Python<'_>, paths: Vec<PathBuf>) -> PyResult<(ArrowStream, Report)> {
    let (batches, report) = interruptible(py, None, |tick| reading::read_payloads(&paths, &Clock::System, tick))?;
    Ok((ArrowStream::new(rows::payloads::schema(), batches), Report::new(py, report)))
}

/// The rows of runs, page by page.
#[pyclass(frozen, module = "codex_obs._core")]
pub struct RowPages {
    pages: Mutex<reading::RowPages>,
}

/// Every row of the runs in `paths`, in order of position, page by page.
#[pyfunction]
#[pyo3(signature = (paths, *, superseded = false))]
pub fn page_rows(py: Python<'_>, paths: Vec<PathBuf>, superseded: bool) -> PyResult<RowPages> {
    let pages = interruptible(py, None, |tick| reading::RowPages::open(&paths, superseded, &Clock::System, tick))?;
    Ok(RowPages { pages: Mutex::new(pages) })
}

#[pymethods]
impl RowPages {
    /// The next page, and what the reader saw since the one before; None behind the last.
    fn take(&self, py: Python<'_>) -> PyResult<Option<(ArrowStream, Report)>> {
        let page =
            interruptible(py, None, |tick| self.pages.lock().unwrap_or_else(PoisonError::into_inner).next(tick))?;
        Ok(page.map(|(batches, report)| (ArrowStream::new(rows::schema(), batches), Report::new(py, report))))
    }
}

/// Works without the interpreter, but looks for signals now and then; what a handler raises ends the work.
pub(crate) fn interruptible<T: Send>(
    py: Python<'_>,
    progress: Option<&Py<PyAny>>,
    work: impl FnOnce(Tick<'_>) -> codex_obs_core::Result<T> + Send,
) -> PyResult<T> {
    let (outcome, raised) = py.detach(|| {
        let mut raised = None;
        let outcome = work(&mut |Progress { done, total }| {
            // Asked again while threads are stopping: what was raised first stays.
            if raised.is_none() {
                raised = Python::attach(|py| {
                    py.check_signals()?;
                    progress
                        .filter(|_| total > 0)
                        .map_or(Ok(()), |progress| progress.call1(py, (done, total)).map(drop))
                })
                .err();
            }
            raised.is_none()
        });
        (outcome, raised)
    });
    match raised {
        Some(error) => Err(error),
        None => outcome.map_err(|error| to_python(py, &error)),
    }
}
