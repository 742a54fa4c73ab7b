//! One file of a snapshot, and how its bytes are had.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{DirEntryExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::segment::Segment;
use crate::error::{Error, Result};
use crate::fs::{FileId, open_read};
use crate::limits::{MAX_ZSTD_WINDOW_BITS, USUAL_ZSTD_WINDOW_BITS};
use crate::paths::Coding;

/// One shard as it was when the snapshot was taken, or lines that a journal adds.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where it was found.
    pub path: PathBuf,
    /// The stream's name.
    pub stream: Arc<str>,
    /// How its bytes are stored.
    pub coding: Coding,
    /// Its [ordinal](crate::shard::ordinal); 0 where it is not known.
    pub ordinal: u64,
    /// Its bytes.
    pub content: Content,
    /// Where reading begins: lines that begin before this offset are not wanted.
    pub start: u64,
    /// Who wrote which part of it, in order; empty where nobody asked.
    pub segments: Vec<Segment>,
}

/// Where the bytes of a [`Source`] are.
#[derive(Clone, Debug)]
pub enum Content {
    /// In a file that may have another name by now.
    File {
        /// Which file it is.
        id: Identity,
        /// Bytes that count. What is behind was written later.
        length: u64,
        /// The open file, unless too many are open.
        file: Option<Arc<File>>,
    },
    /// Made as they are read.
    Lines(Arc<dyn Lines>),
}

/// Lines that are in no file.
pub trait Lines: Debug + Send + Sync {
    /// Reads them from the first on.
    fn read(&self) -> Box<dyn Read + Send + '_>;
}

/// What tells a file from all others, also from one that got its inode after it was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Device and inode.
    pub id: FileId,
    /// When it was created, where the file system knows.
    pub created: Option<SystemTime>,
}

impl Identity {
    /// Of an open file.
    pub fn of(file: &File, path: &Path) -> Result<Self> {
        let metadata = file.metadata().map_err(|source| Error::io("examine", path, source))?;
        Ok(Self { id: FileId::of(file, path)?, created: metadata.created().ok() })
    }
}

/// The bytes of a source from a place on.
pub enum Bytes<'a> {
    /// A plain file.
    File {
        /// The open file.
        file: Arc<File>,
        /// Where the next read begins.
        offset: u64,
        /// Where reading ends.
        length: u64,
    },
    /// A compressed file, or lines that are made as they are read.
    Stream(Box<dyn Read + 'a>),
}

