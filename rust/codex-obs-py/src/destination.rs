//! `Destination`: where the log of a run goes beside its files, and how.

mod plugin;
mod refusal;
mod store;
mod wandb_online;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use codex_obs_core::deliver::settings::{Connector, DeliverySettings, Ranks};
use codex_obs_core::file_destination::MOST_POINTS;
use codex_obs_core::mlflow::settings::Holder;
use codex_obs_core::mlflow::{MlflowSettings, RequestLimits};
use codex_obs_core::otlp::OtlpSettings;
use codex_obs_core::otlp::settings::{Certificates, RunServer, named_file};
use codex_obs_core::paths::Stream;
use codex_obs_core::run::ending::RunStatus;
use codex_obs_core::tensorboard::TensorBoard;
use codex_obs_core::wandb::{Online, WandbSettings, names};
use codex_obs_core::{Error, Result, limits};
use pyo3::prelude::*;

use self::plugin::Plugin;
use self::refusal::words;
use self::store::Store;
use self::wandb_online::Client;
use crate::error::to_python;
use crate::settings::{choice, duration};

/// A variable and the path that it names.
type Named = (String, String);

/// Where the log of a run goes, and how. What it was made from may be secret, so it shows nothing.
#[pyclass(frozen, module = "codex_obs._core")]
pub struct Destination {
    pub settings: DeliverySettings,
}

