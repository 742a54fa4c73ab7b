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
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicUsize, Ordering};

use libc::{c_int, c_void};

/// Mappings watched at a time; a journal beyond them is not mapped.
const MAX_MAPPINGS: usize = 256;
/// Parts that a mapping may be replaced in: the kernel limits the number of mappings of a process to 65,530.
const MAX_PARTS: usize = 16_384;

/// A watched mapping.
struct Place {
    /// Its first byte; 0 for a free place, 1 for one that is being filled.
    start: AtomicUsize,
    length: AtomicUsize,
    /// Bytes replaced at a time.
    part: AtomicUsize,
    file: AtomicI32,
    lost: AtomicBool,
}

static PLACES: [Place; MAX_MAPPINGS] = [const {
    Place {
        start: AtomicUsize::new(0),
        length: AtomicUsize::new(0),
        part: AtomicUsize::new(0),
        file: AtomicI32::new(-1),
        lost: AtomicBool::new(false),
    }
}; MAX_MAPPINGS];

/// What was there before our handler. Set before ours can run, never freed.
static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(std::ptr::null_mut());

/// A mapping that is watched until this is dropped.
#[derive(Debug)]
pub struct Watch(usize);

impl Watch {
    /// Watches the mapping of `file` at `start`. `None` if too many are watched already.
    ///
    /// # Safety
    /// The mapping belongs to the caller, who drops the watch before unmapping it and keeps the file open until then.
    pub unsafe fn over(start: *const u8, length: usize, file: &File) -> Option<Self> {
        install();
        let place = PLACES
            .iter()
            .position(|place| place.start.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok())?;
        let page = rustix::param::page_size();
        let watched = &PLACES[place];
        watched.length.store(length, Ordering::Relaxed);
        watched.part.store((length / MAX_PARTS).max(1).next_multiple_of(page), Ordering::Relaxed);
        watched.file.store(file.as_raw_fd(), Ordering::Relaxed);
        watched.lost.store(false, Ordering::Relaxed);
        // Release: pairs with the acquire in `replace`; the rest of the place is set.
        watched.start.store(start as usize, Ordering::Release);
        Some(Self(place))
    }

    /// Whether a part of the mapping had to be replaced: the file does not have all that was stored.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        PLACES[self.0].lost.load(Ordering::Acquire)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        PLACES[self.0].start.store(0, Ordering::Release);
    }
}

/// Installs the handler once. Whoever installs another one later has ours to hand faults on to.
fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: a zeroed sigaction is a valid one, and each call is given valid pointers to such. The handler is a function
        // of this module, which is never unloaded, and does only what a handler may.
        unsafe {
            let before = Box::into_raw(Box::new(std::mem::zeroed::<libc::sigaction>()));
            if libc::sigaction(libc::SIGBUS, std::ptr::null(), before) != 0 {
                return;
            }
            BEFORE.store(before, Ordering::Release);
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_fault as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&raw mut action.sa_mask);
            libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut());
        }
    });
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
            1.. => replace((*info).si_addr() as usize),
            _ => false,
        };
        *libc::__errno_location() = errno;
        if !handled {
            hand_on(signal, info, context);
        }
    }
}

/// Puts plain memory in the place of the part of a watched mapping around `address`. `false` if no mapping is there.
fn replace(address: usize) -> bool {
    for place in &PLACES {
        // Acquire: pairs with the release in `over`.
        let start = place.start.load(Ordering::Acquire);
        let length = place.length.load(Ordering::Relaxed);
        if start <= 1 || address < start || address - start >= length {
            continue;
        }
        let part = place.part.load(Ordering::Relaxed);
        let offset = (address - start) / part * part;
        let size = part.min(length - offset);
        // SAFETY: a new mapping, filled from the file as far as that can be read, takes the place of a part of a mapping that
        // belongs to a journal, which only sees other bytes than it stored.
        let moved = unsafe {
            let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let fresh = libc::mmap(std::ptr::null_mut(), size, protection, flags, -1, 0);
            if fresh == libc::MAP_FAILED {
                return false;
            }
            libc::pread(place.file.load(Ordering::Relaxed), fresh, size, offset as libc::off_t);
            libc::madvise(fresh, size, libc::MADV_DONTFORK);
            let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
            libc::mremap(fresh, size, size, flags, (start + offset) as *mut c_void)
        };
        // Release: pairs with the acquire in `is_lost`.
        place.lost.store(true, Ordering::Release);
        return moved != libc::MAP_FAILED;
    }
    false
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

    use super::super::memory::{Backing, Memory};

    fn memory(path: &Path, length: usize) -> Memory {
        let file = crate::fs::open_read_write(path, 0o600).unwrap();
        Memory::create(file, path, length, Backing::Mapped).unwrap()
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
    fn places_are_used_again() {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..2 * super::MAX_MAPPINGS {
            let path = folder.path().join(format!("journal-{round}"));
            assert!(!memory(&path, 8192).is_mirrored());
        }
    }
}
