//! Structured values that charts have a form for: histograms, numbers that become one, and text.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};

use crate::record::nonfinite;

/// Bins of an array of numbers.
pub const BINS: usize = 30;

/// A structured value with a form in charts.
#[derive(Clone, Debug, PartialEq)]
pub enum Structured {
    /// Counts between edges.
    Histogram(Histogram),
    /// A text.
    Text(String),
}

/// Counts between edges, of which there is one more.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Histogram {
    /// How many values lie in each bin.
    pub counts: Vec<f64>,
    /// The ends of the bins, rising.
    pub edges: Vec<f64>,
}

impl Structured {
    /// The form of a value that stands in the manifest as `payload`. `None`: it has none.
    #[must_use]
    pub fn of(payload: &str) -> Option<Self> {
        match payload.trim_start().as_bytes().first()? {
            b'"' => serde_json::from_str(payload).ok().map(Self::Text),
            b'{' => serde_json::from_str(payload).ok().filter(Histogram::is_whole).map(Self::Histogram),
            b'[' => {
                let mut numbers = Vec::new();
                let mut reader = serde_json::Deserializer::from_str(payload);
                Array(&mut numbers).deserialize(&mut reader).ok()?;
                Histogram::of(&numbers).map(Self::Histogram)
            }
            _ => None,
        }
    }
}

impl Histogram {
    /// The values in [`BINS`] bins of equal width, as `numpy.histogram` counts them; those that are not finite are left out.
    /// `None`: none is finite.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let finite = || values.iter().copied().filter(|value| value.is_finite());
        let (mut low, mut high) =
            finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            return None;
        }
        // All are equal.
        if low >= high {
            (low, high) = (low - 0.5, high + 0.5);
        }
        // Half of each, where the width of all would be infinite.
        let scale = if (high - low).is_finite() { 1.0 } else { 0.5 };
        let width = high * scale - low * scale;
        let edge = |index: usize| match index {
            BINS => high,
            _ => (low * scale + width * (index as f64 / BINS as f64)) / scale,
        };
        let edges: Vec<f64> = (0..=BINS).map(edge).collect();
        if edges.windows(2).any(|pair| pair[0] >= pair[1]) {
            // Too few doubles lie between the ends for so many bins.
            return Some(Self { counts: vec![finite().count() as f64], edges: vec![low, high] });
        }
        let mut counts = vec![0.0; BINS];
        for value in finite() {
            let place = (value * scale - low * scale) / width * BINS as f64;
            let mut bin = (place as usize).min(BINS - 1);
            // What rounding has put into the neighbour.
            if value < edges[bin] {
                bin -= 1;
            } else if bin + 1 < BINS && value >= edges[bin + 1] {
                bin += 1;
            }
            counts[bin] += 1.0;
        }
        Some(Self { counts, edges })
    }

    fn is_whole(&self) -> bool {
        !self.counts.is_empty()
            && self.edges.len() == self.counts.len() + 1
            && self.counts.iter().all(|&count| count >= 0.0 && count.is_finite())
            && self.edges.iter().all(|edge| edge.is_finite())
            && self.edges.windows(2).all(|pair| pair[0] <= pair[1])
    }
}

/// Numbers in arrays, however deep.
struct Array<'v>(&'v mut Vec<f64>);

impl<'de> DeserializeSeed<'de> for Array<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Array<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while sequence.next_element_seed(Array(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.0.push(f64::from(value));
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.0.push(value as f64);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.0.push(value as f64);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.0.push(value);
        Ok(())
    }

    /// The log has such numbers as text.
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        nonfinite::number(text).map(|number| self.0.push(number)).ok_or_else(|| E::custom("a text"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn histogram(payload: &str) -> Option<Histogram> {
        match Structured::of(payload) {
            Some(Structured::Histogram(histogram)) => Some(histogram),
            _ => None,
        }
    }

    #[test]
    fn histograms_texts_and_arrays_of_numbers_have_a_form_and_nothing_else_has() {
        let given = histogram(r#"{"counts":[1,2.5],"edges":[-1,0,1e3]}"#).unwrap();
        assert_eq!((given.counts, given.edges), (vec![1.0, 2.5], vec![-1.0, 0.0, 1000.0]));
        assert_eq!(Structured::of(r#""a\"b""#), Some(Structured::Text("a\"b".to_owned())));
        let nested = histogram(r#"[[0, 1, true], [29.5, "NaN", 30]]"#).unwrap();
        assert_eq!((nested.counts.iter().sum::<f64>(), nested.edges[0], nested.edges[30]), (5.0, 0.0, 30.0));
        for payload in [
            "",
            "null",
            "[]",
            "[null]",
            r#"["a"]"#,
            r#"["NaN"]"#,
            r#"[{"a":1}]"#,
            "{}",
            r#"{"counts":[1],"edges":[0]}"#,
            r#"{"counts":[],"edges":[0]}"#,
            r#"{"counts":[-1],"edges":[0,1]}"#,
            r#"{"counts":[1],"edges":[1,0]}"#,
            r#"{"counts":[1],"edges":[0,1],"more":1}"#,
            r#"{"counts":["NaN"],"edges":[0,1]}"#,
            r#"{"real":1,"imag":2}"#,
        ] {
            assert_eq!(Structured::of(payload), None, "{payload}");
        }
    }

    #[test]
    fn values_are_counted_where_numpy_counts_them() {
        // numpy.histogram([1, 2, 2, 3], 30): the last edge belongs to the last bin.
        let histogram = Histogram::of(&[1.0, 2.0, 2.0, 3.0]).unwrap();
        let filled: Vec<(usize, f64)> =
            histogram.counts.iter().copied().enumerate().filter(|&(_, count)| count > 0.0).collect();
        assert_eq!(filled, [(0, 1.0), (15, 2.0), (29, 1.0)]);
        let one = Histogram::of(&[7.0]).unwrap();
        assert_eq!((one.edges[0], one.edges[BINS], one.counts[15]), (6.5, 7.5, 1.0));
        let narrow = Histogram::of(&[1.0, 1.0 + f64::EPSILON]).unwrap();
        assert_eq!(narrow, Histogram { counts: vec![2.0], edges: vec![1.0, 1.0 + f64::EPSILON] });
        let huge = Histogram::of(&[1e17, 1e17]).unwrap();
        assert_eq!(huge.counts.iter().sum::<f64>() as usize, 2);
    }

    proptest! {
        #[test]
        fn every_finite_value_is_in_one_bin(values in prop::collection::vec(any::<f64>(), 1..40)) {
            let finite = values.iter().filter(|value| value.is_finite()).count();
            match Histogram::of(&values) {
                None => prop_assert_eq!(finite, 0),
                Some(histogram) => {
                    prop_assert!(histogram.is_whole());
                    prop_assert_eq!(histogram.counts.iter().sum::<f64>() as usize, finite);
                    for (bin, &count) in histogram.counts.iter().enumerate() {
                        let is_last = bin + 1 == histogram.counts.len();
                        let inside = values.iter().filter(|&&value| {
                            value >= histogram.edges[bin]
                                && (value < histogram.edges[bin + 1] || is_last && value <= histogram.edges[bin + 1])
                        });
                        prop_assert_eq!(inside.count(), count as usize);
                    }
                }
            }
        }
    }
}
