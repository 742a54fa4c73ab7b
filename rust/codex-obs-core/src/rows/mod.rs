//! Every row as columns: each thread fills parts of its own, which are put in order and given one dictionary a column.

mod columns;
mod dictionary;
mod parts;
pub mod payloads;

pub use columns::{Columns, schema, to_batches};
