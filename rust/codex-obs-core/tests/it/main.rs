//! Tests of the engine from outside, as one binary.

mod exporting;
mod golden;
mod recovery;
mod remote;
mod schedules;
mod sessions;
mod support;
mod syncing;
