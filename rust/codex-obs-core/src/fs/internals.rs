//! The folder of internals: opened without following a link, and its owner looked at on the descriptor.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{descriptor, owner};
use crate::error::{Error, Result};

/// Attempts to find a name for a file that nobody else has.
const ATTEMPTS: u32 = 8;

/// What is to be done with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Look at it, which is allowed in the folders of others.
    Read,
    /// Make, open for writing, rename or delete it.
    Write,
}

/// Opens the folder at `path`, which has this `name` in `around`. It must be one and, for writing, ours.
pub(super) fn open(around: BorrowedFd<'_>, name: &Path, path: &Path, access: Access) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let is_link = || {
        let found = rustix::fs::statat(around, name, AtFlags::SYMLINK_NOFOLLOW);
        found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Symlink)
    };
    let folder = match descriptor::open(around, name, flags, Mode::empty()) {
        Ok(folder) => folder,
        Err(Errno::LOOP | Errno::NOTDIR) if is_link() => return Err(Error::not_ours(path, "it is a symbolic link")),
        Err(Errno::NOTDIR) if access == Access::Write => return Err(Error::not_ours(path, "it is not a folder")),
        Err(errno) => return Err(Error::io("open", path, errno.into())),
    };
    if access == Access::Write {
        let found = rustix::fs::fstat(&folder).map_err(|errno| Error::io("examine", path, errno.into()))?;
        // Asked of the folder around it: to make a file in a stranger's folder is what must not happen.
        owner::require(path, &found, |_| probe(around, name.parent()?))?;
    }
    Ok(folder)
}

/// Device and owner of a file made in `folder`, which is looked up in `around`, and removed again; `None` where none can be made.
pub(super) fn probe(around: BorrowedFd<'_>, folder: &Path) -> Option<(u64, u32)> {
    (0..ATTEMPTS).find_map(|_| {
        let path = folder.join(format!(".codex_obs-owner-{:016x}", random()?));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = descriptor::open(around, &path, flags, Mode::RUSR | Mode::WUSR).ok()?;
        let found = rustix::fs::fstat(&file);
        let _ = rustix::fs::unlinkat(around, &path, AtFlags::empty());
        found.ok().map(|found| (found.st_dev, found.st_uid))
    })
}

fn random() -> Option<u64> {
    let mut bytes = [0; 8];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    (filled == Ok(bytes.len())).then(|| u64::from_ne_bytes(bytes))
}
