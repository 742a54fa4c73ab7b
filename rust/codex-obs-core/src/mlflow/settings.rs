//! What the MLflow destination is set up with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::classify::Link;
use super::{Mlflow, address};
use crate::clock::Clock;
use crate::deliver::settings::Connector;
use crate::error::{Error, Result};
use crate::http::exchange::Exchange;
use crate::http::proxy::Proxy;
use crate::http::secret::{Credentials, Secret};
use crate::http::server::Server;
use crate::http::tls::{NamedFile, TlsFiles};
use crate::limits;

/// The experiment that every server has, in which runs are created unless another is asked for.
pub const DEFAULT_EXPERIMENT: &str = "0";
/// Where a bundle of authorities may be named, the most specific first: MLflow's own variable, then those of `requests`, curl
/// and OpenSSL.
const AUTHORITIES: [&str; 4] =
    ["MLFLOW_TRACKING_SERVER_CERT_PATH", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"];
const CLIENT_CERTIFICATE: &str = "MLFLOW_TRACKING_CLIENT_CERT_PATH";
const INSECURE: &str = "MLFLOW_TRACKING_INSECURE_TLS";
const TOKEN: &str = "MLFLOW_TRACKING_TOKEN";
const USERNAME: &str = "MLFLOW_TRACKING_USERNAME";
const PASSWORD: &str = "MLFLOW_TRACKING_PASSWORD";

/// How much one request carries and how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Most metrics.
    pub metrics: usize,
    /// Most parameters, or tags.
    pub params: usize,
    /// Most bytes of the body.
    pub bytes: usize,
    /// Longest time from the name look-up to the last byte of the reply.
    pub timeout: Duration,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            metrics: limits::EXPORT_REQUEST_METRICS,
            params: limits::EXPORT_REQUEST_PARAMS,
            bytes: limits::EXPORT_REQUEST_BYTES,
            timeout: limits::EXPORT_TIMEOUT,
        }
    }
}

/// What holds the remote runs. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub enum Holder {
    /// A tracking server.
    Server(Box<Server>),
    /// A store on disk.
    Store {
        /// Its tracking URI.
        uri: String,
        /// What answers requests in its place. It is asked for addresses that begin with the URI.
        exchange: Arc<dyn Exchange>,
    },
}

impl Holder {
    /// How it is called, without secrets and without a slash at the end; the addresses of requests begin with it.
    #[must_use]
    pub fn base(&self) -> &str {
        match self {
            Self::Server(server) => &server.endpoint.base,
            Self::Store { uri, .. } => uri,
        }
    }

    /// What sends requests to it.
    ///
    /// # Errors
    /// If a certificate cannot be used.
    pub fn link(&self, timeout: Duration, clock: Clock) -> Result<Link> {
        match self {
            Self::Server(server) => Link::new(server, timeout, clock),
            Self::Store { uri, exchange } => Ok(Link::over(Arc::clone(exchange), uri.clone(), timeout, clock)),
        }
    }
}

/// Settings of the MLflow destination. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct MlflowSettings {
    /// The server or store.
    pub holder: Holder,
    /// The remote run, if it is not to be found or created.
    pub run_id: Option<String>,
    /// The mark of a remote run that is created, whatever there is; it differs each time.
    pub new_run: Option<String>,
    /// The experiment in which a run is created.
    pub experiment_id: String,
    /// Its name, which is looked up instead. It is created if there is none.
    pub experiment_name: Option<String>,
    /// Limits of one request.
    pub limits: RequestLimits,
    /// Where the time comes from.
    pub clock: Clock,
}

impl MlflowSettings {
    /// Settings from a tracking URI and the environment, which `variable` looks up. Credentials in the URI win over a user
    /// name with password, and those over a token, as in MLflow's own client.
    ///
    /// # Errors
    /// If the URI is not that of a server, or a variable has a value that cannot be used.
    pub fn new(uri: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let endpoint = address::parse(uri)?;
        let credentials = match (endpoint.credentials.clone(), set(USERNAME), set(PASSWORD), set(TOKEN)) {
            (Some(credentials), ..) => Some(credentials),
            (None, Some(username), Some(password), _) => {
                Some(Credentials::Basic { username: Secret::new(username), password: Secret::new(password) })
            }
            (None, _, _, Some(token)) => Some(Credentials::Token(Secret::new(token.trim()))),
            _ => None,
        };
        if let Some(credentials) = &credentials
            && !credentials.header().reveal().bytes().all(|byte| matches!(byte, b' '..=b'~'))
        {
            return Err(Error::setting(TOKEN, "holds a character that cannot stand in an HTTP header"));
        }
        let proxy = Proxy::find(&endpoint, variable)?;
        let tls = if endpoint.is_https { tls_files(&set)? } else { TlsFiles::default() };
        Ok(Self::of_holder(Holder::Server(Box::new(Server { endpoint, credentials, headers: Vec::new(), tls, proxy }))))
    }

