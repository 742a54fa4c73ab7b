//! Who may write a stream: an advisory lock on a file, with a record of the process that holds it.
//!
//! The lock goes with the open file, which `fork` hands down. A child that never ran our fork hook would keep its dead
//! parent's lock for ever, so a held lock counts as free if its record names a process that is surely gone. Then a new file,
//! already locked, is renamed over the old one. Two takers are kept apart by a lock of their own.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use super::identity::Process;
use crate::error::{Error, Result};
use crate::fs::FileId;
use crate::generation;

/// Mode of lock files: nobody else needs them.
const MODE: u32 = 0o600;
/// Longest wait for another process that is taking a lock over, which takes microseconds.
const TAKEOVER_WAIT: Duration = Duration::from_secs(2);

/// A held lock. Dropping it frees the lock and removes the file, but not in a forked child, where it is the parent's.
#[derive(Debug)]
pub struct Owner {
    file: Option<File>,
    path: PathBuf,
    generation: u64,
}

impl Owner {
    /// Takes the lock at `path` for `process`, or gives `None` if a live process (or one that may be alive) holds it.
    pub fn acquire(path: &Path, process: &Process) -> Result<Option<Self>> {
        loop {
            let file = crate::fs::open_read_write(path, MODE)?;
            if try_lock(&file, path)? {
                if !leads_to(path, &file)? {
                    // Its last holder removed it between our open and our lock.
                    continue;
                }
                write_record(&file, path, process)?;
                return Ok(Some(Self::of(file, path)));
            }
            return if holder_is_gone(&file, process) { Self::take_over(path, process) } else { Ok(None) };
        }
    }

    fn of(file: File, path: &Path) -> Self {
        Self { file: Some(file), path: path.to_owned(), generation: generation::current() }
    }

    fn take_over(path: &Path, process: &Process) -> Result<Option<Self>> {
        let guard_path = path.with_file_name("takeover");
        let guard = crate::fs::open_read_write(&guard_path, MODE)?;
        let deadline = Instant::now() + TAKEOVER_WAIT;
        while !try_lock(&guard, &guard_path)? {
            if Instant::now() >= deadline {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // Looked at again under the guard: whoever was here before us may be the holder now.
        let current = crate::fs::open_read_write(path, MODE)?;
        if try_lock(&current, path)? {
            write_record(&current, path, process)?;
            return Ok(leads_to(path, &current)?.then(|| Self::of(current, path)));
        }
        if !holder_is_gone(&current, process) {
            return Ok(None);
        }
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
            return Ok(None);
        }
        write_record(&file, &new_path, process)?;
        fs::rename(&new_path, path).map_err(|source| Error::io("rename", &new_path, source))?;
        Ok(leads_to(path, &file)?.then(|| Self::of(file, path)))
    }

    /// Whether the name still leads to the file that is locked here.
    pub fn still_holds(&self) -> Result<bool> {
        match &self.file {
            Some(file) => leads_to(&self.path, file),
            None => Ok(false),
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // In a forked child the lock is the parent's: closing drops this process's reference only.
        if let Some(file) = self.file.take()
            && generation::current() == self.generation
            && leads_to(&self.path, &file).unwrap_or(false)
        {
            // Removed while locked: whoever opened it meanwhile sees that the name leads elsewhere.
            let _ = fs::remove_file(&self.path);
        }
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

fn write_record(file: &File, path: &Path, process: &Process) -> Result<()> {
    file.set_len(0)
        .and_then(|()| file.write_all_at(&process.to_bytes(), 0))
        .map_err(|source| Error::io("write", path, source))
}

/// Whether the process that `file` names as the holder of its lock is surely gone.
pub(crate) fn holder_is_gone(file: &File, observer: &Process) -> bool {
    let mut bytes = [0; 1024];
    let length = file.read_at(&mut bytes, 0).unwrap_or(0);
    Process::from_bytes(&bytes[..length]).is_some_and(|holder| holder.is_surely_gone(observer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_is_refused_and_a_freed_one_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock-main");
        let process = Process::current();
        let owner = Owner::acquire(&path, &process).unwrap().unwrap();
        assert!(owner.still_holds().unwrap());
        assert!(Owner::acquire(&path, &process).unwrap().is_none());
        drop(owner);
        assert!(!path.exists());
        assert!(Owner::acquire(&path, &process).unwrap().is_some());
    }

    #[test]
    fn a_lock_inherited_from_a_process_that_is_gone_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock-main");
        let process = Process::current();
        let gone = Process { start_time: process.start_time + 1, ..process.clone() };
        let inherited = Owner::acquire(&path, &gone).unwrap().unwrap();
        let owner = Owner::acquire(&path, &process).unwrap().unwrap();
        assert!(owner.still_holds().unwrap() && !inherited.still_holds().unwrap());
        assert!(Owner::acquire(&path, &process).unwrap().is_none());
        drop(inherited);
        assert!(path.exists(), "the old holder does not remove the new holder's file");
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
            let _held = Owner::acquire(&path, stranger).unwrap().unwrap();
            assert!(Owner::acquire(&path, &process).unwrap().is_none());
        }
    }
}
