//! Names in folders. The folder of internals may lie where others can write, who could put a link or a folder of their own
//! in its place at any moment. So it is opened without following a link, its owner is looked at on the descriptor, and the
//! name is looked up relative to that: whatever happens to the path meanwhile, nothing is made, renamed or deleted elsewhere.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use super::{FileId, descriptor, owner};
use crate::error::{Error, Result};

/// Folder of the internals in a run directory.
pub const INTERNALS: &str = ".codex_obs";

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

/// A name, and the folder it is looked up in.
pub(super) struct Place<'p> {
    /// `None`: the path is looked up as it is.
    folder: Option<OwnedFd>,
    name: &'p Path,
}

impl<'p> Place<'p> {
    /// The place that `path` names.
    pub fn of(path: &'p Path, access: Access) -> Result<Self> {
        if let (Some(folder), Some(name)) = (path.parent(), path.file_name())
            && folder.file_name() == Some(OsStr::new(INTERNALS))
        {
            return Ok(Self { folder: Some(open_internals(folder, access)?), name: Path::new(name) });
        }
        Ok(Self { folder: None, name: path })
    }

    pub fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_ref().map_or(CWD, AsFd::as_fd)
    }

    pub fn name(&self) -> &Path {
        self.name
    }

    /// What lies there, links not followed.
    pub fn stat(&self) -> std::result::Result<Stat, Errno> {
        rustix::fs::statat(self.folder(), self.name, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn id(&self) -> Option<FileId> {
        self.stat().ok().as_ref().map(FileId::from)
    }
}

/// Opens a folder of internals, which must be one and, for writing, ours.
fn open_internals(path: &Path, access: Access) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = match descriptor::open(CWD, path, flags, Mode::empty()) {
        Ok(folder) => folder,
        Err(Errno::LOOP | Errno::NOTDIR) if path.is_symlink() => {
            return Err(Error::not_ours(path, "it is a symbolic link"));
        }
        Err(Errno::NOTDIR) if access == Access::Write => return Err(Error::not_ours(path, "it is not a folder")),
        Err(errno) => return Err(Error::io("open", path, errno.into())),
    };
    if access == Access::Write {
        let found = rustix::fs::fstat(&folder).map_err(|errno| Error::io("examine", path, errno.into()))?;
        // Asked of the folder around it: to make a file in a stranger's folder is what must not happen.
        require_owner(path, &found)?;
    }
    Ok(folder)
}

/// Refuses what lies at `path` if it belongs to someone else.
pub(super) fn require_owner(path: &Path, found: &Stat) -> Result<()> {
    owner::require(path, found, probe)
}

/// Device and owner of a file made in `folder`, which is removed again; `None` where none can be made.
fn probe(folder: &Path) -> Option<(u64, u32)> {
    (0..ATTEMPTS).find_map(|_| {
        let path = folder.join(format!(".codex_obs-owner-{:016x}", random()?));
        let place = Place::of(&path, Access::Write).ok()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = descriptor::open(place.folder(), place.name(), flags, Mode::RUSR | Mode::WUSR).ok()?;
        let found = rustix::fs::fstat(&file);
        let _ = rustix::fs::unlinkat(place.folder(), place.name(), AtFlags::empty());
        found.ok().map(|found| (found.st_dev, found.st_uid))
    })
}

fn random() -> Option<u64> {
    let mut bytes = [0; 8];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    (filled == Ok(bytes.len())).then(|| u64::from_ne_bytes(bytes))
}

/// Refuses a folder of internals that is a link or belongs to someone else.
pub fn require_folder(path: &Path) -> Result<()> {
    open_internals(path, Access::Write).map(drop)
}

/// Removes the file at `path`.
pub fn remove(path: &Path) -> Result<()> {
    let place = Place::of(path, Access::Write)?;
    rustix::fs::unlinkat(place.folder(), place.name(), AtFlags::empty())
        .map_err(|errno| Error::io("remove", path, errno.into()))
}

