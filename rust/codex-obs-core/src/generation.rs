//! Telling a process from the ones it was forked from.
//!
//! A fork is noticed in two ways: a hook calls [`advance`] in the child, or, for a child made without hooks (a bare
//! `clone`), the kernel wipes a page in every child. What was opened in an older generation belongs to another process: its
//! threads do not exist here, its locks may be held by nobody, and its ring is not mapped.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags};

static GENERATION: AtomicU64 = AtomicU64::new(1);

/// A number that differs between a process and those forked from it.
#[must_use]
#[inline]
pub fn current() -> u64 {
    // Relaxed: a process learns of its own fork only from its own thread.
    if mark().load(Ordering::Relaxed) == 0 {
        advance();
    }
    GENERATION.load(Ordering::Relaxed)
}

/// Begins a new generation: this process is a child that has just been forked.
#[cold]
pub fn advance() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    mark().store(1, Ordering::Relaxed);
}

/// The word that is zero in a child that has not yet noticed that it is one.
#[inline]
fn mark() -> &'static AtomicU64 {
    static MARK: OnceLock<&'static AtomicU64> = OnceLock::new();
    MARK.get_or_init(make_mark)
}

#[cold]
fn make_mark() -> &'static AtomicU64 {
    let length = rustix::param::page_size();
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing that exists.
    let page = unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), length, protection, MapFlags::PRIVATE) };
    let word: &'static AtomicU64 = match page {
        Ok(page) => {
            // A kernel without the advice leaves it to the hooks to notice.
            // SAFETY: the range was mapped just above.
            let _ = unsafe { rustix::mm::madvise(page, length, Advice::LinuxWipeOnFork) };
            // SAFETY: the page is zeroed, aligned, never unmapped, and used as this atomic only.
            unsafe { AtomicU64::from_ptr(page.cast()) }
        }
        // Without memory for one page the hooks alone have to notice.
        Err(_) => Box::leak(Box::new(AtomicU64::new(0))),
    };
    word.store(1, Ordering::Relaxed);
    word
}
