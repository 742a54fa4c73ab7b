//! Who may write a stream: an advisory lock on a file, with a record of the process that holds it.
//!
//! The lock goes with the open file, which `fork` hands down. A child that never ran our fork hook would keep its dead
//! parent's lock for ever, so a held lock counts as free if its record names a process that is surely gone. Then a new file,
//! already locked, is renamed over the old one. Takers are kept apart by a lock of their own, `guard`.
//!
//! A program may close descriptors that are not its own (daemons do). The open file, and the lock with it, lives on in a
//! mapping that nobody reads.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::mm::{Advice, MapFlags, ProtFlags};

use super::identity::Process;
use crate::error::{Error, Result};
use crate::fs::{FileId, Held};
use crate::generation;

/// Mode of lock files: nobody else needs them.
const MODE: u32 = 0o600;
/// Longest wait for other processes that are taking locks. It takes each of them microseconds, but a disk that is busy may
/// hold up the creation of a file for seconds, and a run that is not opened loses more than the wait costs.
const GUARD_WAIT: Duration = Duration::from_secs(30);
/// The file that keeps takers of locks apart.
const GUARD: &str = "guard";
const GUARD_LOOK: Duration = Duration::from_millis(1);

/// What a lock is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To write the stream, for as long as the process likes.
    Write,
    /// To bring back what a dead owner left, which is soon done.
    Recover,
}

/// What came of an attempt to take a lock.
#[derive(Debug)]
pub enum Attempt {
    /// It was free.
    Taken(Owner),
    /// A process that lives, or may live, holds it for this purpose.
    Held(Purpose),
}

/// A held lock. Dropping it frees the lock and removes the file, but not in a forked child, where it is the parent's.
#[derive(Debug)]
pub struct Owner {
    file: Held,
    pin: Option<Pin>,
    path: PathBuf,
    generation: u64,
}

impl Owner {
    /// Takes the lock at `path` for `process` unless a process that lives, or may live, holds it.
    pub fn acquire(path: &Path, process: &Process, purpose: Purpose) -> Result<Attempt> {
        // Locking a file and noting who did are two steps. Nobody looks at a record between them.
        let _guard = Guard::acquire(path)?;
        loop {
            let file = crate::fs::open_read_write(path, MODE)?;
            if try_lock(&file, path)? {
                if !leads_to(path, &file)? {
                    // Its last holder removed it between our open and our lock.
                    continue;
                }
                write_record(&file, path, process, purpose)?;
                return Ok(Attempt::Taken(Self::of(file, path)?));
            }
            return if holder_is_gone(&file, process) {
                Self::take_over(path, process, purpose)
            } else {
                Ok(Attempt::Held(purpose_of(&file)))
            };
        }
    }

    fn of(file: File, path: &Path) -> Result<Self> {
        let pin = Pin::of(&file);
        Ok(Self { file: Held::over(file, path)?, pin, path: path.to_owned(), generation: generation::current() })
    }

    /// Renames a new, locked file over one that a child inherited from a process that is gone.
    fn take_over(path: &Path, process: &Process, purpose: Purpose) -> Result<Attempt> {
        let mut new_name = path.as_os_str().to_owned();
        new_name.push(format!(".{}.new", process.pid));
        let new_path = PathBuf::from(new_name);
        match fs::remove_file(&new_path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &new_path, source));
            }
            _ => {}
        }
        let file = crate::fs::create_new(&new_path, MODE)?;
        if !try_lock(&file, &new_path)? {
            return Ok(Attempt::Held(Purpose::Write));
        }
        write_record(&file, &new_path, process, purpose)?;
        fs::rename(&new_path, path).map_err(|source| Error::io("rename", &new_path, source))?;
        if leads_to(path, &file)? {
            return Ok(Attempt::Taken(Self::of(file, path)?));
        }
        Ok(Attempt::Held(Purpose::Write))
    }

    /// Whether the name still leads to the file that is locked here.
    pub fn still_holds(&self) -> Result<bool> {
        Ok(FileId::at(&self.path)? == Some(self.file.id()))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // In a forked child the lock is the parent's: closing drops this process's reference only.
        if generation::current() == self.generation {
            if self.still_holds().unwrap_or(false) {
                // Removed while locked: whoever opened it meanwhile sees that the name leads elsewhere.
                let _ = fs::remove_file(&self.path);
            }
            if let Some(pin) = self.pin.take() {
                pin.remove();
            }
        }
    }
}

