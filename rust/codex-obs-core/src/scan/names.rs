//! Texts that repeat from row to row, each kept once and known by a number.

use std::hash::{BuildHasher, Hasher, RandomState};

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A text of [`Names`], or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(pub u32);

impl Name {
    /// No text: the field is missing or null.
    pub const NONE: Self = Self(0);
}

impl Default for Name {
    fn default() -> Self {
        Self::NONE
    }
}

/// Distinct texts in the order in which they were first seen. One thread's own.
#[derive(Debug)]
pub struct Names {
    /// One behind the other: there may be hundreds of thousands, of each thread and column.
    texts: String,
    /// Where each ends.
    ends: Vec<usize>,
    /// Their numbers, by the hash of the text.
    numbers: HashTable<u32>,
    seeded: Seeded,
    /// For each text the one that followed when it was met last.
    next: Vec<Name>,
    held: usize,
}

/// What a text costs beside its bytes: its place, an entry in the table and what the ways of reading keep for each.
const BYTES_A_NAME: usize = 176;

impl Default for Names {
    fn default() -> Self {
        // Number 0 stands for no text, so it is in no map.
        Self {
            texts: String::new(),
            ends: vec![0],
            numbers: HashTable::new(),
            seeded: Seeded::default(),
            next: vec![Name::NONE],
            held: 0,
        }
    }
}

impl Names {
    /// The number of `text`.
    pub fn number(&mut self, text: &str) -> Name {
        let hash = self.seeded.hash_one(text);
        if let Some(&number) = self.numbers.find(hash, |&number| self.text(Name(number)) == text) {
            return Name(number);
        }
        let number = u32::try_from(self.ends.len()).expect("4 billion distinct texts do not fit into memory");
        self.texts.push_str(text);
        self.ends.push(self.texts.len());
        self.next.push(Name::NONE);
        let Self { texts, ends, numbers, seeded, .. } = self;
        numbers.insert_unique(hash, number, |&number| seeded.hash_one(text_at(texts, ends, number)));
        self.held += BYTES_A_NAME + 2 * text.len();
        Name(number)
    }

    /// Bytes of memory that the texts take, about.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// The number of `text`, which follows `before`: mostly that which followed last time, so it is compared first.
    #[inline]
    pub fn number_after(&mut self, before: Name, text: &str) -> Name {
        let expected = self.next[before.0 as usize];
        if expected != Name::NONE && self.text(expected) == text {
            return expected;
        }
        let name = self.number(text);
        self.next[before.0 as usize] = name;
        name
    }

    /// The text with this number; empty for none.
    #[inline]
    #[must_use]
    pub fn text(&self, name: Name) -> &str {
        text_at(&self.texts, &self.ends, name.0)
    }

    /// Every text, beginning with the empty one that stands for none.
    #[must_use]
    pub fn texts(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.ends.len()).map(|number| self.text(Name(number as u32)))
    }
}

#[inline]
fn text_at<'t>(texts: &'t str, ends: &[usize], number: u32) -> &'t str {
    let number = number as usize;
    let start = number.checked_sub(1).map_or(0, |before| ends[before]);
    &texts[start..ends[number]]
}

/// A fast hash of one text, or of one number, with a seed that nobody knows, so that nobody can make texts that collide.
#[derive(Clone, Debug)]
pub struct Seeded(u64);

impl Default for Seeded {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0))
    }
}

impl BuildHasher for Seeded {
    type Hasher = SeededHasher;

    #[inline]
    fn build_hasher(&self) -> SeededHasher {
        SeededHasher(self.0)
    }
}

/// What [`Seeded`] builds.
#[derive(Debug)]
pub struct SeededHasher(u64);

impl Hasher for SeededHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    /// Marks the end of a text, which one text alone does not need.
    #[inline]
    fn write_u8(&mut self, _: u8) {}

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}
