//! What had to be changed in values so that every line is valid: counted, never silent.

/// Counts of changes made to what callers passed. One counter a kind; all are part of `Run.stats()`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Lone surrogates that became U+FFFD.
    pub surrogates_replaced: u64,
    /// Names, splits, datasets and tag texts cut at 4 KiB.
    pub texts_cut: u64,
    /// Nodes of a nested value that became null (deeper than 64, cyclic, or their conversion raised), went because another
    /// key has the same text, or show their class because their `str()` raised.
    pub nodes_nulled: u64,
    /// Structured values that are too long to keep, and parameters and tags that were cut to fit.
    pub payloads_cut: u64,
    /// Metric values whose conversion raised.
    pub values_unreadable: u64,
    /// Metrics left out because a later one of the call got the same name by `flatten`.
    pub metrics_collided: u64,
    /// `timestamp=` arguments outside the years 1 to 9999 or not a number, replaced by the time of the call.
    pub timestamps_replaced: u64,
}

impl Damage {
    /// Whether nothing was changed.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}
