//! The address of a server as a user gives it: what of it is the address, and what is a secret.

use ureq::http::Uri;

use super::secret::{Credentials, Secret};
use crate::error::{Error, Result};

/// Digits of a wrong port that an error repeats.
const MOST_SHOWN_DIGITS: usize = 6;
/// What an address is for, in words for errors.
#[derive(Clone, Copy, Debug)]
pub struct Purpose {
    /// The setting that holds it.
    pub setting: &'static str,
    /// Which port is usual, such as `MLflow's is 5000`.
    pub usual_port: &'static str,
    /// What is taken off the end of its path if it is there.
    pub suffix: &'static str,
    /// What is wrong with an address of this scheme, which is neither `http` nor `https`, and what to give instead.
    pub other_scheme: fn(&str) -> String,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Scheme, host, port and path, without a slash at the end and without user info.
    pub base: String,
    /// Name or address of the host, in lower case, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether TLS is spoken.
    pub is_https: bool,
    /// The user info of the URI.
    pub credentials: Option<Credentials>,
    /// The setting that holds it, for errors.
    pub setting: &'static str,
}

impl Endpoint {
    /// Reads an address. The error never repeats it, since it may hold a password.
    pub fn parse(uri: &str, purpose: &Purpose) -> Result<Self> {
        let setting = purpose.setting;
        let unusable = |why: String| Error::setting(format!("{setting} cannot be used"), why);
        let uri = uri.trim();
        let (scheme, rest) = uri.split_once("://").unwrap_or(("", uri));
        let scheme = scheme.to_ascii_lowercase();
        let (is_https, default_port) = match scheme.as_str() {
            "http" => (false, 80),
            "https" => (true, 443),
            _ => return Err(Error::setting(setting, (purpose.other_scheme)(&scheme))),
        };
        if rest.contains(['?', '#']) {
            return Err(Error::setting(setting, "must not have a query or a fragment (`?`, `#`)"));
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let (user_info, address) =
            authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        check_port(address, purpose.usual_port).map_err(unusable)?;
        let path = path.trim_end_matches('/');
        let path = path.strip_suffix(purpose.suffix).unwrap_or(path).trim_end_matches('/');
        let parsed: Uri = format!("{scheme}://{address}{path}/")
            .parse()
            .map_err(|_| Error::setting(setting, "is not a valid address, which looks like https://host:5000/path"))?;
        let host = parsed.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
        let behind_host = address.rsplit_once(']').map_or(address, |(_, behind)| behind);
        let port = parsed.port_u16();
        if host.is_empty() || port == Some(0) || port.is_none() && behind_host.contains(':') {
            return Err(unusable("it has no host, or no number as its port".to_owned()));
        }
        let port = port.unwrap_or(default_port);
        let shown_host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let shown_port = if port == default_port { String::new() } else { format!(":{port}") };
        let base = format!("{scheme}://{shown_host}{shown_port}{path}");
        Ok(Self { base, host, port, is_https, credentials: user_info.and_then(user_credentials), setting })
    }
}

/// A number behind the host that is no port. It is not repeated if it is longer than a port that was mistyped: it may be a
/// password whose host is missing.
fn check_port(address: &str, usual: &str) -> std::result::Result<(), String> {
    let Some((_, port)) = address.rsplit_once(':') else { return Ok(()) };
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) || matches!(port.parse(), Ok(1..=u16::MAX)) {
        return Ok(());
    }
    let shown = if port.len() <= MOST_SHOWN_DIGITS { port } else { "what stands behind the host" };
    Err(format!("{shown} is not a port (1 to {}; {usual})", u16::MAX))
}

/// `user:password`, percent-encoded or not; `None` if both are empty.
fn user_credentials(user_info: &str) -> Option<Credentials> {
    let (username, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    let (username, password) = (percent_decoded(username), percent_decoded(password));
    (!username.is_empty() || !password.is_empty())
        .then(|| Credentials::Basic { username: Secret::new(username), password: Secret::new(password) })
}

/// Percent escapes as characters; what is no escape, or no UTF-8, stays as it is.
pub(super) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escape = (first == b'%').then(|| tail.get(..2)).flatten().and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u8::from_str_radix(digits, 16).ok())?
        });
        bytes.push(escape.unwrap_or(first));
        rest = if escape.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}
