//! Arrays, tensors and their scalars, recognised by what they can do: no framework is imported.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PySlice, PyString, PyTuple};

/// Elements turned into Python objects at a time, so that a large array needs little memory beside itself.
const CHUNK_ELEMENTS: u64 = 1 << 16;

/// Something with a shape.
pub(super) struct Array<'py> {
    /// The array itself, or the `NumPy` array that it gave.
    pub(super) value: Bound<'py, PyAny>,
    /// Its full shape; empty for a scalar.
    pub(super) shape: Vec<u64>,
}

impl<'py> Array<'py> {
    /// `value` as an array if it is one: it has a `shape` of whole numbers and a way to its elements, or is an
    /// `array.array`, or gives an array through `__array__`.
    pub(super) fn of(value: &Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        let py = value.py();
        let class = value.get_type();
        if let Some(shape) = value.getattr_opt(intern!(py, "shape"))? {
            let has_elements = class.hasattr(intern!(py, "dtype"))?
                || class.hasattr(intern!(py, "__array__"))?
                || value.hasattr(intern!(py, "item"))?
                || value.hasattr(intern!(py, "numpy"))?
                || value.hasattr(intern!(py, "tolist"))?;
            let shape = if has_elements { dimensions(&shape) } else { None };
            return Ok(shape.map(|shape| Self { value: value.clone(), shape }));
        }
        if class.hasattr(intern!(py, "typecode"))? && class.hasattr(intern!(py, "tolist"))? {
            return Ok(Some(Self { value: value.clone(), shape: vec![value.len()? as u64] }));
        }
        if class.hasattr(intern!(py, "__array__"))? && !class.hasattr(intern!(py, "__float__"))? {
            return Self::of_ndarray(&value.call_method0(intern!(py, "__array__"))?);
        }
        Ok(None)
    }

    fn of_ndarray(value: &Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        let shape = value.getattr_opt(intern!(value.py(), "shape"))?;
        Ok(shape.and_then(|shape| dimensions(&shape)).map(|shape| Self { value: value.clone(), shape }))
    }

    /// Number of elements.
    pub(super) fn elements(&self) -> u64 {
        self.shape.iter().fold(1, |product: u64, &length| product.saturating_mul(length))
    }

    /// Bytes of its memory, if it tells.
    pub(super) fn bytes(&self) -> Option<u64> {
        let bytes = self.value.getattr_opt(intern!(self.value.py(), "nbytes")).ok().flatten()?;
        bytes.extract().ok()
    }

    /// Whether the elements are dates or durations of `NumPy`: those have `item` and `__float__` but are no numbers.
    pub(super) fn is_time(&self) -> bool {
        self.has_kind("M") || self.has_kind("m")
    }

    /// Whether the elements are complex numbers of `NumPy`: the long ones are none of Python's and have a `__float__`.
    pub(super) fn is_complex(&self) -> bool {
        self.has_kind("c")
    }

    fn has_kind(&self, expected: &str) -> bool {
        let py = self.value.py();
        let dtype = self.value.getattr_opt(intern!(py, "dtype")).ok().flatten();
        let kind = dtype.and_then(|dtype| dtype.getattr_opt(intern!(py, "kind")).ok().flatten());
        kind.is_some_and(|kind| kind.cast::<PyString>().is_ok_and(|kind| kind == expected))
    }

