//! Name look-up with a time limit.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::sync_channel;
use std::thread;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::{Error, Timeout};

/// Addresses tried of one name; the list that is filled holds no more.
const MOST_ADDRESSES: usize = 16;

/// Looks a name up on a thread of its own, because the system's look-up knows no limit. Unlike the HTTP client's own, it needs
/// no thread for an address, and a thread that cannot be started is an error and no panic.
#[derive(Debug)]
pub struct BoundedResolver;

impl Resolver for BoundedResolver {
    fn resolve(&self, uri: &Uri, _: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().ok_or(Error::HostNotFound)?.trim_matches(['[', ']']).to_owned();
        let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default);
        let found = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => look_up(host, port, &timeout)?,
        };
        let mut addresses = self.empty();
        for address in found.into_iter().take(MOST_ADDRESSES) {
            addresses.push(address);
        }
        if addresses.is_empty() { Err(Error::HostNotFound) } else { Ok(addresses) }
    }
}

fn look_up(host: String, port: u16, timeout: &NextTimeout) -> Result<Vec<SocketAddr>, Error> {
    let (answer, answered) = sync_channel(1);
    let ask = move || {
        let _ = answer.send((host.as_str(), port).to_socket_addrs().map(Iterator::collect));
    };
    // Not joined: it ends when the system's look-up does.
    thread::Builder::new().name("codex-obs-dns".to_owned()).spawn(ask).map_err(Error::Io)?;
    let found = answered.recv_timeout(*timeout.after).map_err(|_| Error::Timeout(Timeout::Resolve))?;
    found.map_err(Error::Io)
}
