//! Shards: the files that a log is made of.

pub mod adopt;
pub mod archive;
pub mod behind;
pub mod footer;
pub mod hold;
pub mod line_log;
pub mod ordinal;
pub mod pack;
pub mod policy;
pub mod retention;
pub mod rotate;
pub mod tail;
pub mod tally;
pub mod writer;
