//! Faults in a mapped journal: nothing that is done to the file may end the process.
//!
//! A store into a mapped file raises SIGBUS when the file was truncated under it, or when its file system cannot take the
//! page: full, or shut down after an error. The handler puts a page of plain memory in the place of the one that cannot be
//! had, with what can still be read of it, and notes that the journal no longer outlives the process. Any other fault
//! goes to the handler that was there before.
//!
//! Python's `faulthandler`, if it was enabled after us, prints its dump first, puts our handler back and raises the signal
//! again, which then comes from a thread (`SI_TKILL`) and has no address. Returning from that lets the store fault once
//! more, and that fault reaches us.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};

use libc::{c_int, c_void};

use crate::generation;

/// Mappings watched at a time; a journal beyond them is not mapped.
const MAX_MAPPINGS: usize = 256;
/// Parts that a mapping may be replaced in: the kernel limits the number of mappings of a process to 65,530.
const MAX_PARTS: usize = 16_384;

/// A watched mapping.
#[derive(Debug)]
struct Place {
    /// Its first byte; 0 for a free place, 1 for one that is being filled.
    start: AtomicUsize,
    length: AtomicUsize,
    /// Bytes replaced at a time.
    part: AtomicUsize,
    file: AtomicI32,
    /// See [`generation`]: a child inherits the list, but none of the mappings.
    generation: AtomicU64,
    lost: AtomicBool,
    /// Held by the thread that replaces a part. Its handler cannot be interrupted.
    replacing: AtomicBool,
    /// A bit for each part that was replaced.
    replaced: [AtomicU64; MAX_PARTS / 64],
}

static PLACES: [Place; MAX_MAPPINGS] = [const {
    Place {
        start: AtomicUsize::new(0),
        length: AtomicUsize::new(0),
        part: AtomicUsize::new(0),
        file: AtomicI32::new(-1),
        generation: AtomicU64::new(0),
        lost: AtomicBool::new(false),
        replacing: AtomicBool::new(false),
        replaced: [const { AtomicU64::new(0) }; MAX_PARTS / 64],
    }
}; MAX_MAPPINGS];

/// What was there before our handler. Set before ours can run, never freed.
static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(std::ptr::null_mut());

/// A mapping that is watched until this is dropped.
#[derive(Debug)]
pub struct Watch {
    place: &'static Place,
    /// A child's own mapping may have taken the place over since.
    generation: u64,
}

impl Watch {
    /// Watches the mapping of `file` at `start`. `None` if too many are watched already.
    ///
    /// # Safety
    /// The mapping belongs to the caller, who drops the watch before unmapping it and keeps the file open until then.
    pub unsafe fn over(start: *const u8, length: usize, file: &File) -> Option<Self> {
        if !install() {
            return None;
        }
        let generation = generation::current();
        let place = PLACES.iter().find(|place| place.take(generation))?;
        let page = rustix::param::page_size();
        place.length.store(length, Ordering::Relaxed);
        place.part.store(length.div_ceil(MAX_PARTS).next_multiple_of(page), Ordering::Relaxed);
        place.file.store(file.as_raw_fd(), Ordering::Relaxed);
        place.generation.store(generation, Ordering::Relaxed);
        place.lost.store(false, Ordering::Relaxed);
        place.replacing.store(false, Ordering::Relaxed);
        place.replaced.iter().for_each(|bits| bits.store(0, Ordering::Relaxed));
        // Release: pairs with the acquire in `replace`; the rest of the place is set.
        place.start.store(start as usize, Ordering::Release);
        Some(Self { place, generation })
    }

    /// The mapping is that of `file` by now, and nothing of it is replaced.
    pub fn moved(&self, file: &File) {
        if self.is_own() {
            self.place.file.store(file.as_raw_fd(), Ordering::Relaxed);
            self.place.replaced.iter().for_each(|bits| bits.store(0, Ordering::Relaxed));
            self.place.lost.store(false, Ordering::Release);
        }
    }

    fn is_own(&self) -> bool {
        self.place.generation.load(Ordering::Relaxed) == self.generation
    }

