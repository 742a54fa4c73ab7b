//! The arguments of `event`: numbers become rows, what remains becomes tags.

use codex_obs_core::journal::frame::FrameBuilder;
use codex_obs_core::record::event::{BARE_METRIC, CATEGORY_TAG, Category, MESSAGE_TAG, Role, STEP_FIELDS};
use codex_obs_core::record::{Damage, Tags};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::array::Array;
use super::interrupt::swallow;
use super::kind::is_number_like;
use super::known_tags::KnownTags;
use super::mapping::Pair;
use super::scalar::{Scalar, scalar};
use super::step::step_of;
use super::{Deferral, name, tags, text, unreadable_row};

/// The rows of an event: each is a number, or says what the conversion raised.
pub struct Event {
    /// The step, if a field tells it.
    pub step: Option<i64>,
    /// Where it happened, which is the split of the rows.
    pub category: Category,
    numbers: Vec<(String, Result<f64, String>)>,
    /// Whether there are numbers that do not exist yet.
    is_deferred: bool,
}

/// What becomes tags.
pub struct Facts<'py> {
    pairs: Vec<Pair<'py>>,
}

impl Event {
    /// Sorts the fields of an event. They are read from a copy, since each of them may run code of its own.
    ///
    /// # Errors
    ///
    /// `TypeError` if the field that tells the step is no integer or the name of a field no text, `ValueError` if the step is
    /// outside 64 bits.
    pub fn new<'py>(
        category: &Bound<'py, PyAny>,
        message: Option<&Bound<'py, PyAny>>,
        fields: Option<&Bound<'py, PyDict>>,
        damage: &mut Damage,
        deferral: Option<Deferral<'_>>,
    ) -> PyResult<(Self, Facts<'py>)> {
        let py = category.py();
        let mut pairs: Vec<Pair<'py>> = fields.map(|fields| fields.iter().collect()).unwrap_or_default();
        let (step, others) = take_step(&mut pairs)?;

        let mut buffer = String::new();
        let spelling = text(category, damage, &mut buffer);
        let known = Category::parse(spelling);
        let text = |text| PyString::new(py, text).into_any();
        let mut facts = Vec::new();
        facts.extend(message.map(|message| (text(MESSAGE_TAG), message.clone())));
        facts.extend(known.is_none().then(|| (text(CATEGORY_TAG), text(spelling))));
        facts.extend(others.into_iter().map(|(field, value)| (text(field), value)));

        let (mut numbers, mut is_deferred) = (Vec::new(), false);
        for (key, value) in pairs {
            if role(&key) == Role::Tag {
                facts.push((key, value));
                continue;
            }
            if let Some(deferral) = deferral
                && let Some(pending) = deferral.pending(&value)
                && is_number(&value)
            {
                deferral.values.borrow_mut().push((name(&key, damage)?.into_owned(), pending.unbind()));
                is_deferred = true;
                continue;
            }
            let number = match scalar(&value) {
                Ok(Some(Scalar::Float(number))) => Ok(number),
                Ok(Some(Scalar::Bool(_) | Scalar::Null) | None) => {
                    facts.push((key, value));
                    continue;
                }
                Err(error) => Err(swallow(py, error)),
            };
            numbers.push((name(&key, damage)?.into_owned(), number));
        }
        let event = Self { step, category: known.unwrap_or_default(), numbers, is_deferred };
        Ok((event, Facts { pairs: facts }))
    }

    /// Adds the rows to a builder after its `begin`: one a number, or the bare one.
    pub fn rows(&self, builder: &mut FrameBuilder, damage: &mut Damage) {
        if self.numbers.is_empty() && !self.is_deferred {
            builder.null(BARE_METRIC);
        }
        for (name, number) in &self.numbers {
            match number {
                Ok(number) => builder.float(name, *number),
                Err(class) => unreadable_row(name, class, builder, damage),
            }
        }
    }
}

/// Whether it is sure to be one number, by what it says of itself without having been computed: booleans become tags.
fn is_number(value: &Bound<'_, PyAny>) -> bool {
    let dtype = || value.getattr(intern!(value.py(), "dtype")).and_then(|dtype| dtype.str());
    match Array::of(value) {
        Ok(Some(array)) => {
            array.elements() == 1 && dtype().is_ok_and(|dtype| !dtype.to_string_lossy().contains("bool"))
        }
        Ok(None) => is_number_like(value).unwrap_or(false),
        Err(_) => false,
    }
}

impl Facts<'_> {
    /// The tags. Of those that are too long together the longest are cut, which counts.
    pub fn tags<'a>(&self, known: &'a mut KnownTags, damage: &mut Damage) -> &'a Tags {
        tags::of_pairs(&self.pairs, known, damage)
    }
}

/// A field that counts the training's progress, and its value.
type Count<'py> = (&'static str, Bound<'py, PyAny>);

/// Takes the fields that tell the step out of `pairs`; gives the first one that is not None, and the others that are not.
fn take_step<'py>(pairs: &mut Vec<Pair<'py>>) -> PyResult<(Option<i64>, Vec<Count<'py>>)> {
    let mut found: [Option<Bound<'py, PyAny>>; STEP_FIELDS.len()] = Default::default();
    pairs.retain(|(key, value)| {
        let Role::Step(rank) = role(key) else { return true };
        found[rank] = Some(value.clone()).filter(|value| !value.is_none());
        false
    });
    let mut counts = STEP_FIELDS.into_iter().zip(found).filter_map(|(field, value)| Some((field, value?)));
    let step = counts.next().map(|(field, value)| step_of(field, &value)).transpose()?;
    Ok((step, counts.collect()))
}

fn role(key: &Bound<'_, PyAny>) -> Role {
    // A name that is no valid text is none of those with a role.
    Role::of(key.cast::<PyString>().ok().and_then(|text| text.to_str().ok()).unwrap_or_default())
}