/// Removes the file at `path` if there is one.
pub fn remove_if_there(path: &Path) -> Result<()> {
    match remove(path) {
        Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => Ok(()),
        outcome => outcome,
    }
}

/// Renames `from` to `to`, replacing what is there.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    renamed(from, to, |from, to| rustix::fs::renameat(from.folder(), from.name(), to.folder(), to.name()))
}

/// Renames `from` to `to` unless something is there: `AlreadyExists`. File systems that cannot do this in one step say
/// `Unsupported`, see [`cannot_spare`].
pub fn rename_new(from: &Path, to: &Path) -> Result<()> {
    renamed(from, to, |from, to| {
        let flags = RenameFlags::NOREPLACE;
        rustix::fs::renameat_with(from.folder(), from.name(), to.folder(), to.name(), flags)
    })
}

/// Gives the file at `from` a second name, `to`, unless something is there.
pub fn link(from: &Path, to: &Path) -> Result<()> {
    let source = Place::of(from, Access::Write)?;
    let target = Place::of(to, Access::Write)?;
    rustix::fs::linkat(source.folder(), source.name(), target.folder(), target.name(), AtFlags::empty())
        .map_err(|errno| Error::io("link", from, errno.into()))
}

/// Whether the file system does not know renames that spare what is there.
#[must_use]
pub fn cannot_spare(error: &Error) -> bool {
    error
        .raw_os_error()
        .is_some_and(|number| [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP].map(Errno::raw_os_error).contains(&number))
}

fn renamed(
    from: &Path,
    to: &Path,
    rename: impl FnOnce(&Place<'_>, &Place<'_>) -> std::result::Result<(), Errno>,
) -> Result<()> {
    let source = Place::of(from, Access::Write)?;
    let target = Place::of(to, Access::Write)?;
    let before = source.id();
    match rename(&source, &target) {
        Ok(()) => Ok(()),
        // Over a network the answer may be an error although it was done.
        Err(_) if before.is_some() && source.stat().err() == Some(Errno::NOENT) && target.id() == before => Ok(()),
        Err(errno) => Err(Error::io("rename", from, errno.into())),
    }
}

/// The names in `folder`, in no order.
pub fn list(folder: &Path) -> Result<Vec<OsString>> {
    let failed = |errno: Errno| Error::io("list", folder, errno.into());
    let is_internals = folder.file_name() == Some(OsStr::new(INTERNALS));
    let descriptor = if is_internals {
        let place = open_internals(folder, Access::Read)?;
        descriptor::open(place.as_fd(), Path::new("."), READ_FOLDER, Mode::empty())
    } else {
        descriptor::open(CWD, folder, READ_FOLDER, Mode::empty())
    };
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::new(descriptor.map_err(failed)?).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

const READ_FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Makes the names in `folder` durable. File systems that cannot sync a folder are taken at their word.
pub fn sync_folder(folder: &Path) -> Result<()> {
    let directory = descriptor::open(CWD, folder, READ_FOLDER, Mode::empty())
        .map_err(|errno| Error::io("open", folder, errno.into()))?;
    match rustix::fs::fsync(&directory) {
        Ok(()) => Ok(()),
        Err(errno) if is_no_sync(errno) => Ok(()),
        Err(errno) => Err(Error::io("sync", folder, errno.into())),
    }
}

/// Whether a sync failed because there is none, and not because of the disk.
fn is_no_sync(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::BADF | Errno::NOTTY)
}

/// Makes `file` durable, as far as its file system knows what that is.
pub fn sync_file(file: &std::fs::File, path: &Path) -> Result<()> {
    match rustix::fs::fdatasync(file) {
        Ok(()) => Ok(()),
        Err(errno) if is_no_sync(errno) => Ok(()),
        Err(errno) => Err(Error::io("sync", path, errno.into())),
    }
}
