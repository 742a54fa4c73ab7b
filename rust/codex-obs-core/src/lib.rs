//! The engine of `codex_obs`: a crash-safe journal, one writer thread that turns it into canonical NDJSON with rotation,
//! and a reader that turns the NDJSON into tables.
//!
//! Dependencies point one way: [`worker`] uses [`journal`], [`encode`] and [`shard`]; [`summary`] uses [`scan`], which
//! uses [`shard::name`]. [`error`], [`limits`], [`clock`], [`fs`] and [`sync`] are imported by everyone and import
//! nothing of ours.

pub mod clock;
pub mod delivery;
pub mod encode;
pub mod error;
pub mod export;
pub mod fs;
pub mod generation;
pub mod home;
pub mod journal;
pub mod limits;
mod prefetch;
pub mod pulse;
pub mod reading;
pub mod record;
pub mod rows;
pub mod scan;
pub mod session;
pub mod sessions;
pub mod shard;
pub mod stats;
pub mod summary;
pub mod sync;
pub mod timeline;
pub mod words;
pub mod worker;

pub use error::{Error, Result};
