//! The journal's bytes: one safe type over two backings.
//!
//! *Mapped*: the file itself, shared with the kernel, so that what was stored survives the process. *Mirrored*: private
//! memory whose every change is also written to the file with `pwrite`, for file systems where a store into a mapping
//! could kill the process (a full btrfs, an XFS shut down by an I/O error).

mod moved;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use rustix::fs::FallocateFlags;
use rustix::mm::{Advice, MapFlags, MsyncFlags, ProtFlags};

use super::fault::Watch;
use super::layout::WORD_BYTES;
use crate::error::{Error, Result};
use crate::fs::Held;
use crate::generation;

/// Which backing to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backing {
    /// Mapped where that cannot kill the process, else mirrored.
    #[default]
    Auto,
    /// The file is mapped.
    Mapped,
    /// Private memory and `pwrite`.
    Mirrored,
}

/// File systems on which a store into a preallocated mapping survives a full disk: ext2/3/4 and tmpfs.
const MAPPABLE: [u64; 2] = [0xEF53, 0x0102_1994];

/// Read at a time from the journal of a dead process.
const SNAPSHOT_BYTES: usize = 256 << 10;

/// A fixed range of bytes that outlives the process.
#[derive(Debug)]
pub struct Memory {
    start: NonNull<u8>,
    length: usize,
    /// `None` once [released](Self::release).
    file: RwLock<Option<Held>>,
    mirrored: bool,
    /// Of the mapped backing, until it is released.
    watch: Mutex<Option<Watch>>,
    /// The file is not written any more: the bytes are as good as lost if the process dies.
    detached: AtomicBool,
    generation: u64,
}

