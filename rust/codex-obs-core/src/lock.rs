//! Who may write a stream: an advisory lock on a file, with a record of the process that holds it.
//!
//! The lock goes with the open file, which `fork` hands down. A child that never ran our fork hook would keep its dead
//! parent's lock for ever, so a held lock counts as free if its record names a process that is surely gone. Then a new file,
//! already locked, is renamed over the old one. Takers are kept apart by a lock of their own, `guard`.
//!
//! Some file systems have no locks (Lustre without `-o flock`). There the record alone decides, see [`succession`].
//!
//! A program may close descriptors that are not its own (daemons do). The open file, and the lock with it, lives on in a
//! mapping that nobody reads.

mod holder;
mod patience;
mod succession;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};

use crate::error::{Error, Result};
use crate::fs::{self, FileId, Held};
use crate::generation;
use crate::process::Process;

pub use holder::{Holder, Purpose};
pub use patience::Patience;
pub use succession::Strangers;

/// Mode of lock files: nobody else needs them.
const MODE: u32 = 0o600;
/// Longest wait for each of the other processes that are taking locks. It takes them microseconds, but a disk that is busy may
/// hold up the creation of a file for seconds, and a run that is not opened loses more than the wait costs.
const GUARD_WAIT: Duration = Duration::from_secs(30);
/// The file that keeps takers of locks apart.
const GUARD: &str = "guard";
/// The first pause between two looks at it, doubled each time, and the longest one: hundreds that look a thousand times a second
/// would keep the one that has it from its work.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(20);

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
    hold: Hold,
    path: PathBuf,
    generation: u64,
}

/// What keeps others away.
#[derive(Debug)]
enum Hold {
    /// A lock of the kernel's on this file.
    Lock { file: Held, pin: Option<Pin> },
    /// The record in the file, where there are no locks.
    Record(Holder),
}

impl Owner {
    /// Takes the lock at `path` for `process` unless a process that lives, or may live, holds it.
    pub fn acquire(path: &Path, process: &Process, purpose: Purpose) -> Result<Attempt> {
        Self::acquire_from(path, process, purpose, Strangers::Keep)
    }

    /// As [`acquire`](Self::acquire). Where there are no locks, `strangers` says what to do with holders of another host.
    pub fn acquire_from(path: &Path, process: &Process, purpose: Purpose, strangers: Strangers) -> Result<Attempt> {
        Self::acquire_within(path, process, purpose, strangers, &Patience::of_each(GUARD_WAIT))
    }

    /// As [`acquire_from`](Self::acquire_from), but other takers of locks are waited for no longer than `patience` says.
    pub fn acquire_within(
        path: &Path,
        process: &Process,
        purpose: Purpose,
        strangers: Strangers,
        patience: &Patience,
    ) -> Result<Attempt> {
        // Locking a file and noting who did are two steps. Nobody looks at a record between them.
        let Some(_guard) = Guard::acquire(path, patience)? else {
            return Self::acquire_by_record(path, process, purpose, strangers);
        };
        loop {
            let file = fs::open_read_write(path, MODE)?;
            match try_lock(&file, path)? {
                Locking::Locked if !leads_to(path, &file)? => {
                    // Its last holder removed it between our open and our lock.
                }
                Locking::Locked | Locking::None if is_held_by_record(path, &file, process, strangers)? => {
                    return Ok(Attempt::Held(purpose_of(&file)));
                }
                Locking::Locked => {
                    write_record(&file, path, process, purpose)?;
                    return Ok(Attempt::Taken(Self::of(file, path)?));
                }
                Locking::None => {
                    // Made by the look at it: nobody else works on it behind the guard.
                    if file.metadata().is_ok_and(|found| found.len() == 0) {
                        fs::remove_if_there(path)?;
                    }
                    return Self::acquire_by_record(path, process, purpose, strangers);
                }
                Locking::Busy if holder_is_gone(&file, process) => return Self::take_over(path, process, purpose),
                Locking::Busy => return Ok(Attempt::Held(purpose_of(&file))),
            }
        }
    }

