//! The record in a lock's file: who holds the lock, and what for.

use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};
use crate::process::Process;

/// What a lock is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To write the stream, for as long as the process likes.
    Write,
    /// To bring back what a dead owner left, which is soon done.
    Recover,
}

/// In the first byte: no lock of the kernel's stands behind the record.
const RECORD_ALONE: u8 = 0x80;
/// Longest record that is read; ours have some two hundred bytes.
const MOST_BYTES: u64 = 4096;

/// Numbers of the records that this process has let go of and may not have removed, the newest ones.
static LEFT: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];
/// How many there were.
static LEFT_COUNT: AtomicUsize = AtomicUsize::new(0);

/// A record as it lies in a file. Two records are equal only if they are the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder(Vec<u8>);

impl Holder {
    /// A new record of `process`.
    pub fn new(process: &Process, purpose: Purpose, record_alone: bool) -> Result<Self> {
        let mut bytes = vec![purpose as u8 | if record_alone { RECORD_ALONE } else { 0 }];
        bytes.extend_from_slice(&process.to_bytes());
        let mut nonce = [0; 8];
        let filled = rustix::rand::getrandom(&mut nonce, rustix::rand::GetRandomFlags::empty());
        filled.map_err(|errno| Error::io("read", Path::new("/dev/urandom"), errno.into()))?;
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(rustix::system::uname().nodename().to_bytes());
        Ok(Self(bytes))
    }

    /// Says that this process holds nothing by this record any more, though it may not have been able to remove it.
    pub fn let_go(&self) {
        // Relaxed, as below: each number is looked for once it was found in a file.
        let place = LEFT_COUNT.fetch_add(1, Ordering::Relaxed) % LEFT.len();
        LEFT[place].store(self.number(), Ordering::Relaxed);
    }

    /// The record in the file at `path`; `None` if there is no file.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let file = match crate::fs::open_read(path) {
            Ok(file) => file,
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        Self::of(&file).map(Some).map_err(|source| Error::io("read", path, source))
    }

    /// The record in an open file, read from its start.
    pub fn of(mut file: &std::fs::File) -> std::io::Result<Self> {
        use std::io::Seek;

        let mut bytes = Vec::new();
        file.rewind()?;
        file.take(MOST_BYTES).read_to_end(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The record's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// A number that no other record has.
    #[must_use]
    pub fn number(&self) -> u64 {
        xxh3_64(&self.0)
    }

    /// Whether there is nothing behind the record that tells whether its process lives.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.0.first().is_some_and(|byte| byte & RECORD_ALONE != 0)
    }

    /// What the lock is held for.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        match self.0.first() {
            Some(byte) if byte & !RECORD_ALONE == Purpose::Recover as u8 => Purpose::Recover,
            _ => Purpose::Write,
        }
    }

    /// The process; `None` if the record is not whole.
    #[must_use]
    pub fn process(&self) -> Option<Process> {
        Process::from_bytes(self.0.split_first()?.1)
    }

    /// The name of the process's host.
    #[must_use]
    pub fn host(&self) -> String {
        let named = self.process().map(|process| 1 + process.to_bytes().len() + 8);
        let name = named.and_then(|start| self.0.get(start..)).unwrap_or_default();
        String::from_utf8_lossy(name).chars().filter(|letter| !letter.is_control()).collect()
    }

    /// Whether the process is surely gone, or is this one and has let go of the record.
    #[must_use]
    pub fn is_surely_gone(&self, observer: &Process) -> bool {
        let Some(process) = self.process() else { return false };
        process.is_surely_gone(observer) || process == *observer && self.is_left()
    }

    fn is_left(&self) -> bool {
        let number = self.number();
        LEFT.iter().any(|left| left.load(Ordering::Relaxed) == number)
    }

    /// Whether nobody on this host can tell whether the process lives.
    #[must_use]
    pub fn is_out_of_sight(&self, observer: &Process) -> bool {
        self.process().is_none_or(|process| {
            process.boot_id.is_empty()
                || process.boot_id != observer.boot_id
                || process.pid_namespace != observer.pid_namespace
        })
    }
}
