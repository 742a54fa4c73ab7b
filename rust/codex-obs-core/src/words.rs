//! Numbers and lists in sentences for people.

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

/// The first of some texts, and how many others there are.
#[must_use]
pub fn some_of(texts: &[String], most: usize) -> String {
    let first = texts[..texts.len().min(most)].join(", ");
    match texts.len().saturating_sub(most) {
        0 => first,
        others => format!("{first}, and {}", count(others as u64, "other")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one_and_none_are_many() {
        assert_eq!([0, 1, 2].map(|number| count(number, "row")), ["0 rows", "1 row", "2 rows"]);
        assert_eq!([0, 1, 2].map(was), ["were", "was", "were"]);
    }

    #[test]
    fn the_first_stand_for_the_others() {
        let texts = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(
            [1, 2, 3, 4].map(|most| some_of(&texts, most)),
            ["a, and 2 others", "a, b, and 1 other", "a, b, c", "a, b, c"]
        );
        assert_eq!(some_of(&[], 3), "");
    }
}
