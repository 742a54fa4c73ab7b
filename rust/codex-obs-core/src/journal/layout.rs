//! Where things stand in a journal file: a header of four pages, then the ring.
//!
//! Page 0 has the control words below, each aligned to 8 bytes and written by one store. The pages behind it have the
//! [identity](super::identity) of the process that made the journal.

/// First eight bytes of every journal.
pub const MAGIC: u64 = u64::from_le_bytes(*b"CODEXOBS");
/// Version of this layout.
pub const LAYOUT_VERSION: u64 = 1;
/// Bytes before the ring.
pub const HEADER_BYTES: usize = 16 << 10;

/// Offset of [`MAGIC`].
pub const OFFSET_MAGIC: usize = 0;
/// Offset of [`LAYOUT_VERSION`]; stored last, so that a half-made header is not taken for a journal.
pub const OFFSET_VERSION: usize = 8;
/// Offset of the ring's size.
pub const OFFSET_RING_BYTES: usize = 16;
/// Offset of the position up to which frames were published when the word was last stored: a hint.
pub const OFFSET_PUBLISHED: usize = 64;
/// Offset of the number of the newest intent begun.
pub const OFFSET_BEGUN: usize = 128;
/// Offset of the number of the newest intent carried out.
pub const OFFSET_DONE: usize = 192;
/// Offset of the number of rows dropped because the ring was full.
pub const OFFSET_DROPPED: usize = 256;
/// Offsets of the two intent slots.
pub const OFFSET_SLOTS: [usize; 2] = [512, 1024];
/// Offset of the identity block.
pub const OFFSET_IDENTITY: usize = 4096;
/// Room for the identity block.
pub const MAX_IDENTITY_BYTES: usize = HEADER_BYTES - OFFSET_IDENTITY;