    /// Takes the lock at `path` by its record alone, on whatever file system: it keeps processes of several hosts apart that
    /// only seem to share locks.
    pub fn acquire_by_record(
        path: &Path,
        process: &Process,
        purpose: Purpose,
        strangers: Strangers,
    ) -> Result<Attempt> {
        let mine = Holder::new(process, purpose, true)?;
        // After an error the record may be there all the same.
        let holder = succession::take(path, &mine, process, strangers).inspect_err(|_| mine.let_go())?;
        if holder != mine {
            return Ok(Attempt::Held(holder.purpose()));
        }
        Ok(Attempt::Taken(Self { hold: Hold::Record(mine), path: path.to_owned(), generation: generation::current() }))
    }

    fn of(file: File, path: &Path) -> Result<Self> {
        let file = Held::over(file, path)?;
        // Last: a pin that nobody removes would hold the lock until the process ends.
        let pin = Pin::of(&file);
        let hold = Hold::Lock { file, pin };
        Ok(Self { hold, path: path.to_owned(), generation: generation::current() })
    }

    /// Renames a new, locked file over one that a child inherited from a process that is gone.
    fn take_over(path: &Path, process: &Process, purpose: Purpose) -> Result<Attempt> {
        let mut new_name = path.as_os_str().to_owned();
        new_name.push(format!(".{}.new", process.pid));
        let new_path = PathBuf::from(new_name);
        fs::remove_if_there(&new_path)?;
        let file = fs::create_new(&new_path, MODE)?;
        if !matches!(try_lock(&file, &new_path)?, Locking::Locked) {
            return Ok(Attempt::Held(Purpose::Write));
        }
        write_record(&file, &new_path, process, purpose)?;
        fs::rename(&new_path, path)?;
        if leads_to(path, &file)? {
            return Ok(Attempt::Taken(Self::of(file, path)?));
        }
        Ok(Attempt::Held(Purpose::Write))
    }

    /// The lock's name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the name still leads to what is held here.
    pub fn still_holds(&self) -> Result<bool> {
        match &self.hold {
            Hold::Lock { file, .. } => Ok(FileId::at(&self.path)? == Some(file.id())),
            Hold::Record(record) => Ok(Holder::read(&self.path)?.as_ref() == Some(record)),
        }
    }

    /// Whether the file system has no locks, so that a record decides.
    #[must_use]
    pub fn is_record_alone(&self) -> bool {
        matches!(self.hold, Hold::Record(_))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // In a forked child the lock is the parent's: closing drops this process's reference only.
        if generation::current() == self.generation {
            let is_left = match self.still_holds() {
                // Removed while locked: whoever opened it meanwhile sees that the name leads elsewhere.
                Ok(true) => fs::remove(&self.path).is_err(),
                Ok(false) => false,
                Err(_) => true,
            };
            match &mut self.hold {
                Hold::Lock { pin, .. } => {
                    if let Some(pin) = pin.take() {
                        pin.remove();
                    }
                }
                Hold::Record(record) if is_left => record.let_go(),
                Hold::Record(_) => {}
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

/// What came of an attempt to lock a file.
enum Locking {
    Locked,
    /// Somebody else has it locked.
    Busy,
    /// The file system has no locks.
    None,
}

fn try_lock(file: &File, path: &Path) -> Result<Locking> {
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Locking::Locked),
            Err(Errno::WOULDBLOCK) => return Ok(Locking::Busy),
            Err(Errno::NOSYS | Errno::NOLCK | Errno::OPNOTSUPP | Errno::INVAL) => return Ok(Locking::None),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::io("lock", path, errno.into())),
        }
    }
}

fn leads_to(path: &Path, file: &File) -> Result<bool> {
    Ok(FileId::at(path)? == Some(FileId::of(file, path)?))
}

fn write_record(file: &File, path: &Path, process: &Process, purpose: Purpose) -> Result<()> {
    let record = Holder::new(process, purpose, false)?;
    // Behind the write: to empty a file waits for the disk if that is just writing what was in it.
    let length = record.bytes().len() as u64;
    let written = file.write_all_at(record.bytes(), 0).and_then(|()| file.set_len(length));
    written.map_err(|source| Error::io("write", path, source))
}

/// Whether the record in `file`, which may be locked, stands for a process that has no lock and may live: the same folder can be
/// mounted with locks here and without them there.
fn is_held_by_record(path: &Path, file: &File, observer: &Process, strangers: Strangers) -> Result<bool> {
    if !Holder::of(file).is_ok_and(|record| record.is_alone()) {
        return Ok(false);
    }
    let Some(holder) = succession::holder(path)? else { return Ok(false) };
    let gives_way = strangers == Strangers::Gone && holder.is_out_of_sight(observer);
    Ok(!gives_way && !holder.is_surely_gone(observer))
}

