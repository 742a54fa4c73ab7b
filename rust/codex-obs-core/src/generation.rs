//! Telling a process from the ones it was forked from.
//!
//! A fork is noticed in two ways: a hook calls [`advance`] in the child, or, for a child made without hooks (a bare
//! `clone`), the kernel wipes a page in every child. What was opened in an older generation belongs to another process: its
//! threads do not exist here, its locks may be held by nobody, and its ring is not mapped.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags};

/// The greatest number given out, in this process or in one that it was forked from.
static LAST: AtomicU64 = AtomicU64::new(0);

/// A number that differs between a process and those forked from it.
#[must_use]
#[inline]
pub fn current() -> u64 {
    // Relaxed: the number guards nothing but itself.
    match mark().load(Ordering::Relaxed) {
        0 => settle(mark(), &LAST),
        number => number,
    }
}

/// Begins a new generation: this process is a child that has just been forked.
#[cold]
pub fn advance() {
    mark().store(next(&LAST), Ordering::Relaxed);
}

/// Gives `mark` a number if it has none. Whatever number of threads ask at once, all get the same.
#[cold]
fn settle(mark: &AtomicU64, last: &AtomicU64) -> u64 {
    // Taken first: a child forked in between must not take the same.
    let fresh = next(last);
    match mark.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => fresh,
        Err(theirs) => theirs,
    }
}

fn next(last: &AtomicU64) -> u64 {
    last.fetch_add(1, Ordering::Relaxed) + 1
}

/// The number of this generation; zero in a child that has not yet noticed that it is one.
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
    word.store(next(&LAST), Ordering::Relaxed);
    word
}

/// A value that every process has for itself: a forked child begins with a new one, since its parent's may be locked by a thread
/// that does not exist in it.
pub struct PerProcess<T: 'static>(AtomicPtr<Dated<T>>);

struct Dated<T> {
    generation: u64,
    value: T,
}

impl<T: Default + Send + Sync> PerProcess<T> {
    /// Without a value before the first one is asked for.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it is for statics")]
    pub const fn new() -> Self {
        Self(AtomicPtr::new(std::ptr::null_mut()))
    }

    /// The value of this process.
    pub fn get(&'static self) -> &'static T {
        self.get_after(|_| {})
    }

    /// As [`get`](Self::get). In a child that finds its parent's, `turn_away` from that is called, by one thread.
    pub fn get_after(&'static self, turn_away: impl FnOnce(&T)) -> &'static T {
        let generation = current();
        let known = self.0.load(Ordering::Acquire);
        // SAFETY: values are made by Box and never freed.
        if let Some(known) = unsafe { known.as_ref() }
            && known.generation == generation
        {
            return &known.value;
        }
        let fresh = Box::into_raw(Box::new(Dated { generation, value: T::default() }));
        // AcqRel: pairs with the acquire above and with that of whoever loses the race here.
        match self.0.compare_exchange(known, fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                // SAFETY: as above.
                if let Some(inherited) = unsafe { known.as_ref() } {
                    turn_away(&inherited.value);
                }
                // SAFETY: as above.
                unsafe { &(*fresh).value }
            }
            Err(winner) => {
                // SAFETY: `fresh` was made above and given to nobody; `winner` is one that was published.
                unsafe {
                    drop(Box::from_raw(fresh));
                    &(*winner).value
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_notice_a_fork_at_once_agree_on_the_generation() {
        let last = AtomicU64::new(0);
        for _ in 0..200 {
            let (mark, before) = (AtomicU64::new(0), last.load(Ordering::Relaxed));
            let barrier = std::sync::Barrier::new(4);
            let numbers: Vec<u64> = std::thread::scope(|scope| {
                let ask = || {
                    barrier.wait();
                    settle(&mark, &last)
                };
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(numbers[0] > before && numbers.iter().all(|number| *number == numbers[0]), "{numbers:?}");
        }
    }
}
