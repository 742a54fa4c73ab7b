//! One line per metric: statistics that are gathered by every thread for itself and then put together.

mod statistics;
mod sum;
mod table;
mod totals;

pub use table::{schema, timestamp_type, to_batch};
pub use totals::{Group, Groups, Totals, merge};
