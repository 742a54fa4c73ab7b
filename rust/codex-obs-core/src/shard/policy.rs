//! When a shard is rotated: a pure function of lengths and times.

/// The rules of rotation; `None` switches a rule off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Rotate before a row that would make the shard larger than this.
    pub max_bytes: Option<u64>,
    /// Rotate before a row when the shard was last written this many microseconds ago or longer.
    pub max_age_micros: Option<u64>,
    /// Rotated shards kept; `None` means that nothing is ever rotated.
    pub backup_count: Option<u64>,
}

impl Policy {
    /// Never rotates.
    pub const OFF: Self = Self { max_bytes: None, max_age_micros: None, backup_count: None };

    /// Whether a shard of `length` bytes, last written at `last_write`, is rotated before a row of `row_bytes` at `now`
    /// (times in microseconds). An empty shard never is.
    #[must_use]
    pub fn rotates_before(&self, length: u64, last_write: i64, row_bytes: u64, now: i64) -> bool {
        if self.backup_count.is_none() || length == 0 {
            return false;
        }
        self.max_bytes.is_some_and(|limit| length + row_bytes > limit) || self.is_aged(length, last_write, now)
    }

    /// Whether a shard is too old to be continued. A clock that went back makes no shard old.
    #[must_use]
    pub fn is_aged(&self, length: u64, last_write: i64, now: i64) -> bool {
        let age = u64::try_from(now.saturating_sub(last_write)).unwrap_or(0);
        self.backup_count.is_some() && length > 0 && self.max_age_micros.is_some_and(|limit| age >= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_is_decided_at_the_very_limit() {
        let policy = Policy { max_bytes: Some(100), max_age_micros: Some(50), backup_count: Some(1) };
        assert!(!policy.rotates_before(60, 0, 40, 49));
        assert!(policy.rotates_before(60, 0, 41, 49));
        assert!(policy.rotates_before(60, 0, 1, 50));
        assert!(!policy.rotates_before(0, 0, 1000, 1000), "one row alone may be larger than the limit");
        assert!(!policy.rotates_before(60, 1000, 1, 0), "the clock went back");
        assert!(!Policy { backup_count: None, ..policy }.rotates_before(60, 0, 1000, 1000));
        assert!(!Policy { max_bytes: None, ..policy }.rotates_before(60, 0, 1000, 49));
        assert!(!Policy { max_age_micros: None, ..policy }.rotates_before(60, 0, 40, 1000));
        assert!(!Policy::OFF.rotates_before(60, 0, 1000, i64::MAX));
    }
}
