//! Destinations beyond the files: followers of the log, each with a cursor of its own.
//!
//! An exporter thread drives a follower, which knows what comes next (from live batches of the writer, else from the shards),
//! and a [`Destination`], which sends it. A slow, broken or absent destination costs the training loop nothing and loses
//! nothing that retention keeps.

pub mod command;
pub mod context;
pub mod courier;
pub mod cursor;
pub mod destination;
pub mod exporter;
pub mod follower;
pub mod left;
pub mod locate;
pub mod mlflow;
pub mod origin;
pub mod params;
pub mod point;
pub mod promises;
pub mod rows;
pub mod settings;
pub mod shard;
pub mod wait;

pub use destination::{Delivery, Destination, RunFacts, RunStatus};
pub use exporter::Exporter;
pub use left::Left;
pub use origin::Origin;
pub use point::Point;
pub use settings::{Connector, ExportSettings, Place, Ranks};
pub use wait::Wait;
