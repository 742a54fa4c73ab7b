//! Reading a log as a destination does: on from a cursor, over rotations and archives, without missing a row.
//!
//! A [`follower`] gives what comes next, from live batches of the writer, else from the shards. A [`cursor`] says on disk how far
//! a delivery has come, [`holds`] what retention has to keep for it, [`backlog`] what is left.

pub mod artifacts;
pub mod backlog;
pub mod cursor;
pub mod follower;
pub mod holds;
pub mod latest;
pub mod locate;
pub mod params;
pub mod point;
pub mod points;
pub mod progress;
pub mod reached;
pub mod reader;
pub mod records;
pub mod values;
