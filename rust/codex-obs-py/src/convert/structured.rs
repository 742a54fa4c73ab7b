//! Descriptors of values that are no number.

use codex_obs_core::encode::number::push_u64;
use codex_obs_core::record::Damage;
use codex_obs_core::record::json_string::push_json_string;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::interrupt::swallow;
use super::json::Writer;
use super::kind::is_mapping;
use super::output::Output;
use super::shape::shape;
use super::text;

/// The descriptor of `value` as canonical JSON.
///
/// `truncated_bytes` is the length of the JSON text that was too long; above 16 MiB it is the least that it can be, or
/// what the array has in memory.
///
/// # Errors
///
/// What the conversion raises.
pub(super) fn descriptor(value: &Bound<'_, PyAny>, damage: &mut Damage) -> PyResult<Vec<u8>> {
    let mut out = vec![b'{'];
    if let Some(path) = path(value, damage) {
        out.extend_from_slice(br#""path":"#);
        push_json_string(&mut out, &path);
        out.push(b',');
    }
    out.extend_from_slice(br#""payload":"#);
    let truncated = payload(value, &mut out, damage)?;
    if truncated.is_some() {
        out.extend_from_slice(b"null");
    }
    if let Some(shape) = shape(value)? {
        out.extend_from_slice(br#","shape":["#);
        for (index, &length) in shape.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            push_u64(&mut out, length);
        }
        out.push(b']');
    }
    if let Some(bytes) = truncated {
        out.extend_from_slice(br#","truncated_bytes":"#);
        push_u64(&mut out, bytes);
    }
    out.extend_from_slice(br#","type":"#);
    push_json_string(&mut out, &text::class_name(&value.get_type(), damage));
    out.extend_from_slice(br#","version":"v1"}"#);
    Ok(out)
}

/// Adds `value` as JSON if it has at most 1 MiB, else adds nothing, counts it and gives its length.
///
/// # Errors
///
/// What the conversion raises.
pub(super) fn payload(value: &Bound<'_, PyAny>, out: &mut Vec<u8>, damage: &mut Damage) -> PyResult<Option<u64>> {
    let mut writer = Writer::new(Output::of_payload(out), damage);
    writer.value(value)?;
    let truncated = writer.out.finish();
    damage.payloads_cut += u64::from(truncated.is_some());
    Ok(truncated)
}

/// Where the payload lies: the value is a path, or a mapping with one as its `path`.
fn path(value: &Bound<'_, PyAny>, damage: &mut Damage) -> Option<String> {
    let py = value.py();
    let found = if is_mapping(value).unwrap_or(false) {
        value
            .get_item(intern!(py, "path"))
            .and_then(|inner| if inner.is_instance_of::<PyString>() { Ok(Some(inner)) } else { of_path(&inner) })
    } else {
        of_path(value)
    };
    match found {
        Ok(path) => Some(text::clean(path?.cast().ok()?, damage).into_owned()),
        Err(error) => {
            // A mapping without a `path` raises `KeyError`; any other trouble shows in the payload.
            swallow(py, error);
            None
        }
    }
}

fn of_path<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let name = intern!(value.py(), "__fspath__");
    if value.get_type().hasattr(name)? { value.call_method0(name).map(Some) } else { Ok(None) }
}
