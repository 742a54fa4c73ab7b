//! Shards: the files that a log is made of.

pub mod archive;
pub mod behind;
pub mod footer;
pub mod kept;
pub mod name;
pub mod ordinal;
pub mod policy;
pub mod rotate;
pub mod tail;
pub mod writer;
