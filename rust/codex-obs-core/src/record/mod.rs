//! What is recorded: the pieces of a row before they are bytes.

pub mod damage;
pub mod event;
pub mod json_string;
pub mod nonfinite;
pub mod tags;
pub mod text;
pub mod timestamp;

pub use damage::Damage;
pub use tags::Tags;

/// The split of a row for which none is given.
pub const DEFAULT_SPLIT: &str = "train";
