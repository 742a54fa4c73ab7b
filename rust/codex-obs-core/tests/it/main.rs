//! Tests of the engine from outside, as one binary.

mod recovery;
mod sessions;
mod support;