/// A mapping of an open file that keeps it, and a lock on it, when its descriptor is closed. No forked child inherits it.
#[derive(Debug)]
struct Pin {
    address: usize,
}

impl Pin {
    /// Length of the mapping, of which no byte is ever touched.
    const BYTES: usize = 1;

    /// `None` where the file cannot be mapped: then the lock lives as long as the descriptor.
    fn of(file: &File) -> Option<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice, which cannot be accessed.
        let start = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), Self::BYTES, ProtFlags::empty(), MapFlags::SHARED, file, 0)
        }
        .ok()?;
        let pin = Self { address: start.expose_provenance() };
        // SAFETY: the range was mapped just above.
        if unsafe { rustix::mm::madvise(start, Self::BYTES, Advice::LinuxDontFork) }.is_err() {
            pin.remove();
            return None;
        }
        Some(pin)
    }

    /// Takes the mapping away, in the process that made it.
    fn remove(self) {
        // SAFETY: mapped by `of`, known to nobody else, and removed once.
        let _ = unsafe { rustix::mm::munmap(std::ptr::with_exposed_provenance_mut(self.address), Self::BYTES) };
    }
}

fn try_lock(file: &File, path: &Path) -> Result<bool> {
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Error::io("lock", path, errno.into())),
        }
    }
}

fn leads_to(path: &Path, file: &File) -> Result<bool> {
    Ok(FileId::at(path)? == Some(FileId::of(file, path)?))
}

/// The first byte says what the lock is held for, the rest by whom.
fn write_record(file: &File, path: &Path, process: &Process, purpose: Purpose) -> Result<()> {
    let mut record = vec![purpose as u8];
    record.extend_from_slice(&process.to_bytes());
    file.set_len(0).and_then(|()| file.write_all_at(&record, 0)).map_err(|source| Error::io("write", path, source))
}

/// Whether the lock at `path` is held by a process that lives or may live, for those who may only read.
#[must_use]
pub fn is_held(path: &Path, observer: &Process) -> bool {
    let Ok(file) = crate::fs::open_read(path) else { return path.symlink_metadata().is_ok() };
    let guard_path = path.with_file_name(GUARD);
    // Without the guard a process that takes the lock right now could be sent away by this look at it.
    let Ok(guard) = crate::fs::open_read(&guard_path).and_then(|guard| Guard::over(guard, &guard_path)) else {
        return !holder_is_gone(&file, observer);
    };
    let is_free = rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_ok();
    drop(file);
    let is_held = !is_free && !crate::fs::open_read(path).is_ok_and(|file| holder_is_gone(&file, observer));
    drop(guard);
    is_held
}

/// Whether the lock at `path` names `process` as its holder.
#[must_use]
pub fn is_held_by(path: &Path, process: &Process) -> bool {
    crate::fs::open_read(path).is_ok_and(|file| holder_of(&file).as_ref() == Some(process))
}

fn holder_of(file: &File) -> Option<Process> {
    let mut bytes = [0; 1024];
    let length = file.read_at(&mut bytes, 0).unwrap_or(0);
    let (_, holder) = bytes[..length].split_first()?;
    Process::from_bytes(holder)
}

/// Whether the process that `file` names as the holder of its lock is surely gone.
fn holder_is_gone(file: &File, observer: &Process) -> bool {
    holder_of(file).is_some_and(|holder| holder.is_surely_gone(observer))
}

fn purpose_of(file: &File) -> Purpose {
    let mut byte = [Purpose::Write as u8];
    match file.read_at(&mut byte, 0) {
        Ok(1) if byte[0] == Purpose::Recover as u8 => Purpose::Recover,
        _ => Purpose::Write,
    }
}

/// Keeps everyone else from taking locks in the same folder.
struct Guard(File);

impl Guard {
    fn acquire(path: &Path) -> Result<Self> {
        let guard_path = path.with_file_name(GUARD);
        let file = crate::fs::open_read_write(&guard_path, MODE)?;
        Self::over(file, &guard_path)
    }

