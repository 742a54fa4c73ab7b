//! The lines of some frames, looked for in the files by their hashes.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{Frames, Place};
use crate::error::{Error, Result};
use crate::limits::SCAN_BLOCK_BYTES;
use crate::paths::{Coding, FileKind, Stream, shard_path};
use crate::shard::archive::Archive;
use crate::shard::footer::Footer;
use crate::shard::ordinal::Shards;
use crate::shard::rotate::rotated_numbers;

/// How often a line is in the files, and how many of its frames were passed while looking for the newest that is there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub(super) there: u32,
    pub(super) passed: u32,
}

/// The lines of some frames, looked for in the files.
#[derive(Debug)]
pub(super) struct Window {
    /// Index of each frame that has lines, and where its hashes end.
    ends: Vec<(usize, usize)>,
    hashes: Vec<u64>,
    pub(super) counts: HashMap<u64, Count>,
    /// Bytes of the lines.
    bytes: u64,
    /// Whether one was found since that was last asked.
    found: bool,
    /// Whether the files may be of different moments, so that all of them are looked at.
    is_copy: bool,
    /// Lines that are none of these, behind the newest that is, as far as was looked.
    pub(super) behind: u64,
}

impl Window {
    pub(super) fn new(frames: &Frames, kind: FileKind, range: std::ops::Range<usize>) -> Self {
        let is_copy = frames.ring.is_copy();
        let (ends, hashes, counts) = (Vec::new(), Vec::new(), HashMap::new());
        let mut window = Self { ends, hashes, counts, bytes: 0, found: false, is_copy, behind: 0 };
        let mut encoder = frames.encoder();
        let mut chunk = Vec::new();
        let start = frames.start(kind);
        for index in range {
            let mut place = if index == start.frame { start } else { Place { frame: index, row: 0 } };
            let before = window.hashes.len();
            while place.frame == index {
                chunk.clear();
                frames.encode(kind, &mut place, &mut encoder, &mut chunk);
                window.bytes += chunk.len() as u64;
                window.hashes.extend(chunk.split_inclusive(|&byte| byte == b'\n').map(xxh3_64));
            }
            if window.hashes.len() > before {
                window.ends.push((index, window.hashes.len()));
            }
        }
        window.counts = window.hashes.iter().map(|&hash| (hash, Count::default())).collect();
        window
    }

    /// The newest frame whose lines are all there, looking into the newest files first and no further than needed.
    pub(super) fn look(&mut self, directory: &Path, stream: &Stream, kind: FileKind) -> Result<Option<usize>> {
        let base = kind.path(directory, stream);
        let number = |number| Coding::ALL.map(|coding| (coding, shard_path(&base, number, coding))).to_vec();
        let archive = |ordinal| vec![(Coding::Zstandard, Archive::Packed.path(&base, ordinal))];
        let (mut seen, is_copy) = (0, self.is_copy);
        let numbers = std::iter::once(0).chain(rotated_numbers(&base)?).map(number);
        let archives = Shards::of(&base)?.archives;
        for forms in numbers.chain(archives.into_iter().rev().map(archive)) {
            // The lines stand at the ends of the files, so that archives before as many bytes have none of them.
            if seen >= self.bytes && forms.len() == 1 && !is_copy {
                break;
            }
            for (coding, path) in forms {
                let file = match crate::fs::open_read(&path) {
                    Ok(file) => file,
                    Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => continue,
                    // No file of ours: readers leave it out as well.
                    Err(_) if path.metadata().is_ok_and(|metadata| !metadata.is_file()) => continue,
                    Err(error) => return Err(error),
                };
                let failed = |source| Error::io("read", &path, source);
                let packed = if coding == Coding::Zstandard { Footer::of(&file, &path)? } else { None };
                seen += packed.map_or(file.metadata().map_err(failed)?.len(), |footer| footer.plain_bytes);
                let file = BufReader::with_capacity(SCAN_BLOCK_BYTES, file);
                let newer = std::mem::take(&mut self.behind);
                match coding {
                    Coding::Plain => self.count_in(file).map_err(failed)?,
                    // What cannot be unpacked has no lines that a reader could give.
                    Coding::Gzip => {
                        let decoder = flate2::bufread::MultiGzDecoder::new(file);
                        let _ = self.count_in(BufReader::with_capacity(SCAN_BLOCK_BYTES, decoder));
                    }
                    Coding::Zstandard => {
                        let decoder = zstd::Decoder::with_buffer(file).map_err(failed)?;
                        let _ = self.count_in(BufReader::with_capacity(SCAN_BLOCK_BYTES, decoder));
                    }
                }
                self.behind += newer;
                // Of two forms of a shard, the plain one is what counts.
                break;
            }
            // The files of a copy are of different moments: an older name may have newer lines.
            if !is_copy
                && std::mem::take(&mut self.found)
                && let Some(known) = self.newest()
            {
                return Ok(Some(known));
            }
        }
        Ok(if self.found { self.newest() } else { None })
    }

    /// Counts the lines of a file, however long one of them is.
    fn count_in(&mut self, mut reader: impl BufRead) -> io::Result<()> {
        let mut long: Option<Box<Xxh3>> = None;
        loop {
            let block = match reader.fill_buf() {
                Ok(block) => block,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if block.is_empty() {
                break;
            }
            let mut rest = block;
            while let Some(newline) = memchr::memchr(b'\n', rest) {
                let (line, behind) = rest.split_at(newline + 1);
                let hash = match long.take() {
                    Some(mut hasher) => {
                        hasher.update(line);
                        hasher.digest()
                    }
                    None => xxh3_64(line),
                };
                self.saw(hash);
                rest = behind;
            }
            if !rest.is_empty() {
                long.get_or_insert_with(Box::default).update(rest);
            }
            let length = block.len();
            reader.consume(length);
        }
        if let Some(mut hasher) = long {
            // A last line that lacks nothing else gets its newline when the file is opened.
            hasher.update(b"\n");
            let behind = self.behind;
            self.saw(hasher.digest());
            // A torn one counts as none.
            self.behind = self.behind.min(behind);
        }
        Ok(())
    }

    fn saw(&mut self, hash: u64) {
        if let Some(count) = self.counts.get_mut(&hash) {
            count.there = count.there.saturating_add(1);
            self.found = true;
            self.behind = 0;
        } else {
            self.behind += 1;
        }
    }

    /// The newest frame whose lines are all there. Of equal lines so many count as there as there are, the older ones first.
    /// Leaves the number of each line up to that frame in the counts.
    fn newest(&mut self) -> Option<usize> {
        let mut newest = None;
        for known in [None, Some(())] {
            for count in self.counts.values_mut() {
                count.passed = 0;
            }
            let mut begin = 0;
            for (position, &(index, end)) in self.ends.iter().enumerate() {
                // The second time only up to what the first time has found.
                if known.is_some() && newest.is_none_or(|(last, _)| position > last) {
                    break;
                }
                let mut is_there = true;
                for hash in &self.hashes[begin..end] {
                    if let Some(count) = self.counts.get_mut(hash) {
                        count.passed += 1;
                        is_there &= count.passed <= count.there;
                    }
                }
                if is_there && known.is_none() {
                    newest = Some((position, index));
                }
                begin = end;
            }
        }
        newest.map(|(_, index)| index)
    }
}
