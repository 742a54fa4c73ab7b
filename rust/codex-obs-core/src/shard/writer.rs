//! One growing file of a stream: appends whole lines, rotates, and never leaves half a line behind.

use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use super::behind::{Behind, whole_lines};
use super::pack::Names;
use super::policy::Policy;
use super::rotate::shift;
use super::tail;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::fs::{FileId, Held, create_folder, open_append};
use crate::pulse::Pulse;

/// An append-only file of lines under a rotation policy.
#[derive(Debug)]
pub struct ShardWriter {
    path: PathBuf,
    policy: Policy,
    mode: u32,
    clock: Clock,
    open: Option<Open>,
    /// Lengths of partial lines that were set aside when the file was opened.
    torn_tails: u64,
    /// Shows that a rotation over many shards gets on.
    pulse: Arc<Pulse>,
    /// Held while names change: the packer changes them too.
    names: Arc<Names>,
}

#[derive(Debug)]
struct Open {
    file: Arc<Held>,
    length: u64,
    last_write: i64,
}

/// What a look at the file before an append found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// As it was left.
    Unchanged,
    /// Missing or another file: a new one was opened.
    Replaced,
    /// The same file with another length, which is taken as it is.
    Resized,
    /// The same file, whose descriptor someone in this process closed: it was opened again.
    Closed,
}

impl ShardWriter {
    /// A writer for the file at `path`, which is not touched before it is needed.
    #[must_use]
    pub fn new(path: PathBuf, policy: Policy, mode: u32, clock: Clock) -> Self {
        Self { path, policy, mode, clock, open: None, torn_tails: 0, names: Arc::default(), pulse: Arc::default() }
    }

    /// What is held while the names of the shards change.
    #[must_use]
    pub fn names(&self) -> Arc<Names> {
        Arc::clone(&self.names)
    }

    /// Shows steps of its work to those who wait for the writer.
    pub fn show_by(&mut self, pulse: &Arc<Pulse>) {
        self.pulse = Arc::clone(pulse);
    }

    /// The current file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The rules of rotation.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The open file, for syncing.
    #[must_use]
    pub fn file(&self) -> Option<Arc<Held>> {
        self.open.as_ref().map(|open| Arc::clone(&open.file))
    }

    /// Partial last lines found and set aside so far.
    #[must_use]
    pub fn torn_tails(&self) -> u64 {
        self.torn_tails
    }

    /// Opens the file if it is not open, creating it if it is missing; sets a torn tail aside. Gives whether the file is new.
    pub fn open(&mut self) -> Result<bool> {
        if self.open.is_some() {
            return Ok(false);
        }
        let existed = FileId::at(&self.path)?.is_some();
        let file = match open_append(&self.path, self.mode) {
            // Someone deleted the whole folder. The rows are still here, so it is made anew.
            Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => {
                create_folder(self.path.parent().unwrap_or(Path::new(".")), self.mode)?;
                open_append(&self.path, self.mode)?
            }
            outcome => outcome?,
        };
        if existed && tail::mend(&self.path)? {
            self.torn_tails += 1;
        }
        let metadata = file.metadata().map_err(|source| Error::io("examine", &self.path, source))?;
        let last_write = metadata.mtime().saturating_mul(1_000_000).saturating_add(metadata.mtime_nsec() / 1000);
        let file = Arc::new(Held::over(file, &self.path)?);
        self.open = Some(Open { file, length: metadata.len(), last_write });
        Ok(!existed)
    }

    /// Looks whether the name still leads to the open file and whether its length is what we left, and adapts.
    pub fn look(&mut self) -> Result<Found> {
        let Some(open) = &mut self.open else {
            self.open()?;
            return Ok(Found::Unchanged);
        };
        let length = open.file.length().map_err(|source| Error::io("examine", &self.path, source))?;
        if length.is_none() {
            self.open = None;
            self.open()?;
            return Ok(Found::Closed);
        }
        if FileId::at(&self.path)? != Some(open.file.id()) {
            self.open = None;
            self.open()?;
            return Ok(Found::Replaced);
        }
        if length == Some(open.length) {
            return Ok(Found::Unchanged);
        }
        // Someone else cut or extended the file. What they left is not ours to judge, but our next line starts on its own.
        self.open = None;
        self.open()?;
        Ok(Found::Resized)
    }

    /// Identity and length of the open file.
    #[must_use]
    pub fn extent(&self) -> Option<(FileId, u64)> {
        self.open.as_ref().map(|open| (open.file.id(), open.length))
    }

    /// Whether the file must be rotated before `row_bytes` more, with `pending_bytes` already decided on.
    #[must_use]
    pub fn must_rotate(&self, pending_bytes: u64, row_bytes: u64) -> bool {
        let Some(open) = &self.open else { return false };
        if pending_bytes > 0 {
            // What was just decided on counts as the last write.
            let now = open.last_write;
            return self.policy.rotates_before(open.length + pending_bytes, now, row_bytes, now);
        }
        self.policy.rotates_before(open.length, open.last_write, row_bytes, self.clock.now_micros())
    }

