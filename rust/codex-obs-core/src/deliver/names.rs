//! Names that a destination takes.

use std::borrow::Cow;
use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_64;

use crate::follow::point::Point;
use crate::limits::EXPORT_REPORTED_NAMES;

/// Characters of the mark that a changed name ends with: `-` and eight hexadecimal digits.
pub const MARK_CHARACTERS: usize = 9;
/// Between the parts of what a mark is made from; a name that holds it is changed anyway.
const SEPARATOR: char = '\0';

/// What a destination takes for a name.
#[derive(Debug)]
pub struct NameRule {
    /// What people call the destination.
    pub destination: &'static str,
    /// What it takes, for people.
    pub words: &'static str,
    /// Whether it takes a name as it is.
    pub is_valid: fn(&str) -> bool,
    /// A name made valid, with [`MARK_CHARACTERS`] left for the mark that follows.
    pub make_valid: fn(&str) -> String,
}

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
#[derive(Debug)]
pub struct Names {
    rule: &'static NameRule,
    reported: HashSet<u64>,
    renamed: Vec<Renamed>,
}

impl Names {
    /// Names that keep to a rule.
    #[must_use]
    pub fn new(rule: &'static NameRule) -> Self {
        Self { rule, reported: HashSet::new(), renamed: Vec::new() }
    }

    /// The rule.
    #[must_use]
    pub fn rule(&self) -> &'static NameRule {
        self.rule
    }

    /// The key of a point: `<stream prefix><split>/<metric>`.
    pub fn metric(&mut self, point: &Point) -> String {
        let key = format!("{}{}/{}", point.stream_prefix, point.split, point.metric);
        if !is_ambiguous(point) && (self.rule.is_valid)(&key) {
            return key;
        }
        let stem = format!("{}{}/{}", point.stream_prefix, point.split.replace('/', "_"), point.metric);
        let whole = format!("{}{SEPARATOR}{}{SEPARATOR}{}", point.stream_prefix, point.split, point.metric);
        self.changed(&key, &stem, &whole)
    }

    /// The key of a parameter or tag.
    pub fn plain<'a>(&mut self, name: &'a str) -> Cow<'a, str> {
        if (self.rule.is_valid)(name) {
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
        let valid = format!("{}-{:08x}", (self.rule.make_valid)(stem), hash >> 32);
        if self.reported.len() < EXPORT_REPORTED_NAMES && self.reported.insert(hash) {
            self.renamed.push(Renamed { name: name.to_owned(), remote_name: valid.clone() });
        }
        valid
    }
}

/// Whether another point's parts could be joined to the same key: a slash in the split moves the border between split and
/// metric, and a split that looks like a stream moves the one before it.
fn is_ambiguous(point: &Point) -> bool {
    let split: &str = &point.split;
    let stream_number = |rest: &str| rest.starts_with(|first: char| first.is_ascii_digit());
    let looks_like_stream = ["rank-", "pid-"].iter().any(|kind| split.strip_prefix(kind).is_some_and(stream_number));
    split.contains('/') || looks_like_stream && point.stream_prefix.is_empty()
}
