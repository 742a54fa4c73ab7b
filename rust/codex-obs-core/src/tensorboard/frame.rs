//! The framing of event files, that of TFRecord: length, its checksum, data, their checksum.

use prost::Message;

/// Bytes before the data.
const HEAD_BYTES: usize = 12;
const TAIL_BYTES: usize = 4;
/// What is added to a checksum, so that one over data with checksums in them is none of theirs.
const MASK: u32 = 0xA282_EAD8;

/// The checksum of `data`: CRC-32C, rotated and shifted.
fn masked(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(MASK)
}

/// Adds `message` as one record.
pub fn push<M: Message>(out: &mut Vec<u8>, message: &M) {
    let start = out.len();
    let length = message.encoded_len();
    out.reserve(HEAD_BYTES + length + TAIL_BYTES);
    out.extend_from_slice(&(length as u64).to_le_bytes());
    let checksum = masked(&out[start..]);
    out.extend_from_slice(&checksum.to_le_bytes());
    message.encode_raw(out);
    let checksum = masked(&out[start + HEAD_BYTES..]);
    out.extend_from_slice(&checksum.to_le_bytes());
}

/// The data of the first record in `bytes`, and what stands behind it. `None`: there is no whole one.
#[must_use]
pub fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let checksum = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes).ok();
    let (length, rest) = bytes.split_at_checked(8)?;
    let (stored, rest) = rest.split_at_checked(4)?;
    if checksum(stored) != Some(masked(length)) {
        return None;
    }
    let (data, rest) = rest.split_at_checked(u64::from_le_bytes(length.try_into().ok()?).try_into().ok()?)?;
    let (stored, rest) = rest.split_at_checked(TAIL_BYTES)?;
    (checksum(stored) == Some(masked(data))).then_some((data, rest))
}
