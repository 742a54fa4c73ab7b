//! The journal: a ring of frames in a file, which is both the queue and the crash safety.

pub mod cursor;
pub mod fault;
pub mod frame;
pub mod identity;
pub mod layout;
pub mod memory;
pub mod owner;
pub mod ring;
