//! A Python callable that answers MLflow's REST calls in the place of a server: what stands before a store on disk.

use std::time::Duration;

use codex_obs_core::http::exchange::{Exchange, Failure, Reply};
use codex_obs_core::http::redactor::Redactor;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::refusal::words;

/// Called with the method, the address behind the store's URI and the body; gives the status and the body of the reply. A call
/// takes as long as it takes: what is under way in a store cannot be given up.
#[derive(Debug)]
pub struct Store {
    uri: String,
    answer: Py<PyAny>,
    redactor: Redactor,
}

impl Store {
    /// A store at `uri`.
    pub fn new(uri: &str, answer: Py<PyAny>) -> Self {
        Self { uri: uri.to_owned(), answer, redactor: Redactor::default() }
    }

    fn ask(&self, method: &str, url: &str, body: &[u8], most_bytes: usize) -> Result<Reply, Failure> {
        let path = url.strip_prefix(&self.uri).unwrap_or(url);
        Python::attach(|py| {
            let answered = self.answer.call1(py, (method, path, PyBytes::new(py, body)));
            let read = answered.and_then(|reply| reply.extract::<(u16, Vec<u8>)>(py));
            let (status, mut body) = read.map_err(|error| Failure::Transport(words(py, &error)))?;
            let is_cut = body.len() > most_bytes;
            body.truncate(most_bytes);
            Ok(Reply { status, retry_after: None, body, is_cut })
        })
    }
}

impl Exchange for Store {
    fn get(&self, url: &str, most_bytes: usize, _: Duration) -> Result<Reply, Failure> {
        self.ask("GET", url, b"", most_bytes)
    }

    fn post(&self, url: &str, body: &[u8], most_bytes: usize, _: Duration) -> Result<Reply, Failure> {
        self.ask("POST", url, body, most_bytes)
    }

    fn redactor(&self) -> &Redactor {
        &self.redactor
    }
}