#[pymethods]
impl Destination {
    /// An MLflow server; with `store` what that answers for, in a store's place.
    #[staticmethod]
    #[pyo3(signature = (
        uri, *, environment = HashMap::new(), run_id = None, new_run = None, experiment_id = "0",
        experiment_name = None, ranks = "main",
        interval_s = limits::DEFAULT_EXPORT_INTERVAL_S,
        flush_metrics = limits::DEFAULT_EXPORT_POINTS,
        request_metrics = limits::EXPORT_REQUEST_METRICS,
        request_bytes = limits::EXPORT_REQUEST_BYTES,
        timeout_s = limits::EXPORT_TIMEOUT.as_secs_f64(),
        store = None,
    ))]
    #[expect(clippy::too_many_arguments, reason = "one for each setting, by keyword")]
    fn mlflow(
        py: Python<'_>,
        uri: &str,
        environment: HashMap<String, String>,
        run_id: Option<String>,
        new_run: Option<String>,
        experiment_id: &str,
        experiment_name: Option<String>,
        ranks: &str,
        interval_s: f64,
        flush_metrics: usize,
        request_metrics: usize,
        request_bytes: usize,
        timeout_s: f64,
        store: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let settings = || -> Result<DeliverySettings> {
            let mut mlflow = match store {
                Some(store) => MlflowSettings::of_store(uri, Arc::new(Store::new(uri, store))),
                None => MlflowSettings::new(uri, &|name| environment.get(name).cloned())?,
            };
            (mlflow.run_id, mlflow.new_run) = (run_id, new_run);
            experiment_id.clone_into(&mut mlflow.experiment_id);
            mlflow.experiment_name = experiment_name;
            mlflow.limits = RequestLimits {
                metrics: request_metrics,
                bytes: request_bytes,
                timeout: duration("export_timeout_s", timeout_s)?,
                ..mlflow.limits
            };
            delivery(mlflow.connector(), ranks, interval_s, flush_metrics)
        };
        let settings = settings().map_err(|error| to_python(py, &error))?;
        Ok(Self { settings })
    }

    /// Event files of TensorBoard, in `folder`, else in the run directory.
    #[staticmethod]
    #[pyo3(signature = (folder = None, *, ranks = "main", interval_s = limits::DEFAULT_EXPORT_INTERVAL_S))]
    fn tensorboard(py: Python<'_>, folder: Option<PathBuf>, ranks: &str, interval_s: f64) -> PyResult<Self> {
        // A fork must not find the path relative to another folder than this one.
        let folder = folder.map(std::path::absolute).transpose()?;
        let settings = delivery(TensorBoard::connector(folder), ranks, interval_s, MOST_POINTS);
        Ok(Self { settings: settings.map_err(|error| to_python(py, &error))? })
    }

    /// Offline runs of W&B. `environment` has the variables of its own client, as far as they are set.
    #[staticmethod]
    #[pyo3(signature = (*, environment = HashMap::new(), ranks = "main", interval_s = limits::DEFAULT_EXPORT_INTERVAL_S))]
    fn wandb(py: Python<'_>, environment: HashMap<String, String>, ranks: &str, interval_s: f64) -> PyResult<Self> {
        let wandb = WandbSettings::new(&|name| environment.get(name).cloned());
        let settings = delivery(wandb.connector(), ranks, interval_s, MOST_POINTS);
        Ok(Self { settings: settings.map_err(|error| to_python(py, &error))? })
    }

    /// A collector of OTLP over HTTP. `certificates` has a variable and a path each: certificate, key, authorities. `mlflow` is the
    /// run's tracking URI, and counts if traces go there; `environment` has the variables of the way to either.
    #[staticmethod]
    #[pyo3(signature = (
        endpoint, *, is_whole = false, headers = Vec::new(), certificates = (None, None, None), resource = Vec::new(),
        environment = HashMap::new(), mlflow = None, experiment_id = "0", experiment_name = None, has_metrics = false,
        interval_s = limits::DEFAULT_EXPORT_INTERVAL_S, timeout_s = limits::EXPORT_TIMEOUT.as_secs_f64(),
    ))]
    #[expect(clippy::too_many_arguments, reason = "one for each setting, by keyword")]
    fn otlp(
        py: Python<'_>,
        endpoint: &str,
        is_whole: bool,
        headers: Vec<(String, String)>,
        certificates: (Option<Named>, Option<Named>, Option<Named>),
        resource: Vec<(String, String)>,
        environment: HashMap<String, String>,
        mlflow: Option<&str>,
        experiment_id: &str,
        experiment_name: Option<String>,
        has_metrics: bool,
        interval_s: f64,
        timeout_s: f64,
    ) -> PyResult<Self> {
        let variable = |name: &str| environment.get(name).cloned();
        let file = |named: Option<Named>| named.map(|(variable, path)| named_file(&variable, &path));
        let settings = || -> Result<DeliverySettings> {
            let (certificate, key, authorities) = certificates;
            let certificates =
                Certificates { certificate: file(certificate), key: file(key), authorities: file(authorities) };
            let mut otlp = OtlpSettings::new(endpoint, is_whole, headers, certificates, &variable)?;
            otlp.resource = resource;
            otlp.timeout = duration("export_timeout_s", timeout_s)?;
            if let Some(uri) = mlflow
                && let Holder::Server(server) = MlflowSettings::new(uri, &variable)?.holder
            {
                let address = format!("mlflow {}", server.endpoint.base);
                otlp.note_mlflow(RunServer {
                    server: *server,
                    address,
                    experiment_id: experiment_id.to_owned(),
                    experiment_name,
                    is_expected: has_metrics,
                });
            }
            // Every process's spans go out, whichever metrics do.
            delivery(otlp.connector(), "all", interval_s, limits::DEFAULT_EXPORT_POINTS)
        };
        let settings = settings().map_err(|error| to_python(py, &error))?;
        Ok(Self { settings })
    }

    /// Online runs of W&B. `factory` is called with the run directory and makes what calls W&B's own client; `environment` as for `wandb`.
    #[staticmethod]
    #[pyo3(signature = (
        factory, *, environment = HashMap::new(), ranks = "main", interval_s = limits::DEFAULT_EXPORT_INTERVAL_S,
    ))]
    fn wandb_online(
        py: Python<'_>,
        factory: Py<PyAny>,
        environment: HashMap<String, String>,
        ranks: &str,
        interval_s: f64,
    ) -> PyResult<Self> {
        let wandb = WandbSettings::new(&|name| environment.get(name).cloned());
        let connector = Connector::new(move |folder| {
            let client = Python::attach(|py| {
                let made = factory.call1(py, (folder.directory,));
                made.map_err(|error| Error::setting("wandb", words(py, &error)))
            })?;
            Ok(Box::new(Online::new(wandb.clone(), Client::new(client), folder)))
        });
        let settings = delivery(connector, ranks, interval_s, limits::DEFAULT_EXPORT_POINTS);
        Ok(Self { settings: settings.map_err(|error| to_python(py, &error))? })
    }

    /// A Python class, or another callable without arguments, that makes a plugin.
    #[staticmethod]
    #[pyo3(signature = (
        name, factory, *, ranks = "main",
        interval_s = limits::DEFAULT_EXPORT_INTERVAL_S,
        flush_metrics = limits::DEFAULT_EXPORT_POINTS,
    ))]
    fn plugin(
        py: Python<'_>,
        name: String,
        factory: Py<PyAny>,
        ranks: &str,
        interval_s: f64,
        flush_metrics: usize,
    ) -> PyResult<Self> {
        let connector = Connector::new(move |folder| Ok(Box::new(Plugin::new(&name, &factory, folder)?)));
        let settings = delivery(connector, ranks, interval_s, flush_metrics).map_err(|error| to_python(py, &error))?;
        Ok(Self { settings })
    }
}

/// What W&B calls the main stream's run.
#[pyfunction]
pub fn wandb_run_id(run_id: &str) -> String {
    names::run_id(run_id, &Stream::main())
}

/// How rows go anywhere.
fn delivery(connector: Connector, ranks: &str, interval_s: f64, flush_metrics: usize) -> Result<DeliverySettings> {
    let mut settings = DeliverySettings::new(connector);
    settings.ranks = match ranks {
        "main" => Ranks::Main,
        "all" => Ranks::All,
        other => return Err(choice("export_ranks", other, "main or all")),
    };
    settings.flush_interval = duration("export_interval_s", interval_s)?;
    settings.flush_points = flush_metrics;
    Ok(settings)
}

/// The status that a word stands for.
pub fn status(word: &str) -> Result<RunStatus> {
    RunStatus::of_word(word).ok_or_else(|| choice("status", word, "finished, failed or killed"))
}