    fn over(file: File, path: &Path) -> Result<Self> {
        let deadline = Instant::now() + GUARD_WAIT;
        while !try_lock(&file, path)? {
            if Instant::now() >= deadline {
                return Err(Error::io(
                    "lock (a process that opens runs stands still)",
                    path,
                    io::ErrorKind::TimedOut.into(),
                ));
            }
            std::thread::sleep(GUARD_LOOK);
        }
        Ok(Self(file))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Unlocked, not only closed: a child forked just now has the same lock open.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(path: &Path, process: &Process) -> Option<Owner> {
        match Owner::acquire(path, process, Purpose::Write).unwrap() {
            Attempt::Taken(owner) => Some(owner),
            Attempt::Held(_) => None,
        }
    }

    #[test]
    fn a_held_lock_is_refused_and_a_freed_one_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock-main");
        let process = Process::current();
        let owner = take(&path, &process).unwrap();
        assert!(owner.still_holds().unwrap());
        assert!(take(&path, &process).is_none());
        let another = Process { pid: process.pid + 1, ..process.clone() };
        assert!(is_held_by(&path, &process) && !is_held_by(&path, &another));
        drop(owner);
        assert!(!path.exists() && !is_held_by(&path, &process));
        assert!(take(&path, &process).is_some());
    }

    #[test]
    fn what_a_lock_is_held_for_can_be_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock-main");
        let process = Process::current();
        for purpose in [Purpose::Write, Purpose::Recover] {
            let _held = Owner::acquire(&path, &process, purpose).unwrap();
            let refused = Owner::acquire(&path, &process, Purpose::Write).unwrap();
            assert!(matches!(refused, Attempt::Held(seen) if seen == purpose));
        }
    }

    #[test]
    fn a_lock_inherited_from_a_process_that_is_gone_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock-main");
        let process = Process::current();
        let gone = Process { start_time: process.start_time + 1, ..process.clone() };
        let inherited = take(&path, &gone).unwrap();
        let owner = take(&path, &process).unwrap();
        assert!(owner.still_holds().unwrap() && !inherited.still_holds().unwrap());
        assert!(take(&path, &process).is_none());
        drop(inherited);
        assert!(path.exists(), "the old holder does not remove the new holder's file");
    }

    #[test]
    fn a_lock_outlives_its_descriptor() {
        use std::os::fd::AsRawFd;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock-main");
        let process = Process::current();
        let owner = take(&path, &process).unwrap();
        let descriptor = owner.file.as_raw_fd();
        let other = File::open("/dev/null").unwrap();
        // SAFETY: both descriptors are open; the second becomes a copy of the first, as if closed and used again.
        assert!(unsafe { libc::dup2(other.as_raw_fd(), descriptor) } >= 0);
        assert!(take(&path, &process).is_none());
        drop(owner);
        // SAFETY: asks for the flags of a descriptor.
        assert!(unsafe { libc::fcntl(descriptor, libc::F_GETFD) } >= 0, "someone else's descriptor is not closed");
        assert!(take(&path, &process).is_some());
        // SAFETY: nobody else has it.
        assert_eq!(unsafe { libc::close(descriptor) }, 0);
    }

    #[test]
    fn a_lock_of_another_boot_or_namespace_is_never_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::current();
        let strangers = [
            Process { boot_id: "another".into(), start_time: 1, ..process.clone() },
            Process { pid_namespace: 1, start_time: 1, ..process.clone() },
        ];
        for (index, stranger) in strangers.iter().enumerate() {
            let path = folder.path().join(format!("lock-{index}"));
            let _held = take(&path, stranger).unwrap();
            assert!(take(&path, &process).is_none());
        }
    }

    #[test]
    fn of_many_that_ask_at_once_one_gets_the_lock_of_a_dead_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock-main");
        let process = Process::current();
        let gone = Process { start_time: process.start_time + 1, ..process.clone() };
        for _ in 0..50 {
            let _inherited = take(&path, &gone).unwrap();
            let owners: Vec<Owner> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| take(&path, &process))).collect();
                threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(owners.len(), 1);
        }
    }
}