/// Whether the lock at `path` is held by a process that lives or may live, for those who may only read.
#[must_use]
pub fn is_held(path: &Path, observer: &Process) -> bool {
    is_held_within(path, observer, &Patience::of_each(GUARD_WAIT))
}

/// What the lock at `path` is held for, as its record says.
#[must_use]
pub fn held_for(path: &Path) -> Purpose {
    fs::open_read(path).map_or(Purpose::Write, |file| purpose_of(&file))
}

/// As [`is_held`], but takers of locks are waited for no longer than `patience` says. Then the record alone tells.
#[must_use]
pub fn is_held_within(path: &Path, observer: &Process, patience: &Patience) -> bool {
    let file = match fs::open_read(path) {
        Ok(file) => file,
        Err(error) => return error.io_kind() != Some(io::ErrorKind::NotFound),
    };
    let holder_lives = || {
        succession::holder(path).map_or(true, |holder| holder.is_some_and(|holder| !holder.is_surely_gone(observer)))
    };
    if Holder::of(&file).is_ok_and(|record| record.is_alone()) {
        return holder_lives();
    }
    let guard_path = path.with_file_name(GUARD);
    // Without the guard a process that takes the lock right now could be sent away by this look at it.
    let Ok(Some(guard)) = fs::open_read(&guard_path).and_then(|guard| Guard::over(guard, &guard_path, patience)) else {
        return holder_lives();
    };
    let is_free = rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_ok();
    drop(file);
    let is_held = !is_free && !fs::open_read(path).is_ok_and(|file| holder_is_gone(&file, observer));
    drop(guard);
    is_held
}

/// Whether the lock at `path` names `process` as its holder.
#[must_use]
pub fn is_held_by(path: &Path, process: &Process) -> bool {
    let holder = succession::holder(path).ok().flatten();
    holder.and_then(|holder| holder.process()).as_ref() == Some(process)
}

/// Who holds the lock at `path` by its record alone, if nobody here can tell whether that process lives: its number and host.
#[must_use]
pub fn stranger(path: &Path, observer: &Process) -> Option<(u32, String)> {
    let holder = succession::holder(path).ok().flatten()?;
    let process = holder.process().filter(|_| holder.is_alone() && holder.is_out_of_sight(observer))?;
    Some((process.pid, holder.host()))
}

/// Whether the process that `file` names as the holder of its lock is surely gone.
fn holder_is_gone(file: &File, observer: &Process) -> bool {
    Holder::of(file).is_ok_and(|holder| holder.is_surely_gone(observer))
}

fn purpose_of(file: &File) -> Purpose {
    Holder::of(file).map_or(Purpose::Write, |holder| holder.purpose())
}

/// Keeps everyone else from taking locks in the same folder.
struct Guard(File);

impl Guard {
    /// `None` where the file system has no locks.
    fn acquire(path: &Path, patience: &Patience) -> Result<Option<Self>> {
        let guard_path = path.with_file_name(GUARD);
        let file = fs::open_read_write(&guard_path, MODE)?;
        Self::over(file, &guard_path, patience)
    }

    fn over(file: File, path: &Path, patience: &Patience) -> Result<Option<Self>> {
        let (mut pause, mut passed_on) = (FIRST_LOOK, None);
        loop {
            match try_lock(&file, path)? {
                Locking::Locked => {
                    if passed_on.is_some() {
                        // Others that wait see that it is passed on. Where it cannot be said, they wait no longer than for one.
                        let _ = file.set_modified(SystemTime::now());
                    }
                    return Ok(Some(Self(file)));
                }
                Locking::None => return Ok(None),
                Locking::Busy if !patience.is_over() => {
                    let last = file.metadata().and_then(|found| found.modified()).ok();
                    if passed_on.replace(last).is_some_and(|before| before != last) {
                        patience.begin_again();
                    }
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(LAST_LOOK);
                }
                Locking::Busy => {
                    return Err(Error::io(
                        "lock (another process is stuck while opening the run)",
                        path,
                        io::ErrorKind::TimedOut.into(),
                    ));
                }
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Unlocked, not only closed: a child forked just now has the same lock open.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

#[cfg(test)]
#[path = "lock_tests.rs"]
mod tests;
