//! The standard library's.

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use std::sync::atomic::{AtomicBool, AtomicU64};
pub use std::sync::{Condvar, Mutex, MutexGuard};
pub use std::thread::{Builder, JoinHandle, yield_now};
pub use std::time::Instant;

/// Waits for a thread that has nothing to do any more, until `deadline` at most.
pub fn join_by(handle: JoinHandle<()>, deadline: Instant) {
    while !handle.is_finished() && Instant::now() < deadline {
        yield_now();
    }
    if handle.is_finished() {
        // A panic was a bug of the thread's own.
        let _ = handle.join();
    }
}

/// Does `work` and gives whether it did not panic. Unwind safety is the caller's business.
pub fn survives(work: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(work)).is_ok()
}
