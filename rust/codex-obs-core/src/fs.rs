//! The file system, used with suspicion: a name in a run directory is opened only if it leads to a file of ours.

use std::fs::{DirBuilder, File, Metadata};
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::error::{Error, Result};
use crate::limits::FOLDER_MODE;

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

impl FileId {
    /// The identity of an open file.
    pub fn of(file: &File, path: &Path) -> Result<Self> {
        let metadata = file.metadata().map_err(|source| Error::io("examine", path, source))?;
        Ok(Self::from(&metadata))
    }

    /// The identity of what `path` leads to, not following a symlink, or `None` if there is nothing.
    pub fn at(path: &Path) -> Result<Option<Self>> {
        match path.symlink_metadata() {
            Ok(metadata) => Ok(Some(Self::from(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::io("examine", path, source)),
        }
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
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.file.metadata().ok().filter(|found| FileId::from(found) == self.id).map(|found| found.len())
    }

    /// The file, unless the descriptor is no longer its own.
    pub fn get(&self) -> io::Result<&File> {
        self.length().map(|_| &*self.file).ok_or_else(|| rustix::io::Errno::BADF.into())
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
        if self.length().is_some() {
            // SAFETY: dropped here and nowhere else.
            unsafe { ManuallyDrop::drop(&mut self.file) };
        }
    }
}

/// Creates `path` and its parents with mode 0700 where they are missing.
pub fn create_folder(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => Error::io("make a folder of the file", path, source),
        _ => Error::io("create the folder", path, source),
    })
}

/// Refuses a folder of internals that is a link or belongs to someone else.
pub fn require_folder(path: &Path) -> Result<()> {
    let metadata = path.symlink_metadata().map_err(|source| Error::io("examine", path, source))?;
    if !metadata.is_dir() {
        return Err(Error::not_ours(path, "it is not a folder"));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(Error::not_ours(path, "it belongs to another user"));
    }
    Ok(())
}

/// Opens `path` for appending, creating it with `mode` (narrowed by the umask) if it is missing.
pub fn open_append(path: &Path, mode: u32) -> Result<File> {
    open_owned(path, OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE, mode)
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
    let file = open(path, OFlags::RDONLY, 0)?;
    if !file.metadata().map_err(|source| Error::io("examine", path, source))?.is_file() {
        return Err(Error::not_ours(path, "it is not a regular file"));
    }
    Ok(file)
}

fn open(path: &Path, flags: OFlags, mode: u32) -> Result<File> {
    // NONBLOCK: opening a planted FIFO must fail or return, never wait for its other end.
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    loop {
        match rustix::fs::open(path, flags, Mode::from_bits_truncate(mode)) {
            Ok(descriptor) => return Ok(File::from(descriptor)),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::LOOP) => return Err(Error::not_ours(path, "it is a symbolic link")),
            Err(errno) => return Err(Error::io("open", path, errno.into())),
        }
    }
}

fn open_owned(path: &Path, flags: OFlags, mode: u32) -> Result<File> {
    let file = open(path, flags | OFlags::NOFOLLOW, mode)?;
    let metadata = file.metadata().map_err(|source| Error::io("examine", path, source))?;
    require_ours(path, &metadata)?;
    Ok(file)
}

/// Refuses what lies at `path`, if there is something, unless [`open_append`] would open it.
pub fn require_usable(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_symlink() => Err(Error::not_ours(path, "it is a symbolic link")),
        Ok(metadata) => require_ours(path, &metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Error::io("examine", path, source)),
    }
}

fn require_ours(path: &Path, metadata: &Metadata) -> Result<()> {
    if !metadata.is_file() {
        return Err(Error::not_ours(path, "it is not a regular file"));
    }
    if metadata.nlink() > 1 {
        return Err(Error::not_ours(path, "it has more than one hard link"));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(Error::not_ours(path, "it belongs to another user"));
    }
    Ok(())
}

/// Gives the file at `path` new content, so that a death at any moment leaves the old or the new. Who calls this must be alone
/// in doing so.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = Path::new(&draft);
    let mut file = open_owned(draft, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC, mode)?;
    file.write_all(content).map_err(|source| Error::io("write", draft, source))?;
    drop(file);
    std::fs::rename(draft, path).map_err(|source| Error::io("rename", draft, source))
}

/// Makes the names in `folder` durable. File systems that cannot sync a folder are taken at their word.
pub fn sync_folder(folder: &Path) -> Result<()> {
    let directory = File::open(folder).map_err(|source| Error::io("open", folder, source))?;
    match rustix::fs::fsync(directory.as_fd()) {
        Ok(()) | Err(rustix::io::Errno::INVAL) => Ok(()),
        Err(errno) => Err(Error::io("sync", folder, errno.into())),
    }
}
