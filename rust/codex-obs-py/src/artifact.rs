//! Artifacts: copied into the run directory, and which of them a destination has.

use std::path::{Path, PathBuf};

use codex_obs_core::artifact;
use codex_obs_core::follow::artifacts::{self as following, Artifact};
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

/// Name, path, bytes and time of the last change in nanoseconds.
type Facts = (String, PathBuf, u64, i64);

/// The artifacts of a run, in order of their names: all, or those that the destination at `address` does not have as they are now.
#[pyfunction]
pub fn artifacts(py: Python<'_>, directory: PathBuf, address: Option<&str>) -> PyResult<Vec<Facts>> {
    let found = py.detach(|| match address {
        Some(address) => following::pending(&directory, address),
        None => following::all(&directory),
    });
    let facts = |Artifact { name, path, size, mtime_ns }: Artifact| (name, path, size, mtime_ns);
    Ok(found.map_err(|error| to_python(py, &error))?.into_iter().map(facts).collect())
}

/// Notes that the destination at `address` has artifacts.
#[pyfunction]
pub fn note_artifacts(py: Python<'_>, directory: PathBuf, address: &str, artifacts: Vec<Facts>) -> PyResult<()> {
    let artifact = |(name, path, size, mtime_ns)| Artifact { name, path, size, mtime_ns };
    let artifacts: Vec<Artifact> = artifacts.into_iter().map(artifact).collect();
    following::note(&directory, address, &artifacts).map_err(|error| to_python(py, &error))
}
