//! Descriptors that may be kept: none of them is 0, 1 or 2, which native code takes for the standard streams.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, FdFlags};

/// First number that is no standard stream.
const FIRST: i32 = 3;

/// Opens `path` in `folder`. Where a standard stream is closed, its number is taken while the file is opened, so that a
/// `write(1, …)` of another thread never reaches the file, not even for the moment that moving it would take.
pub(super) fn open(
    folder: BorrowedFd<'_>,
    path: &std::path::Path,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    let _shunned = shun_standard_numbers();
    let opened = rustix::fs::openat(folder, path, flags, mode)?;
    above_standard(opened)
}

/// Opens the folder at `path` as [`open`] does, unless a link leads to it: `LOOP`. Kernels before 5.6 look at the last name only.
pub(super) fn open_unlinked(path: &std::path::Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let _shunned = shun_standard_numbers();
    match rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        // Kernels, and filters of system calls, that do not know it.
        Err(Errno::NOSYS | Errno::PERM) => match rustix::fs::openat(CWD, path, flags | OFlags::NOFOLLOW, Mode::empty())
        {
            // What is no folder is a link here.
            Err(Errno::NOTDIR) => Err(Errno::LOOP),
            outcome => above_standard(outcome?),
        },
        outcome => above_standard(outcome?),
    }
}

/// `descriptor`, or a copy with a higher number.
fn above_standard(descriptor: OwnedFd) -> Result<OwnedFd, Errno> {
    if descriptor.as_raw_fd() >= FIRST {
        return Ok(descriptor);
    }
    rustix::io::fcntl_dupfd_cloexec(&descriptor, FIRST)
}

/// Numbers of closed standard streams that are taken until this is dropped.
pub struct Shunned {
    _fillers: Vec<Filler>,
}

/// Keeps files and connections that are opened meanwhile from getting the number of a closed standard stream.
#[must_use]
pub fn shun_standard_numbers() -> Shunned {
    Shunned { _fillers: fill() }
}

/// A standard stream's number that leads nowhere.
struct Filler(Option<OwnedFd>);

impl Drop for Filler {
    fn drop(&mut self) {
        let Some(descriptor) = self.0.take() else { return };
        // Another thread may have put a stream of the program's own there meanwhile: that is not ours to close.
        let is_ours = rustix::fs::fcntl_getfl(&descriptor).is_ok_and(|flags| flags.contains(OFlags::PATH))
            && rustix::fs::fstat(&descriptor)
                .is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice);
        if !is_ours {
            std::mem::forget(descriptor);
        }
    }
}

/// Takes the numbers of closed standard streams. `O_PATH`: who writes to or reads from one is refused as before.
fn fill() -> Vec<Filler> {
    let mut fillers = Vec::new();
    for number in 0..FIRST {
        // SAFETY: borrowed for one question, which a closed descriptor answers with an error.
        let standard = unsafe { BorrowedFd::borrow_raw(number) };
        if rustix::io::fcntl_getfd(standard) != Err(Errno::BADF) {
            continue;
        }
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        match rustix::fs::openat(CWD, "/dev/null", flags, Mode::empty()) {
            Ok(descriptor) if descriptor.as_raw_fd() < FIRST => fillers.push(Filler(Some(descriptor))),
            _ => break,
        }
    }
    debug_assert!(
        fillers.iter().flat_map(|filler| &filler.0).all(|descriptor| {
            rustix::io::fcntl_getfd(descriptor).is_ok_and(|flags| flags.contains(FdFlags::CLOEXEC))
        })
    );
    fillers
}
