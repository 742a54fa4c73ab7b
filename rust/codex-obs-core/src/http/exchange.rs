//! One request and its reply, whatever carries them.

use std::time::Duration;

use super::redactor::Redactor;

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The header `Retry-After`.
    pub retry_after: Option<String>,
    /// The body, up to the cap.
    pub body: Vec<u8>,
    /// Whether there was more than that.
    pub is_cut: bool,
}

/// What a body is, and what is said with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Its media type.
    pub kind: &'static str,
    /// How it is packed.
    pub encoding: Option<&'static str>,
    /// Headers of this request, none of them secret.
    pub headers: Vec<(&'static str, String)>,
}

/// Why there is no reply. The words hold no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The time was up.
    Timeout,
    /// The other end is not whom we trust, or does not trust us.
    Trust(String),
    /// Refused, reset, cut, not HTTP.
    Transport(String),
}

/// Carries requests, one at a time: a connection to a server, or something in its place that answers in the same words.
pub trait Exchange: std::fmt::Debug + Send + Sync {
    /// Asks for `url`. Of the reply's body at most `most_bytes` are kept.
    ///
    /// # Errors
    /// If there is no reply.
    fn get(&self, url: &str, most_bytes: usize, timeout: Duration) -> Result<Reply, Failure>;

    /// Posts a JSON document to `url`.
    ///
    /// # Errors
    /// If there is no reply.
    fn post(&self, url: &str, body: &[u8], most_bytes: usize, timeout: Duration) -> Result<Reply, Failure>;

    /// Posts a body of any kind to `url`. What knows JSON alone takes it for that.
    ///
    /// # Errors
    /// If there is no reply.
    fn post_content(
        &self,
        url: &str,
        _content: &Content,
        body: &[u8],
        most_bytes: usize,
        timeout: Duration,
    ) -> Result<Reply, Failure> {
        self.post(url, body, most_bytes, timeout)
    }

    /// What takes secrets out of the words of whoever answers.
    fn redactor(&self) -> &Redactor;
}
