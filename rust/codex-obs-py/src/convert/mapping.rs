//! Mappings as pairs.

use codex_obs_core::record::Damage;
use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::kind::is_mapping_like;
use super::text::class_name;

/// A key with its value.
pub(super) type Pair<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

/// The pairs of a mapping as they are now, in its order; at most `most` of them.
///
/// What the caller does with them may change the mapping.
pub(super) fn pairs<'py>(mapping: &Bound<'py, PyAny>, most: usize) -> PyResult<Vec<Pair<'py>>> {
    let py = mapping.py();
    if let Ok(dict) = mapping.cast_exact::<PyDict>() {
        return Ok(dict.iter().take(most).collect());
    }
    if mapping.get_type().hasattr(intern!(py, "items"))? {
        return mapping
            .call_method0(intern!(py, "items"))?
            .try_iter()?
            .take(most)
            .map(|item| item?.extract())
            .collect();
    }
    let keys = mapping.call_method0(intern!(py, "keys"))?.try_iter()?.take(most);
    keys.map(|key| key.and_then(|key| mapping.get_item(&key).map(|value| (key, value)))).collect()
}

/// The pairs of the argument `name`, all of them.
///
/// # Errors
///
/// `TypeError` if it is no mapping or raises when asked for its items.
pub(super) fn checked_pairs<'py>(argument: &Bound<'py, PyAny>, name: &str) -> PyResult<Vec<Pair<'py>>> {
    let py = argument.py();
    let found =
        is_mapping_like(argument).and_then(|is| if is { pairs(argument, usize::MAX).map(Some) } else { Ok(None) });
    let class = || class_name(&argument.get_type(), &mut Damage::default());
    match found {
        Ok(Some(pairs)) => Ok(pairs),
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
