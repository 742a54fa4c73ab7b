//! Where traces belong at MLflow's own server: the experiment, and the run whose metrics come from the same log.

use std::time::Duration;

use serde_json::Value;

use super::classify::{Link, Outcome};
use super::settings::{OtlpSettings, RunServer};
use crate::deliver::destination::{Answer, RunFacts};
use crate::http::attempts::{Complaint, Halt};
use crate::limits::{EXPORT_REPLY_BYTES, EXPORT_SHORTEST_BACKOFF};
use crate::mlflow::classify::Link as MlflowLink;
use crate::mlflow::experiments::experiment_named;
use crate::mlflow::trouble::Trouble;
use crate::run::identity::Home;
use crate::wait::Wait;

/// The headers that say so.
const EXPERIMENT_HEADER: &str = "x-mlflow-experiment-id";
const RUN_HEADER: &str = "x-mlflow-run-id";

/// How often, and at what distance, it is looked for the run before that is said to be a trouble.
const LOOKS: u32 = 50;
const LOOK: Duration = Duration::from_millis(100);

/// Finds the headers that say where traces belong.
pub fn headers(
    link: &mut Link,
    settings: &OtlpSettings,
    mlflow: &RunServer,
    run: &RunFacts,
    wait: &Wait,
) -> Result<Vec<(&'static str, String)>, Answer> {
    let later = |why: &str| Answer::Later { pause: EXPORT_SHORTEST_BACKOFF, why: why.to_owned() };
    let mut looks = 0;
    let remote_run = loop {
        let home = Home::of(&run.states.directory).map_err(|error| later(&error.to_string()))?;
        if let Some(remote_run) = home.destinations.get(&mlflow.address) {
            break remote_run.clone();
        }
        if !mlflow.is_expected {
            return Ok(vec![(EXPERIMENT_HEADER, experiment(settings, mlflow, wait)?)]);
        }
        // Whoever delivers the rows is about to find or create it.
        looks += 1;
        if looks > LOOKS || !wait.pause(LOOK) {
            return Err(later("the MLflow run to which the traces belong is not known yet"));
        }
    };
    let url = format!("{}/api/2.0/mlflow/runs/get?run_id={remote_run}", mlflow.server.endpoint.base);
    let reply = match link.get(&url, EXPORT_REPLY_BYTES, wait) {
        Outcome::Accepted(body) => body,
        Outcome::Halted(Halt::Later { pause, why, .. }) => return Err(Answer::Later { pause, why }),
        Outcome::Failed { complaint, pause } => return Err(Answer::Later { pause, why: complaint.words }),
        other => return Err(later(&format!("MLflow does not tell the experiment of run {remote_run}: {other:?}"))),
    };
    let document: Value = serde_json::from_slice(&reply).unwrap_or_default();
    let experiment = document.pointer("/run/info/experiment_id").and_then(Value::as_str);
    let experiment = experiment.ok_or_else(|| later("MLflow does not tell the experiment of its run"))?;
    Ok(vec![(EXPERIMENT_HEADER, experiment.to_owned()), (RUN_HEADER, remote_run)])
}

/// The experiment of traces without a run.
fn experiment(settings: &OtlpSettings, mlflow: &RunServer, wait: &Wait) -> Result<String, Answer> {
    let Some(name) = &mlflow.experiment_name else { return Ok(mlflow.experiment_id.clone()) };
    let later = |why: String| Answer::Later { pause: EXPORT_SHORTEST_BACKOFF, why };
    let base = &mlflow.server.endpoint.base;
    let found = MlflowLink::new(&mlflow.server, settings.timeout, settings.clock.clone())
        .map_err(|error| Trouble::Halted(Halt::later(EXPORT_SHORTEST_BACKOFF, error.to_string())))
        .and_then(|mut link| experiment_named(&mut link, base, name, true, wait));
    match found {
        Ok(Some(id)) => Ok(id),
        Ok(None) => Err(later(format!("{base} has no experiment {name:?}"))),
        Err(Trouble::Halted(Halt::Later { pause, why, .. })) => Err(Answer::Later { pause, why }),
        Err(Trouble::Halted(Halt::Gone(words)) | Trouble::Refused(Complaint { words, .. })) => {
            Err(later(format!("{base} has no experiment {name:?} for traces: {words}")))
        }
    }
}
