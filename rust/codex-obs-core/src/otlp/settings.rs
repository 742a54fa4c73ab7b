//! What the OTLP destination is set up with.

use std::path::PathBuf;
use std::time::Duration;

use super::Otlp;
use crate::clock::Clock;
use crate::deliver::settings::Connector;
use crate::error::Result;
use crate::http::address::{Endpoint, Purpose};
use crate::http::proxy::Proxy;
use crate::http::secret::Secret;
use crate::http::server::Server;
use crate::http::tls::{NamedFile, TlsFiles};
use crate::limits;

/// Where traces go below an endpoint.
const PATH: &str = "/v1/traces";

/// The variables that name certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificates {
    /// Our certificate.
    pub certificate: Option<NamedFile>,
    /// Its key.
    pub key: Option<NamedFile>,
    /// Authorities that are trusted instead of those of the system.
    pub authorities: Option<NamedFile>,
}

/// The MLflow server of the run, where traces go to that one.
#[derive(Clone, Debug)]
pub struct RunServer {
    /// The way to it.
    pub server: Server,
    /// The key of its run in `run.json`.
    pub address: String,
    /// The experiment, unless there is a run, which has one.
    pub experiment_id: String,
    /// The same by its name, which wins; it is created if there is none.
    pub experiment_name: Option<String>,
    /// Whether a run will be there: rows go to the same server.
    pub is_expected: bool,
}

/// Settings of the OTLP destination. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct OtlpSettings {
    /// The collector.
    pub server: Server,
    /// Where requests go.
    pub url: String,
    /// The run's MLflow server, if it is that.
    pub mlflow: Option<RunServer>,
    /// What the environment says of who makes the spans.
    pub resource: Vec<(String, String)>,
    /// Longest time of one request.
    pub timeout: Duration,
    /// Where the time comes from.
    pub clock: Clock,
}

impl OtlpSettings {
    /// Settings for an endpoint, to which the path of traces is added unless it `is_whole`. `variable` looks the environment's
    /// proxies up.
    ///
    /// # Errors
    /// If the endpoint is not the address of a server.
    pub fn new(
        endpoint: &str,
        is_whole: bool,
        headers: Vec<(String, String)>,
        certificates: Certificates,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let purpose = Purpose {
            setting: "otlp_endpoint",
            usual_port: "OTLP's over HTTP is 4318",
            suffix: if is_whole { "" } else { PATH },
            other_scheme,
        };
        let endpoint = Endpoint::parse(endpoint, &purpose)?;
        let url = if is_whole { endpoint.base.clone() } else { format!("{}{PATH}", endpoint.base) };
        let Certificates { certificate, key, authorities } = certificates;
        let tls = TlsFiles { accepts_any_server: false, authorities, client: certificate, client_key: key };
        let proxy = Proxy::find(&endpoint, variable)?;
        let headers = headers.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
        let tls = if endpoint.is_https { tls } else { TlsFiles::default() };
        let server = Server { credentials: endpoint.credentials.clone(), endpoint, headers, tls, proxy };
        Ok(Self {
            server,
            url,
            mlflow: None,
            resource: Vec::new(),
            timeout: limits::EXPORT_TIMEOUT,
            clock: Clock::System,
        })
    }

    /// Learns the run's MLflow server, which counts if traces go there: who we are for it is what that says, unless a header does.
    pub fn note_mlflow(&mut self, mlflow: RunServer) {
        if mlflow.server.endpoint.base != self.server.endpoint.base {
            return;
        }
        let is_said = self.server.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        if !is_said && self.server.credentials.is_none() {
            self.server.credentials.clone_from(&mlflow.server.credentials);
        }
        if self.server.tls == TlsFiles::default() {
            self.server.tls = mlflow.server.tls.clone();
        }
        self.mlflow = Some(mlflow);
    }

    /// What makes destinations with these settings.
    #[must_use]
    pub fn connector(self) -> Connector {
        Connector::new(move |folder| Ok(Box::new(Otlp::new(&self, folder)?)))
    }
}

/// A file that a variable names.
#[must_use]
pub fn named_file(variable: &str, path: &str) -> NamedFile {
    NamedFile { variable: variable.to_owned(), path: PathBuf::from(path) }
}

fn other_scheme(_scheme: &str) -> String {
    "is not an http:// or https:// address; give the one at which a collector takes OTLP over HTTP, such as \
     http://127.0.0.1:4318"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(endpoint: &str, is_whole: bool) -> Result<String> {
        OtlpSettings::new(endpoint, is_whole, Vec::new(), Certificates::default(), &|_| None).map(|found| found.url)
    }

    #[test]
    fn the_path_of_traces_is_added_once_unless_the_endpoint_is_whole() {
        assert_eq!(url("http://c:4318", false).unwrap(), "http://c:4318/v1/traces");
        assert_eq!(url("http://c:4318/v1/traces", false).unwrap(), "http://c:4318/v1/traces");
        assert_eq!(url("http://c/otlp/", false).unwrap(), "http://c/otlp/v1/traces");
        assert_eq!(url("http://c/custom", true).unwrap(), "http://c/custom");
        assert!(url("grpc://c:4317", false).is_err());
    }
}
