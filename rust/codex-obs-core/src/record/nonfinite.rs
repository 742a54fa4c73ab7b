//! How a double is spelled that is no number in JSON.

/// Each with its word, which is the one that JSON libraries know.
pub const WORDS: [(&str, f64); 3] = [("NaN", f64::NAN), ("Infinity", f64::INFINITY), ("-Infinity", f64::NEG_INFINITY)];

/// The word for a number that is not finite.
#[must_use]
pub fn word(number: f64) -> &'static str {
    let [nan, infinity, minus_infinity] = WORDS;
    let meant = if number.is_nan() {
        nan
    } else if number > 0.0 {
        infinity
    } else {
        minus_infinity
    };
    meant.0
}

/// The number that a word stands for.
#[must_use]
pub fn number(word: &str) -> Option<f64> {
    WORDS.into_iter().find(|&(known, _)| known == word).map(|(_, number)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back() {
        for (spelled, meant) in WORDS {
            assert_eq!(word(meant), spelled);
            assert_eq!(number(spelled).map(f64::to_bits), Some(meant.to_bits()));
        }
        assert_eq!(number("nan"), None);
    }
}
