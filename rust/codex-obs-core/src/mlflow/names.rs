//! Names that MLflow takes: letters and digits of any script, `_ / . - space :`, at most 250 characters, a normal path.

use std::borrow::Cow;
use std::collections::HashSet;

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};
use xxhash_rust::xxh3::xxh3_64;

use crate::follow::point::Point;
use crate::limits::EXPORT_REPORTED_NAMES;

/// What MLflow takes, for people.
pub const RULE: &str =
    "letters, digits and `_/.- :`, at most 250 characters, and no empty or dotted part between slashes";
/// Most characters of a name.
const MOST_CHARACTERS: usize = 250;
/// Characters of `-` and eight hexadecimal digits.
const MARK_CHARACTERS: usize = 9;
/// Between the parts of what a mark is made from; a name that holds it is changed anyway.
const SEPARATOR: char = '\0';

/// A name that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renamed {
    /// What it is called here.
    pub name: String,
    /// What it is called at the destination.
    pub remote_name: String,
}

/// Makes names valid. The change depends on the name alone, so that every process, stream and attempt makes the same one; a
/// mark made from the whole name keeps two names apart that would become one.
#[derive(Debug, Default)]
pub struct Names {
    reported: HashSet<u64>,
    renamed: Vec<Renamed>,
}

impl Names {
    /// The key of a point: `<stream prefix><split>/<metric>`.
    pub fn metric(&mut self, point: &Point) -> String {
        let key = format!("{}{}/{}", point.stream_prefix, point.split, point.metric);
        if !is_ambiguous(point) && is_valid(&key) {
            return key;
        }
        let stem = format!("{}{}/{}", point.stream_prefix, point.split.replace('/', "_"), point.metric);
        let whole = format!("{}{SEPARATOR}{}{SEPARATOR}{}", point.stream_prefix, point.split, point.metric);
        self.changed(&key, &stem, &whole)
    }

    /// The key of a parameter or tag.
    pub fn plain<'a>(&mut self, name: &'a str) -> Cow<'a, str> {
        if is_valid(name) {
            return Cow::Borrowed(name);
        }
        Cow::Owned(self.changed(name, name, name))
    }

    /// What was changed since the last call, each name once and at most [`EXPORT_REPORTED_NAMES`] in all.
    pub fn take_renamed(&mut self) -> Vec<Renamed> {
        std::mem::take(&mut self.renamed)
    }

    fn changed(&mut self, name: &str, stem: &str, whole: &str) -> String {
        let hash = xxh3_64(whole.as_bytes());
        let valid = format!("{}-{:08x}", made_valid(stem), hash >> 32);
        if self.reported.len() < EXPORT_REPORTED_NAMES && self.reported.insert(hash) {
            self.renamed.push(Renamed { name: name.to_owned(), remote_name: valid.clone() });
        }
        valid
    }
}

/// Whether MLflow takes the name as it is.
fn is_valid(name: &str) -> bool {
    let characters = name.chars().all(|character| character == '/' || is_allowed(character));
    let parts = name.split('/').all(|part| !matches!(part, "" | "." | ".."));
    characters && parts && !name.starts_with("..") && name.chars().count() <= MOST_CHARACTERS
}

/// Whether another point's parts could be joined to the same key: a slash in the split moves the border between split and
/// metric, and a split that looks like a stream moves the one before it.
fn is_ambiguous(point: &Point) -> bool {
    let split: &str = &point.split;
    let stream_number = |rest: &str| rest.starts_with(|first: char| first.is_ascii_digit());
    let looks_like_stream = ["rank-", "pid-"].iter().any(|kind| split.strip_prefix(kind).is_some_and(stream_number));
    split.contains('/') || looks_like_stream && point.stream_prefix.is_empty()
}

fn is_allowed(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '-' | ' ' | ':');
    }
    // Python's `\w`, by which MLflow judges, has no combining marks.
    matches!(character.general_category_group(), GeneralCategoryGroup::Letter | GeneralCategoryGroup::Number)
}

/// The name with `_` for what is not allowed, short enough for a mark to follow.
fn made_valid(name: &str) -> String {
    let mut valid = String::with_capacity(name.len());
    for (index, part) in name.split('/').enumerate() {
        if index > 0 {
            valid.push('/');
        }
        match part {
            "" | "." | ".." => valid.push('_'),
            part if index == 0 && part.starts_with("..") => {
                valid.push('_');
                valid.extend(part.chars().skip(1).map(|character| if is_allowed(character) { character } else { '_' }));
            }
            part => valid.extend(part.chars().map(|character| if is_allowed(character) { character } else { '_' })),
        }
    }
    match valid.char_indices().nth(MOST_CHARACTERS - MARK_CHARACTERS) {
        // A part that is cut to one or two dots is no path step any more once the mark stands behind it.
        Some((end, _)) => valid[..end].to_owned(),
        None => valid,
    }
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
