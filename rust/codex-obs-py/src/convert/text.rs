//! Python text as UTF-8.

use std::borrow::Cow;

use codex_obs_core::record::{Damage, text::cut};
use pyo3::PyTypeInfo;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyType};

use super::interrupt::swallow;

/// A split or dataset: text as it is, anything else as `str()` gives it, at most 4 KiB.
///
/// Lone surrogates become U+FFFD; what is longer is cut at a character; where `str()` raises, the value's class stands in
/// angle brackets. All of it is counted in `damage`.
pub fn text<'a>(value: &'a Bound<'_, PyAny>, damage: &mut Damage, buffer: &'a mut String) -> &'a str {
    let whole =
        if let Ok(text) = value.cast::<PyString>() { clean(text, damage) } else { Cow::Owned(shown(value, damage)) };
    let whole = match whole {
        Cow::Borrowed(text) => text,
        Cow::Owned(text) => {
            *buffer = text;
            buffer
        }
    };
    shortened(whole, damage)
}

/// The text itself if it is valid, else with surrogate pairs joined and lone surrogates replaced, which counts.
#[inline]
pub(super) fn clean<'a>(text: &'a Bound<'_, PyString>, damage: &mut Damage) -> Cow<'a, str> {
    match text.to_str() {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(repaired(text, damage)),
    }
}

/// At most 4 KiB of `text`; a cut counts.
#[inline]
pub(super) fn shortened<'a>(text: &'a str, damage: &mut Damage) -> &'a str {
    let (short, was_cut) = cut(text);
    damage.texts_cut += u64::from(was_cut);
    short
}

/// `str(value)`, or its class in angle brackets where that raises, which counts.
pub(super) fn shown(value: &Bound<'_, PyAny>, damage: &mut Damage) -> String {
    match value.str() {
        Ok(text) => clean(&text, damage).into_owned(),
        Err(error) => {
            swallow(value.py(), error);
            damage.nodes_nulled += 1;
            format!("<{}>", class_name(&value.get_type(), damage))
        }
    }
}

/// The bare name of a class.
pub(super) fn class_name(class: &Bound<'_, PyType>, damage: &mut Damage) -> String {
    // A metaclass may hide `__name__` behind code of its own.
    class.name().map_or_else(|_| "object".to_owned(), |name| shortened(&clean(&name, damage), damage).to_owned())
}

#[cold]
fn repaired(text: &Bound<'_, PyString>, damage: &mut Damage) -> String {
    let py = text.py();
    // Through the type, so that a subclass cannot put an `encode` of its own in the way.
    let encoded = PyString::type_object(py)
        .getattr(intern!(py, "encode"))
        .and_then(|encode| encode.call1((text, intern!(py, "utf-16-le"), intern!(py, "surrogatepass"))));
    let bytes = encoded.ok().and_then(|encoded| encoded.cast_into::<PyBytes>().ok());
    let units = bytes.iter().flat_map(|bytes| bytes.as_bytes().chunks_exact(2));
    char::decode_utf16(units.map(|unit| u16::from_le_bytes([unit[0], unit[1]])))
        .map(|unit| {
            unit.unwrap_or_else(|_| {
                damage.surrogates_replaced += 1;
                char::REPLACEMENT_CHARACTER
            })
        })
        .collect()
}
