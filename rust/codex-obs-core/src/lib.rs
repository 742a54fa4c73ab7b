//! The engine of `codex_obs`: a crash-safe journal, one writer thread that turns it into canonical NDJSON with rotation,
//! and a reader that turns the NDJSON into tables.
//!
//! Dependencies point one way: [`worker`] uses [`journal`], [`encode`] and [`shard`]; [`summary`] and [`series`] use
//! [`scan`], which uses [`shard`]. [`error`], [`limits`], [`paths`], [`clock`], [`fs`] and [`primitives`] are imported by
//! everyone and import nothing of ours.

pub mod artifact;
pub mod block;
pub mod catalog;
pub mod clock;
pub mod deliver;
pub mod encode;
pub mod error;
pub mod file_destination;
pub mod follow;
pub mod fs;
pub mod generation;
pub mod http;
pub mod journal;
pub mod limits;
pub mod lock;
pub mod log_lines;
pub mod mlflow;
pub mod otlp;
pub mod paths;
mod prefetch;
pub mod primitives;
pub mod problem;
pub mod process;
pub mod pulse;
pub mod reading;
pub mod record;
pub mod recovery;
pub mod rows;
pub mod run;
pub mod scan;
pub mod series;
pub mod session;
pub mod sessions;
pub mod shard;
pub mod sidecar;
pub mod spawn;
pub mod stats;
pub mod structured;
pub mod summary;
pub mod survey;
pub mod tensorboard;
pub mod timeline;
pub mod wait;
pub mod wandb;
pub mod words;
pub mod worker;

pub use error::{Error, Result};
