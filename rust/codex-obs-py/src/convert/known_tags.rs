//! The tags of the last call, written out once while the same texts and numbers come again.

use std::ptr;

use codex_obs_core::encode::trim::Cuts;
use codex_obs_core::record::Tags;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::critical_section::with_critical_section;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyString};

use super::mapping::Pair;

/// Tags of more members are written anew each time.
const MAX_MEMBERS: usize = 16;
/// As are tags of more text.
const MAX_TEXT_BYTES: usize = 4096;

/// Tags with the objects that they were made from.
///
/// Only texts, numbers, booleans and None of exactly Python's own classes are kept. They never change, and as long as they
/// are held here no other object has their address: a dict of the same objects in the same order has the same tags.
#[derive(Debug, Default)]
pub struct KnownTags {
    tags: Tags,
    /// What of them had to be cut.
    pub(super) cuts: Cuts,
    members: Vec<(Py<PyAny>, Py<PyAny>)>,
}

impl KnownTags {
    /// The tags of `dict`, if they are those kept here.
    #[inline]
    pub(super) fn of(&self, dict: &Bound<'_, PyDict>) -> Option<&Tags> {
        let is_known = !self.members.is_empty() && dict.len() == self.members.len() && self.has_members_of(dict);
        is_known.then_some(&self.tags)
    }

    fn has_members_of(&self, dict: &Bound<'_, PyDict>) -> bool {
        with_critical_section(dict, || {
            let (mut position, mut key, mut value) = (0, ptr::null_mut(), ptr::null_mut());
            self.members.iter().all(|member| {
                // SAFETY: `dict` is a dict, and nothing here changes it between two calls.
                let found = unsafe { ffi::PyDict_Next(dict.as_ptr(), &raw mut position, &raw mut key, &raw mut value) };
                found != 0 && key == member.0.as_ptr() && value == member.1.as_ptr()
            })
        })
    }

    /// The tags, to be made anew by [`set`](Self::set).
    pub(super) fn forget(&mut self) -> &mut Tags {
        self.members.clear();
        self.cuts = Cuts::default();
        self.tags.clear();
        &mut self.tags
    }

    /// Keeps the tags just made of `pairs`, of which nothing had to be changed, for the next call if they are sure to be the
    /// same then.
    pub(super) fn keep(&mut self, pairs: &[Pair<'_>]) {
        let is_small = pairs.len() <= MAX_MEMBERS && self.tags.text.len() <= MAX_TEXT_BYTES;
        if is_small && pairs.iter().all(|(key, value)| is_text(key) && never_changes(value)) {
            self.members.extend(pairs.iter().map(|(key, value)| (key.clone().unbind(), value.clone().unbind())));
        }
    }

    /// Where the first tag that had to be cut stands.
    pub fn first_cut(&self) -> Option<&str> {
        self.cuts.paths.first().map(String::as_str)
    }

    /// The tags as they are.
    pub(super) fn get(&self) -> &Tags {
        &self.tags
    }
}

fn is_text(object: &Bound<'_, PyAny>) -> bool {
    object.is_exact_instance_of::<PyString>()
}

fn never_changes(object: &Bound<'_, PyAny>) -> bool {
    is_text(object)
        || object.is_exact_instance_of::<PyFloat>()
        || object.is_exact_instance_of::<PyInt>()
        || object.is_exact_instance_of::<PyBool>()
        || object.is_none()
}