    /// The one element of an array that has one, as the plainest object its class gives: a Python number if there is one.
    pub(super) fn only_element(&self) -> PyResult<Bound<'py, PyAny>> {
        let py = self.value.py();
        // Of a masked element `item` gives the number behind the mask, `tolist` gives None.
        if self.value.get_type().name()?.to_str()?.starts_with("Masked") {
            return first(self.value.call_method0(intern!(py, "tolist"))?, self.shape.len());
        }
        if let Some(item) = self.value.getattr_opt(intern!(py, "item"))? {
            return item.call0();
        }
        if self.value.hasattr(intern!(py, "tolist"))? {
            return first(self.value.call_method0(intern!(py, "tolist"))?, self.shape.len());
        }
        let array = self.ndarray()?;
        match array.getattr_opt(intern!(py, "item"))? {
            Some(item) => item.call0(),
            None => Ok(array),
        }
    }

    /// The elements as Python objects in nested lists.
    pub(super) fn list(&self) -> PyResult<Bound<'py, PyAny>> {
        let py = self.value.py();
        if self.is_time() {
            return text_elements(&self.value);
        }
        if let Some(tolist) = self.value.getattr_opt(intern!(py, "tolist"))? {
            return tolist.call0();
        }
        let array = self.ndarray()?;
        match array.getattr_opt(intern!(py, "tolist"))? {
            Some(tolist) => tolist.call0(),
            None => Ok(array),
        }
    }

    /// Whether [`list`](Self::list) would make so many objects that the array is better taken in [`parts`](Self::parts).
    pub(super) fn is_large(&self) -> bool {
        !self.shape.is_empty() && self.elements() > CHUNK_ELEMENTS
    }

    /// Consecutive slices along the first axis; if one step along it is large itself, those steps.
    pub(super) fn parts(&self) -> PyResult<Parts<'_, 'py>> {
        let length = self.shape.first().copied().unwrap_or(0);
        let step = self.elements().checked_div(length).unwrap_or(0);
        // pandas takes a slice by label, but not through `iloc`.
        let by_position = self.value.getattr_opt(intern!(self.value.py(), "iloc"))?;
        let source = by_position.unwrap_or_else(|| self.value.clone());
        Ok(Parts {
            array: self,
            source,
            at: 0,
            length,
            slice: (CHUNK_ELEMENTS / step.max(1)).max(1),
            large: step > CHUNK_ELEMENTS,
        })
    }

    /// The same as a `NumPy` array.
    fn ndarray(&self) -> PyResult<Bound<'py, PyAny>> {
        let py = self.value.py();
        match self.value.getattr_opt(intern!(py, "numpy"))? {
            Some(numpy) => numpy.call0(),
            None => self.value.call_method0(intern!(py, "__array__")),
        }
    }
}

/// A piece of a large array.
pub(super) enum Part<'py> {
    /// Several steps along the first axis: an array of as many axes.
    Slice(Array<'py>),
    /// One step along the first axis: an array with one axis less.
    Step(Array<'py>),
}

/// The pieces of a large array.
pub(super) struct Parts<'a, 'py> {
    array: &'a Array<'py>,
    source: Bound<'py, PyAny>,
    at: u64,
    length: u64,
    slice: u64,
    large: bool,
}

impl<'py> Iterator for Parts<'_, 'py> {
    type Item = PyResult<Part<'py>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.length {
            return None;
        }
        let start = self.at;
        let inner = &self.array.shape[1..];
        if self.large {
            self.at += 1;
            let step = self.source.get_item(start);
            return Some(step.map(|value| Part::Step(Array { value, shape: inner.to_vec() })));
        }
        self.at = (start + self.slice).min(self.length);
        let slice = PySlice::new(self.source.py(), start as isize, self.at as isize, 1);
        let shape = [&[self.at - start], inner].concat();
        Some(self.source.get_item(slice).map(|value| Part::Slice(Array { value, shape })))
    }
}

/// A shape is an iterable of whole numbers.
fn dimensions(shape: &Bound<'_, PyAny>) -> Option<Vec<u64>> {
    if let Ok(tuple) = shape.cast::<PyTuple>() {
        return tuple.iter().map(|length| length.extract().ok()).collect();
    }
    if shape.is_instance_of::<PyString>() || shape.is_instance_of::<PyDict>() {
        return None;
    }
    // More axes than any framework has: an iterator without end.
    let lengths = shape.try_iter().ok()?.take(1 << 10).map(|length| length.ok()?.extract().ok());
    lengths.collect()
}

/// The object inside `axes` lists.
fn first(list: Bound<'_, PyAny>, axes: usize) -> PyResult<Bound<'_, PyAny>> {
    let mut inner = list;
    for _ in 0..axes {
        match inner.cast::<PyList>() {
            Ok(list) => inner = list.get_item(0)?,
            Err(_) => break,
        }
    }
    Ok(inner)
}

/// Dates and durations as their texts; `tolist` would give bare numbers for those finer than a microsecond.
fn text_elements<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = value.py();
    let texts = value.call_method1(intern!(py, "astype"), (py.get_type::<PyString>(),))?;
    texts.call_method0(intern!(py, "tolist"))
}
