//! What a run directory says of its run: who it is, where it trains, how it ended.

pub mod ending;
pub mod identity;
pub mod origin;
pub mod records;
