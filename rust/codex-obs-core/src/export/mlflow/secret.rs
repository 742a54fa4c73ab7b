//! What must appear in no log, error, repr or file.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Shorter secrets than this are not looked for in others' words: they would be found in every sentence.
const SHORTEST_HIDDEN: usize = 4;
/// What stands where a secret stood.
const HIDDEN: &str = "***";

/// A text that never shows itself. `Debug` gives its type's name only, and there is no `Display`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for a header and nothing else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Who we are for a server or proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A bearer token.
    Token(Secret),
    /// A name and its password.
    Basic {
        /// Who.
        username: Secret,
        /// What proves it.
        password: Secret,
    },
}

impl Credentials {
    /// The value of the header `Authorization`.
    #[must_use]
    pub fn header(&self) -> Secret {
        match self {
            Self::Token(token) => Secret(format!("Bearer {}", token.reveal())),
            Self::Basic { username, password } => {
                let pair = format!("{}:{}", username.reveal(), password.reveal());
                Secret(format!("Basic {}", STANDARD.encode(pair)))
            }
        }
    }
}

/// Takes secrets out of words that others said.
#[derive(Clone, Debug, Default)]
pub struct Redactor(Vec<Secret>);

impl Redactor {
    /// Learns every form in which `credentials` go over the wire.
    pub fn learn(&mut self, credentials: &Credentials) {
        let header = credentials.header();
        let encoded = header.reveal().split_once(' ').map_or("", |(_, value)| value).to_owned();
        let mut forms = vec![encoded];
        match credentials {
            Credentials::Token(token) => forms.push(token.reveal().to_owned()),
            // A username alone is often the secret: a token in front of an empty password.
            Credentials::Basic { username, password } => {
                forms.extend([username.reveal().to_owned(), password.reveal().to_owned()]);
            }
        }
        for form in forms {
            if form.len() >= SHORTEST_HIDDEN && !self.0.iter().any(|known| known.0 == form) {
                self.0.push(Secret(form));
            }
        }
        // The longest first: what contains another must go as a whole.
        self.0.sort_by_key(|secret| std::cmp::Reverse(secret.0.len()));
    }

    /// The words in one line, without secrets, at most `longest` characters.
    #[must_use]
    pub fn clean(&self, words: &str, longest: usize) -> String {
        let mut words = words.to_owned();
        for secret in &self.0 {
            if words.contains(&secret.0) {
                words = words.replace(&secret.0, HIDDEN);
            }
        }
        let plain = words.chars().map(|character| if character.is_control() { ' ' } else { character });
        let line = plain.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ");
        match line.char_indices().nth(longest) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_in_no_debug_text_and_in_no_words() {
        let token = Credentials::Token(Secret::new("canary-1"));
        let basic = Credentials::Basic { username: Secret::new("canary-user"), password: Secret::new("canary-2") };
        let mut redactor = Redactor::default();
        redactor.learn(&token);
        redactor.learn(&basic);
        assert!(!format!("{token:?}{basic:?}{redactor:?}{:?}", basic.header()).contains("canary"));
        let echoed = format!("no {} and {}\r\n\tnor canary-2.", token.header().reveal(), basic.header().reveal());
        assert_eq!(redactor.clean(&echoed, 100), "no Bearer *** and Basic *** nor ***.");
    }

    #[test]
    fn words_are_one_short_line() {
        assert_eq!(Redactor::default().clean("a\n\u{1b}[31mb\0  c", 100), "a [31mb c");
        assert_eq!(Redactor::default().clean("äöü", 2), "äö…");
        let mut redactor = Redactor::default();
        redactor.learn(&Credentials::Token(Secret::new("a")));
        assert_eq!(redactor.clean("banana", 6), "banana", "too short to be looked for");
    }
}
