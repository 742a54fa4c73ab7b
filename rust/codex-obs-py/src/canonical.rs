//! Canonical JSON for what lies outside a run.

use codex_obs_core::record::Damage;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sha2::{Digest, Sha256};

use crate::convert::{json, take_interrupt};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Any object as the JSON text that parameters, payloads and tags are written in.
#[pyfunction]
pub fn canonical_json<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(value.py(), &canonical(value)?))
}

/// SHA-256 of a configuration's canonical JSON, in hexadecimal: equal for equal configurations, whatever their order.
#[pyfunction]
pub fn config_hash(config: &Bound<'_, PyAny>) -> PyResult<String> {
    let digest = Sha256::digest(canonical(config)?);
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    Ok(digits.map(|digit| char::from(HEX[usize::from(digit)])).collect())
}

fn canonical(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let mut out = Vec::new();
    json::push_json(value, &mut out, &mut Damage::default());
    take_interrupt().map_or(Ok(out), Err)
}
