//! Canonical JSON that fits into the journal.

use codex_obs_core::limits;
use codex_obs_core::record::Damage;
use pyo3::prelude::*;

use crate::convert;

/// Canonical JSON of a value; what would be too long for the journal is replaced by its length.
pub fn json(value: &Bound<'_, PyAny>, damage: &mut Damage) -> Vec<u8> {
    let mut bytes = Vec::new();
    convert::json::push_json(value, &mut bytes, damage);
    if bytes.len() > limits::MAX_PAYLOAD_BYTES {
        damage.payloads_cut += 1;
        return format!(r#"{{"truncated_bytes":{}}}"#, bytes.len()).into_bytes();
    }
    bytes
}
