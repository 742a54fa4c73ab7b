//! The exact sum of any doubles, in any order.
//!
//! A sum is kept as a fixed-point number of 32-bit digits in 64-bit cells, so that many values can be added before a carry
//! has to be passed on. Nothing is rounded before the end, so the result depends on neither the order of the values nor
//! on how they were divided among threads, and it equals Python's `math.fsum`. Method: R. M. Neal, "Fast exact summation
//! using small and large superaccumulators", 2015. Only the digits in use are kept: a group's values are of similar size.

use smallvec::SmallVec;

const DIGIT_BITS: u32 = 32;
const DIGIT_MASK: u64 = (1 << DIGIT_BITS) - 1;
const FRACTION_BITS: u32 = f64::MANTISSA_DIGITS - 1;
const EXPONENT_MASK: u64 = 0x7FF;
/// Power of two of the lowest bit of the digit with index 0: that of the smallest double.
const LOWEST_POWER: i32 = f64::MIN_EXP - f64::MANTISSA_DIGITS as i32;
/// Additions until carries are passed on. One adds less than 2^53 to a cell, which has room for 2^10 of these.
const ADDITIONS_PER_CARRY: u32 = 1000;

/// Digits of a group whose values are of similar size, kept with the rest of the sum.
const USUAL_DIGITS: usize = 3;

/// A sum.
#[derive(Clone, Debug, Default)]
pub struct ExactSum {
    /// Index of the first digit kept.
    first: u32,
    /// Additions since carries were passed on.
    additions: u32,
    digits: SmallVec<[i64; USUAL_DIGITS]>,
}

impl ExactSum {
    /// Adds a finite number. Gives whether that may have taken memory.
    #[inline]
    pub fn add(&mut self, value: f64) -> bool {
        debug_assert!(value.is_finite());
        let bits = value.to_bits();
        let biased = (bits >> FRACTION_BITS) & EXPONENT_MASK;
        let fraction = bits & ((1 << FRACTION_BITS) - 1);
        // Subnormals have the power of the smallest normal numbers and no hidden bit.
        let mantissa = fraction | u64::from(biased != 0) << FRACTION_BITS;
        let power = biased.max(1) - 1;
        let (index, shift) = ((power >> 5) as u32, (power & 31) as u32);
        let low = ((mantissa << shift) & DIGIT_MASK) as i64;
        let high = (mantissa >> (DIGIT_BITS - shift)) as i64;
        // All ones for a negative number: (x ^ sign) - sign negates then.
        let sign = bits.cast_signed() >> 63;
        let at = index.wrapping_sub(self.first) as usize;
        if at.saturating_add(1) >= self.digits.len() || self.additions >= ADDITIONS_PER_CARRY {
            return self.make_room(index, value);
        }
        self.digits[at] += (low ^ sign) - sign;
        self.digits[at + 1] += (high ^ sign) - sign;
        self.additions += 1;
        false
    }

    /// Widens the range of digits or passes carries on, and adds then.
    #[cold]
    fn make_room(&mut self, index: u32, value: f64) -> bool {
        if self.additions >= ADDITIONS_PER_CARRY {
            self.carry();
        }
        self.cover(index, index + 2);
        self.add(value);
        true
    }

    /// Makes sure that the digits from `start` to before `end` are kept.
    fn cover(&mut self, start: u32, end: u32) {
        if self.digits.is_empty() {
            self.first = start;
        }
        if start < self.first {
            let missing = (self.first - start) as usize;
            self.digits.insert_many(0, std::iter::repeat_n(0, missing));
            self.first = start;
        }
        let length = (end - self.first) as usize;
        if self.digits.len() < length {
            self.digits.resize(length, 0);
        }
    }

    /// Brings every digit but the last into 0 to 2^32 - 1. The last keeps the sign.
    fn carry(&mut self) {
        self.additions = 0;
        let Some((last, others)) = self.digits.split_last_mut() else { return };
        let mut carry = 0;
        for digit in others {
            let total = *digit + carry;
            carry = total >> DIGIT_BITS;
            *digit = total & DIGIT_MASK as i64;
        }
        *last += carry;
        let excess = *last >> DIGIT_BITS;
        // A sum of less than 2^63 doubles needs at most two digits more than the largest double.
        if excess != 0 && excess != -1 {
            *last &= DIGIT_MASK as i64;
            self.digits.push(excess);
        }
    }

