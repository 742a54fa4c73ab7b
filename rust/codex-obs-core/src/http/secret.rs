//! What must appear in no log, error, repr or file.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_in_no_debug_text() {
        let token = Credentials::Token(Secret::new("canary-1"));
        let basic = Credentials::Basic { username: Secret::new("canary-user"), password: Secret::new("canary-2") };
        assert!(!format!("{token:?}{basic:?}{:?}", basic.header()).contains("canary"));
    }
}
