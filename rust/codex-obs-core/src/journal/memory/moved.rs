//! Moving a journal into another file, because somebody deleted or truncated the one that it was in.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::{Memory, allocate, lock, map};
use crate::error::{Error, Result};
use crate::fs::{FileId, Held};
use crate::generation;

/// Copied at a time.
const BLOCK_BYTES: usize = 256 << 10;

impl Memory {
    /// Which file it is in; `None` once it is [released](Self::release).
    #[must_use]
    pub fn id(&self) -> Option<FileId> {
        self.file.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(Held::id)
    }

    /// As [`id`](Self::id), as the file system has it now.
    #[must_use]
    pub fn id_now(&self) -> Option<FileId> {
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
        file.as_ref().and_then(|file| file.metadata().ok()).as_ref().map(FileId::from)
    }

    /// The length of the file; `None` if that is not known just now.
    #[must_use]
    pub fn file_length(&self) -> Option<u64> {
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
        file.as_ref().and_then(|file| file.length().ok().flatten())
    }

    /// Gives `file`, which is empty, the bytes `0..length` on the disk, as they were given to the file before it.
    ///
    /// # Errors
    /// If there is no room for them.
    pub fn allocate_in(&self, file: &File, length: usize) -> io::Result<()> {
        allocate(file, 0, length, !self.mirrored)
    }

    /// Writes bytes of a range to `file` at the same place.
    ///
    /// # Errors
    /// If they cannot be written.
    ///
    /// # Safety
    /// No other thread may write this range meanwhile.
    pub unsafe fn save_to(&self, file: &File, offset: usize, length: usize) -> io::Result<()> {
        // Copied first: what a truncated file no longer has is put in its place where it is looked at here, not by the kernel.
        let mut block = Vec::with_capacity(BLOCK_BYTES.min(length));
        // SAFETY: the caller's promise.
        for (number, bytes) in unsafe { self.bytes(offset, length) }.chunks(BLOCK_BYTES).enumerate() {
            block.clear();
            block.extend_from_slice(bytes);
            file.write_all_at(&block, (offset + number * BLOCK_BYTES) as u64)?;
        }
        Ok(())
    }

    /// Goes on in `file`, which has everything that is still needed; what it does not have is zero from now on where it is
    /// mapped.
    ///
    /// # Errors
    /// If it cannot be mapped.
    ///
    /// # Safety
    /// No other thread may read or write the memory meanwhile.
    pub unsafe fn move_to(&self, file: File, path: &Path) -> Result<()> {
        use rustix::mm::MremapFlags;

        let file = Held::over(file, path)?;
        let mut place = self.file.write().unwrap_or_else(PoisonError::into_inner);
        if place.is_none() || generation::current() != self.generation {
            return Err(Error::io("map", path, io::ErrorKind::NotFound.into()));
        }
        if !self.mirrored {
            let fresh = map(Some(&file), path, self.length)?;
            // SAFETY: both ranges are this value's own, and by the caller's promise nobody looks at either.
            let moved = unsafe {
                let (fresh, start) = (fresh.as_ptr().cast(), self.start.as_ptr().cast());
                rustix::mm::mremap_fixed(fresh, self.length, self.length, MremapFlags::MAYMOVE, start)
            };
            if let Err(errno) = moved {
                // SAFETY: mapped just now, and nobody knows it.
                let _ = unsafe { rustix::mm::munmap(fresh.as_ptr().cast(), self.length) };
                return Err(Error::io("map", path, errno.into()));
            }
            if let Some(watch) = lock(&self.watch).as_ref() {
                watch.moved(&file);
            }
        }
        *place = Some(file);
        // Relaxed: as in `detach`.
        self.detached.store(false, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Backing;
    use super::*;

    #[test]
    fn what_is_stored_after_a_move_is_in_the_new_file() {
        let folder = tempfile::tempdir().unwrap();
        for backing in [Backing::Mapped, Backing::Mirrored] {
            let (old, new) = (folder.path().join("old"), folder.path().join("new"));
            let file = crate::fs::create_new(&old, 0o600).unwrap();
            let memory = Memory::create(file, &old, 1 << 20, 8192, backing).unwrap();
            memory.store(64, 7).unwrap();
            std::fs::OpenOptions::new().write(true).open(&old).unwrap().set_len(0).unwrap();
            memory.store(4096, 8).unwrap();
            assert_eq!(memory.is_lost(), backing == Backing::Mapped);
            std::fs::remove_file(&old).unwrap();
            let file = crate::fs::create_new(&new, 0o600).unwrap();
            memory.allocate_in(&file, 8192).unwrap();
            let id = FileId::of(&file, &new).unwrap();
            // SAFETY: only this thread knows the memory.
            unsafe {
                memory.save_to(&file, 4096, 4096).unwrap();
                memory.move_to(file, &new).unwrap();
            }
            assert_eq!((memory.id(), memory.is_lost(), memory.load(4096)), (Some(id), false, 8));
            memory.store(128, 9).unwrap();
            let bytes = std::fs::read(&new).unwrap();
            assert_eq!((bytes.len(), bytes[128], bytes[4096]), (8192, 9, 8));
            memory.allocate(8192, 1 << 20).unwrap();
            memory.store((1 << 20) - 8, 10).unwrap();
            assert_eq!(std::fs::read(&new).unwrap()[(1 << 20) - 8], 10);
            // It is watched as the old one was.
            std::fs::OpenOptions::new().write(true).open(&new).unwrap().set_len(0).unwrap();
            memory.store(4096, 11).unwrap();
            assert_eq!((memory.load(4096), memory.is_lost()), (11, backing == Backing::Mapped));
            std::fs::remove_file(&new).unwrap();
        }
    }
}