    /// Bytes beyond the sum itself.
    pub(super) fn held(&self) -> usize {
        if self.digits.spilled() { self.digits.capacity() * size_of::<i64>() } else { 0 }
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        if other.digits.is_empty() {
            return;
        }
        let mut other = other.clone();
        other.carry();
        self.carry();
        self.cover(other.first, other.first + other.digits.len() as u32);
        let offset = (other.first - self.first) as usize;
        for (index, digit) in other.digits.iter().enumerate() {
            self.digits[offset + index] += digit;
        }
        self.carry();
    }

    /// The sum divided by the number of values: each of the two steps is rounded once, to the nearest.
    #[must_use]
    pub fn mean(&self, count: u64) -> f64 {
        let (negative, magnitude, lowest) = self.magnitude();
        let sum = round(&magnitude, lowest);
        let mean = if sum.is_finite() {
            sum / count as f64
        } else {
            // The sum is beyond a double, the mean is not.
            const SCALE: i32 = 128;
            let scaled = round(&magnitude, lowest - SCALE) / count as f64;
            (scaled * 2_f64.powi(SCALE)).min(f64::MAX)
        };
        if negative { -mean } else { mean }
    }

    /// Sign, digits from the lowest, and the power of two of the lowest bit.
    fn magnitude(&self) -> (bool, Vec<u32>, i32) {
        let mut sum = self.clone();
        sum.carry();
        // What the other digits say is less than one of the last, so its sign is the sum's.
        let negative = sum.digits.last().is_some_and(|&last| last < 0);
        if negative {
            sum.digits.iter_mut().for_each(|digit| *digit = -*digit);
            sum.carry();
        }
        let digits = sum.digits.iter().map(|&digit| digit as u32).collect();
        (negative, digits, LOWEST_POWER + (sum.first * DIGIT_BITS) as i32)
    }
}

/// The double nearest to the number whose 32-bit digits, lowest first, are `digits` and whose lowest bit is 2^`lowest`.
fn round(digits: &[u32], lowest: i32) -> f64 {
    let Some(top) = digits.iter().rposition(|&digit| digit != 0) else { return 0.0 };
    let digit = |back: usize| top.checked_sub(back).map_or(0, |index| u128::from(digits[index]));
    let leading = digit(0) << 64 | digit(1) << 32 | digit(2);
    let shift = leading.leading_zeros() - 32;
    // 64 significant bits, and one bit for all that follow.
    let aligned = leading << shift;
    let mut significant = (aligned >> 32) as u64;
    let rest = aligned & u128::from(u32::MAX) != 0 || digits[..top.saturating_sub(2)].iter().any(|&digit| digit != 0);
    let power = lowest + (top as i32 - 2) * DIGIT_BITS as i32 - shift as i32 + 32;
    // Bits to drop for 53, or for fewer if the number is subnormal; the smallest power is that of the smallest double.
    let dropped = 11.max(LOWEST_POWER - power);
    if dropped >= 64 {
        // Less than half of the smallest double. It comes up only in scaled sums, which are large.
        return 0.0;
    }
    let half = 1_u64 << (dropped - 1);
    let lost = significant & (half | (half - 1));
    significant >>= dropped;
    if lost > half || (lost == half && (rest || significant & 1 == 1)) {
        significant += 1;
    }
    scale(significant, power + dropped)
}

/// `significant`, at most 2^53, times 2^`power`, where the product is a double or too large for one.
fn scale(significant: u64, power: i32) -> f64 {
    // In two steps, because 2^power alone may be too large or too small for a double.
    let half = power / 2;
    significant as f64 * 2_f64.powi(half) * 2_f64.powi(power - half)
}

#[cfg(test)]
#[path = "sum_tests.rs"]
mod tests;
