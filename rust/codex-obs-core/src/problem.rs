//! What is wrong: the words for it, and the kind and facts from which Python words what can be done.

use std::fmt;

/// What the words of a remedy are made from: names, and values as they are meant, not as a shell reads them.
pub type Facts = Vec<(&'static str, String)>;

/// What is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// Which remedy there is; empty if none, or if the words have it.
    pub kind: &'static str,
    /// What went wrong, without secrets.
    pub what: String,
    /// What the remedy is about.
    pub facts: Facts,
}

impl Problem {
    /// What went wrong, where a remedy is known for its kind.
    #[must_use]
    pub fn new(kind: &'static str, what: impl Into<String>, facts: Facts) -> Self {
        Self { kind, what: what.into(), facts }
    }

    /// The same with other words for what went wrong.
    #[must_use]
    pub fn in_words(self, word: impl FnOnce(String) -> String) -> Self {
        Self { what: word(self.what), ..self }
    }
}

impl From<String> for Problem {
    fn from(what: String) -> Self {
        Self { what, ..Self::default() }
    }
}

impl From<&str> for Problem {
    fn from(what: &str) -> Self {
        what.to_owned().into()
    }
}

/// What went wrong, without the remedy.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}
