//! Tests of the engine from outside, as one binary.

mod golden;
mod recovery;
mod sessions;
mod support;
