//! Shards: the files that a log is made of.

pub mod name;
