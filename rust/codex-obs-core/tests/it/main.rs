//! Tests of the engine from outside, as one binary.

mod copies;
mod corpora;
mod damage;
mod exporting;
mod first_journals;
mod golden;
mod packing;
mod properties;
mod reading;
mod recovery;
mod remote;
mod schedules;
mod sessions;
mod several;
mod support;
mod syncing;
