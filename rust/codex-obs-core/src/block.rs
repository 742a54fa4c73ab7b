//! Blocks of bytes with a length and a checksum, and the texts and numbers in them.

use xxhash_rust::xxh3::xxh3_64;

/// A block: the length and checksum of `body`, and that itself.
#[must_use]
pub fn sealed(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 16);
    out.extend_from_slice(&(body.len() as u64).to_le_bytes());
    out.extend_from_slice(&xxh3_64(body).to_le_bytes());
    out.extend_from_slice(body);
    out
}

/// The body of the block that `bytes` begin with; `None` if it is missing, half written or damaged.
#[must_use]
pub fn opened(mut bytes: &[u8]) -> Option<&[u8]> {
    let length = usize::try_from(take_number(&mut bytes)?).ok()?;
    let checksum = take_number(&mut bytes)?;
    let body = bytes.get(..length)?;
    (xxh3_64(body) == checksum).then_some(body)
}

/// Adds a text with its length.
pub fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Takes a text that [`put_text`] wrote off the front of `input`.
pub fn take_text(input: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(take_number(input)?).ok()?;
    let (text, rest) = input.split_at_checked(length)?;
    *input = rest;
    String::from_utf8(text.to_vec()).ok()
}

/// Takes a number, little-endian, off the front of `input`.
pub fn take_number(input: &mut &[u8]) -> Option<u64> {
    let (number, rest) = input.split_first_chunk()?;
    *input = rest;
    Some(u64::from_le_bytes(*number))
}
