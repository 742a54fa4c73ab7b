//! Locks, atomics, threads and their time: those of the standard library.
//!
//! In a build with `--cfg loom` they are stand-ins that try the interleavings of the threads of a model one after the
//! other, and every value that an atomic load may see. What is modelled is the code of this crate itself, which takes
//! these names from here.

#[cfg(not(loom))]
mod real;
#[cfg(not(loom))]
pub use real::*;

#[cfg(loom)]
mod model;
#[cfg(loom)]
pub use model::*;
