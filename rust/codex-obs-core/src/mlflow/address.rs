//! The tracking URI, and the addresses of the REST interface's methods.

use crate::error::Result;
use crate::http::address::{Endpoint, Purpose};

/// What MLflow calls stores that it reaches without HTTP.
const STORES: [&str; 8] = ["file", "sqlite", "postgresql", "mysql", "mssql", "databricks", "databricks-uc", "uc"];

const TRACKING: Purpose = Purpose {
    setting: "mlflow_tracking_uri",
    usual_port: "MLflow's is 5000",
    // What people paste who have set up traces first.
    suffix: "/v1/traces",
    other_scheme,
};

/// Reads a tracking URI.
///
/// # Errors
/// If it is not the address of a server.
pub fn parse(uri: &str) -> Result<Endpoint> {
    Endpoint::parse(uri, &TRACKING)
}

/// The address of one method of the REST interface.
#[must_use]
pub fn url(base: &str, method: &str) -> String {
    format!("{base}/api/2.0/mlflow/{method}")
}

fn other_scheme(scheme: &str) -> String {
    let what = match STORES.iter().find(|name| scheme.split('+').next() == Some(**name)) {
        Some(name) => format!("`{name}` is not an address that metrics can be sent to over HTTP"),
        None => "is not an http:// or https:// address".to_owned(),
    };
    format!("{what}; start `mlflow server` and give its address, such as http://127.0.0.1:5000")
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
