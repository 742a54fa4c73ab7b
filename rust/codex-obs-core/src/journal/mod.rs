//! The journal: a ring of frames in a file, which is both the queue and the crash safety.

pub mod frame;
