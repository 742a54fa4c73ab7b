//! One request and its reply: no redirects, no compression, a total deadline, a reply of bounded size.

use std::io::{self, Read};
use std::time::Duration;

use ureq::Agent;
use ureq::http::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use ureq::http::{HeaderName, HeaderValue, Response};
use ureq::unversioned::transport::DefaultConnector;

use super::exchange::{Content, Exchange, Failure, Reply};
use super::proxy::Proxy;
use super::redactor::Redactor;
use super::resolver::BoundedResolver;
use super::secret::{Credentials, Secret};
use super::server::Server;
use super::tls;
use crate::error::{Error, Result};
use crate::fs::shun_standard_numbers;

/// Most bytes of a reply's headers.
const HEADER_BYTES: usize = 32 << 10;
/// An idle connection is not used again after this: uvicorn closes one after 5 s, gunicorn after 2 s.
const IDLE_AGE: Duration = Duration::from_millis(1900);
const JSON: &str = "application/json";

/// A connection to one server, kept open between requests.
pub struct Client {
    agent: Agent,
    /// Said with each request.
    headers: Vec<(HeaderName, HeaderValue)>,
    redactor: Redactor,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// A client that has not connected yet. Certificates are read and checked here.
    pub fn new(server: &Server, timeout: Duration) -> Result<Self> {
        let mut redactor = Redactor::default();
        let mut headers = own_headers(server, &mut redactor)?;
        if let Some(credentials) = &server.credentials {
            redactor.learn(credentials);
            let mut value = HeaderValue::from_str(credentials.header().reveal()).map_err(|_| {
                Error::setting(server.endpoint.setting, "has credentials that cannot stand in an HTTP header")
            })?;
            value.set_sensitive(true);
            if headers.iter().all(|(name, _)| name != AUTHORIZATION) {
                headers.push((AUTHORIZATION, value));
            }
        }
        if let Some(proxy) = &server.proxy {
            proxy.hide_in(&mut redactor);
        }
        let config = Agent::config_builder()
            .tls_config(tls::config(&server.tls, server.endpoint.is_https)?)
            .proxy(server.proxy.as_ref().map(Proxy::transport))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("codex-obs/", env!("CARGO_PKG_VERSION")))
            .accept(JSON)
            .accept_encoding("identity")
            .max_response_header_size(HEADER_BYTES)
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            .max_idle_age(IDLE_AGE)
            .timeout_global(Some(timeout))
            .build();
        let agent = Agent::with_parts(config, DefaultConnector::default(), BoundedResolver);
        Ok(Self { agent, headers, redactor })
    }

    fn reply(
        &self,
        outcome: std::result::Result<Response<ureq::Body>, ureq::Error>,
        most_bytes: usize,
    ) -> std::result::Result<Reply, Failure> {
        let response = outcome.map_err(|error| self.failure(&error))?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut body = Vec::new();
        // One byte more than is kept tells whether there was more. Dropping the reader closes the connection then.
        let mut reader = response.into_body().into_reader().take(most_bytes as u64 + 1);
        reader.read_to_end(&mut body).map_err(|error| self.io_failure(&error))?;
        let is_cut = body.len() > most_bytes;
        body.truncate(most_bytes);
        Ok(Reply { status, retry_after, body, is_cut })
    }

    fn failure(&self, error: &ureq::Error) -> Failure {
        match error {
            ureq::Error::Timeout(_) => Failure::Timeout,
            ureq::Error::Io(error) => self.io_failure(error),
            ureq::Error::Rustls(error) => self.tls_failure(error),
            error => Failure::Transport(self.words(error)),
        }
    }

    fn io_failure(&self, error: &io::Error) -> Failure {
        if let Some(inner) = error.get_ref() {
            if let Some(error) = inner.downcast_ref::<ureq::Error>() {
                return self.failure(error);
            }
            if let Some(error) = inner.downcast_ref::<rustls::Error>() {
                return self.tls_failure(error);
            }
        }
        match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Failure::Timeout,
            _ => Failure::Transport(self.words(error)),
        }
    }

    fn tls_failure(&self, error: &rustls::Error) -> Failure {
        match error {
            rustls::Error::InvalidCertificate(_)
            | rustls::Error::NoCertificatesPresented
            | rustls::Error::AlertReceived(_)
            | rustls::Error::PeerIncompatible(_)
            | rustls::Error::InvalidMessage(_) => Failure::Trust(self.words(error)),
            _ => Failure::Transport(self.words(error)),
        }
    }

    fn words(&self, error: &dyn std::fmt::Display) -> String {
        self.redactor.clean(&error.to_string(), crate::limits::EXPORT_WORDS)
    }
}

impl Exchange for Client {
    fn get(&self, url: &str, most_bytes: usize, timeout: Duration) -> std::result::Result<Reply, Failure> {
        let _shunned = shun_standard_numbers();
        let mut request = self.agent.get(url).config().timeout_global(Some(timeout)).build();
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        self.reply(request.header(ACCEPT, JSON).call(), most_bytes)
    }

    fn post(
        &self,
        url: &str,
        body: &[u8],
        most_bytes: usize,
        timeout: Duration,
    ) -> std::result::Result<Reply, Failure> {
        self.post_content(url, &Content { kind: JSON, ..Content::default() }, body, most_bytes, timeout)
    }

    fn post_content(
        &self,
        url: &str,
        content: &Content,
        body: &[u8],
        most_bytes: usize,
        timeout: Duration,
    ) -> std::result::Result<Reply, Failure> {
        let _shunned = shun_standard_numbers();
        let mut request = self.agent.post(url).config().timeout_global(Some(timeout)).build();
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        for (name, value) in &content.headers {
            request = request.header(*name, value);
        }
        if let Some(encoding) = content.encoding {
            request = request.header(CONTENT_ENCODING, encoding);
        }
        self.reply(request.header(CONTENT_TYPE, content.kind).send(body), most_bytes)
    }

    fn redactor(&self) -> &Redactor {
        &self.redactor
    }
}

/// The headers that a server is to be sent. Errors name one by its position: its text may be secret.
fn own_headers(server: &Server, redactor: &mut Redactor) -> Result<Vec<(HeaderName, HeaderValue)>> {
    let mut headers = Vec::new();
    for (index, (name, value)) in server.headers.iter().enumerate() {
        let unusable = || {
            let what = format!("header {} cannot stand in an HTTP request", index + 1);
            Error::setting(server.endpoint.setting, what)
        };
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable())?;
        let mut text = HeaderValue::from_str(value.reveal()).map_err(|_| unusable())?;
        text.set_sensitive(true);
        // With a scheme such as `Bearer`, and without.
        let (_, bare) = value.reveal().split_once(' ').unwrap_or(("", value.reveal()));
        for secret in [value.reveal(), bare] {
            redactor.learn(&Credentials::Token(Secret::new(secret)));
        }
        headers.push((name, text));
    }
    Ok(headers)
}
