//! Classes of objects with one number that were met before: their values are read without asking again what they can do.

use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyInt, PyType};

use super::frame::{is_missing, is_of_arrow};
use super::kind::is_mapping;
use super::scalar::{Scalar, plain};

/// Arrays by module and name, whether their elements may be dates, and whether they tell if they are computed. Their `item` gives the element of an array of one
/// element and raises for every other, as their documentation says, so that nobody needs to ask for the shape.
const ARRAYS: [(&str, &str, bool, bool); 5] = [
    ("numpy", "ndarray", true, false),
    ("torch", "Tensor", false, false),
    ("torch.nn.parameter", "Parameter", false, false),
    ("jaxlib._jax", "ArrayImpl", false, true),
    ("jaxlib.xla_extension", "ArrayImpl", false, true),
];
/// Most classes that are remembered, each of which stays alive for that: a program has a few.
const MOST: usize = 32;

/// How the number of a value of a class is had.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// By `item`, which raises if there are several.
    Item { may_be_time: bool, can_tell: bool },
    /// By `__float__`, unless an attribute of the object makes an array of it.
    Float { has_attributes: bool },
}

static KNOWN: [PyOnceLock<(Py<PyType>, Way)>; MOST] = [const { PyOnceLock::new() }; MOST];

/// The number of a value whose class was met before; `None` if it has to be found out.
///
/// # Errors
///
/// What `__float__` raises, or an interrupt.
#[inline]
pub(super) fn number(value: &Bound<'_, PyAny>) -> PyResult<Option<Scalar>> {
    known(value).map_or(Ok(None), |way| by(way, value))
}

/// Whether the values of a class that was met before tell by `is_ready` if they are computed.
#[inline]
pub(super) fn can_tell(value: &Bound<'_, PyAny>) -> Option<bool> {
    known(value).map(|way| matches!(way, Way::Item { can_tell: true, .. }))
}

#[inline]
fn known(value: &Bound<'_, PyAny>) -> Option<Way> {
    let class = value.get_type_ptr();
    let mut known = KNOWN.iter().map_while(|known| known.get(value.py()));
    known.find(|(known, _)| known.as_ptr().cast() == class).map(|&(_, way)| way)
}

/// The same for a class that was not met before, which is remembered if its values are of the kinds that are known here.
pub(super) fn meet(value: &Bound<'_, PyAny>) -> PyResult<Option<Scalar>> {
    let py = value.py();
    let Some(free) = KNOWN.iter().find(|known| known.get(py).is_none()) else { return Ok(None) };
    let class = value.get_type();
    let Some(way) = way(&class, value)? else { return Ok(None) };
    // Another thread may have taken the place; then the class is met once more.
    let _ = free.set(py, (class.unbind(), way));
    by(way, value)
}

fn by(way: Way, value: &Bound<'_, PyAny>) -> PyResult<Option<Scalar>> {
    let py = value.py();
    match way {
        Way::Item { may_be_time, .. } => {
            let element = match value.call_method0(intern!(py, "item")) {
                Ok(element) => element,
                // There are several elements, or none that can be read: whatever it is, it is found out elsewhere.
                Err(error) if error.is_instance_of::<PyException>(py) => return Ok(None),
                Err(error) => return Err(error),
            };
            let scalar = plain(&element)?;
            let may_be_time =
                may_be_time && (matches!(scalar, Some(Scalar::Null)) || element.is_exact_instance_of::<PyInt>());
            Ok(if may_be_time && is_time(value)? { None } else { scalar })
        }
        Way::Float { has_attributes } => {
            if has_attributes && has_shape(value)? {
                return Ok(None);
            }
            Ok(Some(Scalar::Float(value.extract()?)))
        }
    }
}

fn way(class: &Bound<'_, PyType>, value: &Bound<'_, PyAny>) -> PyResult<Option<Way>> {
    let py = class.py();
    let (module, name) = (class.module()?, class.name()?);
    let is_it = |known: &&(&str, &str, bool, bool)| module == known.0 && name == known.1;
    if let Some(&(_, _, may_be_time, can_tell)) = ARRAYS.iter().find(is_it) {
        return Ok(Some(Way::Item { may_be_time, can_tell }));
    }
    let has = |attribute| class.hasattr(attribute);
    // What makes an array, a mapping or a missing value of it is looked at where all that is known.
    let is_more = has(intern!(py, "dtype"))?
        || has(intern!(py, "shape"))?
        || has(intern!(py, "typecode"))?
        || has(intern!(py, "__getattr__"))?
        || has(intern!(py, "is_ready"))?
        || !has(intern!(py, "__float__"))?
        || !class.getattr(intern!(py, "__getattribute__"))?.is(&object_lookup(py)?)
        || is_mapping(value)?
        || is_missing(value)
        || is_of_arrow(class);
    // Of the object: every class has a dictionary, also one whose objects have none.
    let has_attributes = value.hasattr(intern!(py, "__dict__"))?;
    Ok((!is_more).then_some(Way::Float { has_attributes }))
}

fn object_lookup(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    py.get_type::<PyAny>().getattr(intern!(py, "__getattribute__"))
}

fn has_shape(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let attributes = value.getattr(intern!(value.py(), "__dict__"))?;
    attributes.cast::<PyDict>().map_or(Ok(true), |attributes| attributes.contains(intern!(value.py(), "shape")))
}

/// Whether the elements are dates or durations.
fn is_time(array: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = array.py();
    let kind = array.getattr(intern!(py, "dtype"))?.getattr(intern!(py, "kind"))?;
    Ok(kind.eq("M")? || kind.eq("m")?)
}
