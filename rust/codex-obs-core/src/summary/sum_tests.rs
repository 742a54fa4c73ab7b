use num_bigint::BigInt;
use proptest::prelude::*;

use super::*;

fn sum(values: &[f64]) -> ExactSum {
    let mut sum = ExactSum::default();
    for &value in values {
        sum.add(value);
    }
    sum
}

/// The sum times 2^1074, in whole numbers.
fn exact(values: &[f64]) -> BigInt {
    let each = values.iter().map(|value| {
        let bits = value.to_bits();
        let biased = (bits >> 52 & 0x7FF) as usize;
        let mantissa = bits & ((1 << 52) - 1) | u64::from(biased != 0) << 52;
        let magnitude = BigInt::from(mantissa) << (biased.max(1) - 1);
        if *value < 0.0 { -magnitude } else { magnitude }
    });
    each.sum()
}

/// The double nearest to a whole number times 2^-1074, half to even, by its decimal text.
fn nearest(scaled: &BigInt) -> f64 {
    // 2^-1074 = 5^1074 / 10^1074
    let digits = scaled * BigInt::from(5).pow(1074);
    format!("{digits}e-1074").parse().unwrap()
}

#[test]
fn sums_that_go_wrong_step_by_step_are_right() {
    let cases: [(&[f64], f64); 9] = [
        (&[], 0.0),
        (&[0.1; 10], 1.0),
        (&[1e16, 1.0, -1e16], 1.0),
        (&[1e308, 1e308, -1e308], 1e308),
        (&[f64::MAX, f64::MAX, -f64::MAX, -f64::MAX, 5e-324], 5e-324),
        (&[-5e-324, -5e-324], -1e-323),
        (&[1.0, f64::EPSILON / 2.0], 1.0),
        (&[1.0, f64::EPSILON / 2.0, 5e-324], 1.0 + f64::EPSILON),
        (&[-1.0, -f64::EPSILON / 2.0, -5e-324], -1.0 - f64::EPSILON),
    ];
    for (values, expected) in cases {
        assert_eq!(sum(values).mean(1).to_bits(), expected.to_bits(), "{values:?}");
    }
}

#[test]
fn many_values_of_one_sign_pass_their_carries_on() {
    for value in [f64::MAX, -f64::MAX, 1.0, -1e-300, 5e-324, 0.1, -0.1] {
        let mut sum = ExactSum::default();
        (0..100_003).for_each(|_| {
            sum.add(value);
        });
        let total = exact(&[value]) * 100_003;
        if value.abs() < 1e300 {
            assert_eq!(sum.mean(1).to_bits(), nearest(&total).to_bits());
        }
        assert!((sum.mean(100_003) - value).abs() <= value.abs() * f64::EPSILON, "{value}");
        // A sum that is negative does not grow with each carry.
        assert!(sum.digits.len() < 6, "{}", sum.digits.len());
    }
}

#[test]
fn a_mean_of_the_largest_doubles_is_finite() {
    assert_eq!(sum(&[f64::MAX; 3]).mean(3).to_bits(), (f64::MAX).to_bits());
    assert_eq!(sum(&[-f64::MAX; 7]).mean(7).to_bits(), (-f64::MAX).to_bits());
    assert_eq!(sum(&[f64::MAX, f64::MAX, 0.0, 0.0]).mean(4).to_bits(), (f64::MAX / 2.0).to_bits());
}

/// Doubles of every size, many of them close to each other.
fn double() -> impl Strategy<Value = f64> {
    let any_bits = any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |value| value.is_finite());
    prop_oneof![any_bits, -1e3..1e3_f64, Just(0.0), Just(-0.0), Just(f64::MIN_POSITIVE), Just(1e16), Just(-1e16)]
}

proptest! {
    #[test]
    fn any_sum_is_exact_and_rounded_once(values in prop::collection::vec(double(), 0..60)) {
        let expected = nearest(&exact(&values));
        if expected.is_finite() {
            prop_assert_eq!(sum(&values).mean(1).to_bits(), expected.to_bits());
        }
    }

    #[test]
    fn the_order_and_the_parts_do_not_matter(
        mut values in prop::collection::vec(double(), 1..60),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let expected = sum(&values).mean(3);
        values.reverse();
        let mut parts = vec![ExactSum::default(); 5];
        for (index, &value) in values.iter().enumerate() {
            let part = cuts.iter().filter(|cut| cut.index(values.len()) < index).count();
            parts[part].add(value);
        }
        let mut merged = parts.pop().unwrap();
        for part in &parts {
            merged.merge(part);
        }
        prop_assert_eq!(merged.mean(3).to_bits(), expected.to_bits());
    }
}
