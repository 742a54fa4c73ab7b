//! The experiment of a new run: an identifier, or a name that is looked up and created if there is none, as by MLflow's own
//! client.

use serde::Deserialize;

use super::Mlflow;
use super::address::url;
use super::classify::Link;
use super::payload;
use super::settings::DEFAULT_EXPERIMENT;
use super::trouble::{Trouble, accepted, not_mlflow};
use crate::deliver::destination::{Answer, RunFacts};
use crate::http::attempts::{Complaint, Halt};
use crate::limits::{EXPORT_LONGEST_BACKOFF, EXPORT_QUICK_ATTEMPTS, EXPORT_REPLY_BYTES, EXPORT_RUN_REPLY_BYTES};
use crate::problem::{Facts, Problem};
use crate::wait::Wait;

#[derive(Deserialize)]
struct Found {
    experiment: Experiment,
}

#[derive(Deserialize)]
struct Experiment {
    experiment_id: String,
}

impl Mlflow {
    /// The identifier of the experiment; `None` if it does not exist yet and is not ours to create.
    pub(super) fn experiment(&mut self, run: &RunFacts, wait: &Wait) -> Result<Option<String>, Answer> {
        let Some(name) = self.settings.experiment_name.clone() else {
            return Ok(Some(self.settings.experiment_id.clone()));
        };
        if self.experiment.is_none() {
            let base = self.settings.holder.base().to_owned();
            let found = experiment_named(&mut self.link, &base, &name, run.may_create, wait);
            self.experiment = found.map_err(|trouble| self.experiment_trouble(trouble, run))?;
        }
        let asked = &self.settings.experiment_id;
        match &self.experiment {
            Some(id) if asked != DEFAULT_EXPERIMENT && asked != id => {
                let what = format!(
                    "the experiment was named as {asked} (MLFLOW_EXPERIMENT_ID) and as {name:?} (MLFLOW_EXPERIMENT_NAME), \
                     which is {id} at {}",
                    self.settings.holder.base(),
                );
                let facts = self.in_experiment(&run.sync_command, Some(("experiment_id", id.clone())));
                Err(Answer::Never { why: Problem::new("mlflow_experiment_twice", what, facts) })
            }
            found => Ok(found.clone()),
        }
    }

    /// The experiment of a new run, whatever the environment says.
    pub(super) fn experiment_fact(&self) -> (&'static str, String) {
        match &self.settings.experiment_name {
            Some(name) => ("experiment_name", name.clone()),
            None => ("experiment_id", self.settings.experiment_id.clone()),
        }
    }

    /// The command `plain` for a run in an experiment. As long as the new run that was asked for is not there, it is asked for.
    pub(super) fn in_experiment(&self, plain: &Facts, experiment: Option<(&'static str, String)>) -> Facts {
        let is_asked_for = self.settings.new_run.is_some() && self.run_id.is_none();
        let new_run = is_asked_for.then(|| ("new_run", "yes".to_owned()));
        plain.iter().cloned().chain(experiment).chain(new_run).collect()
    }

    /// What to do about trouble with the experiment.
    pub(super) fn experiment_trouble(&self, trouble: Trouble, run: &RunFacts) -> Answer {
        let words = match trouble {
            Trouble::Halted(Halt::Later { pause, why, .. }) => return Answer::Later { pause, why },
            Trouble::Halted(Halt::Gone(words)) => words,
            Trouble::Refused(Complaint { status, words }) => format!("status {status}: {words}"),
        };
        let base = self.settings.holder.base();
        let id = self.experiment.as_ref().unwrap_or(&self.settings.experiment_id);
        let which = self.settings.experiment_name.as_ref().map_or_else(|| id.clone(), |name| format!("{name:?}"));
        let what = format!("no run can be created in the experiment {which} at {base}: {words}");
        let why = if words.contains("deleted") {
            let mut facts = self.in_experiment(&run.sync_command, Some(self.experiment_fact()));
            facts.push(("deleted", id.clone()));
            Problem::new("mlflow_experiment_deleted", what, facts)
        } else {
            let default = ("experiment_id", DEFAULT_EXPERIMENT.to_owned());
            Problem::new("mlflow_experiment", what, self.in_experiment(&run.sync_command, Some(default)))
        };
        Answer::Never { why }
    }
}

/// The identifier of the experiment of a name at the server `base`; one that does not exist is created if it `may` be.
pub fn experiment_named(
    link: &mut Link,
    base: &str,
    name: &str,
    may_create: bool,
    wait: &Wait,
) -> Result<Option<String>, Trouble> {
    let found = look_up(link, base, name, wait)?;
    if found.is_some() || !may_create {
        return Ok(found);
    }
    let body = payload::experiment(name);
    let reply =
        link.post_patiently(EXPORT_QUICK_ATTEMPTS, &url(base, "experiments/create"), &body, EXPORT_REPLY_BYTES, wait);
    match accepted(reply) {
        Ok(reply) => identifier(base, serde_json::from_slice(&reply)).map(Some),
        // Another program was faster, or the answer to an earlier attempt got lost.
        Err(trouble @ Trouble::Refused(_)) => look_up(link, base, name, wait)?.map(Some).ok_or(trouble),
        Err(trouble) => Err(trouble),
    }
}

fn look_up(link: &mut Link, base: &str, name: &str, wait: &Wait) -> Result<Option<String>, Trouble> {
    let method = format!("experiments/get-by-name?experiment_name={}", percent_encoded(name));
    match accepted(link.get(&url(base, &method), EXPORT_RUN_REPLY_BYTES, wait)) {
        Ok(reply) => identifier(base, serde_json::from_slice(&reply).map(|found: Found| found.experiment)).map(Some),
        Err(Trouble::Halted(Halt::Gone(_))) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

fn identifier(base: &str, parsed: serde_json::Result<Experiment>) -> Result<String, Trouble> {
    parsed
        .map(|experiment| experiment.experiment_id)
        .map_err(|error| Trouble::Halted(Halt::later(EXPORT_LONGEST_BACKOFF, not_mlflow(base, &error))))
}

/// A text as a part of a query.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(byte as char);
        } else {
            encoded.extend(["%", &format!("{byte:02X}")]);
        }
    }
    encoded
}
