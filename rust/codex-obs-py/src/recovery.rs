//! `recover`: dead writers' rows back into the files.

use std::path::PathBuf;

use codex_obs_core::artifact;
use codex_obs_core::recovery::run::recover_directory;
use codex_obs_core::session::pack_directory;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::to_python;

/// Brings back what dead writers of a run left in their journals, also those of other machines if `foreign`, and packs
/// the old shards that they left to be packed.
#[pyfunction]
#[pyo3(signature = (directory, *, foreign = false))]
pub fn recover(py: Python<'_>, directory: PathBuf, foreign: bool) -> PyResult<Bound<'_, PyDict>> {
    let recover = || {
        let recovered = recover_directory(&directory, foreign)?;
        // What cannot be packed stays plain, which loses nothing: the next writer says why.
        let _ = pack_directory(&directory);
        artifact::clean(&directory);
        Ok(recovered)
    };
    let recovered = py.detach(recover).map_err(|error| to_python(py, &error))?;
    let counts = PyDict::new(py);
    for (name, count) in recovered.counts() {
        counts.set_item(name, count)?;
    }
    Ok(counts)
}
