//! The file system, used with suspicion: a name in a run directory is opened only if it leads to a file of ours.

mod descriptor;
mod folder;
mod internals;
mod owner;
mod run_folder;

use std::fs::{DirBuilder, File, Metadata};
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, StatxFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};
pub use descriptor::{Shunned, shun_standard_numbers};
use folder::Place;
pub use folder::{
    cannot_link, cannot_spare, link, list, remove, remove_if_there, rename, rename_new, require_folder, sync_file,
    sync_folder,
};
use internals::Access;
pub use run_folder::RunFolder;

/// Device and inode: which file a name led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct FileId {
    /// Device number.
    pub device: u64,
    /// Inode number on that device.
    pub inode: u64,
}

impl From<&Metadata> for FileId {
    fn from(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

impl From<&Stat> for FileId {
    fn from(stat: &Stat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }
}

impl FileId {
    /// The identity of an open file.
    pub fn of(file: &File, path: &Path) -> Result<Self> {
        let metadata = file.metadata().map_err(|source| Error::io("examine", path, source))?;
        Ok(Self::from(&metadata))
    }

    /// The identity of what `path` leads to, not following a symlink, or `None` if there is nothing.
    pub fn at(path: &Path) -> Result<Option<Self>> {
        stat(path).map(|found| found.as_ref().map(Self::from))
    }
}

/// What lies at `path`, links not followed; `None` if there is nothing.
fn stat(path: &Path) -> Result<Option<Stat>> {
    let place = match Place::of(path, Access::Read) {
        Ok(place) => place,
        Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => return Ok(None),
        Err(error) => return Err(error),
    };
    match place.stat() {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::io("examine", path, errno.into())),
    }
}

/// An open file whose descriptor may be closed by others: some programs close every descriptor that they did not open
/// themselves, and the number then stands for a file of theirs.
#[derive(Debug)]
pub struct Held {
    file: ManuallyDrop<File>,
    id: FileId,
}

impl Held {
    /// Holds `file`, which is named `path`.
    pub fn over(file: File, path: &Path) -> Result<Self> {
        let id = FileId::of(&file, path)?;
        Ok(Self { file: ManuallyDrop::new(file), id })
    }

    /// Which file it is.
    #[must_use]
    pub fn id(&self) -> FileId {
        self.id
    }

    /// The length of the file, or `None` if the descriptor is no longer its own.
    ///
    /// # Errors
    /// If the file system does not answer, which is no proof that someone closed the descriptor.
    pub fn length(&self) -> io::Result<Option<u64>> {
        match self.file.metadata() {
            Ok(found) => Ok((FileId::from(&found) == self.id).then_some(found.len())),
            Err(error) if error.raw_os_error() == Some(Errno::BADF.raw_os_error()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the descriptor is still the file's own. The file system is not asked where the kernel knows that.
    pub fn is_own(&self) -> io::Result<bool> {
        match id_known(&self.file) {
            Ok(id) => Ok(id == self.id),
            Err(error) if error.raw_os_error() == Some(Errno::BADF.raw_os_error()) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The file, unless the descriptor is no longer its own.
    pub fn get(&self) -> io::Result<&File> {
        if self.is_own()? { Ok(&self.file) } else { Err(Errno::BADF.into()) }
    }
}

impl Deref for Held {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Left open, a lock on it would be held until the process ends.
        if self.is_own().unwrap_or(false) {
            // SAFETY: dropped here and nowhere else.
            unsafe { ManuallyDrop::drop(&mut self.file) };
        }
    }
}

/// The identity of an open file as the kernel remembers it, so that a network or user-space file system that fails or hangs
/// right now does not matter.
fn id_known(file: &File) -> io::Result<FileId> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    match rustix::fs::statx(file, "", flags, StatxFlags::INO) {
        Ok(found) => {
            let device = rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor);
            Ok(FileId { device, inode: found.stx_ino })
        }
        // Kernels, and filters of system calls, that do not know it.
        Err(Errno::NOSYS | Errno::INVAL | Errno::PERM) => file.metadata().map(|found| FileId::from(&found)),
        Err(errno) => Err(errno.into()),
    }
}

/// The length of an open file as the file system knows it: a client of a network or user-space file system may go by an older
/// answer, also after a write whose outcome it did not learn.
pub fn length_now(file: &File) -> io::Result<u64> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
    match rustix::fs::statx(file, "", flags, StatxFlags::SIZE) {
        Ok(found) => Ok(found.stx_size),
        // Kernels, and filters of system calls, that do not know it.
        Err(Errno::NOSYS | Errno::INVAL | Errno::PERM) => file.metadata().map(|metadata| metadata.len()),
        Err(errno) => Err(errno.into()),
    }
}

/// Bytes that a user may still write to the file system of `folder`, if it says so.
#[must_use]
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let facts = rustix::fs::statvfs(folder).ok()?;
    // File systems without a limit say that they have no blocks.
    (facts.f_blocks > 0).then(|| facts.f_bavail.saturating_mul(facts.f_frsize))
}

/// Creates the folder `path` and its parents where they are missing. They get the mode of files, with `x` wherever there is
/// `r`; the umask may narrow it.
pub fn create_folder(path: &Path, file_mode: u32) -> Result<()> {
    let mode = file_mode | (file_mode & 0o444) >> 2;
    if folder::make(path, Mode::from_bits_truncate(mode))? {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => Error::io("make a folder of the file", path, source),
        _ => Error::io("create the folder", path, source),
    })
}

