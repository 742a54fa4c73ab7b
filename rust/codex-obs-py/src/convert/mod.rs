//! Python values become records here. Strangers' code may run at almost every line (`__float__`, `items`, `__str__`), and it
//! may log, raise, fork or change the very mapping that is being read: nothing is locked or borrowed across such a call,
//! and mappings are read from a copy of their items as soon as one of them is no plain number.

mod array;
mod event;
mod flatten;
mod integer;
mod interrupt;
pub mod json;
mod kind;
mod known_tags;
mod manifest_id;
mod mapping;
mod numpy;
mod output;
mod plain;
mod scalar;
mod shape;
mod split;
mod step;
mod structured;
mod tags;
mod text;
mod timestamp;

use std::borrow::Cow;

use codex_obs_core::journal::frame::FrameBuilder;
use codex_obs_core::record::Damage;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

pub use event::Event;
pub use interrupt::take_interrupt;
pub use known_tags::KnownTags;
pub use plain::number;
pub use split::Split;
pub use step::step;
pub use tags::tags;
pub use text::text;
pub use timestamp::time;

use interrupt::swallow;
use scalar::{Scalar, scalar};
use text::{clean, shortened};

/// How values that are no number are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// They stand in the row, without a manifest line.
    pub legacy: bool,
    /// A mapping whose leaves are numbers becomes a metric for each of them.
    pub flatten: bool,
}

/// Adds a row for each item of `metrics`, in its order, to a builder after its `begin`.
///
/// A value whose conversion raises becomes a row that says so. See [`take_interrupt`] for what to do afterwards.
///
/// # Errors
///
/// `TypeError` if it is no mapping, raises when asked for its items, or has a key that is no text. The builder then holds
/// some of the rows and must be dropped.
pub fn metrics(
    metrics: &Bound<'_, PyAny>,
    builder: &mut FrameBuilder,
    damage: &mut Damage,
    options: Options,
) -> PyResult<()> {
    let mut done = 0;
    if let Ok(dict) = metrics.cast_exact::<PyDict>() {
        done = plain::rows(dict, builder);
        if done == dict.len() {
            return Ok(());
        }
    }
    for (key, value) in mapping::checked_pairs(metrics, "metrics")?.into_iter().skip(done) {
        let name = name(&key, damage)?;
        row(&name, &value, builder, damage, options);
    }
    Ok(())
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

/// Adds the row of one metric, or those of its leaves. `name` is as [`name`] gives it.
pub fn row(name: &str, value: &Bound<'_, PyAny>, builder: &mut FrameBuilder, damage: &mut Damage, options: Options) {
    let added = match scalar(value) {
        Ok(Some(scalar)) => {
            scalar_row(name, scalar, builder);
            Ok(())
        }
        Ok(None) => structured_rows(name, value, builder, damage, options),
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
    builder.unreadable(name, class);
}

/// Adds the row of a structured value, or those of its leaves. Adds nothing if it raises.
fn structured_rows(
    name: &str,
    value: &Bound<'_, PyAny>,
    builder: &mut FrameBuilder,
    damage: &mut Damage,
    options: Options,
) -> PyResult<()> {
    if options.flatten
        && kind::is_mapping(value)?
        && let Some(leaves) = flatten::leaves(name, value, damage)?
    {
        for (name, leaf) in leaves {
            let name = shortened(&name, damage);
            match leaf {
                Ok(scalar) => scalar_row(name, scalar, builder),
                Err(class) => unreadable_row(name, &class, builder, damage),
            }
        }
        return Ok(());
    }
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