    /// Whether a part of the mapping had to be replaced: the file does not have all that was stored.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.is_own() && self.place.lost.load(Ordering::Acquire)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.is_own() {
            self.place.start.store(0, Ordering::Release);
        }
    }
}

impl Place {
    /// Takes the place if it is free, or was left behind by a process that this one was forked from.
    fn take(&self, generation: u64) -> bool {
        let start = self.start.load(Ordering::Acquire);
        (start == 0 || (start > 1 && self.generation.load(Ordering::Relaxed) != generation))
            && self.start.compare_exchange(start, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// Installs the handler once and gives whether it is there. Whoever installs another one later has ours to hand faults on to.
fn install() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        // SAFETY: a zeroed sigaction is a valid one, and each call is given valid pointers to such. The handler is a function
        // of this module, which is never unloaded, and does only what a handler may.
        unsafe {
            let before = Box::into_raw(Box::new(std::mem::zeroed::<libc::sigaction>()));
            if libc::sigaction(libc::SIGBUS, std::ptr::null(), before) != 0 {
                return false;
            }
            BEFORE.store(before, Ordering::Release);
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_fault as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            // Nothing interrupts the handler, which may be waited for by those of other threads.
            libc::sigfillset(&raw mut action.sa_mask);
            libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) == 0
        }
    })
}

/// The handler: system calls and atomics only.
extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gives a valid info; errno belongs to this thread and is put back.
    unsafe {
        let errno = *libc::__errno_location();
        let code = (*info).si_code;
        let handled = match code {
            libc::SI_TKILL => true,
            // Codes above zero come from the kernel, with the address.
            1.. => replace((*info).si_addr() as usize, code != libc::BUS_MCEERR_AR),
            _ => false,
        };
        *libc::__errno_location() = errno;
        if !handled {
            hand_on(signal, info, context);
        }
    }
}

/// Puts plain memory in the place of the part of a watched mapping around `address`; with `once`, unless another thread
/// has just done so, for what is stored there since would be gone. `false` if no mapping is there.
fn replace(address: usize, once: bool) -> bool {
    let generation = generation::current();
    for place in &PLACES {
        // Acquire: pairs with the release in `over`.
        let start = place.start.load(Ordering::Acquire);
        let length = place.length.load(Ordering::Relaxed);
        if start <= 1 || place.generation.load(Ordering::Relaxed) != generation {
            continue;
        }
        // The mapping of the address lives, so its place stays as it is. Another one may have changed hands just now.
        fence(Ordering::Acquire);
        if address < start || address - start >= length || place.start.load(Ordering::Relaxed) != start {
            continue;
        }
        let part = place.part.load(Ordering::Relaxed);
        let (index, offset) = ((address - start) / part, (address - start) / part * part);
        let (bits, bit) = (&place.replaced[index / 64], 1 << (index % 64));
        // Acquire and release: whoever comes next sees which parts were replaced.
        while place.replacing.swap(true, Ordering::Acquire) {
            std::hint::spin_loop();
        }
        let done = once && bits.load(Ordering::Relaxed) & bit != 0;
        let done = done || {
            // Release: pairs with the acquire in `is_lost`. Set before the bytes change under whoever reads them.
            place.lost.store(true, Ordering::Release);
            // SAFETY: a part of a mapping that is watched.
            unsafe { exchange(place, start + offset, part.min(length - offset), offset) }
        };
        if done {
            bits.fetch_or(bit, Ordering::Relaxed);
        }
        place.replacing.store(false, Ordering::Release);
        return done;
    }
    false
}

/// Puts a new mapping, filled from the file at `offset` as far as that can be read, in the place of `size` bytes at `start`.
///
/// # Safety
/// The range is a part of the mapping of a journal, which only sees other bytes than it stored.
unsafe fn exchange(place: &Place, start: usize, size: usize, offset: usize) -> bool {
    // SAFETY: a mapping at an address of the kernel's choice touches nothing that exists; then the caller's promise.
    unsafe {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let fresh = libc::mmap(std::ptr::null_mut(), size, protection, flags, -1, 0);
        if fresh == libc::MAP_FAILED {
            return false;
        }
        libc::pread(place.file.load(Ordering::Relaxed), fresh, size, offset as libc::off_t);
        libc::madvise(fresh, size, libc::MADV_DONTFORK);
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        libc::mremap(fresh, size, size, flags, start as *mut c_void) != libc::MAP_FAILED
    }
}

