//! Names of shards.

use std::ffi::OsString;

use codex_obs_core::paths::ShardName;
use codex_obs_core::scan;
use pyo3::prelude::*;

/// Whether a file with this name has rows of a run: a shard, plain or packed, or an archive.
#[pyfunction]
pub fn is_shard(file_name: OsString) -> bool {
    file_name.to_str().is_some_and(scan::is_shard)
}

/// Stream, number and suffix of the coding in the name of a shard of `kind`; None for any other name.
#[pyfunction]
pub fn shard_name(file_name: OsString, kind: &str) -> Option<(String, u64, &'static str)> {
    let name = ShardName::parse(file_name.to_str()?, kind)?;
    Some((name.stream.to_string(), name.number, name.coding.suffix()))
}
