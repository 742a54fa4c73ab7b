//! Numbers that know whether they are whole: 48 bits and 16 of check in one word, which one store writes.
//!
//! Damage to a single byte of the word is always noticed, and so is a word of zeros.

use std::io;

use super::layout::WORD_BYTES;
use super::memory::Memory;

/// The greatest number.
pub const MOST: u64 = (1 << 48) - 1;

const MARK: u64 = 0xC0DE;

/// The word for `number`, which is at most [`MOST`].
#[must_use]
#[inline]
pub fn seal(number: u64) -> u64 {
    number << 16 | check(number)
}

/// The number in a word, unless the word is damaged.
#[must_use]
pub fn open(word: u64) -> Option<u64> {
    let number = word >> 16;
    (word & 0xFFFF == check(number)).then_some(number)
}

/// The number at `offset`, of which there are two copies: the first is stored first, so it is the newer one if it is whole.
#[must_use]
pub fn first(memory: &Memory, offset: usize) -> Option<u64> {
    open(memory.load(offset)).or_else(|| open(memory.load(offset + WORD_BYTES)))
}

/// Stores both copies of a number.
pub fn store(memory: &Memory, offset: usize, number: u64) -> io::Result<()> {
    memory.store_twice(offset, seal(number.min(MOST)))
}

/// The three parts of 16 bits, each times an odd number: no change to one of them alone leaves the sum as it is.
#[inline]
fn check(number: u64) -> u64 {
    let parts = (number & 0xFFFF) + 3 * (number >> 16 & 0xFFFF) + 5 * (number >> 32);
    (parts + MARK) & 0xFFFF
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_back_and_damage_to_any_byte_is_noticed() {
        for number in [0, 1, 0xFFFF, 0x1_0000, 0x0123_4567_89AB, MOST] {
            let word = seal(number);
            assert_eq!(open(word), Some(number));
            assert_eq!(open(!word), None);
            for byte in 0..8 {
                for damage in 1..=255_u64 {
                    assert_eq!(open(word ^ damage << (8 * byte)), None, "{number}, byte {byte}, {damage}");
                }
            }
        }
        assert_eq!((open(0), open(u64::MAX)), (None, None));
    }
}
