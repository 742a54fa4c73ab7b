//! `copy_artifact`: a file or a folder into the run directory.

use std::path::{Path, PathBuf};

use codex_obs_core::{artifact, paths};
use pyo3::prelude::*;

use crate::error::to_python;

/// Copy a file or a folder to the artifacts of a run. Gives what was left out.
#[pyfunction]
#[pyo3(signature = (directory, source, name = None, *, mode))]
pub fn copy_artifact(
    py: Python<'_>,
    directory: PathBuf,
    source: PathBuf,
    name: Option<PathBuf>,
    mode: u32,
) -> PyResult<Vec<PathBuf>> {
    let copy = || artifact::copy(&directory, &source, name.as_deref().map(Path::new), mode);
    py.detach(copy).map_err(|error| to_python(py, &error))
}

/// The file that says which artifacts of a run a destination has.
#[pyfunction]
pub fn artifact_notes_path(directory: PathBuf, address: &str) -> PathBuf {
    paths::artifact_notes_path(&directory, address)
}
