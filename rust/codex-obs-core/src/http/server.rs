//! A server, and who we are for it.

use super::address::Endpoint;
use super::proxy::Proxy;
use super::secret::{Credentials, Secret};
use super::tls::TlsFiles;

/// A server, the way to it, and who we are for it. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Who we are for it.
    pub credentials: Option<Credentials>,
    /// What else is said with each request; one of these wins over the credentials.
    pub headers: Vec<(String, Secret)>,
    /// Certificates.
    pub tls: TlsFiles,
    /// The proxy on the way.
    pub proxy: Option<Proxy>,
}
