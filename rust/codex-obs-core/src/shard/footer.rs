//! The end of an archive: a zstd frame that decoders skip, and that says what is in it without unpacking.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};
use crate::fs::FileId;

/// A skippable frame's magic number (RFC 8878, 3.1.2) and the length of what follows it.
const MAGIC: u32 = 0x184D_2A5C;
const TAG: &[u8; 8] = b"codexobs";
const VERSION: u64 = 1;
const WORDS: usize = 12;
const BODY_BYTES: usize = TAG.len() + WORDS * 8 + 8;
/// Bytes of the frame.
pub const FOOTER_BYTES: usize = 8 + BODY_BYTES;

/// A file as nothing else is: inodes are used again, times of creation are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Birth {
    /// Device and inode.
    pub id: FileId,
    /// Nanoseconds from the epoch to its creation; 0 where the file system does not know.
    pub created: u64,
}

impl Birth {
    /// Of an open file.
    pub fn of(file: &File, path: &Path) -> Result<Self> {
        let metadata = file.metadata().map_err(|source| Error::io("examine", path, source))?;
        let created = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let nanoseconds = created.and_then(|age| u64::try_from(age.as_nanos()).ok()).unwrap_or(0);
        Ok(Self { id: FileId { device: metadata.dev(), inode: metadata.ino() }, created: nanoseconds })
    }
}

/// What an archive says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footer {
    /// Its number in the archive.
    pub ordinal: u64,
    /// Lines.
    pub rows: u64,
    /// Largest step of them; `None` if none has one.
    pub largest_step: Option<i64>,
    /// Bytes of the lines.
    pub plain_bytes: u64,
    /// Hash of the lines (XXH3, 64 bits).
    pub hash: u64,
    /// Hash of the first line without its newline.
    pub first_line: u64,
    /// The shard that was packed.
    pub source: Birth,
    /// Device and inode of the archive itself: in a copy they are another's.
    pub own: FileId,
}

impl Footer {
    /// The frame.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FOOTER_BYTES);
        bytes.extend_from_slice(&MAGIC.to_le_bytes());
        bytes.extend_from_slice(&(BODY_BYTES as u32).to_le_bytes());
        bytes.extend_from_slice(TAG);
        // A version to come keeps these twelve words where they are, or takes another tag.
        let step = self.largest_step.unwrap_or(0).cast_unsigned();
        let words: [u64; WORDS] = [
            VERSION << 1 | u64::from(self.largest_step.is_some()),
            self.ordinal,
            self.rows,
            step,
            self.plain_bytes,
            self.hash,
            self.first_line,
            self.source.id.device,
            self.source.id.inode,
            self.source.created,
            self.own.device,
            self.own.inode,
        ];
        for word in words {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&xxh3_64(&bytes[8..]).to_le_bytes());
        bytes
    }

    /// Back from the last [`FOOTER_BYTES`] of an archive; `None` if they are no such frame.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let start: Vec<u8> = [MAGIC.to_le_bytes(), (BODY_BYTES as u32).to_le_bytes()].concat();
        let body = bytes.strip_prefix(start.as_slice()).filter(|body| body.len() == BODY_BYTES)?;
        let (signed, checksum) = body.split_at(BODY_BYTES - 8);
        let words = signed.strip_prefix(TAG.as_slice())?;
        if checksum != xxh3_64(signed).to_le_bytes() {
            return None;
        }
        let word = |index: usize| -> Option<u64> {
            let bytes = words.get(index * 8..index * 8 + 8)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        let has_step = word(0)? & 1 == 1;
        Some(Self {
            ordinal: word(1)?,
            rows: word(2)?,
            largest_step: has_step.then_some(word(3)?.cast_signed()),
            plain_bytes: word(4)?,
            hash: word(5)?,
            first_line: word(6)?,
            source: Birth { id: FileId { device: word(7)?, inode: word(8)? }, created: word(9)? },
            own: FileId { device: word(10)?, inode: word(11)? },
        })
    }

    /// That of the open archive `file`; `None` if somebody else made it, or it is cut.
    pub fn of(file: &File, path: &Path) -> Result<Option<Self>> {
        let failed = |source| Error::io("read", path, source);
        let length = file.metadata().map_err(|source| Error::io("examine", path, source))?.len();
        let Some(start) = length.checked_sub(FOOTER_BYTES as u64) else { return Ok(None) };
        let mut bytes = [0; FOOTER_BYTES];
        match file.read_exact_at(&mut bytes, start) {
            Ok(()) => Ok(Self::from_bytes(&bytes)),
            // Cut since.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn footer() -> Footer {
        Footer {
            ordinal: 7,
            rows: 12,
            largest_step: Some(-3),
            plain_bytes: u64::MAX,
            hash: 5,
            first_line: 6,
            source: Birth { id: FileId { device: 1, inode: 2 }, created: 3 },
            own: FileId { device: 8, inode: 9 },
        }
    }

    #[test]
    fn it_comes_back_and_no_flipped_bit_is_believed() {
        for largest_step in [None, Some(0), Some(i64::MIN), Some(i64::MAX)] {
            let footer = Footer { largest_step, ..footer() };
            let bytes = footer.to_bytes();
            assert_eq!((bytes.len(), Footer::from_bytes(&bytes)), (FOOTER_BYTES, Some(footer)));
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Footer::from_bytes(&flipped), None, "bit {bit}");
            }
        }
    }

    #[test]
    fn decoders_skip_it() {
        let mut packed = zstd::encode_all(&b"{}\n"[..], 1).unwrap();
        packed.extend_from_slice(&footer().to_bytes());
        let mut text = Vec::new();
        zstd::Decoder::new(packed.as_slice()).unwrap().read_to_end(&mut text).unwrap();
        assert_eq!(text, b"{}\n");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.zst");
        let mut file = File::create_new(&path).unwrap();
        file.write_all(&packed).unwrap();
        let file = File::open(&path).unwrap();
        assert_eq!(Footer::of(&file, &path).unwrap(), Some(footer()));
        std::fs::write(&path, &packed[..9]).unwrap();
        assert_eq!(Footer::of(&file, &path).unwrap(), None);
    }
}
