//! Numbers as text, laid out as Python's `repr` does.

/// Adds the shortest text that reads back as `value`, which must be finite.
///
/// # Examples
///
/// ```
/// let mut out = Vec::new();
/// codex_obs_core::encode::number::push_f64(&mut out, 0.00001);
/// assert_eq!(out, b"1e-05");
/// ```
#[inline]
pub fn push_f64(out: &mut Vec<u8>, value: f64) {
    debug_assert!(value.is_finite(), "the caller writes what is not finite as null or as text");
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value);
    let magnitude = value.abs();
    // Both layouts turn to exponents at 1e16, but Python does so below 1e-4 and zmij only below 1e-5; and Python's
    // exponents have two digits at least. From 1e-10 down there is no difference again.
    if (1e-9..1e-4).contains(&magnitude) {
        push_small(out, text);
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}

/// Adds a whole number.
#[inline]
pub fn push_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Adds a whole number.
#[inline]
pub fn push_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Turns `0.0000123` into `1.23e-05` and `1.23e-6` into `1.23e-06`.
fn push_small(out: &mut Vec<u8>, text: &str) {
    if let Some((mantissa, exponent)) = text.split_once("e-") {
        out.extend_from_slice(mantissa.as_bytes());
        out.extend_from_slice(b"e-0");
        out.extend_from_slice(exponent.as_bytes());
        return;
    }
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (first, others) = rest.trim_start_matches(['0', '.']).split_at(1);
    out.extend_from_slice(sign.as_bytes());
    out.extend_from_slice(first.as_bytes());
    if !others.is_empty() {
        out.push(b'.');
        out.extend_from_slice(others.as_bytes());
    }
    out.extend_from_slice(b"e-05");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(value: f64) -> String {
        let mut out = Vec::new();
        push_f64(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    /// What makes a text Python's `repr`: it reads back as the number, has as few digits as Rust's own formatter needs
    /// (which takes another one of two texts that are equally near), and is laid out by this rule.
    fn check(value: f64) {
        let text = text(value);
        assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{text}");
        let scientific = format!("{:e}", value.abs());
        let (rust_digits, exponent) = scientific.split_once('e').unwrap();
        let exponent: i32 = exponent.parse().unwrap();
        let significant = text.trim_start_matches('-').split('e').next().unwrap().replace('.', "");
        let digits = significant.trim_start_matches('0').trim_end_matches('0');
        assert!(digits.len() <= rust_digits.replace('.', "").len(), "{text}");

        let digit_at = |place: i32| {
            usize::try_from(exponent - place)
                .ok()
                .and_then(|at| digits.as_bytes().get(at))
                .map_or('0', |&digit| digit.into())
        };
        let last = exponent - digits.len() as i32 + 1;
        let sign = if value.is_sign_negative() { "-" } else { "" };
        let expected = if (-4..16).contains(&exponent) {
            let whole: String = (0..=exponent.max(0)).rev().map(digit_at).collect();
            let fraction: String = (last.min(-1)..0).rev().map(digit_at).collect();
            format!("{sign}{whole}.{fraction}")
        } else {
            let (first, others) = digits.split_at(1);
            let point = if others.is_empty() { "" } else { "." };
            let direction = if exponent < 0 { '-' } else { '+' };
            format!("{sign}{first}{point}{others}e{direction}{:02}", exponent.abs())
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn layout_is_that_of_python() {
        let cases = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (5.0, "5.0"),
            (0.1, "0.1"),
            (1e-5, "1e-05"),
            (-1e-5, "-1e-05"),
            (1.5e-5, "1.5e-05"),
            (9.999_999_999_999_999e-5, "9.999999999999999e-05"),
            (1e-4, "0.0001"),
            (1e-6, "1e-06"),
            (9.999_999_999_999_999e-6, "9.999999999999999e-06"),
            (-1.25e-6, "-1.25e-06"),
            (1e-9, "1e-09"),
            (9.999_999_999_999_999e-10, "9.999999999999999e-10"),
            (1.5e-10, "1.5e-10"),
            (1e15, "1000000000000000.0"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (1e16, "1e+16"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (f64::from_bits(0x430A_C085_4728_DFC2), "941253506440184.2"),
            (1e22, "1e+22"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (-f64::MIN_POSITIVE, "-2.2250738585072014e-308"),
        ];
        for (value, expected) in cases {
            assert_eq!(text(value), expected);
            check(value);
        }
    }

    proptest! {
        #[test]
        fn every_bit_pattern_has_python_layout(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            if value.is_finite() {
                check(value);
            }
        }

        #[test]
        fn numbers_around_the_change_of_layout(mantissa in 1.0f64..10.0, exponent in -8i32..20) {
            let value = mantissa * 10f64.powi(exponent);
            check(value);
        }

        #[test]
        fn integers_keep_every_digit(signed in any::<i64>(), unsigned in any::<u64>()) {
            let mut out = Vec::new();
            push_i64(&mut out, signed);
            out.push(b' ');
            push_u64(&mut out, unsigned);
            prop_assert_eq!(String::from_utf8(out).unwrap(), format!("{signed} {unsigned}"));
        }
    }
}
