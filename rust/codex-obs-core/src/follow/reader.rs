//! One shard of a log, read line by line while it grows, is renamed or deleted.

use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::cursor;
use crate::error::{Error, Result};
use crate::fs::{FileId, Held};
use crate::limits::{MAX_LINE_BYTES, SCAN_BLOCK_BYTES};
use crate::paths::Coding;
use crate::scan::Source;
use crate::worker::feed::Batch;

/// Bytes of a line that is not whole yet by which it is known again.
const PROBE_BYTES: usize = 4096;

/// An open shard and a place in it.
pub struct Shard {
    path: PathBuf,
    /// Which file it is.
    pub id: FileId,
    /// Its [ordinal](crate::shard::ordinal); 0 where it is not known.
    pub ordinal: u64,
    coding: Coding,
    file: Arc<Held>,
    decoder: Option<Box<dyn Read + Send>>,
    /// The bytes between the place and the end of what was read, behind bytes that were passed.
    buffer: Vec<u8>,
    begin: usize,
    /// Bytes that are known to hold no newline, from `begin` on.
    searched: usize,
    /// Offset of the place.
    offset: u64,
    /// The rest of a line that was longer than any row is being passed over.
    skipping: bool,
    /// Nothing more can be read: the archive ends or is damaged.
    ended: bool,
}

/// What stands at the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A whole line with its newline.
    Line(&'a [u8]),
    /// More has to be read first.
    More,
}

impl Shard {
    /// Opens a source at its start. `None` if its file is gone.
    pub fn open(source: &Source) -> Result<Option<Self>> {
        let Some(file) = source.file()? else { return Ok(None) };
        let file = file.try_clone().map_err(|error| Error::io("open", &source.path, error))?;
        let file = Arc::new(Held::over(file, &source.path)?);
        let id = file.id();
        let place = Place { file: Arc::clone(&file), offset: 0 };
        let decoder: Option<Box<dyn Read + Send>> = match source.coding {
            Coding::Plain => None,
            Coding::Gzip => Some(Box::new(flate2::read::MultiGzDecoder::new(place))),
            Coding::Zstandard => {
                let decoder = zstd::Decoder::new(place).map_err(|error| Error::io("read", &source.path, error))?;
                Some(Box::new(decoder))
            }
        };
        Ok(Some(Self {
            path: source.path.clone(),
            id,
            ordinal: source.ordinal,
            coding: source.coding,
            file,
            decoder,
            buffer: Vec::new(),
            begin: 0,
            searched: 0,
            offset: 0,
            skipping: false,
            ended: false,
        }))
    }

