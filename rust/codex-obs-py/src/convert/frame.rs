//! Data frames and series of pandas and polars, recognised by their class: as `{"columns":…,"data":…}`, from which the same class
//! can be made again.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PySlice, PyType};

use super::array::Array;

/// A table, or one column of a table.
pub(super) struct Frame<'py> {
    /// The names of the columns, of a table.
    pub(super) columns: Option<Bound<'py, PyAny>>,
    /// The values, in rows.
    pub(super) data: Array<'py>,
    /// The same as Python objects, where the class gives them itself.
    pub(super) rows: Option<Bound<'py, PyAny>>,
    /// The index, if it is not just the number of the row.
    pub(super) index: Option<Bound<'py, PyAny>>,
    /// The name of a column.
    pub(super) name: Option<Bound<'py, PyAny>>,
}

impl<'py> Frame<'py> {
    /// `value` as a frame, if it is one.
    pub(super) fn of(value: &Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        let py = value.py();
        let class = value.get_type();
        let (is_table, is_column) = (is_called(&class, "DataFrame"), is_called(&class, "Series"));
        if !is_table && !is_column {
            return Ok(None);
        }
        let library = class.getattr(intern!(py, "__module__"))?.to_string();
        let Some(data) = Array::of(value)? else { return Ok(None) };
        let columns = if is_table { Some(labels(&value.getattr(intern!(py, "columns"))?)?) } else { None };
        let name = if is_column { Some(value.getattr(intern!(py, "name"))?) } else { None };
        if library.starts_with("polars") {
            let rows = if is_table { intern!(py, "rows") } else { intern!(py, "to_list") };
            let rows = Some(value.call_method0(rows)?);
            return Ok(Some(Self { columns, data, rows, index: None, name }));
        }
        let index = value.getattr(intern!(py, "index"))?;
        let data = Array { value: objects(value, is_table)?, ..data };
        let index = if is_called(&index.get_type(), "RangeIndex") { None } else { Some(labels(&index)?) };
        Ok(Some(Self { columns, data, rows: None, index, name }))
    }
}

/// The values of a pandas object as Python's: as one array they would have one type. What is missing is None, but NaN in a column
/// of floats is a number like others.
fn objects<'py>(value: &Bound<'py, PyAny>, is_table: bool) -> PyResult<Bound<'py, PyAny>> {
    let py = value.py();
    let objects = value.call_method1(intern!(py, "astype"), ("object",))?;
    let missing = value.call_method0(intern!(py, "isna"))?;
    let is_float =
        |dtype: Bound<'py, PyAny>| dtype.getattr(intern!(py, "kind")).is_ok_and(|kind| kind.eq("f").unwrap_or(false));
    if is_table {
        let dtypes = value.getattr(intern!(py, "dtypes"))?.call_method0(intern!(py, "tolist"))?;
        let mut floats = Vec::new();
        for (position, dtype) in dtypes.try_iter()?.enumerate() {
            if is_float(dtype?) {
                floats.push(position);
            }
        }
        if !floats.is_empty() {
            missing.getattr(intern!(py, "iloc"))?.set_item((PySlice::full(py), floats), false)?;
        }
    } else if is_float(value.getattr(intern!(py, "dtype"))?) {
        return Ok(objects);
    }
    objects.call_method1(intern!(py, "mask"), (missing, py.None()))
}

/// Whether it is one of the objects that pandas has for a missing value, or a scalar of Arrow without one.
pub(super) fn is_missing(value: &Bound<'_, PyAny>) -> bool {
    let class = value.get_type();
    is_called(&class, "NAType") || is_called(&class, "NaTType") || (is_of_arrow(&class) && is_null_of_arrow(value))
}

/// Whether it is a class of Arrow's scalars, of which each may be null.
pub(super) fn is_of_arrow(class: &Bound<'_, PyType>) -> bool {
    class.name().is_ok_and(|name| name.to_str().is_ok_and(|name| name.ends_with("Scalar")))
        && class.module().is_ok_and(|module| module == "pyarrow.lib")
}

fn is_null_of_arrow(scalar: &Bound<'_, PyAny>) -> bool {
    scalar.getattr(intern!(scalar.py(), "is_valid")).is_ok_and(|valid| valid.is_truthy().is_ok_and(|valid| !valid))
}

/// Whether the class is called `name`, in pandas or polars.
fn is_called(class: &Bound<'_, PyType>, name: &str) -> bool {
    class.name().is_ok_and(|found| found == name)
        && class.module().is_ok_and(|module| {
            let library = module.to_str().map(|module| module.split('.').next().unwrap_or_default().to_owned());
            library.is_ok_and(|library| library == "pandas" || library == "polars")
        })
}

fn labels<'py>(index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    match index.getattr_opt(intern!(index.py(), "tolist"))? {
        Some(tolist) => tolist.call0(),
        None => Ok(index.clone()),
    }
}
