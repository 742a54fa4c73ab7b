//! What destinations share that are files: one file that grows by whole records, and what is known of it beside it.
//!
//! Bytes come first, then a note of the place in the log and of the file's length. Resuming goes on
//! behind that length, so that each row is in the file once, whenever a process died.

pub mod answer;
pub mod file;
pub mod records;
pub mod state;

pub use answer::{MOST_POINTS, answer};
pub use file::{Mark, OwnFile};
pub use records::Records;
pub use state::State;
