//! The extension module `codex_obs._core`.

mod canonical;
mod convert;

use pyo3::pymodule;

#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use crate::canonical::{canonical_json, config_hash};
}
