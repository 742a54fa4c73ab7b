//! Objects that hold named values: mappings, and what configurations are made of. They are recognised by what they can do:
//! no library is imported for it.
//!
//! | object | its members |
//! |---|---|
//! | a `Mapping`, or whatever has `keys` and `__getitem__` (also OmegaConf, ml_collections) | items |
//! | a dataclass, attrs, a msgspec struct | fields |
//! | a pydantic model | what `model_dump` gives, else its fields (as in version 1) |
//! | `argparse.Namespace`, `SimpleNamespace` and classes made from them | `vars` |

use codex_obs_core::record::Damage;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyType};

use super::interrupt::swallow;
use super::kind::is_mapping_like;
use super::mapping::{Item, Pair, items, readable};
use super::text::class_name;

/// The members of `value` if it is such an object; at most `most` of them. One that cannot be read is null and counts.
///
/// # Errors
///
/// What it raises when asked which members it has.
pub(super) fn members<'py>(
    value: &Bound<'py, PyAny>,
    most: usize,
    damage: &mut Damage,
) -> PyResult<Option<Vec<Pair<'py>>>> {
    Ok(found(value, most)?.map(|items| readable(items, value.py(), damage)))
}

/// The members of the argument `name`; none, which counts, if it cannot be asked for them.
///
/// # Errors
///
/// `TypeError` if it is no such object.
pub(super) fn checked_members<'py>(
    argument: &Bound<'py, PyAny>,
    name: &str,
    damage: &mut Damage,
) -> PyResult<Vec<Pair<'py>>> {
    match members(argument, usize::MAX, damage) {
        Ok(Some(members)) => Ok(members),
        Ok(None) => {
            let class = class_name(&argument.get_type(), &mut Damage::default());
            Err(PyTypeError::new_err(format!("{name} must be a mapping, not {class}")))
        }
        Err(error) => {
            swallow(argument.py(), error);
            damage.nodes_nulled += 1;
            Ok(Vec::new())
        }
    }
}

/// Whether `value` is such an object, which `init` takes for parameters and tags.
#[pyfunction]
pub fn is_object(value: &Bound<'_, PyAny>) -> bool {
    // Asking costs little, and an object that raises when asked for its members is one.
    !matches!(found(value, 0), Ok(None))
}

fn found<'py>(value: &Bound<'py, PyAny>, most: usize) -> PyResult<Option<Vec<Item<'py>>>> {
    let (py, class) = (value.py(), value.get_type());
    if is_mapping_like(value)? {
        return items(value, most).map(Some);
    }
    if class.hasattr(intern!(py, "__dataclass_fields__"))? {
        let fields = py.import(intern!(py, "dataclasses"))?.call_method1(intern!(py, "fields"), (&class,))?;
        return named(value, &fields, most).map(Some);
    }
    if class.hasattr(intern!(py, "__attrs_attrs__"))? {
        return named(value, &class.getattr(intern!(py, "__attrs_attrs__"))?, most).map(Some);
    }
    if class.hasattr(intern!(py, "__struct_fields__"))? {
        return named(value, &class.getattr(intern!(py, "__struct_fields__"))?, most).map(Some);
    }
    if class.hasattr(intern!(py, "model_dump"))? {
        return model(value, most);
    }
    if class.hasattr(intern!(py, "__fields__"))? && class.hasattr(intern!(py, "dict"))? || is_namespace(&class) {
        return variables(value, most).map(Some);
    }
    Ok(None)
}

/// Attributes whose names, or descriptions with a `name`, are given.
fn named<'py>(value: &Bound<'py, PyAny>, fields: &Bound<'py, PyAny>, most: usize) -> PyResult<Vec<Item<'py>>> {
    let mut items = Vec::new();
    for field in fields.try_iter()?.take(most) {
        let field = field?;
        let name =
            if field.is_instance_of::<PyString>() { field } else { field.getattr(intern!(value.py(), "name"))? };
        let found = name.cast::<PyString>().map_err(PyErr::from).and_then(|name| value.getattr(name));
        items.push((name, found));
    }
    Ok(items)
}

/// The members of a pydantic model; `None` if it holds one value that is no object.
fn model<'py>(value: &Bound<'py, PyAny>, most: usize) -> PyResult<Option<Vec<Item<'py>>>> {
    let py = value.py();
    let quietly = PyDict::new(py);
    quietly.set_item(intern!(py, "warnings"), false)?;
    let name = intern!(py, "model_dump");
    let dumped = match value.call_method(name, (), Some(&quietly)) {
        // Another library's method of that name.
        Err(error) if error.is_instance_of::<PyTypeError>(py) => value.call_method0(name),
        dumped => dumped,
    };
    match dumped {
        Ok(dumped) if is_mapping_like(&dumped)? => items(&dumped, most).map(Some),
        Ok(_) => Ok(None),
        // One of its fields cannot be dumped.
        Err(error) => {
            swallow(py, error);
            variables(value, most).map(Some)
        }
    }
}

fn variables<'py>(value: &Bound<'py, PyAny>, most: usize) -> PyResult<Vec<Item<'py>>> {
    items(&value.getattr(intern!(value.py(), "__dict__"))?, most)
}

fn is_namespace(class: &Bound<'_, PyType>) -> bool {
    class.mro().iter().any(|base| {
        base.cast::<PyType>()
            .is_ok_and(|base| base.name().is_ok_and(|name| name == "Namespace" || name == "SimpleNamespace"))
    })
}

/// The members of a configuration as a dict, with None for those that cannot be read.
///
/// # Errors
///
/// `TypeError` if it is no such object.
#[pyfunction]
pub fn members_of<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    let py = value.py();
    let mut damage = Damage::default();
    let members = PyDict::new(py);
    for (key, value) in checked_members(value, "config", &mut damage)? {
        // A key without a hash is none that JSON has another word for.
        let key = if key.hash().is_ok() { key } else { key.str()?.into_any() };
        members.set_item(key, value)?;
    }
    super::take_interrupt().map_or(Ok(members), Err)
}