impl Source {
    /// Bytes of the source, if they can be counted before reading.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        match &self.content {
            Content::File { length, .. } if self.coding == Coding::Plain => Some(*length),
            Content::File { .. } | Content::Lines(_) => None,
        }
    }

    /// Bytes that it takes where it is stored; none for lines that are in no file.
    #[must_use]
    pub fn stored_length(&self) -> u64 {
        match &self.content {
            Content::File { length, .. } => *length,
            Content::Lines(_) => 0,
        }
    }

    /// Which file it is; `None` for lines that are in none.
    #[must_use]
    pub fn file_id(&self) -> Option<FileId> {
        match &self.content {
            Content::File { id, .. } => Some(id.id),
            Content::Lines(_) => None,
        }
    }

    /// The open file, wherever it is now. `None` if it was deleted meanwhile, or there is none.
    pub fn file(&self) -> Result<Option<Arc<File>>> {
        match &self.content {
            Content::File { file: Some(file), .. } => Ok(Some(Arc::clone(file))),
            Content::File { id, file: None, .. } => self.find(*id),
            Content::Lines(_) => Ok(None),
        }
    }

    /// Whether the file has grown since the snapshot.
    #[must_use]
    pub fn has_grown(&self) -> bool {
        let Content::File { length, .. } = &self.content else { return false };
        let now = self.file().ok().flatten().and_then(|file| file.metadata().ok());
        now.is_some_and(|metadata| metadata.len() > *length)
    }

    /// Lets go of the open file, which is found again when it is asked for.
    pub fn close(&mut self) {
        if let Content::File { file, .. } = &mut self.content {
            *file = None;
        }
    }

    /// The power of two of the window that decompressing takes, 0 where that is small.
    pub fn window_bits(&self) -> Result<u32> {
        if self.coding != Coding::Zstandard {
            return Ok(0);
        }
        let Some(file) = self.file()? else { return Ok(0) };
        let mut start = [0; ZSTD_HEADER_BYTES];
        let length = file.read_at(&mut start, 0).map_err(|source| Error::io("read", &self.path, source))?;
        Ok(zstd_window_bits(&start[..length]))
    }

    /// The bytes from `start` on. `None` if the file was deleted meanwhile (retention).
    pub fn bytes(&self, start: u64) -> Result<Option<Bytes<'_>>> {
        let length = match &self.content {
            Content::Lines(lines) => {
                let mut lines = lines.read();
                io::copy(&mut lines.by_ref().take(start), &mut io::sink())
                    .map_err(|source| Error::io("read", &self.path, source))?;
                return Ok(Some(Bytes::Stream(lines)));
            }
            Content::File { length, .. } => *length,
        };
        let Some(file) = self.file()? else { return Ok(None) };
        let at = if self.coding == Coding::Plain { start } else { 0 };
        let plain = Bytes::File { file, offset: at, length };
        Ok(Some(match self.coding {
            Coding::Plain => plain,
            Coding::Gzip => Bytes::Stream(Box::new(flate2::read::MultiGzDecoder::new(plain))),
            Coding::Zstandard => {
                let failed = |source| Error::io("read", &self.path, source);
                let bits = self.window_bits()?.clamp(USUAL_ZSTD_WINDOW_BITS, MAX_ZSTD_WINDOW_BITS);
                let mut decoder = zstd::Decoder::new(plain).map_err(failed)?;
                decoder.window_log_max(bits).map_err(failed)?;
                Bytes::Stream(Box::new(decoder))
            }
        }))
    }

    /// Opens the file again, wherever rotation has moved it.
    fn find(&self, id: Identity) -> Result<Option<Arc<File>>> {
        // A rotation may move the file between listing and opening, so one look can fail. It cannot fail for ever.
        for _ in 0..LOOKS {
            if let Some(file) = open_if(&self.path, id)? {
                return Ok(Some(file));
            }
            let folder = self.path.parent().unwrap_or(Path::new("."));
            let entries = std::fs::read_dir(folder).map_err(|source| Error::io("list", folder, source))?;
            let mut gone = true;
            for entry in entries {
                let entry = entry.map_err(|source| Error::io("list", folder, source))?;
                if entry.ino() == id.id.inode {
                    gone = false;
                    if let Some(file) = open_if(&entry.path(), id)? {
                        return Ok(Some(file));
                    }
                }
            }
            if gone && open_if(&self.path, id)?.is_none() {
                return Ok(None);
            }
        }
        Ok(None)
    }
}

/// Bytes of a zstd frame that tell its window: magic number, descriptor, window or size of the content.
const ZSTD_HEADER_BYTES: usize = 18;
const ZSTD_MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();

/// The power of two that the window of a zstd frame fits into; 0 where this is no such frame. Source: RFC 8878, 3.1.1.1.
fn zstd_window_bits(start: &[u8]) -> u32 {
    let Some([descriptor, rest @ ..]) = start.strip_prefix(&ZSTD_MAGIC) else { return 0 };
    let is_single_segment = descriptor >> 5 & 1 == 1;
    if !is_single_segment {
        let Some(&window) = rest.first() else { return 0 };
        // The mantissa adds eighths.
        return u32::from(window >> 3) + 10 + u32::from(window & 7 != 0);
    }
    let dictionary_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let (size_bytes, base) = [(1, 0), (2, 256), (4, 0), (8, 0)][usize::from(descriptor >> 6)];
    let Some(size) = rest.get(dictionary_bytes..dictionary_bytes + size_bytes) else { return 0 };
    let mut bytes = [0; 8];
    bytes[..size_bytes].copy_from_slice(size);
    let size = u64::from_le_bytes(bytes).saturating_add(base);
    size.checked_next_power_of_two().map_or(u64::BITS, u64::trailing_zeros)
}

/// How often a file that moves is looked for.
const LOOKS: u32 = 64;

/// The file at `path`, if it is the one looked for.
fn open_if(path: &Path, id: Identity) -> Result<Option<Arc<File>>> {
    match open_read(path) {
        Ok(file) if Identity::of(&file, path)? == id => Ok(Some(Arc::new(file))),
        Ok(_) => Ok(None),
        Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Read for Bytes<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File { file, offset, length } => {
                let wanted = buffer.len().min(usize::try_from(*length - *offset).unwrap_or(usize::MAX));
                let count = file.read_at(&mut buffer[..wanted], *offset)?;
                *offset += count as u64;
                Ok(count)
            }
            Self::Stream(reader) => reader.read(buffer),
        }
    }
}
