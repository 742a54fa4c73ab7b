//! Shards: the files that a log is made of.

pub mod kept;
pub mod name;
pub mod policy;
pub mod rotate;
pub mod tail;
pub mod writer;
