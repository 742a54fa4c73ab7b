//! Numbers in sentences for people.

/// A number and what it counts: `1 row`, `2 rows`.
#[must_use]
pub fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The verb behind it.
#[must_use]
pub const fn was(number: u64) -> &'static str {
    if number == 1 { "was" } else { "were" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one_and_none_are_many() {
        assert_eq!([0, 1, 2].map(|number| count(number, "row")), ["0 rows", "1 row", "2 rows"]);
        assert_eq!([0, 1, 2].map(was), ["were", "was", "were"]);
    }
}
