//! `recover`: dead writers' rows back into the files.

use std::path::PathBuf;

use codex_obs_core::session::recover_directory;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::to_python;

/// Brings back what dead writers of a run left in their journals, also those of other machines if `foreign`.
#[pyfunction]
#[pyo3(signature = (directory, *, foreign = false))]
pub fn recover(py: Python<'_>, directory: PathBuf, foreign: bool) -> PyResult<Bound<'_, PyDict>> {
    let recovered = py.detach(|| recover_directory(&directory, foreign)).map_err(|error| to_python(py, &error))?;
    let counts = PyDict::new(py);
    for (name, count) in recovered.counts() {
        counts.set_item(name, count)?;
    }
    Ok(counts)
}
