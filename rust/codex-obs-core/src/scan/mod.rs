//! Reading a run back: its shards in order of position, their lines as rows.
//!
//! A row's position is its stream in text order (the main one first), its shard from the oldest to the newest, its line.

mod below;
mod canonical;
mod doubles;
pub mod faults;
mod field;
mod json;
pub mod line;
pub mod lines;
mod listing;
pub mod names;
pub mod parser;
pub mod pass;
mod payload;
pub mod reader;
pub mod report;
pub mod row;
mod segment;
mod shape;
pub mod snapshot;
pub mod source;
mod tags;
mod unit;
mod unread;
mod walk;

pub use faults::{Fault, Faults};
pub use line::{Line, LineParser};
pub use listing::is_shard;
pub use names::{Name, Names};
pub use pass::{Outcome, Pages, Part, Position, Progress, Sink, Tick, run};
pub use payload::{Payload, PayloadReader};
pub use reader::{LineReader, Parsed};
pub use report::Report;
pub use row::{Row, Value};
pub use segment::Segment;
pub use snapshot::{Snapshot, Tail};
pub use source::{Lines, Source};
pub use tags::Tags;