/// Does what would have been done without us.
unsafe fn hand_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: set before the handler was installed, never freed; its handler is called as its flags say.
    unsafe {
        let before = BEFORE.load(Ordering::Acquire);
        match (*before).sa_sigaction {
            libc::SIG_DFL | libc::SIG_IGN => {
                // A fault that is ignored would come again for ever; the kernel ends the process for it, and so do we.
                let mut default: libc::sigaction = std::mem::zeroed();
                default.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &raw const default, std::ptr::null_mut());
                libc::raise(signal);
            }
            handler if (*before).sa_flags & libc::SA_SIGINFO != 0 => {
                let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = std::mem::transmute(handler);
                handler(signal, info, context);
            }
            handler => {
                let handler: extern "C" fn(c_int) = std::mem::transmute(handler);
                handler(signal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Barrier;

    use super::super::memory::{Backing, Memory};

    fn memory(path: &Path, length: usize) -> Memory {
        let file = crate::fs::open_read_write(path, 0o600).unwrap();
        Memory::create(file, path, length, length, Backing::Mapped).unwrap()
    }

    #[test]
    fn a_store_behind_the_end_of_a_truncated_file_goes_to_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let memory = memory(&path, 1 << 20);
        memory.store(64, 7).unwrap();
        assert!(!memory.is_lost());
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(4096).unwrap();
        for offset in [8192, 1 << 19, (1 << 20) - 8] {
            memory.store(offset, offset as u64).unwrap();
        }
        assert!(memory.is_lost());
        assert_eq!(memory.load(64), 7, "what the file still has is still there");
        assert_eq!([8192, 1 << 19, (1 << 20) - 8].map(|offset| memory.load(offset)), [8192, 1 << 19, (1 << 20) - 8]);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 4096);
    }

    #[test]
    fn what_threads_store_at_once_in_a_page_that_cannot_be_had_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..300 {
            let path = folder.path().join(format!("journal-{round}"));
            let memory = memory(&path, 8192);
            std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
            let barrier = Barrier::new(4);
            std::thread::scope(|scope| {
                for thread in 0..4_usize {
                    let (memory, barrier) = (&memory, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        memory.store(8 * thread, 7).unwrap();
                    });
                }
            });
            assert_eq!([0, 8, 16, 24].map(|offset| memory.load(offset)), [7; 4], "round {round}");
        }
    }

    #[test]
    fn a_child_has_nothing_to_do_with_the_mappings_of_its_parent() {
        let folder = tempfile::tempdir().unwrap();
        let (path, own) = (folder.path().join("journal"), folder.path().join("journal-child"));
        let mut inherited: Vec<Memory> =
            (0..8).map(|number| memory(&path.with_extension(number.to_string()), 1 << 20)).collect();
        // SAFETY: the child runs this test's own code only, and ends without running anything else.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // As large, so that the kernel gives it the place of one of its parent's.
            let memory = memory(&own, 1 << 20);
            drop(inherited.split_off(4));
            let is_cut = std::fs::OpenOptions::new().write(true).open(&own).and_then(|file| file.set_len(4096)).is_ok();
            let is_stored = memory.store(8192, 7).is_ok() && memory.load(8192) == 7;
            let known = inherited.iter().any(Memory::is_lost);
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(!(is_cut && is_stored && memory.is_lost() && !known))) }
        }
        let mut status = 0;
        // SAFETY: the child was made above.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "the child ended with {status}");
    }

    #[test]
    fn places_are_used_again() {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..2 * super::MAX_MAPPINGS {
            let path = folder.path().join(format!("journal-{round}"));
            assert!(!memory(&path, 8192).is_mirrored());
        }
    }
}
