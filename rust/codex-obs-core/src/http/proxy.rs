//! Which proxy leads to the server, if one does.

use std::net::IpAddr;

use super::address::Endpoint;
use super::redactor::Redactor;
use super::secret::Credentials;
use crate::error::{Error, Result};

/// A proxy that was found in the environment.
#[derive(Clone)]
pub struct Proxy {
    /// Its address, perhaps with a password.
    address: String,
    proxy: ureq::Proxy,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proxy")
    }
}

impl Proxy {
    /// The proxy for `endpoint` by `HTTPS_PROXY` or `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, the lower-case spelling first.
    /// A loopback address is never asked for through a proxy.
    pub fn find(endpoint: &Endpoint, variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let either = |name: &str| {
            let found = [name.to_ascii_lowercase(), name.to_owned()].into_iter().find_map(|name| variable(&name));
            found.filter(|value| !value.trim().is_empty())
        };
        let own = if endpoint.is_https { "HTTPS_PROXY" } else { "HTTP_PROXY" };
        let Some((name, address)) = [own, "ALL_PROXY"].into_iter().find_map(|name| Some((name, either(name)?))) else {
            return Ok(None);
        };
        if is_loopback(&endpoint.host) || either("NO_PROXY").is_some_and(|list| excludes(&list, endpoint)) {
            return Ok(None);
        }
        let address = address.trim().to_owned();
        let proxy = ureq::Proxy::new(&address).map_err(|_| {
            Error::setting(
                name,
                "is not the address of a proxy, which looks like http://proxy:3128 or socks5h://proxy:1080",
            )
        })?;
        Ok(Some(Self { address, proxy }))
    }

    /// What the HTTP client needs.
    #[must_use]
    pub fn transport(&self) -> ureq::Proxy {
        self.proxy.clone()
    }

    /// Teaches `redactor` the proxy's password.
    pub fn hide_in(&self, redactor: &mut Redactor) {
        let authority = self.address.split_once("://").map_or(self.address.as_str(), |(_, rest)| rest);
        if let Some((user_info, _)) = authority.rsplit_once('@') {
            let (username, password) = user_info.split_once(':').unwrap_or((user_info, ""));
            for (username, password) in [
                (username.to_owned(), password.to_owned()),
                (super::address::percent_decoded(username), super::address::percent_decoded(password)),
            ] {
                redactor.learn(&Credentials::Basic {
                    username: super::secret::Secret::new(username),
                    password: super::secret::Secret::new(password),
                });
            }
        }
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Whether a `NO_PROXY` list names the server: `*`, a host and everything below it, an address, a network, each with a port if
/// it is for that port only.
fn excludes(list: &str, endpoint: &Endpoint) -> bool {
    let entries = list.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty());
    entries.map(str::to_ascii_lowercase).any(|entry| {
        if entry == "*" {
            return true;
        }
        if let Ok(address) = endpoint.host.parse::<IpAddr>() {
            return names_address(&entry, address, endpoint.port);
        }
        let (name, port) = match entry.rsplit_once(':') {
            Some((name, port)) => (name, port.parse().ok()),
            None => (entry.as_str(), None),
        };
        let name = name.trim_start_matches('*').trim_start_matches('.');
        let below = endpoint.host.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        !name.is_empty() && below && port.is_none_or(|port: u16| port == endpoint.port)
    })
}

fn names_address(entry: &str, address: IpAddr, port: u16) -> bool {
    if let Some((network, length)) = entry.split_once('/') {
        let (Ok(network), Ok(length)) = (network.parse(), length.parse()) else { return false };
        return in_network(address, network, length);
    }
    let bare = entry.trim_matches(['[', ']']);
    if let Ok(named) = bare.parse::<IpAddr>() {
        return named == address;
    }
    entry.parse().is_ok_and(|socket: std::net::SocketAddr| (socket.ip(), socket.port()) == (address, port))
}

fn in_network(address: IpAddr, network: IpAddr, length: u32) -> bool {
    let (address, network, width) = match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            (u128::from(address.to_bits()), u128::from(network.to_bits()), 32)
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => (address.to_bits(), network.to_bits(), 128),
        _ => return false,
    };
    length <= width && (address ^ network).checked_shr(width - length).unwrap_or(0) == 0
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
