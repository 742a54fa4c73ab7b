//! Tests of the engine from outside, as one binary.

mod corpora;
mod golden;
mod properties;
mod recovery;
mod sessions;
mod support;
