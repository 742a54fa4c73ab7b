//! What a run, its folders, its tags and its end are called there.

use xxhash_rust::xxh3::xxh3_64;

use crate::paths::Stream;
use crate::record::timestamp;
use crate::run::ending::RunStatus;

/// Longest identifier: longer ones are refused there.
const MAX_ID_BYTES: usize = 64;
/// Longest tag: a run with a longer one is refused there.
const MAX_TAG_CHARACTERS: usize = 64;

/// The run's identifier there. It is the same for the same run and stream.
#[must_use]
pub fn run_id(run_id: &str, stream: &Stream) -> String {
    let whole = if stream.is_main() { run_id.to_owned() } else { format!("{run_id}-{stream}") };
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    if whole.len() <= MAX_ID_BYTES && whole.chars().all(is_plain) && !whole.starts_with('.') {
        return whole;
    }
    let hash = format!("-{:016x}", xxh3_64(whole.as_bytes()));
    let plain = whole.chars().map(|character| if character.is_ascii_alphanumeric() { character } else { '-' });
    let start: String = plain.take(MAX_ID_BYTES - hash.len()).collect();
    start + &hash
}

/// The name of a folder with an offline run that started then.
#[must_use]
pub fn folder(run_id: &str, start_micros: i64) -> String {
    let text = timestamp::format(start_micros);
    let digits = |range: std::ops::Range<usize>| {
        text[range].iter().filter(|byte| byte.is_ascii_digit()).map(|&byte| char::from(byte)).collect::<String>()
    };
    format!("offline-run-{}_{}-{run_id}", digits(0..10), digits(11..19))
}

/// The run's tags, given as JSON by their keys.
#[must_use]
pub fn tags(tags: &[(String, String)]) -> Vec<String> {
    let text = |json: &str| serde_json::from_str(json).unwrap_or_else(|_| json.to_owned());
    tags.iter().filter_map(|(key, json)| tag(&format!("{key}:{}", text(json)))).collect()
}

/// A tag as far as it is taken there. `None`: nothing is left of it.
#[must_use]
pub fn tag(text: &str) -> Option<String> {
    let tag: String = text.chars().take(MAX_TAG_CHARACTERS).collect();
    (!tag.is_empty()).then_some(tag)
}

/// The exit code that stands for how a run ended. Those of W&B's own client: an interrupted run has 255.
#[must_use]
pub fn exit_code(status: RunStatus) -> i32 {
    match status {
        RunStatus::Finished => 0,
        RunStatus::Failed => 1,
        RunStatus::Killed => 255,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_what_wandb_accepts_and_differs_where_the_run_does() {
        let main = Stream::main();
        assert_eq!(run_id("0b9c8f4e-7d3a", &main), "0b9c8f4e-7d3a");
        assert_eq!(run_id("r1", &Stream::of_rank(1)), "r1-rank-1");
        let long = "x".repeat(100);
        let ids = ["a/b", "a:b", "a b", ".hidden", "ü", &long, &(long.clone() + "y")].map(|id| run_id(id, &main));
        for id in &ids {
            assert!(id.len() <= MAX_ID_BYTES && !id.starts_with('.'), "{id}");
            assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{id}");
        }
        assert_eq!(std::collections::HashSet::from(ids).len(), 7);
    }

    #[test]
    fn a_tag_is_no_longer_than_wandb_accepts() {
        let json = format!("\"{}\"", "ü".repeat(100));
        let [tag] = &tags(&[("note".to_owned(), json)])[..] else { panic!("one tag") };
        assert_eq!(*tag, format!("note:{}", "ü".repeat(59)));
        assert_eq!(super::tag(""), None);
    }

    #[test]
    fn a_folder_has_the_time_in_its_name() {
        assert_eq!(folder("r1", 1_700_000_000_500_000), "offline-run-20231114_221320-r1");
    }
}
