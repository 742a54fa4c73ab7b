//! Keys of objects as text.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use codex_obs_core::encode::number::push_f64;
use codex_obs_core::record::{Damage, nonfinite};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt, PyString};

use super::integer::push_int;
use super::kind::bytes;
use super::text::{clean, shown};

/// A key as text, as `json.dumps` makes it; keys that it refuses as base64 or `str()`.
pub(super) fn key_text<'a>(key: &'a Bound<'_, PyAny>, damage: &mut Damage) -> Cow<'a, str> {
    if let Ok(text) = key.cast::<PyString>() {
        return clean(text, damage);
    }
    if let Ok(flag) = key.cast::<PyBool>() {
        return if flag.is_true() { "true" } else { "false" }.into();
    }
    if key.is_none() {
        return "null".into();
    }
    if let Ok(number) = key.cast::<PyFloat>() {
        return float_text(number.value()).into();
    }
    let mut digits = Vec::new();
    if let Ok(number) = key.cast::<PyInt>()
        && push_int(&mut digits, number).is_ok()
    {
        return String::from_utf8_lossy(&digits).into_owned().into();
    }
    match bytes(key) {
        Ok(Some(bytes)) => STANDARD.encode(bytes).into(),
        _ => shown(key, damage).into(),
    }
}

/// Python's `repr` of a float, but `NaN`, `Infinity` and `-Infinity` as JSON libraries write them.
pub(super) fn float_text(number: f64) -> String {
    if !number.is_finite() {
        return nonfinite::word(number).to_owned();
    }
    let mut text = Vec::new();
    push_f64(&mut text, number);
    String::from_utf8_lossy(&text).into_owned()
}