/// Refuses a name that is there and no folder: a link to one, too.
pub fn require_no_link(folder: &Path) -> Result<()> {
    match folder.symlink_metadata() {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(found) if found.is_symlink() => Err(Error::not_ours(folder, "it is a symbolic link")),
        Ok(_) => Err(Error::not_ours(folder, "it is not a folder")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("examine", folder, error)),
    }
}

/// Refuses a folder in which this process may not create files.
pub fn require_writable(folder: &Path) -> Result<()> {
    use rustix::fs::{Access, AtFlags, CWD, accessat};

    match accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
        // Kernels that cannot say leave it to the first file.
        Ok(()) | Err(Errno::NOSYS | Errno::INVAL) => Ok(()),
        Err(errno) => Err(Error::io("write in the folder", folder, errno.into())),
    }
}

/// Opens `path` for appending, creating it with `mode` (narrowed by the umask) if it is missing. It can be read as well: an
/// append whose outcome is not known is compared with what is there.
pub fn open_append(path: &Path, mode: u32) -> Result<File> {
    open_owned(path, OFlags::RDWR | OFlags::APPEND | OFlags::CREATE, mode)
}

/// Opens `path` for reading and writing, creating it with `mode` if it is missing.
pub fn open_read_write(path: &Path, mode: u32) -> Result<File> {
    open_owned(path, OFlags::RDWR | OFlags::CREATE, mode)
}

/// Opens `path`, which must exist, for reading and writing.
pub fn open_existing(path: &Path) -> Result<File> {
    open_owned(path, OFlags::RDWR, 0)
}

/// Creates `path` exclusively for reading and writing.
pub fn create_new(path: &Path, mode: u32) -> Result<File> {
    open_owned(path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, mode)
}

/// Opens `path` for reading only. A FIFO or device is refused without being waited for; links are the reader's own business.
pub fn open_read(path: &Path) -> Result<File> {
    let file = open(path, OFlags::RDONLY, 0, Access::Read)?;
    if !file.metadata().map_err(|source| Error::io("examine", path, source))?.is_file() {
        return Err(Error::not_ours(path, "it is not a regular file"));
    }
    Ok(file)
}

/// As [`open_read`]; `None` if nothing lies there, or no file of ours. What cannot be opened right now is an error.
pub fn open_ours(path: &Path) -> Result<Option<File>> {
    match open_read(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.io_kind().is_none_or(|kind| kind == io::ErrorKind::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

fn open(path: &Path, flags: OFlags, mode: u32, access: Access) -> Result<File> {
    // NONBLOCK: opening a planted FIFO must fail or return, never wait for its other end.
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let place = Place::of(path, access)?;
    loop {
        match descriptor::open(place.folder(), place.name(), flags, Mode::from_bits_truncate(mode)) {
            Ok(descriptor) => return Ok(File::from(descriptor)),
            Err(Errno::INTR) => {}
            Err(Errno::LOOP) => return Err(Error::not_ours(path, "it is a symbolic link")),
            Err(errno) => return Err(Error::io("open", path, errno.into())),
        }
    }
}

fn open_owned(path: &Path, flags: OFlags, mode: u32) -> Result<File> {
    let file = open(path, flags | OFlags::NOFOLLOW, mode, Access::Write)?;
    let found = rustix::fs::fstat(&file).map_err(|errno| Error::io("examine", path, errno.into()))?;
    require_ours(path, &found)?;
    Ok(file)
}

/// Refuses what lies at `path`, if there is something, unless [`open_append`] would open it.
pub fn require_usable(path: &Path) -> Result<()> {
    stat(path)?.map_or(Ok(()), |found| require_ours(path, &found))
}

fn require_ours(path: &Path, found: &Stat) -> Result<()> {
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => {}
        FileType::Symlink => return Err(Error::not_ours(path, "it is a symbolic link")),
        _ => return Err(Error::not_ours(path, "it is not a regular file")),
    }
    if found.st_nlink > 1 {
        return Err(Error::not_ours(path, "it has more than one hard link"));
    }
    folder::require_owner(path, found)
}

/// Gives the file at `path` new content, so that a death at any moment leaves the old or the new. Who calls this must be alone
/// in doing so.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let draft = draft_beside(path);
    let mut file = open_owned(&draft, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC, mode)?;
    file.write_all(content).map_err(|source| Error::io("write", &draft, source))?;
    drop(file);
    rename(&draft, path)
}

fn draft_beside(path: &Path) -> PathBuf {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    PathBuf::from(draft)
}