    /// Whether the file is too old to be continued.
    #[must_use]
    pub fn is_aged(&self) -> bool {
        self.open
            .as_ref()
            .is_some_and(|open| self.policy.is_aged(open.length, open.last_write, self.clock.now_micros()))
    }

    /// Moves the file to `.1` and starts a new one.
    pub fn rotate(&mut self) -> Result<()> {
        {
            let _names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            shift(&self.path, &self.pulse)?;
        }
        self.open = None;
        self.open().map(|_| ())
    }

    /// Appends `lines`, which are whole lines, in one piece. After an error some of them may be there:
    /// [`finish`](Self::finish) has to be called until it works before anything else is done with the file.
    pub fn append(&mut self, lines: &[u8]) -> Result<()> {
        let Some(open) = &mut self.open else { return Err(self.not_open()) };
        if let Err(source) = (&**open.file).write_all(lines) {
            let noted = open.length;
            self.cut_torn(noted, lines);
            return Err(Error::io("append to", &self.path, source));
        }
        open.length += lines.len() as u64;
        open.last_write = self.clock.now_micros();
        Ok(())
    }

    /// Finishes an append of `lines` behind the length `noted` of the file `id`: what is there stays, what is missing is
    /// appended. Where the file was moved, replaced or changed by someone else meanwhile, whole lines that are not in it go to
    /// the end of the file that has the name now. After an error `id`, `noted` and `lines` say what is still to be done.
    pub fn finish(&mut self, id: &mut FileId, noted: &mut u64, lines: &mut Vec<u8>) -> Result<()> {
        let arrived = match self.begun(*id)? {
            Some(file) => {
                let behind = Behind::compare(&file, *noted, lines);
                let behind = behind.map_err(|source| Error::io("read", &self.path, source))?;
                if let Behind::Part(arrived) = behind
                    && FileId::at(&self.path)? == Some(*id)
                {
                    let last_write = self.clock.now_micros();
                    self.open = Some(Open { file, length: *noted + arrived as u64, last_write });
                    return self.append_rest(*noted, lines, arrived);
                }
                match behind {
                    Behind::Part(arrived) => whole_lines(&lines[..arrived]),
                    Behind::More => lines.len(),
                    Behind::Other(arrived) => arrived,
                }
            }
            None => 0,
        };
        self.open = None;
        self.open()?;
        let open = self.open.as_ref().ok_or_else(|| self.not_open())?;
        lines.drain(..arrived);
        (*id, *noted) = (open.file.id(), open.length);
        if lines.is_empty() { Ok(()) } else { self.append(lines) }
    }

    /// Closes the file; it is opened anew, and its end looked at, before the next append.
    pub fn forget(&mut self) {
        self.open = None;
    }

    /// The file `id`, if it is still open here or has the name.
    fn begun(&self, id: FileId) -> Result<Option<Arc<Held>>> {
        if let Some(open) = self.open.as_ref().filter(|open| open.file.id() == id)
            && open.file.is_own().map_err(|source| Error::io("examine", &self.path, source))?
        {
            return Ok(Some(Arc::clone(&open.file)));
        }
        if FileId::at(&self.path)? != Some(id) {
            return Ok(None);
        }
        let file = Held::over(open_append(&self.path, self.mode)?, &self.path)?;
        Ok((file.id() == id).then(|| Arc::new(file)))
    }

    fn append_rest(&mut self, noted: u64, lines: &[u8], arrived: usize) -> Result<()> {
        let Some(open) = &mut self.open else { return Err(self.not_open()) };
        if let Err(source) = (&**open.file).write_all(&lines[arrived..]) {
            self.cut_torn(noted, lines);
            return Err(Error::io("append to", &self.path, source));
        }
        open.length = noted + lines.len() as u64;
        open.last_write = self.clock.now_micros();
        Ok(())
    }

    /// Takes half a line away that a failed append of `lines` behind `noted` has left, if that can be done, so that readers see
    /// whole lines until the next attempt. Truncating works on a full disk.
    #[cold]
    fn cut_torn(&self, noted: u64, lines: &[u8]) {
        let Some(open) = &self.open else { return };
        if let Ok(true) = open.file.is_own()
            && let Ok(Behind::Part(arrived)) = Behind::compare(&open.file, noted, lines)
        {
            let whole = whole_lines(&lines[..arrived]);
            if whole < arrived {
                // What cannot be cut is found by the next attempt.
                let _ = open.file.set_len(noted + whole as u64);
            }
        }
    }

    #[cold]
    fn not_open(&self) -> Error {
        Error::io("append to", &self.path, io::ErrorKind::NotFound.into())
    }
}

/// The last `length` bytes of the file at `path`, or all of it if it is shorter; nothing if it is missing.
pub fn last_bytes(path: &Path, length: usize) -> Result<Vec<u8>> {
    let file = match crate::fs::open_read(path) {
        Ok(file) => file,
        Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let total = file.metadata().map_err(|source| Error::io("examine", path, source))?.len();
    let start = total.saturating_sub(length as u64);
    let mut bytes = vec![0; (total - start) as usize];
    file.read_exact_at(&mut bytes, start).map_err(|source| Error::io("read", path, source))?;
    Ok(bytes)
}
