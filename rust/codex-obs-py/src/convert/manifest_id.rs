//! Names of manifest lines.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use rustix::rand::{GetRandomFlags, getrandom};

/// 128 random bits. They come from the kernel each time: a generator of our own would repeat itself in a process that was
/// forked without our hooks, and 0.3 µs are nothing beside the value's text.
pub(super) fn new() -> PyResult<[u8; 16]> {
    let mut id = [0; 16];
    // Requests of up to 256 bytes are never cut short.
    getrandom(&mut id, GetRandomFlags::empty()).map_err(|error| PyOSError::new_err(error.to_string()))?;
    Ok(id)
}
