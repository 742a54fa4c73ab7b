//! Mappings as metrics of their own: one for each leaf.

use std::collections::HashMap;

use codex_obs_core::journal::frame::FrameBuilder;
use codex_obs_core::limits::MAX_DEPTH;
use codex_obs_core::record::Damage;
use pyo3::prelude::*;

use super::interrupt::swallow;
use super::key::key_text;
use super::kind::is_mapping;
use super::mapping::items;
use super::scalar::scalar;
use super::text::shortened;
use super::{Options, row, unreadable_row};

/// A value, or the class of the exception that it raised.
type Leaf<'py> = Result<Bound<'py, PyAny>, String>;

/// Adds a row for each leaf, named by the keys above it joined with `/`, in their order. Of metrics that get one name the last
/// counts; the others are counted, and the first such name is given.
pub(super) fn rows<'py>(
    py: Python<'py>,
    named: Vec<(String, PyResult<Bound<'py, PyAny>>)>,
    builder: &mut FrameBuilder,
    damage: &mut Damage,
    options: Options<'_>,
) -> Option<String> {
    let mut leaves = Leaves { found: Vec::new(), open: Vec::new() };
    for (name, value) in named {
        match value {
            Ok(value) => leaves.add(name, value, damage),
            Err(error) => leaves.raised(name, error, py),
        }
    }
    let leaves = leaves.found;
    let last: HashMap<&str, usize> =
        leaves.iter().enumerate().map(|(index, (name, _))| (name.as_str(), index)).collect();
    let mut collided = None;
    for (index, (name, leaf)) in leaves.iter().enumerate() {
        if last[name.as_str()] != index {
            damage.metrics_collided += 1;
            collided.get_or_insert_with(|| name.clone());
            continue;
        }
        match leaf {
            Ok(value) => row(name, value, builder, damage, options),
            Err(class) => unreadable_row(name, class, builder, damage),
        }
    }
    collided
}

struct Leaves<'py> {
    found: Vec<(String, Leaf<'py>)>,
    /// Addresses of the mappings being read.
    open: Vec<usize>,
}

impl<'py> Leaves<'py> {
    /// Adds a value, or its leaves. What is cyclic, too deep or has no member is a leaf itself.
    fn add(&mut self, name: String, value: Bound<'py, PyAny>, damage: &mut Damage) {
        let name = shortened(&name, damage).to_owned();
        match self.inner(&value) {
            Ok(Some(items)) => {
                self.open.push(value.as_ptr() as usize);
                for (key, inner) in items {
                    let name = format!("{name}/{}", key_text(&key, damage));
                    match inner {
                        Ok(inner) => self.add(name, inner, damage),
                        Err(error) => self.raised(name, error, value.py()),
                    }
                }
                self.open.pop();
            }
            Ok(None) => self.found.push((name, Ok(value))),
            Err(error) => self.raised(name, error, value.py()),
        }
    }

    fn raised(&mut self, name: String, error: PyErr, py: Python<'py>) {
        self.found.push((name, Err(swallow(py, error))));
    }

    /// The items of a mapping whose leaves are metrics.
    fn inner(&self, value: &Bound<'py, PyAny>) -> PyResult<Option<Vec<super::mapping::Item<'py>>>> {
        let is_leaf = self.open.len() == MAX_DEPTH || self.open.contains(&(value.as_ptr() as usize));
        if is_leaf || !is_mapping(value)? || scalar(value)?.is_some() {
            return Ok(None);
        }
        Ok(Some(items(value, usize::MAX)?).filter(|items| !items.is_empty()))
    }
}
