//! Records become bytes here, exactly those that Python's `json.dumps` would give.

pub mod extra;
pub mod line;
pub mod number;
pub mod row;
pub mod trim;

mod name_cache;

pub use row::RowEncoder;
