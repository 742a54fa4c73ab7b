//! Names in folders. The folder of internals may lie where others can write, who could put a link or a folder of their own
//! in its place at any moment. So it is opened without following a link, its owner is looked at on the descriptor, and the
//! name is looked up relative to that: whatever happens to the path meanwhile, nothing is made, renamed or deleted elsewhere.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use super::internals::{self, Access};
use super::run_folder::RunFolder;
use super::{FileId, Held, descriptor, owner};
use crate::error::{Error, Result};
use crate::paths::INTERNALS;

/// A name, and the folder it is looked up in.
pub(super) struct Place<'p> {
    folder: Folder,
    name: &'p Path,
}

/// Where a name is looked up.
enum Folder {
    /// Nowhere: it is a path.
    None,
    /// In this one.
    Opened(OwnedFd),
    /// In one of an open run.
    Held(Arc<Held>),
}

impl<'p> Place<'p> {
    /// The place that `path` names.
    pub fn of(path: &'p Path, access: Access) -> Result<Self> {
        if let (Some(folder), Some(name)) = (path.parent(), path.file_name())
            && let Some(folder) = Folder::at(folder, access)?
        {
            return Ok(Self { folder, name: Path::new(name) });
        }
        Ok(Self { folder: Folder::None, name: path })
    }

    pub fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
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

impl Folder {
    /// The folder at `path`, if it is one of an open run or one of internals.
    fn at(path: &Path, access: Access) -> Result<Option<Self>> {
        if let Some(run) = RunFolder::at(path) {
            return run.root().map(|root| Some(Self::Held(root)));
        }
        if path.file_name() != Some(OsStr::new(INTERNALS)) {
            return Ok(None);
        }
        if let Some(run) = path.parent().and_then(RunFolder::at) {
            return run.internals(access).map(|internals| Some(Self::Held(internals)));
        }
        internals::open(CWD, path, path, access).map(|folder| Some(Self::Opened(folder)))
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::None => CWD,
            Self::Opened(folder) => folder.as_fd(),
            Self::Held(folder) => folder.as_fd(),
        }
    }
}

/// Refuses what lies at `path` if it belongs to someone else.
pub(super) fn require_owner(path: &Path, found: &Stat) -> Result<()> {
    owner::require(path, found, |folder| {
        let file = folder.join(INTERNALS);
        let place = Place::of(&file, Access::Write).ok()?;
        internals::probe(place.folder(), place.name().parent()?)
    })
}

/// Refuses a folder of internals that is a link or belongs to someone else.
pub fn require_folder(path: &Path) -> Result<()> {
    Folder::at(path, Access::Write).map(drop)
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

/// Whether the file system does not know second names.
#[must_use]
pub fn cannot_link(error: &Error) -> bool {
    let refusals = [Errno::PERM, Errno::NOSYS, Errno::OPNOTSUPP, Errno::MLINK, Errno::INVAL];
    error.raw_os_error().is_some_and(|number| refusals.map(Errno::raw_os_error).contains(&number))
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
    let descriptor = open_folder(folder)?;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::new(descriptor).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

/// Opens `folder` for its names to be listed or synced.
fn open_folder(folder: &Path) -> Result<OwnedFd> {
    let opened = match Folder::at(folder, Access::Read)? {
        Some(known) => descriptor::open(known.as_fd(), Path::new("."), READ_FOLDER, Mode::empty()),
        None => descriptor::open(CWD, folder, READ_FOLDER, Mode::empty()),
    };
    opened.map_err(|errno| Error::io("open", folder, errno.into()))
}

/// Makes the folder at `path`, of an open run or its internals, with `mode`. Gives whether it is there; `false` for other
/// folders.
pub(super) fn make(path: &Path, mode: Mode) -> Result<bool> {
    let place = match Place::of(path, Access::Write) {
        Ok(place) => place,
        // It is made with what is around it.
        Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => return Ok(false),
        Err(error) => return Err(error),
    };
    if matches!(place.folder, Folder::None) {
        return Ok(false);
    }
    match rustix::fs::mkdirat(place.folder(), place.name(), mode) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => {
            Ok(place.stat().is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Directory))
        }
        Err(errno) => Err(Error::io("create the folder", path, errno.into())),
    }
}

const READ_FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Makes the names in `folder` durable. File systems that cannot sync a folder are taken at their word.
pub fn sync_folder(folder: &Path) -> Result<()> {
    match rustix::fs::fsync(open_folder(folder)?) {
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
