//! `Run.log`, which takes its arguments as they lie on the stack. PyO3 does so only for functions without a `**` argument, which
//! costs a dict a call; but a name that `log` does not have is to be answered with what would be right.

use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::PyTypeInfo;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::mistakes;
use crate::recorder::Recorder;

const DOCUMENTATION: &CStr =
    c"log($self, metrics, step=None, *, split='train', dataset=None, tags=None, timestamp=None)
--

Log one row per metric; returns when the rows are safe against the death of this process.

Args:
    metrics: Names and values. Numbers and whatever holds exactly one number are rows with that value; what is
        structured is described in the manifest.
    step: Training step; one more than the stream's largest so far if left out.
    split: Part of the data, such as ``train`` or ``eval``.
    dataset: Name of the data set.
    tags: Further facts, kept with every row of the call.
    timestamp: Seconds since the epoch or an aware datetime, for backfilling; the time of the call if left out.

Raises:
    TypeError: If an argument has a wrong type; no row is written.
    ValueError: If the step is outside of 64 bits; no row is written.";

/// What Python knows of the method.
struct Method(ffi::PyMethodDef);

// SAFETY: its pointers lead to constants.
unsafe impl Sync for Method {}

static METHOD: Method = Method(ffi::PyMethodDef {
    ml_name: c"log".as_ptr(),
    ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: log },
    ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
    ml_doc: DOCUMENTATION.as_ptr(),
});

/// Gives the class its method.
pub fn add(py: Python<'_>) -> PyResult<()> {
    let class = Recorder::type_object(py);
    let definition = (&raw const METHOD.0).cast_mut();
    // SAFETY: the definition lives for ever, and Python only reads it. The descriptor calls it for instances of the class only.
    let method = unsafe {
        let descriptor = ffi::PyDescr_NewMethod(class.as_type_ptr(), definition);
        Bound::from_owned_ptr_or_err(py, descriptor)
    };
    class.setattr(intern!(py, "log"), method?)
}

/// Names of the arguments. The first two may be given by place.
const NAMES: [&str; 6] = ["metrics", "step", "split", "dataset", "tags", "timestamp"];
const PLACES: usize = 2;

/// An argument, where it is given.
type Argument<'a, 'py> = Option<Borrowed<'a, 'py, PyAny>>;

/// Which argument is called `name`.
#[inline]
fn place_of(name: Borrowed<'_, '_, PyString>) -> Option<usize> {
    static INTERNED: PyOnceLock<[Py<PyString>; NAMES.len()]> = PyOnceLock::new();
    let py = name.py();
    let interned = INTERNED.get_or_init(py, || NAMES.map(|name| PyString::intern(py, name).unbind()));
    // Those that stand in a program's text are the same objects.
    interned.iter().position(|known| name.is(known)).or_else(|| {
        let name = name.to_str().ok()?;
        NAMES.iter().position(|known| *known == name)
    })
}

/// What Python calls.
///
/// # Safety
///
/// As for every function with `METH_FASTCALL` and `METH_KEYWORDS`: the thread is attached; `this` is an instance of the class;
/// behind `values` stand `count` values, and one more for each of `names`, which is null or a tuple of text.
unsafe extern "C" fn log(
    this: *mut ffi::PyObject,
    values: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let call = |py: Python<'_>| {
        // SAFETY: as the caller promises. All of them are held by the caller until this returns.
        let (this, values, names) = unsafe {
            let names = Borrowed::from_ptr_or_opt(py, names).map(|names| names.cast_unchecked::<PyTuple>());
            let count = count as usize + names.map_or(0, |names| names.len());
            let values = if count == 0 { &[] } else { std::slice::from_raw_parts(values, count) };
            (Borrowed::from_ptr(py, this).cast_unchecked::<Recorder>(), values, names)
        };
        // SAFETY: as above.
        let value = |index: usize| unsafe { Borrowed::from_ptr(py, values[index]) };
        log_given(&this, count as usize, value, names)
    };
    // SAFETY: as the caller promises.
    let py = unsafe { Python::assume_attached() };
    let outcome = catch_unwind(AssertUnwindSafe(|| Python::attach(call))).unwrap_or_else(|_| {
        Err(PanicException::new_err("a bug of codex_obs: `log` panicked, as told on standard error"))
    });
    match outcome {
        Ok(()) => py.None().into_ptr(),
        Err(error) => {
            error.restore(py);
            std::ptr::null_mut()
        }
    }
}

/// Finds out which argument is which.
#[inline]
fn log_given<'a, 'py: 'a>(
    this: &Bound<'py, Recorder>,
    count: usize,
    value: impl Fn(usize) -> Borrowed<'a, 'py, PyAny>,
    names: Option<Borrowed<'_, 'py, PyTuple>>,
) -> PyResult<()> {
    if count > PLACES {
        return Err(PyTypeError::new_err(format!(
            "log takes metrics and step without their names, and {count} arguments were given so: name the others"
        )));
    }
    let mut given: [Argument<'a, 'py>; NAMES.len()] = [None; NAMES.len()];
    for (index, argument) in given.iter_mut().enumerate().take(count) {
        *argument = Some(value(index));
    }
    let mut unknown = None;
    for (index, name) in names.iter().flat_map(|names| names.iter_borrowed()).enumerate() {
        let value = value(count + index);
        // SAFETY: names of arguments are text.
        let name = unsafe { name.cast_unchecked::<PyString>() };
        match place_of(name) {
            Some(place) => match given {
                [Some(metrics), step, ..] if place < count => {
                    return Err(mistakes::given_twice(NAMES[place], &metrics, step.as_deref(), &value));
                }
                _ => given[place] = Some(value),
            },
            None => unknown.get_or_insert_with(|| PyDict::new(this.py())).set_item(name, value)?,
        }
    }
    let [metrics, step, split, dataset, tags, timestamp] = given;
    let [metrics, step, dataset, tags, timestamp] =
        [metrics, step, dataset, tags, timestamp].map(|argument| argument.filter(|value| !value.is_none()));
    let (Some(metrics), None) = (metrics, &unknown) else {
        return Err(mistakes::log(this.py(), metrics.as_deref(), step.as_deref(), unknown.as_ref()));
    };
    let outcome = Recorder::log(
        this,
        &metrics,
        step.as_deref(),
        split.as_deref(),
        dataset.as_deref(),
        tags.as_deref(),
        timestamp.as_deref(),
    );
    outcome.map_err(|error| mistakes::of_metrics(error, &metrics, step.as_deref()))
}
