//! The journal: a ring of frames in a file, which is both the queue and the crash safety.

pub mod aside;
pub mod check;
pub mod cursor;
pub mod distance;
#[cfg(not(loom))]
pub mod fault;
pub mod floor;
pub mod frame;
pub mod header;
pub mod identity;
pub mod layout;
#[cfg(not(loom))]
pub mod memory;
#[cfg(loom)]
#[path = "memory_model.rs"]
pub mod memory;
pub mod number;
pub mod ring;