    /// Offset of the place.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the file may still grow: archives do not.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.coding == Coding::Plain
    }

    /// Length of the file as it is now.
    pub fn length(&self) -> Result<u64> {
        self.file
            .length()
            .and_then(|length| length.ok_or_else(|| rustix::io::Errno::BADF.into()))
            .map_err(|source| Error::io("read", &self.path, source))
    }

    /// Offset of the end of what was read.
    #[must_use]
    pub fn read_end(&self) -> u64 {
        self.offset + (self.buffer.len() - self.begin) as u64
    }

    /// The line at the place, as far as it was read.
    pub fn peek(&mut self) -> Next<'_> {
        if self.skipping {
            let newline = memchr::memchr(b'\n', &self.buffer[self.begin..]);
            let length = newline.map_or(self.buffer.len() - self.begin, |at| at + 1);
            self.advance(length);
            self.skipping = newline.is_none();
            if self.skipping {
                return Next::More;
            }
        }
        let from = self.begin + self.searched;
        if let Some(at) = memchr::memchr(b'\n', &self.buffer[from..]) {
            return Next::Line(&self.buffer[self.begin..=from + at]);
        }
        self.searched = self.buffer.len() - self.begin;
        Next::More
    }

    /// What is behind the last newline: in a shard that no longer grows a line as well.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        if self.skipping { &[] } else { &self.buffer[self.begin..] }
    }

    /// Moves the place on.
    pub fn advance(&mut self, length: usize) {
        self.begin += length;
        self.offset += length as u64;
        self.searched = 0;
    }

    /// Passes over the rest of a line that is longer than any row. Gives whether there was one.
    pub fn skip_too_long(&mut self) -> bool {
        let length = self.buffer.len() - self.begin;
        if self.skipping || length <= MAX_LINE_BYTES {
            return false;
        }
        self.advance(length);
        self.buffer = Vec::new();
        self.begin = 0;
        self.skipping = true;
        true
    }

    /// Reads on. `Ok(0)`: there is nothing more now.
    pub fn fill(&mut self) -> Result<usize> {
        if self.ended {
            return Ok(0);
        }
        self.make_room();
        let old = self.buffer.len();
        let end = self.read_end();
        self.buffer.resize(old + SCAN_BLOCK_BYTES, 0);
        let outcome = loop {
            let target = &mut self.buffer[old..];
            let read = match &mut self.decoder {
                Some(decoder) => decoder.read(target),
                None => self.file.get().and_then(|file| file.read_at(target, end)),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome,
            }
        };
        let count = *outcome.as_ref().unwrap_or(&0);
        self.buffer.truncate(old + count);
        match outcome {
            Err(_) if self.decoder.is_some() => {
                self.ended = true;
                Err(Error::corrupt(&self.path, "the rest of the archive cannot be read"))
            }
            Err(source) => Err(Error::io("read", &self.path, source)),
            Ok(count) => {
                self.ended = count == 0 && self.decoder.is_some();
                Ok(count)
            }
        }
    }

    /// Whether what was read last still stands before the place that reading has reached: someone may have truncated the file,
    /// and the writer may have filled it again. `last` is the hash of the line that ends at the place, if one does. Archives
    /// are not looked at.
    pub fn is_intact(&self, last: Option<u64>) -> Result<bool> {
        if !self.is_plain() {
            return Ok(true);
        }
        if let Some(last) = last
            && !self.ends_line(self.offset, last)?
        {
            return Ok(false);
        }
        let rest = &self.buffer[self.begin..];
        let tail = &rest[rest.len().saturating_sub(PROBE_BYTES)..];
        let mut found = vec![0; tail.len()];
        let read = self.file.get().and_then(|file| file.read_exact_at(&mut found, self.read_end() - tail.len() as u64));
        match read {
            Ok(()) => Ok(found == tail),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(source) => Err(Error::io("read", &self.path, source)),
        }
    }

    /// Takes what the writer appended, if it begins where the reading ends.
    pub fn extend(&mut self, batch: &Batch) -> bool {
        let fits = self.decoder.is_none() && batch.file == self.id && batch.offset == self.read_end();
        if fits {
            self.make_room();
            self.buffer.extend_from_slice(&batch.lines);
        }
        fits
    }

    /// Gives back what was passed, and memory that one long line took.
    fn make_room(&mut self) {
        self.buffer.drain(..self.begin);
        self.begin = 0;
        if self.buffer.capacity() > 8 * SCAN_BLOCK_BYTES && self.buffer.len() < SCAN_BLOCK_BYTES {
            self.buffer.shrink_to(2 * SCAN_BLOCK_BYTES);
        }
    }

    /// Bytes of memory that the reading takes.
    #[cfg(test)]
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    /// The hash of the first line, if there is a whole one. Only at the start of a shard.
    pub fn first_line(&mut self) -> Result<Option<u64>> {
        loop {
            if let Next::Line(line) = self.peek() {
                return Ok(Some(cursor::hash(line)));
            }
            if self.buffer.len() > MAX_LINE_BYTES || self.fill()? == 0 {
                return Ok(None);
            }
        }
    }

    /// Goes from the start to `offset` if a line with the hash `last` ends there. Else it stands at the end of the latest line
    /// with that hash, or at the start; then `Ok(false)`.
    pub fn seek(&mut self, source: &Source, offset: u64, last: u64) -> Result<bool> {
        if offset == 0 {
            return Ok(true);
        }
        if self.ends_line(offset, last)? {
            self.offset = offset;
            self.buffer.clear();
            (self.begin, self.searched) = (0, 0);
            return Ok(true);
        }
        let mut latest = None;
        loop {
            while let Next::Line(line) = self.peek() {
                let (hash, length) = (cursor::hash(line), line.len());
                self.advance(length);
                if hash == last {
                    latest = Some(self.offset);
                    if self.offset == offset {
                        return Ok(true);
                    }
                }
            }
            self.skip_too_long();
            // What cannot be read is behind what was delivered, or it cannot be helped.
            if matches!(self.fill(), Ok(0) | Err(_)) {
                break;
            }
        }
        if let Some(again) = Self::open(source)? {
            *self = again;
        }
        self.pass_to(latest.unwrap_or(0))?;
        Ok(false)
    }

    /// Whether a line with the hash `last` ends at `offset`, where that is known without reading all of it.
    pub fn ends_line(&self, offset: u64, last: u64) -> Result<bool> {
        Ok(self.is_plain() && self.line_before(offset)?.is_some_and(|line| cursor::hash(&line) == last))
    }

    /// Whether there is nothing behind the place.
    pub fn is_at_end(&mut self) -> Result<bool> {
        Ok(self.rest().is_empty() && self.fill()? == 0)
    }

    fn pass_to(&mut self, offset: u64) -> Result<()> {
        while self.offset < offset {
            if let Next::Line(line) = self.peek() {
                let length = line.len();
                self.advance(length);
            } else if !self.skip_too_long() && self.fill()? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// The line that ends at `offset`, if one does.
    fn line_before(&self, offset: u64) -> Result<Option<Vec<u8>>> {
        if offset == 0 || offset > self.length()? {
            return Ok(None);
        }
        let mut wanted = 4096_u64;
        loop {
            let start = offset.saturating_sub(wanted);
            let mut bytes = vec![0; (offset - start) as usize];
            match self.file.read_exact_at(&mut bytes, start) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(source) => return Err(Error::io("read", &self.path, source)),
            }
            if bytes.pop() != Some(b'\n') {
                return Ok(None);
            }
            match memchr::memrchr(b'\n', &bytes) {
                Some(newline) => return Ok(Some(bytes.split_off(newline + 1))),
                None if start == 0 => return Ok(Some(bytes)),
                None if wanted > MAX_LINE_BYTES as u64 => return Ok(None),
                None => wanted *= 8,
            }
        }
    }
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").field("path", &self.path).field("offset", &self.offset).finish_non_exhaustive()
    }
}

/// A file read from a place on, wherever others stand in it.
struct Place {
    file: Arc<Held>,
    offset: u64,
}

impl Read for Place {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.get()?.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}
