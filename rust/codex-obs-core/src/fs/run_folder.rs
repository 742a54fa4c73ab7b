//! The folders of runs that are open. Who may write the folder around a run can put a link, or a folder of their own, in its place
//! at any moment, and who may write the run's can do that with its internals. So both are opened once, the owner is looked at on
//! the descriptor, and everything in them is looked up from there as long as the path leads to the same folder. A folder that was
//! moved, deleted or replaced is opened again: not through a link that was not there before, and only if it is ours.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::internals::{self, Access};
use super::{FileId, Held, descriptor, owner};
use crate::error::{Error, Result};
use crate::generation::PerProcess;
use crate::paths::INTERNALS;

/// How a folder is opened in which names are looked up.
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The folders that this process has open. A forked child opens its own.
static OPEN: PerProcess<Mutex<Vec<Weak<RunFolder>>>> = PerProcess::new();

/// A run directory and its internals, held open until this is dropped.
#[derive(Debug)]
pub struct RunFolder {
    /// As the names of its files begin.
    path: PathBuf,
    /// Whose it was when it was opened.
    owner: u32,
    root: Mutex<Root>,
    internals: Mutex<Option<Arc<Held>>>,
}

#[derive(Clone, Debug)]
struct Root {
    /// Where the path leads, without links.
    resolved: PathBuf,
    folder: Arc<Held>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RunFolder {
    /// Opens the run directory at `path`, which exists, or finds it open.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path) -> Result<Arc<Self>> {
        if let Some(known) = Self::at(path) {
            return Ok(known);
        }
        let (root, owner) = Root::open(path)?;
        let opened =
            Arc::new(Self { path: path.to_owned(), owner, root: Mutex::new(root), internals: Mutex::default() });
        let mut open = lock(OPEN.get());
        open.retain(|folder| folder.strong_count() > 0);
        open.push(Arc::downgrade(&opened));
        Ok(opened)
    }

    /// The run directory at `path`, if it is open.
    pub(super) fn at(path: &Path) -> Option<Arc<Self>> {
        let open = lock(OPEN.get());
        // Dropped behind the lock, if this was the last of it: nothing is closed while others wait.
        open.iter().filter_map(Weak::upgrade).find(|folder| folder.path == path)
    }

    /// The run directory.
    pub(super) fn root(&self) -> Result<Arc<Held>> {
        let failed = |errno: Errno| Error::io("open", &self.path, errno.into());
        let root = lock(&self.root).clone();
        let again = match rustix::fs::statat(CWD, &root.resolved, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if FileId::from(&found) == root.folder.id() && is_open(&root.folder) => {
                return Ok(root.folder);
            }
            Ok(_) => {
                let folder = descriptor::open_unlinked(&root.resolved, FOLDER).map_err(|errno| match errno {
                    Errno::LOOP => Error::not_ours(&self.path, "a symbolic link took its place"),
                    errno => failed(errno),
                })?;
                let (folder, owner) = held(folder, &self.path)?;
                self.require(owner, &folder)?;
                Root { folder, resolved: root.resolved }
            }
            // A link of the user's own may lead elsewhere by now.
            Err(Errno::NOENT) => {
                let (root, owner) = Root::open(&self.path)?;
                self.require(owner, &root.folder)?;
                root
            }
            Err(errno) => return Err(failed(errno)),
        };
        *lock(&self.root) = again.clone();
        Ok(again.folder)
    }

    /// The folder of internals in it, which is ours if anything is to be written there.
    pub(super) fn internals(&self, access: Access) -> Result<Arc<Held>> {
        let root = self.root()?;
        let known = lock(&self.internals).clone();
        if let Some(known) = known
            && rustix::fs::statat(&**root, INTERNALS, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|found| FileId::from(&found) == known.id())
            && is_open(&known)
        {
            return Ok(known);
        }
        let path = self.path.join(INTERNALS);
        let folder = internals::open(root.as_fd(), Path::new(INTERNALS), &path, access)?;
        let folder = Arc::new(Held::over(File::from(folder), &path)?);
        if access == Access::Write {
            *lock(&self.internals) = Some(Arc::clone(&folder));
        }
        Ok(folder)
    }

    /// Refuses a folder in the place of the run's unless it is of the same owner, or ours.
    fn require(&self, owner: u32, folder: &Held) -> Result<()> {
        if owner == self.owner {
            return Ok(());
        }
        let found = rustix::fs::fstat(&**folder).map_err(|errno| Error::io("examine", &self.path, errno.into()))?;
        owner::require(&self.path, &found, |around| internals::probe(CWD, around))
    }
}

impl Root {
    /// Opens the folder at `path`, and gives whose it is.
    fn open(path: &Path) -> Result<(Self, u32)> {
        let folder = descriptor::open(CWD, path, FOLDER, Mode::empty())
            .map_err(|errno| Error::io("open", path, errno.into()))?;
        // The kernel knows where it lies; without /proc the path is asked.
        let known = rustix::fs::readlink(format!("/proc/self/fd/{}", folder.as_raw_fd()), Vec::new());
        let known = known.ok().map(|name| PathBuf::from(std::ffi::OsString::from_vec(name.into_bytes())));
        let is_it = |known: &PathBuf| {
            let found = rustix::fs::statat(CWD, known, AtFlags::SYMLINK_NOFOLLOW);
            known.is_absolute()
                && found.is_ok_and(|found| rustix::fs::fstat(&folder).is_ok_and(|own| same(&found, &own)))
        };
        let resolved = known.filter(is_it).map_or_else(|| path.canonicalize(), Ok);
        let resolved = resolved.map_err(|source| Error::io("open", path, source))?;
        let (folder, owner) = held(folder, path)?;
        Ok((Self { resolved, folder }, owner))
    }
}

/// Whether the descriptor of `folder` is still its own. One that somebody closed is kept for ever: the folder is opened again, may get
/// the same number, and is not to be closed with it.
fn is_open(folder: &Arc<Held>) -> bool {
    let is_own = folder.is_own().unwrap_or(false);
    if !is_own {
        std::mem::forget(Arc::clone(folder));
    }
    is_own
}

fn same(one: &rustix::fs::Stat, other: &rustix::fs::Stat) -> bool {
    FileId::from(one) == FileId::from(other)
}

/// Holds `folder`, and gives whose it is.
fn held(folder: OwnedFd, path: &Path) -> Result<(Arc<Held>, u32)> {
    let found = rustix::fs::fstat(&folder).map_err(|errno| Error::io("examine", path, errno.into()))?;
    Ok((Arc::new(Held::over(File::from(folder), path)?), found.st_uid))
}

#[cfg(all(test, not(loom)))]
#[path = "run_folder_tests.rs"]
mod tests;
