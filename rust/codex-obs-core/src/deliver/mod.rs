//! Delivery of one stream to one destination: a [`destination`] says what it can take, a [`delivery`] brings it what a
//! follower reads, a [`thread`] drives that beside a session, [`sync`] from outside of one.
//!
//! A slow, broken or absent destination costs the training loop nothing and loses nothing that retention keeps.

pub mod command;
pub mod context;
pub mod delivery;
pub mod destination;
pub mod names;
pub mod rejected;
pub mod renamed;
pub mod samples;
pub mod settings;
pub mod sync;
pub mod thread;
