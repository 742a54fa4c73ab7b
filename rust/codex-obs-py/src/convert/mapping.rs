//! Mappings as pairs.

use codex_obs_core::record::Damage;
use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::interrupt::swallow;
use super::kind::is_mapping_like;
use super::text::class_name;

/// Keys that are read of an object that does not tell how many it has.
const MAX_UNCOUNTED: usize = 1 << 16;

/// A key with its value.
pub(super) type Pair<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

/// A key with its value, or what was raised instead.
pub(super) type Item<'py> = (Bound<'py, PyAny>, PyResult<Bound<'py, PyAny>>);

/// The items of a mapping as they are now, in its order; at most `most` of them. One that cannot be read costs only itself.
///
/// What the caller does with them may change the mapping.
///
/// # Errors
///
/// What it raises when asked for its keys.
pub(super) fn items<'py>(mapping: &Bound<'py, PyAny>, most: usize) -> PyResult<Vec<Item<'py>>> {
    let py = mapping.py();
    if let Ok(dict) = mapping.cast_exact::<PyDict>() {
        return Ok(dict.iter().take(most).map(|(key, value)| (key, Ok(value))).collect());
    }
    if mapping.get_type().hasattr(intern!(py, "items"))? {
        match whole_items(mapping, most) {
            Ok(items) => return Ok(items),
            // A key that has no value, say: one after the other then. Ctrl-C is handed on later.
            Err(error) => drop(swallow(py, error)),
        }
    }
    let keys = mapping.call_method0(intern!(py, "keys"))?;
    // Keys without a number may have no end.
    let number = if keys.get_type().hasattr(intern!(py, "__len__"))? { keys.len()? } else { MAX_UNCOUNTED };
    let mut items: Vec<Item<'py>> = Vec::new();
    for key in keys.try_iter()?.take(most.min(number)) {
        let key = key?;
        if items.last().is_some_and(|(last, _)| last.is(&key)) {
            break;
        }
        let value = mapping.get_item(&key);
        items.push((key, value));
    }
    Ok(items)
}

fn whole_items<'py>(mapping: &Bound<'py, PyAny>, most: usize) -> PyResult<Vec<Item<'py>>> {
    let items = mapping.call_method0(intern!(mapping.py(), "items"))?.try_iter()?.take(most);
    items.map(|item| item?.extract().map(|(key, value)| (key, Ok(value)))).collect()
}

/// The same with null, which counts, for a value that cannot be read.
pub(super) fn pairs<'py>(mapping: &Bound<'py, PyAny>, most: usize, damage: &mut Damage) -> PyResult<Vec<Pair<'py>>> {
    Ok(readable(items(mapping, most)?, mapping.py(), damage))
}

/// Items with null, which counts, for a value that cannot be read.
pub(super) fn readable<'py>(items: Vec<Item<'py>>, py: Python<'py>, damage: &mut Damage) -> Vec<Pair<'py>> {
    let value = |value: PyResult<Bound<'py, PyAny>>| {
        value.unwrap_or_else(|error| {
            swallow(py, error);
            damage.nodes_nulled += 1;
            py.None().into_bound(py)
        })
    };
    items
        .into_iter()
        .map({
            let mut value = value;
            move |(key, found)| (key, value(found))
        })
        .collect()
}

/// The items of the argument `name`, all of them.
///
/// # Errors
///
/// `TypeError` if it is no mapping or raises when asked for its keys.
pub(super) fn checked_items<'py>(argument: &Bound<'py, PyAny>, name: &str) -> PyResult<Vec<Item<'py>>> {
    let py = argument.py();
    let found =
        is_mapping_like(argument).and_then(|is| if is { items(argument, usize::MAX).map(Some) } else { Ok(None) });
    let class = || class_name(&argument.get_type(), &mut Damage::default());
    match found {
        Ok(Some(items)) => Ok(items),
        Ok(None) => Err(PyTypeError::new_err(format!("{name} must be a mapping, not {}", class()))),
        Err(error) if error.is_instance_of::<PyException>(py) => {
            let raised = PyTypeError::new_err(format!(
                "{name} must be a mapping, and the items of this {} cannot be read",
                class()
            ));
            raised.set_cause(py, Some(error));
            Err(raised)
        }
        Err(error) => Err(error),
    }
}
