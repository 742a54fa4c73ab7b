//! The header block: which file a journal is, how large its ring may be, and who made it. Two copies, each with a checksum.

use super::identity::Identity;
use super::layout::{
    FIRST_VERSION, LAYOUT_VERSION, MAGIC, MAX_BLOCK_BYTES, OFFSET_BLOCKS, OFFSET_MAGIC, OFFSET_RING_BYTES,
    OFFSET_VERSION,
};
use super::memory::Memory;
use super::{cursor, number};
use crate::block::{opened, sealed, take_number};
use crate::error::{Error, Result};
use crate::fs::FileId;

/// First eight bytes of a block. A block of the first version begins with the length of a boot id instead.
const MARK: u64 = u64::from_le_bytes(*b"journal2");

/// What is written once, when the journal is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The layout.
    pub version: u64,
    /// The file that the journal was made in; unknown in the first version.
    pub id: Option<FileId>,
    /// Size of the ring that was allocated when the journal was made.
    pub first_bytes: u64,
    /// Size of the ring once all of it is allocated.
    pub ring_bytes: u64,
    /// Who made it.
    pub identity: Identity,
}

impl Header {
    /// The block.
    ///
    /// # Errors
    /// If the run's id is too long for it.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let id = self.id.unwrap_or_default();
        let mut body = Vec::new();
        for number in [MARK, id.device, id.inode, self.first_bytes, self.ring_bytes] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        self.identity.write(&mut body);
        let block = sealed(&body);
        if block.len() > MAX_BLOCK_BYTES {
            return Err(Error::setting("run_id", "is too long; use at most 4096 bytes"));
        }
        Ok(block)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let input = &mut opened(bytes)?;
        if take_number(input)? != MARK {
            return None;
        }
        Some(Self {
            version: LAYOUT_VERSION,
            id: Some(FileId { device: take_number(input)?, inode: take_number(input)? }),
            first_bytes: take_number(input)?,
            ring_bytes: take_number(input)?,
            identity: Identity::read(input)?,
        })
    }

    /// Reads the header of a journal that nobody writes; `None` if it was never finished being made. One whole copy of the
    /// block is enough, whatever became of the words before it.
    pub fn read(memory: &Memory) -> std::result::Result<Option<Self>, &'static str> {
        // SAFETY: nobody writes the journal.
        let blocks = OFFSET_BLOCKS.map(|at| unsafe { memory.bytes(at, MAX_BLOCK_BYTES) });
        let version = memory.load(OFFSET_VERSION);
        if let Some(header) = blocks.into_iter().find_map(Self::from_bytes) {
            // The cursor is made before the version is stored.
            let is_made = version != 0 || !cursor::is_blank(memory);
            return Ok(is_made.then_some(header));
        }
        if version == 0 {
            return Ok(None);
        }
        if memory.load(OFFSET_MAGIC) != MAGIC || version > LAYOUT_VERSION {
            return Err("it is no journal of this version");
        }
        let identity = if version == FIRST_VERSION { Identity::from_bytes(blocks[0]) } else { None };
        let identity = identity.ok_or("the part that says whose it is cannot be read")?;
        let ring_bytes = memory.load(OFFSET_RING_BYTES);
        Ok(Some(Self { version, id: None, first_bytes: ring_bytes, ring_bytes, identity }))
    }

    /// The size of the ring that is in use, by the control words.
    #[must_use]
    pub fn ring_bytes_in_use(&self, memory: &Memory) -> u64 {
        if self.version == FIRST_VERSION {
            return self.ring_bytes;
        }
        // Only two sizes are possible, and where both copies are damaged, more of the ring is looked at rather than less.
        let is_first = number::first(memory, OFFSET_RING_BYTES) == Some(self.first_bytes);
        if is_first { self.first_bytes } else { self.ring_bytes }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_read_back_and_any_damage_is_noticed() {
        let header = Header {
            version: LAYOUT_VERSION,
            id: Some(FileId { device: 1, inode: 2 }),
            first_bytes: 4096,
            ring_bytes: 8192,
            identity: Identity {
                run_id: "r\u{e9}1".into(),
                stream: "main".into(),
                file_mode: 0o600,
                ..Identity::default()
            },
        };
        let bytes = header.to_bytes().unwrap();
        assert_eq!(Header::from_bytes(&bytes), Some(header));
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1;
            assert_eq!(Header::from_bytes(&damaged), None, "byte {position}");
            assert_eq!(Header::from_bytes(&bytes[..position]), None, "prefix {position}");
        }
    }

    #[test]
    fn two_copies_with_the_longest_run_id_find_room() {
        let identity = Identity { run_id: "r".repeat(4096), stream: "s".repeat(255), ..Identity::default() };
        let header = |identity| Header { version: 2, id: None, first_bytes: 8, ring_bytes: 8, identity };
        assert!(header(identity.clone()).to_bytes().unwrap().len() <= MAX_BLOCK_BYTES);
        let longer = Identity { run_id: "r".repeat(MAX_BLOCK_BYTES), ..identity };
        assert!(header(longer).to_bytes().is_err());
    }
}