// SAFETY: the range is owned by this value until it is dropped, and every access to it goes through atomics or through the
// unsafe methods below, whose callers promise exclusive or read-only use of the bytes they name.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Opens `length` bytes over `file`, which is empty and new and gets the first `allocated` of them; nobody may touch the
    /// rest before it is [allocated](Self::allocate).
    pub fn create(file: File, path: &Path, length: usize, allocated: usize, backing: Backing) -> Result<Self> {
        let file = Held::over(file, path)?;
        let mapped = match backing {
            Backing::Mapped => true,
            Backing::Mirrored => false,
            Backing::Auto => is_mappable(&file),
        };
        allocate(&file, 0, allocated, mapped).map_err(|source| Error::io("preallocate", path, source))?;
        if mapped {
            let start = map(Some(&file), path, length)?;
            // SAFETY: mapped just now, and unmapped by `drop` alone, which drops the watch first.
            if let Some(watch) = unsafe { Watch::over(start.as_ptr(), length, &file) } {
                return Ok(Self::over(start, length, file, Some(watch)));
            }
            // SAFETY: mapped just now, and nobody knows it.
            let _ = unsafe { rustix::mm::munmap(start.as_ptr().cast(), length) };
        }
        let memory = Self::over(map(None, path, length)?, length, file, None);
        memory.populate(0, allocated);
        Ok(memory)
    }

    /// Gives the file the bytes `from..to`, of which nothing exists yet, or leaves it as it is.
    pub fn allocate(&self, from: usize, to: usize) -> io::Result<()> {
        let outcome = self.with_file(|file| {
            if file.metadata()?.len() < from as u64 {
                // Someone truncated it. Longer again, it would show zeros where frames were.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            // A part that was allocated before the disk was full is given back.
            allocate(file, from, to, !self.mirrored).inspect_err(|_| drop(file.set_len(from as u64)))
        });
        if outcome.is_ok() && self.mirrored {
            self.populate(from, to - from);
        }
        outcome
    }

    /// A copy in private memory of the first `length` bytes of `file`, so that nothing that is done to the file changes what is
    /// read. What is stored goes to the file as well. Holes and zeros take no memory, and what the file lacks is zero.
    pub fn snapshot(file: File, path: &Path, length: usize) -> Result<Self> {
        let file = Held::over(file, path)?;
        let start = map(None, path, length)?;
        let memory = Self::over(start, length, file, None);
        let mut block = vec![0; SNAPSHOT_BYTES.min(length)];
        let mut at = 0;
        while at < length {
            let room = block.len().min(length - at);
            let mut read = 0;
            let outcome = memory.with_file(|file| {
                read = file.read_at(&mut block[..room], at as u64)?;
                Ok(())
            });
            match outcome {
                Ok(()) if read == 0 => break,
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(Error::io("read", path, source)),
            }
            if block[..read].iter().any(|&byte| byte != 0) {
                // SAFETY: nobody else knows the range yet.
                unsafe { memory.copy_in(at, &block[..read]) };
            }
            at += read;
        }
        Ok(memory)
    }

    fn over(start: NonNull<u8>, length: usize, file: Held, watch: Option<Watch>) -> Self {
        Self {
            start,
            length,
            file: RwLock::new(Some(file)),
            mirrored: watch.is_none(),
            watch: Mutex::new(watch),
            detached: AtomicBool::new(false),
            generation: generation::current(),
        }
    }

    /// Gives the file and its pages back, for a journal that nobody reads or writes any more: what is left are zeros.
    pub fn release(&self) {
        let mut file = self.file.write().unwrap_or_else(PoisonError::into_inner);
        if file.is_none() || generation::current() != self.generation {
            return;
        }
        let (address, protection) = (self.start.as_ptr().cast(), ProtFlags::READ | ProtFlags::WRITE);
        let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
        // SAFETY: the range was mapped by `open` and is still this value's own; whoever looks at it sees valid memory before
        // and after.
        if unsafe { rustix::mm::mmap_anonymous(address, self.length, protection, flags) }.is_ok() {
            drop(lock(&self.watch).take());
            *file = None;
        }
    }

    fn with_file(&self, work: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        // Shared: the writer thread and a caller write to different places.
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
        file.as_ref().map_or(Ok(()), |file| work(file.get()?))
    }

    /// Whether the file no longer has all that was stored, because it was truncated or its file system failed.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        lock(&self.watch).as_ref().is_some_and(Watch::is_lost)
    }

    /// Whether every change is a system call.
    #[must_use]
    pub fn is_mirrored(&self) -> bool {
        self.mirrored
    }

    /// Leaves the file as it is from now on: for one that cannot be written and that nobody is to recover from.
    pub fn detach(&self) {
        // Relaxed: whoever still sees the old value writes to a file that has no name any more.
        self.detached.store(true, Ordering::Relaxed);
    }

    /// Whether it was [detached](Self::detach).
    #[must_use]
    pub fn is_detached(&self) -> bool {
        self.detached.load(Ordering::Relaxed)
    }

    /// Lets stores into a range find their pages in place. The first one into a page of a mapped file waits for the file
    /// system, and so does the first one after every write-back.
    ///
    /// Where the kernel is older than 5.14, or has no such page to give, it is the store that waits, or finds that out.
    pub fn make_ready(&self, offset: usize, length: usize) {
        assert!(offset <= self.length && length <= self.length - offset, "what is made ready lies inside the journal");
        if !self.mirrored {
            self.populate(offset, length);
        }
    }

    fn populate(&self, offset: usize, length: usize) {
        if length == 0 {
            return;
        }
        let first = offset - offset % rustix::param::page_size();
        // SAFETY: in range, and no byte changes.
        let _ = unsafe {
            let start = self.start.as_ptr().add(first).cast();
            rustix::mm::madvise(start, offset + length - first, Advice::LinuxPopulateWrite)
        };
    }

    fn is_written(&self) -> bool {
        self.mirrored && !self.is_detached()
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.length, "a control word lies inside the header");
        // SAFETY: in range and aligned (a mapping starts at a page), and control words are only ever used as atomics.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(offset).cast()) }
    }

    /// Loads a control word. Acquire: pairs with the release in [`store`](Self::store).
    #[must_use]
    pub fn load(&self, offset: usize) -> u64 {
        u64::from_le(self.word(offset).load(Ordering::Acquire))
    }

    /// Stores a control word in one piece, or not at all. Release: what was copied in before is seen by whoever loads it.
    pub fn store(&self, offset: usize, value: u64) -> io::Result<()> {
        let word = self.word(offset);
        if self.is_written() {
            self.with_file(|file| file.write_all_at(&value.to_le_bytes(), offset as u64))?;
        }
        word.store(value.to_le(), Ordering::Release);
        Ok(())
    }

    /// Stores a control word and its copy behind it, one after the other.
    pub fn store_twice(&self, offset: usize, value: u64) -> io::Result<()> {
        let words = [self.word(offset), self.word(offset + WORD_BYTES)];
        if self.is_written() {
            let bytes = [value.to_le_bytes(), value.to_le_bytes()];
            self.with_file(|file| file.write_all_at(bytes.as_flattened(), offset as u64))?;
        }
        for word in words {
            word.store(value.to_le(), Ordering::Release);
        }
        Ok(())
    }

    /// Copies `bytes` in at `offset`, in memory only when mirrored: [`publish`](Self::publish) takes them to the file.
    ///
    /// # Safety
    /// No other thread may read or write this range meanwhile.
    pub unsafe fn copy_in(&self, offset: usize, bytes: &[u8]) {
        assert!(offset <= self.length && bytes.len() <= self.length - offset, "a copy stays inside the journal");
        // SAFETY: in range; the caller has the range for itself; `bytes` cannot overlap it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.as_ptr().add(offset), bytes.len()) }
    }

    /// Makes what was copied into the range outlive the process. Free when mapped, one `pwrite` when mirrored.
    ///
    /// # Safety
    /// No other thread may write this range meanwhile.
    pub unsafe fn publish(&self, offset: usize, length: usize) -> io::Result<()> {
        if !self.is_written() {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        let bytes = unsafe { self.bytes(offset, length) };
        self.with_file(|file| file.write_all_at(bytes, offset as u64))
    }

    /// Waits until a range is on the disk. Of a file that nobody is to recover from, there is nothing to wait for.
    ///
    /// # Errors
    /// If the disk refuses it: then nothing says what is there, and it is to be stored again.
    pub fn sync(&self, offset: usize, length: usize) -> io::Result<()> {
        assert!(offset <= self.length && length <= self.length - offset, "what is synced lies inside the journal");
        if self.is_detached() {
            return Ok(());
        }
        if self.mirrored {
            return self.with_file(File::sync_data);
        }
        let first = offset - offset % rustix::param::page_size();
        // SAFETY: in range, and no byte changes.
        let synced = unsafe {
            let start = self.start.as_ptr().add(first).cast();
            rustix::mm::msync(start, offset + length - first, MsyncFlags::SYNC)
        };
        synced.map_err(Into::into)
    }

    /// The bytes of a range.
    ///
    /// # Safety
    /// No other thread may write this range while the slice is in use.
    #[must_use]
    pub unsafe fn bytes(&self, offset: usize, length: usize) -> &[u8] {
        assert!(offset <= self.length && length <= self.length - offset, "a read stays inside the journal");
        // SAFETY: in range, initialised (the file's own bytes or zeros), and not written meanwhile.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(offset), length) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // In a forked child the range is not mapped, or is by now something else.
        if generation::current() != self.generation {
            return;
        }
        drop(lock(&self.watch).take());
        // SAFETY: mapped by `open`, and no slice of it outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives `file` the bytes `from..to` on the disk. Where that cannot be asked for, zeros are written if the file is mapped: a
/// store into a hole would end the process on a full disk.
fn allocate(file: &File, from: usize, to: usize, mapped: bool) -> io::Result<()> {
    use rustix::io::Errno;

    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), from as u64, (to - from) as u64) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::NOTSUP | Errno::INVAL | Errno::NOSYS) if mapped => {
                return file.write_all_at(&vec![0; to - from], from as u64);
            }
            Err(Errno::NOTSUP | Errno::INVAL | Errno::NOSYS) => return file.set_len(to as u64),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Maps `file`, or private memory if there is none.