    /// Settings for a store on disk. `exchange` answers in its place, for addresses that begin with `uri`.
    #[must_use]
    pub fn of_store(uri: &str, exchange: Arc<dyn Exchange>) -> Self {
        Self::of_holder(Holder::Store { uri: uri.to_owned(), exchange })
    }

    fn of_holder(holder: Holder) -> Self {
        Self {
            holder,
            run_id: None,
            new_run: None,
            experiment_id: DEFAULT_EXPERIMENT.to_owned(),
            experiment_name: None,
            limits: RequestLimits::default(),
            clock: Clock::System,
        }
    }

    /// What makes destinations with these settings.
    #[must_use]
    pub fn connector(self) -> Connector {
        Connector::new(move |place| Ok(Box::new(Mlflow::new(&self, place)?)))
    }
}

fn tls_files(set: &dyn Fn(&str) -> Option<String>) -> Result<TlsFiles> {
    let file = |name: &str| set(name).map(|path| NamedFile { variable: name.to_owned(), path: PathBuf::from(path) });
    let accepts_any_server = match set(INSECURE).map(|value| value.trim().to_ascii_lowercase()).as_deref() {
        Some("true" | "1") => true,
        None | Some("false" | "0") => false,
        Some(_) => return Err(Error::setting(INSECURE, "must be one of true, false, 1 and 0")),
    };
    if accepts_any_server && set(AUTHORITIES[0]).is_some() {
        return Err(Error::setting(
            INSECURE,
            format!("cannot be true while {} is set; unset one of them", AUTHORITIES[0]),
        ));
    }
    let authorities = if accepts_any_server { None } else { AUTHORITIES.into_iter().find_map(file) };
    Ok(TlsFiles { accepts_any_server, authorities, client: file(CLIENT_CERTIFICATE), client_key: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(uri: &str, variables: &[(&str, &str)]) -> Result<Server> {
        match settings(uri, variables)?.holder {
            Holder::Server(server) => Ok(*server),
            holder @ Holder::Store { .. } => panic!("{holder:?}"),
        }
    }

    fn settings(uri: &str, variables: &[(&str, &str)]) -> Result<MlflowSettings> {
        MlflowSettings::new(uri, &|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn header(uri: &str, variables: &[(&str, &str)]) -> Option<String> {
        server(uri, variables).unwrap().credentials.map(|credentials| credentials.header().reveal().to_owned())
    }

    #[test]
    fn credentials_of_the_uri_then_user_then_token() {
        let all = [(USERNAME, "user"), (PASSWORD, "pass"), (TOKEN, "token")];
        assert_eq!(header("http://u:p@h", &all).as_deref(), Some("Basic dTpw"));
        assert_eq!(header("http://h", &all).as_deref(), Some("Basic dXNlcjpwYXNz"));
        assert_eq!(header("http://h", &all[1..]).as_deref(), Some("Bearer token"));
        assert_eq!(header("http://h", &[(TOKEN, " token\n")]).as_deref(), Some("Bearer token"));
        assert_eq!(header("http://h", &[(USERNAME, "user")]), None);
        assert_eq!(header("http://h", &[(TOKEN, "")]), None);
    }

    #[test]
    fn a_token_that_would_end_the_header_is_refused_unseen() {
        let error = settings("http://h", &[(TOKEN, "canary\r\nX: y")]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"));
    }

    #[test]
    fn nothing_of_the_settings_shows_a_secret() {
        let variables = [(TOKEN, "canary"), ("https_proxy", "http://canary:canary@proxy:1")];
        let shown = format!("{:?}", settings("https://h", &variables).unwrap());
        assert!(!shown.contains("canary"), "{shown}");
        let shown = format!("{:?}", settings("https://canary:canary@h", &variables).unwrap());
        assert!(!shown.contains("canary"), "{shown}");
    }

    #[test]
    fn tls_variables_count_for_https_only_and_contradictions_are_errors() {
        let insecure = |value| server("https://h", &[(INSECURE, value)]).map(|server| server.tls.accepts_any_server);
        assert!(insecure("True").unwrap() && insecure("1").unwrap() && !insecure("false").unwrap());
        assert!(insecure("yes").is_err());
        assert!(settings("https://h", &[(INSECURE, "true"), (AUTHORITIES[0], "ca.pem")]).is_err());
        assert!(settings("http://h", &[(INSECURE, "yes")]).is_ok());
        let tls = server("https://h", &[("SSL_CERT_FILE", "b.pem"), ("CURL_CA_BUNDLE", "a.pem")]).unwrap().tls;
        assert_eq!(tls.authorities.unwrap().variable, "CURL_CA_BUNDLE");
    }
}
