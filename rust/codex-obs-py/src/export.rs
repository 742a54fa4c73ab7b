//! `MlflowExport`: an MLflow server and how metrics go there.

use std::collections::HashMap;

use codex_obs_core::deliver::settings::{DeliverySettings, Ranks};
use codex_obs_core::mlflow::{MlflowSettings, RequestLimits};
use codex_obs_core::run::ending::RunStatus;
use codex_obs_core::{Result, limits};
use pyo3::prelude::*;

use crate::error::to_python;
use crate::settings::{choice, duration};

/// How metrics get to an MLflow server. What it was made from may be secret, so it shows nothing.
#[pyclass(frozen, module = "codex_obs._core")]
pub struct MlflowExport {
    pub settings: DeliverySettings,
}

#[pymethods]
impl MlflowExport {
    #[new]
    #[pyo3(signature = (
        uri, *, environment = HashMap::new(), run_id = None, keeps_known = false, new_run = None, experiment_id = "0",
        experiment_name = None, ranks = "main",
        interval_s = limits::DEFAULT_EXPORT_INTERVAL_S,
        flush_metrics = limits::DEFAULT_EXPORT_POINTS,
        request_metrics = limits::EXPORT_REQUEST_METRICS,
        request_bytes = limits::EXPORT_REQUEST_BYTES,
        timeout_s = limits::EXPORT_TIMEOUT.as_secs_f64(),
    ))]
    #[expect(clippy::too_many_arguments, reason = "one for each setting, by keyword")]
    fn new(
        py: Python<'_>,
        uri: &str,
        environment: HashMap<String, String>,
        run_id: Option<String>,
        keeps_known: bool,
        new_run: Option<String>,
        experiment_id: &str,
        experiment_name: Option<String>,
        ranks: &str,
        interval_s: f64,
        flush_metrics: usize,
        request_metrics: usize,
        request_bytes: usize,
        timeout_s: f64,
    ) -> PyResult<Self> {
        let settings = || -> Result<DeliverySettings> {
            let mut mlflow = MlflowSettings::new(uri, &|name| environment.get(name).cloned())?;
            (mlflow.run_id, mlflow.keeps_known, mlflow.new_run) = (run_id, keeps_known, new_run);
            experiment_id.clone_into(&mut mlflow.experiment_id);
            mlflow.experiment_name = experiment_name;
            mlflow.limits = RequestLimits {
                metrics: request_metrics,
                bytes: request_bytes,
                timeout: duration("export_timeout_s", timeout_s)?,
                ..mlflow.limits
            };
            let mut settings = DeliverySettings::new(mlflow.connector());
            settings.ranks = match ranks {
                "main" => Ranks::Main,
                "all" => Ranks::All,
                other => return Err(choice("export_ranks", other, "main or all")),
            };
            settings.flush_interval = duration("export_interval_s", interval_s)?;
            settings.flush_points = flush_metrics;
            Ok(settings)
        };
        let settings = settings().map_err(|error| to_python(py, &error))?;
        Ok(Self { settings })
    }
}

/// The status that a word stands for.
pub fn status(word: &str) -> Result<RunStatus> {
    RunStatus::of_word(word).ok_or_else(|| choice("status", word, "finished, failed or killed"))
}
