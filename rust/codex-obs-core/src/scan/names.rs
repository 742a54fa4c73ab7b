//! Texts that repeat from row to row, each kept once and known by a number.

use std::collections::HashMap;

/// A text of [`Names`], or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(pub u32);

impl Name {
    /// No text: the field is missing or null.
    pub const NONE: Self = Self(0);
}

/// Distinct texts in the order in which they were first seen. One thread's own.
#[derive(Debug)]
pub struct Names {
    texts: Vec<Box<str>>,
    numbers: HashMap<Box<str>, u32>,
}

impl Default for Names {
    fn default() -> Self {
        // Number 0 stands for no text, so it is in no map.
        Self { texts: vec![Box::default()], numbers: HashMap::new() }
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
        self.numbers.insert(text.into(), number);
        Name(number)
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
