//! Where things stand in a journal file: a header of four pages, then the ring.
//!
//! Page 0 has the control words below, each aligned to 8 bytes and written by one store. The pages behind it have two copies
//! of the [header block](super::header): which file the journal is and who made it.
//!
//! From version 2 on nothing of this is believed unseen: a control word is a [checked number](super::number), most of them
//! twice, and a slot of the cursor has a checksum and a copy. Version 1 had plain words, one slot and one block.

/// First eight bytes of every journal.
pub const MAGIC: u64 = u64::from_le_bytes(*b"CODEXOBS");
/// Version of this layout.
pub const LAYOUT_VERSION: u64 = 2;
/// The layout before it, which is still recovered.
pub const FIRST_VERSION: u64 = 1;
/// Bytes before the ring.
pub const HEADER_BYTES: usize = 16 << 10;
/// From a control word to its copy.
pub const WORD_BYTES: usize = 8;

/// Offset of [`MAGIC`].
pub const OFFSET_MAGIC: usize = 0;
/// Offset of [`LAYOUT_VERSION`]; stored last, so that a half-made header is not taken for a journal.
pub const OFFSET_VERSION: usize = 8;
/// Offset of the size of the ring that is in use; twice.
pub const OFFSET_RING_BYTES: usize = 16;
/// Offset of the position up to which frames were published, in units of 8 bytes. A hint: frames may go on behind it.
pub const OFFSET_PUBLISHED: usize = 64;
/// Offset of the number of rows published.
pub const OFFSET_PUBLISHED_ROWS: usize = 72;
/// Offset of the number of the newest intent begun; twice.
pub const OFFSET_BEGUN: usize = 128;
/// Offset of the number of the newest intent carried out; twice.
pub const OFFSET_DONE: usize = 192;
/// Offset of the number of rows dropped because the ring was full; twice.
pub const OFFSET_DROPPED: usize = 256;
/// Offset of the number of rows whose values their device had not computed yet; twice. Earlier journals have zeros there.
pub const OFFSET_DEFERRED: usize = 320;
/// Offsets of the two intent slots.
pub const OFFSET_SLOTS: [usize; 2] = [512, 1024];
/// From a slot to its copy.
pub const SLOT_BYTES: usize = 256;
/// Offsets of the two slots of every file's [floor](super::floor), in sectors of their own. Earlier journals have zeros there.
pub const OFFSET_FLOORS: [usize; 2] = [2048, 3072];
/// From the floor of a file to that of the next.
pub const FLOOR_BYTES: usize = 64;
/// Offsets of the two copies of the header block. Version 1 had the first one only.
pub const OFFSET_BLOCKS: [usize; 2] = [4096, 4096 + MAX_BLOCK_BYTES];
/// Room for one of them.
pub const MAX_BLOCK_BYTES: usize = (HEADER_BYTES - 4096) / 2;
