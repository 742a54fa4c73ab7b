//! One line per metric: statistics that are gathered by every thread for itself and then put together.

mod sum;
mod statistics;
mod table;
mod totals;

pub use table::{Group, schema, timestamp_type, to_batch};
pub use totals::{Totals, merge};