fn map(file: Option<&File>, path: &Path, length: usize) -> Result<NonNull<u8>> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    let address = std::ptr::null_mut();
    let mapped = match file {
        // SAFETY: a new mapping at an address of the kernel's choice; the file is as long as the mapping.
        Some(file) => unsafe { rustix::mm::mmap(address, length, protection, MapFlags::SHARED, file, 0) },
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing that exists.
        None => unsafe {
            rustix::mm::mmap_anonymous(address, length, protection, MapFlags::PRIVATE | MapFlags::NORESERVE)
        },
    };
    let start = mapped.map_err(|errno| Error::io("map", path, errno.into()))?;
    // A forked child has no use for the ring: without it, it can neither read half a frame nor write one.
    // SAFETY: the range was mapped just above.
    if let Err(errno) = unsafe { rustix::mm::madvise(start, length, Advice::LinuxDontFork) } {
        // SAFETY: as above, and nobody knows it.
        let _ = unsafe { rustix::mm::munmap(start, length) };
        return Err(Error::io("map", path, errno.into()));
    }
    Ok(NonNull::new(start.cast()).expect("mmap never returns the null page"))
}

fn is_mappable(file: &File) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|facts| MAPPABLE.contains(&(facts.f_type as u64 & 0xFFFF_FFFF)))
}

/// Does `work` while no byte can be written to the file behind `memory`.
#[cfg(test)]
pub fn while_unwritable<T>(memory: &Memory, work: impl FnOnce() -> T) -> T {
    use std::os::fd::AsRawFd;

    let (kept, descriptor) = {
        let file = memory.file.read().unwrap();
        let file = file.as_ref().unwrap();
        (file.try_clone().unwrap(), file.as_raw_fd())
    };
    let unwritable = File::open("/dev/null").unwrap();
    // SAFETY: all descriptors are open, and the memory only reads and writes through its own.
    assert!(unsafe { libc::dup2(unwritable.as_raw_fd(), descriptor) } >= 0);
    let outcome = work();
    // SAFETY: as above.
    assert!(unsafe { libc::dup2(kept.as_raw_fd(), descriptor) } >= 0);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_backings_leave_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        for backing in [Backing::Mapped, Backing::Mirrored] {
            let path = folder.path().join("journal");
            let file = crate::fs::open_read_write(&path, 0o600).unwrap();
            let memory = Memory::create(file, &path, 8192, 8192, backing).unwrap();
            assert_eq!(memory.is_mirrored(), backing == Backing::Mirrored);
            // SAFETY: only this thread knows the memory.
            unsafe {
                memory.copy_in(4096, b"frame");
                memory.publish(4096, 5).unwrap();
            }
            memory.store(64, 7).unwrap();
            assert_eq!(memory.load(64), 7);
            drop(memory);
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!((bytes.len(), &bytes[4096..4101], bytes[64]), (8192, b"frame".as_slice(), 7));
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    #[should_panic(expected = "inside the journal")]
    fn a_copy_past_the_end_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let file = crate::fs::open_read_write(&path, 0o600).unwrap();
        let memory = Memory::create(file, &path, 4096, 4096, Backing::Mirrored).unwrap();
        // SAFETY: only this thread knows the memory.
        unsafe { memory.copy_in(4090, b"too long") };
    }
}
