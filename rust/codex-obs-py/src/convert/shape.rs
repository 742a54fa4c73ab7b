//! Shapes of nested sequences.

use codex_obs_core::limits::MAX_DEPTH;
use pyo3::prelude::*;

use super::array::Array;
use super::kind::{is_builtin, is_mapping, is_sequence};

/// Sequences looked at for one shape. Lists that share their parts can be larger than any memory.
const MAX_SEQUENCES: usize = 1 << 20;

/// The shape of an array or of nested sequences; `None` for anything else.
///
/// Of sequences it has a length for each level on which all are equally long, so that a ragged one gives its leading
/// lengths. Arrays inside sequences add their own shape if all have the same.
pub(super) fn shape(value: &Bound<'_, PyAny>) -> PyResult<Option<Vec<u64>>> {
    let mut lengths = match level(value)? {
        None => return Ok(None),
        Some(Level::Array(shape)) => return Ok(Some(shape)),
        Some(Level::Sequence(length)) => vec![length],
    };
    let mut sequences = vec![value.clone()];
    while lengths.len() < MAX_DEPTH {
        let Some(inner) = elements(&sequences, lengths[lengths.len() - 1])? else { break };
        let Some(first) = level(&inner[0])? else { break };
        for other in &inner[1..] {
            if level(other)?.as_ref() != Some(&first) {
                return Ok(Some(lengths));
            }
        }
        match first {
            Level::Array(shape) => {
                lengths.extend(shape);
                break;
            }
            Level::Sequence(length) => lengths.push(length),
        }
        sequences = inner;
    }
    Ok(Some(lengths))
}

#[derive(PartialEq, Eq)]
enum Level {
    Sequence(u64),
    Array(Vec<u64>),
}

fn level(value: &Bound<'_, PyAny>) -> PyResult<Option<Level>> {
    if is_sequence(value)? {
        return Ok(Some(Level::Sequence(value.len()? as u64)));
    }
    if is_builtin(value) || value.is_none() || is_mapping(value)? {
        return Ok(None);
    }
    Ok(Array::of(value)?.map(|array| Level::Array(array.shape)))
}

/// All elements of sequences of this length, if the first of them can have a length and there are not too many.
fn elements<'py>(sequences: &[Bound<'py, PyAny>], length: u64) -> PyResult<Option<Vec<Bound<'py, PyAny>>>> {
    if length == 0 || level(&sequences[0].get_item(0)?)?.is_none() {
        return Ok(None);
    }
    if sequences.len().saturating_mul(length as usize) > MAX_SEQUENCES {
        return Ok(None);
    }
    let mut inner = Vec::with_capacity(sequences.len() * length as usize);
    for sequence in sequences {
        for element in sequence.try_iter()?.take(length as usize) {
            inner.push(element?);
        }
    }
    Ok((!inner.is_empty()).then_some(inner))
}
