//! Texts that repeat from row to row, each kept once and known by a number.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

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
    texts: Vec<Box<str>>,
    numbers: HashMap<Box<str>, u32, Seeded>,
    /// For each text the one that followed when it was met last.
    next: Vec<Name>,
    held: usize,
}

/// What a text costs beside its bytes: two boxes, an entry in the map and what the ways of reading keep for each.
const BYTES_A_NAME: usize = 176;

impl Default for Names {
    fn default() -> Self {
        // Number 0 stands for no text, so it is in no map.
        Self { texts: vec![Box::default()], numbers: HashMap::default(), next: vec![Name::NONE], held: 0 }
    }
}

impl Names {
    /// The number of `text`.
    pub fn number(&mut self, text: &str) -> Name {
        if let Some(&number) = self.numbers.get(text) {
            return Name(number);
        }
        let number = u32::try_from(self.texts.len()).expect("4 billion distinct texts do not fit into memory");
        self.texts.push(text.into());
        self.next.push(Name::NONE);
        self.numbers.insert(text.into(), number);
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
        &self.texts[name.0 as usize]
    }

    /// Every text, beginning with the empty one that stands for none.
    #[must_use]
    pub fn texts(&self) -> impl ExactSizeIterator<Item = &str> {
        self.texts.iter().map(|text| &**text)
    }
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
