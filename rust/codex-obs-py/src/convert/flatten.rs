//! Mappings of numbers as metrics of their own.

use codex_obs_core::limits::MAX_DEPTH;
use codex_obs_core::record::Damage;
use pyo3::prelude::*;

use super::interrupt::swallow;
use super::json::key_text;
use super::kind::is_mapping;
use super::mapping::pairs;
use super::scalar::{Scalar, scalar};

/// A metric with what became of its value: the number, or the class of the exception that its conversion raised.
pub(super) type Leaf = (String, Result<Scalar, String>);

/// The leaves of `mapping`, named by `name` and their keys joined with `/`, in its order; `None` if there are none or one is
/// structured.
///
/// # Errors
///
/// What the mappings raise; a leaf that raises is one of the leaves.
pub(super) fn leaves(name: &str, mapping: &Bound<'_, PyAny>, damage: &mut Damage) -> PyResult<Option<Vec<Leaf>>> {
    let mut leaves = Vec::new();
    let complete = collect(name, mapping, &mut Vec::new(), &mut leaves, damage)?;
    Ok((complete && !leaves.is_empty()).then_some(leaves))
}

fn collect(
    name: &str,
    mapping: &Bound<'_, PyAny>,
    open: &mut Vec<usize>,
    leaves: &mut Vec<Leaf>,
    damage: &mut Damage,
) -> PyResult<bool> {
    let address = mapping.as_ptr() as usize;
    if open.len() == MAX_DEPTH || open.contains(&address) {
        return Ok(false);
    }
    open.push(address);
    for (key, value) in pairs(mapping, usize::MAX)? {
        let name = format!("{name}/{}", key_text(&key, damage));
        match scalar(&value) {
            Ok(Some(scalar)) => leaves.push((name, Ok(scalar))),
            Ok(None) if is_mapping(&value)? => {
                if !collect(&name, &value, open, leaves, damage)? {
                    return Ok(false);
                }
            }
            Ok(None) => return Ok(false),
            Err(error) => leaves.push((name, Err(swallow(value.py(), error)))),
        }
    }
    open.pop();
    Ok(true)
}
