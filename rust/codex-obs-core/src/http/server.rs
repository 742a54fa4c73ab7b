//! A server, and who we are for it.

use super::address::Endpoint;
use super::proxy::Proxy;
use super::secret::Credentials;
use super::tls::TlsFiles;

/// A server, the way to it, and who we are for it. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Who we are for it.
    pub credentials: Option<Credentials>,
    /// Certificates.
    pub tls: TlsFiles,
    /// The proxy on the way.
    pub proxy: Option<Proxy>,
}
