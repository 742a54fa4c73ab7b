//! Python values become records here. Strangers' code may run at almost every line (`__float__`, `items`, `__str__`), and it
//! may log, raise, fork or change the very mapping that is being read: nothing is locked or borrowed across such a call,
//! and mappings are read from a copy of their items as soon as one of them is no plain number.

mod array;
mod event;
mod flatten;
mod frame;
mod integer;
mod interrupt;
pub mod json;
mod key;
mod kind;
mod known_classes;
mod known_tags;
mod manifest_id;
mod mapping;
mod numpy;
pub mod object;
mod output;
mod pending;
mod plain;
mod scalar;
mod shape;
mod split;
pub mod step;
mod structured;
mod tags;
mod text;
mod timestamp;
mod unread;

use std::borrow::Cow;

use codex_obs_core::journal::frame::FrameBuilder;
use codex_obs_core::record::Damage;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

pub use event::Event;
pub use interrupt::{hand_on, swallow, take_interrupt};
pub use known_tags::KnownTags;
pub use pending::{Deferral, PendingValues, is_ready};
pub use plain::number;
pub use split::Split;
pub use step::step;
pub use tags::tags;
pub use text::text;
pub use timestamp::time;
pub use unread::{Unread, take_unread};

use scalar::{Scalar, scalar};
use text::{clean, shortened};

/// How values that are no number are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// They stand in the row, without a manifest line.
    pub legacy: bool,
    /// A mapping becomes a metric for each of its leaves.
    pub flatten: bool,
    /// Values that do not exist yet are put aside, and have no row.
    pub deferral: Option<Deferral<'a>>,
}

/// Adds a row for each item of `metrics`, in its order, to a builder after its `begin`. Gives the first name that several
/// metrics got by `flatten`, of which the last counts.
///
/// A value whose conversion raises becomes a row that says so. See [`take_interrupt`] for what to do afterwards.
///
/// # Errors
///
/// `TypeError` if it is no mapping, raises when asked for its keys, or has a key that is no text. The builder then holds
/// some of the rows and must be dropped.
pub fn metrics(
    metrics: &Bound<'_, PyAny>,
    builder: &mut FrameBuilder,
    damage: &mut Damage,
    options: Options<'_>,
) -> PyResult<Option<String>> {
    let mut done = 0;
    if let Ok(dict) = metrics.cast_exact::<PyDict>()
        && (!options.flatten || plain::is_all(dict))
    {
        done = plain::rows(dict, builder);
        if done == dict.len() {
            return Ok(None);
        }
    }
    let items = mapping::checked_items(metrics, "metrics")?.into_iter().skip(done);
    if options.flatten {
        let named =
            items.map(|(key, value)| Ok((name(&key, damage)?.into_owned(), value))).collect::<PyResult<Vec<_>>>()?;
        return Ok(flatten::rows(metrics.py(), named, builder, damage, options));
    }
    for (key, value) in items {
        let name = name(&key, damage)?;
        match value {
            Ok(value) => row(&name, &value, builder, damage, options),
            Err(error) => unreadable_row(&name, &swallow(metrics.py(), error), builder, damage),
        }
    }
    Ok(None)
}

/// As [`metrics`], for names that are as [`name`] gives them.
pub fn rows<'py>(
    py: Python<'py>,
    named: impl Iterator<Item = (&'py str, Bound<'py, PyAny>)>,
    builder: &mut FrameBuilder,
    damage: &mut Damage,
    options: Options<'_>,
) -> Option<String> {
    if options.flatten {
        let named = named.map(|(name, value)| (name.to_owned(), Ok(value))).collect();
        return flatten::rows(py, named, builder, damage, options);
    }
    for (name, value) in named {
        row(name, &value, builder, damage, options);
    }
    None
}

/// The name of a metric as it is written: valid text of at most 4 KiB.
///
/// # Errors
///
/// `TypeError` if `key` is no text.
pub fn name<'a>(key: &'a Bound<'_, PyAny>, damage: &mut Damage) -> PyResult<Cow<'a, str>> {
    let Ok(text) = key.cast::<PyString>() else {
        return Err(wrong_name(key));
    };
    Ok(match clean(text, damage) {
        Cow::Borrowed(text) => Cow::Borrowed(shortened(text, damage)),
        Cow::Owned(text) => Cow::Owned(shortened(&text, damage).to_owned()),
    })
}

/// Adds the row of one metric. `name` is as [`name`] gives it.
pub fn row(
    name: &str,
    value: &Bound<'_, PyAny>,
    builder: &mut FrameBuilder,
    damage: &mut Damage,
    options: Options<'_>,
) {
    if options.deferral.is_some_and(|deferral| deferral.takes(name, value)) {
        return;
    }
    let added = match scalar(value) {
        Ok(Some(scalar)) => {
            scalar_row(name, scalar, builder);
            Ok(())
        }
        Ok(None) => structured_row(name, value, builder, damage, options),
        Err(error) => Err(error),
    };
    if let Err(error) = added {
        unreadable_row(name, &swallow(value.py(), error), builder, damage);
    }
}

fn scalar_row(name: &str, scalar: Scalar, builder: &mut FrameBuilder) {
    match scalar {
        Scalar::Float(number) => builder.float(name, number),
        Scalar::Bool(flag) => builder.boolean(name, flag),
        Scalar::Null => builder.null(name),
    }
}

fn unreadable_row(name: &str, class: &str, builder: &mut FrameBuilder, damage: &mut Damage) {
    damage.values_unreadable += 1;
    unread::note(name, class);
    builder.unreadable(name, class);
}

/// Adds the row of a structured value. Adds nothing if it raises.
fn structured_row(
    name: &str,
    value: &Bound<'_, PyAny>,
    builder: &mut FrameBuilder,
    damage: &mut Damage,
    options: Options<'_>,
) -> PyResult<()> {
    if options.legacy {
        let mut payload = Vec::new();
        match structured::payload(value, &mut payload, damage)? {
            None => builder.inline(name, &payload),
            Some(_) => builder.null(name),
        }
    } else {
        let descriptor = structured::descriptor(value, damage)?;
        builder.structured(name, manifest_id::new()?, &descriptor);
    }
    Ok(())
}

fn wrong_name(key: &Bound<'_, PyAny>) -> PyErr {
    let mut shown = key.repr().map_or_else(|_| "an object".to_owned(), |repr| repr.to_string_lossy().into_owned());
    if shown.chars().count() > 80 {
        shown = shown.chars().take(79).chain(['…']).collect();
    }
    let class = text::class_name(&key.get_type(), &mut Damage::default());
    PyTypeError::new_err(format!("metric names must be text, not {class}: {shown}"))
}
