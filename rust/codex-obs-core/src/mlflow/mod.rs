//! MLflow's tracking server over its REST interface.
//!
//! [`Mlflow`] is the destination. What it is set up with is in [`settings`]; [`http`](crate::http) carries requests,
//! [`classify`] says what a reply means, [`batch`] sees a batch through to its last metric.

pub mod address;
pub mod batch;
pub mod classify;
pub mod names;
pub mod payload;
pub mod renamed;
pub mod request_size;
pub mod settings;

mod experiments;
mod params;
mod runs;
mod trouble;

pub use settings::{MlflowSettings, RequestLimits};

use self::address::url;
use self::batch::{Batch, Carrier};
use self::classify::{Link, Outcome};
use self::names::Names;
use self::payload::LogBatch;
use self::renamed::RenamedLog;
use self::request_size::RequestSize;
use crate::deliver::destination::{Answer, Destination, RunFacts};
use crate::deliver::rejected::{Refused, RejectedLog};
use crate::deliver::settings::StreamFolder;
use crate::error::Result;
use crate::follow::point::Point;
use crate::http::attempts::{Complaint, Halt};
use crate::limits::{EXPORT_REPLY_BYTES, EXPORT_SHORTEST_BACKOFF};
use crate::run::ending::RunStatus;
use crate::wait::Wait;
use crate::words::quote;

/// The tag by which a run is found again, since creating one is not idempotent.
pub const RUN_TAG: &str = "codex_obs.run_id";
/// The tag of a run that was asked for although there was one.
pub const NEW_RUN_TAG: &str = "codex_obs.new_run";

/// An MLflow server as a destination.
#[derive(Debug)]
pub struct Mlflow {
    settings: MlflowSettings,
    link: Link,
    names: Names,
    rejected: RejectedLog,
    renamed: RenamedLog,
    /// Identifier of the run in our files.
    local_run: String,
    /// What the user should hear.
    notices: Vec<String>,
    run_id: Option<String>,
    /// The experiment that was asked for by its name, once it is known.
    experiment: Option<String>,
    /// The experiment of the remote run, once the server has said it.
    home: Option<String>,
    /// The command that delivers the log later.
    sync_command: String,
    /// The value of our tag.
    tag: String,
    size: RequestSize,
    /// The batch that was not done at the last call.
    batch: Option<Batch>,
    param_batch: Option<Batch>,
    tag_batch: Option<Batch>,
    /// A metric that is stored, to be sent again where it is doubted that the server works.
    witness: Option<Vec<u8>>,
}

impl Mlflow {
    /// A destination that has not connected yet.
    ///
    /// # Errors
    /// If a certificate cannot be used, or something lies in the place of `export_rejected.ndjson` that is not ours.
    pub fn new(settings: &MlflowSettings, place: &StreamFolder<'_>) -> Result<Self> {
        let address = address(settings);
        Ok(Self {
            link: Link::new(&settings.server, settings.limits.timeout, settings.clock.clone())?,
            names: Names::default(),
            rejected: RejectedLog::new(place, settings.clock.clone(), address.clone())?,
            renamed: RenamedLog::new(place, settings.clock.clone(), address)?,
            local_run: String::new(),
            notices: Vec::new(),
            run_id: None,
            experiment: None,
            home: None,
            sync_command: String::new(),
            tag: String::new(),
            size: RequestSize::new(settings.limits.metrics, settings.limits.bytes),
            batch: None,
            param_batch: None,
            tag_batch: None,
            witness: None,
            settings: settings.clone(),
        })
    }

    fn carrier<'a>(&'a mut self, id: &'a str, wait: &'a Wait) -> Route<'a> {
        Route {
            url: url(&self.settings.server.endpoint, "runs/log-batch"),
            link: &mut self.link,
            rejected: &mut self.rejected,
            witness: self.witness.as_deref(),
            tag: &self.tag,
            has_kept: false,
            id,
            wait,
        }
    }

    fn send_points(&mut self, points: &[Point], wait: &Wait) -> Answer {
        let Some(id) = self.run_id.clone() else { return self.unprepared() };
        let kept =
            self.batch.take().filter(|batch| matches!(batch.source(), batch::Source::Metrics(own) if own == points));
        let mut batch = kept.unwrap_or_else(|| Batch::of_metrics(points, &id, &mut self.names));
        let mut size = self.size;
        let outcome = self.carry(&mut batch, &mut size, &id, wait);
        self.size = size;
        match outcome {
            Ok(()) => {
                if let Some((key, point)) = batch.witness() {
                    let mut body = LogBatch::new(&id, "metrics", self.settings.limits.bytes);
                    body.metric(key, point.value, point.timestamp_micros, point.step);
                    self.witness = Some(body.finish());
                }
                Answer::Taken { rejected: batch.rejected() }
            }
            Err(halt) => {
                if matches!(halt, Halt::Later { is_timeout: true, .. }) {
                    self.size.timed_out(points.len());
                }
                self.batch = Some(batch);
                self.run_trouble(trouble::Trouble::Halted(halt), &id)
            }
        }
    }

    /// Sends parameters or tags; what is not done is given back.
    fn send_texts(&mut self, mut batch: Batch, id: &str, wait: &Wait) -> (Answer, Option<Batch>) {
        let mut size = RequestSize::new(self.settings.limits.params, self.size.bytes());
        match self.carry(&mut batch, &mut size, id, wait) {
            Ok(()) => (Answer::Taken { rejected: batch.rejected() }, None),
            Err(halt) => (self.run_trouble(trouble::Trouble::Halted(halt), id), Some(batch)),
        }
    }

    fn carry(
        &mut self,
        batch: &mut Batch,
        size: &mut RequestSize,
        id: &str,
        wait: &Wait,
    ) -> std::result::Result<(), Halt> {
        let mut carrier = self.carrier(id, wait);
        let outcome = batch.deliver(&mut carrier, size);
        if carrier.has_kept {
            self.rejected.sync().map_err(|error| Halt::later(EXPORT_SHORTEST_BACKOFF, error.to_string()))?;
        }
        outcome
    }

    #[expect(clippy::unused_self, reason = "reads like its siblings where it is called")]
    fn unprepared(&self) -> Answer {
        Answer::Later { pause: EXPORT_SHORTEST_BACKOFF, why: "the remote run is not known yet".to_owned() }
    }
}

fn address(settings: &MlflowSettings) -> String {
    format!("mlflow {}", settings.server.endpoint.base)
}

impl Destination for Mlflow {
    fn address(&self) -> String {
        address(&self.settings)
    }

    fn remote_run(&self) -> Option<&str> {
        self.run_id.as_deref()
    }

    fn page(&self) -> Option<String> {
        let (home, id) = (self.home.as_ref()?, self.run_id.as_ref()?);
        Some(format!("{}/#/experiments/{home}/runs/{id}", self.settings.server.endpoint.base))
    }

    fn meant_run(&self) -> Option<&str> {
        self.settings.run_id.as_deref()
    }

    fn makes_new_run(&self) -> bool {
        self.settings.new_run.is_some()
    }

    fn replaces(&mut self, known: &str, wait: &Wait) -> bool {
        !self.settings.keeps_known || self.is_gone(known, wait)
    }

    fn prepare(&mut self, run: &RunFacts, wait: &Wait) -> Answer {
        self.rejected.set_run(&run.run_id);
        run.run_id.clone_into(&mut self.local_run);
        self.tag = runs::tag_value(&run.run_id);
        run.sync_command.clone_into(&mut self.sync_command);
        self.find_or_create(run, wait)
    }

    fn params(&mut self, params: &[(String, String)], wait: &Wait) -> Answer {
        self.send_params(params, wait)
    }

    fn tags(&mut self, tags: &[(String, String)], wait: &Wait) -> Answer {
        self.send_tags(tags, wait)
    }

    fn deliver(&mut self, points: &[Point], wait: &Wait) -> Answer {
        self.send_points(points, wait)
    }

    fn finish(&mut self, status: RunStatus, end_micros: i64, wait: &Wait) -> Answer {
        self.end(status, end_micros, wait)
    }

    fn most_points(&self) -> usize {
        self.settings.limits.metrics
    }

    fn sync_arguments(&self) -> String {
        let address = self.address_arguments();
        match &self.settings.run_id {
            Some(id) => format!("{address} --run-id {}", quote(id)),
            None => format!("{address}{}", self.experiment_arguments()),
        }
    }

    fn notices(&mut self) -> Vec<String> {
        let mut notices = std::mem::take(&mut self.notices);
        notices.extend(self.renamed.keep(&self.local_run, &mut self.names));
        notices
    }
}

/// Carries the requests of one batch.
struct Route<'a> {
    url: String,
    link: &'a mut Link,
    rejected: &'a mut RejectedLog,
    witness: Option<&'a [u8]>,
    tag: &'a str,
    has_kept: bool,
    id: &'a str,
    wait: &'a Wait,
}

impl Carrier for Route<'_> {
    fn send(&mut self, body: &[u8], attempts: u32) -> Outcome {
        self.link.post_up_to(attempts, &self.url, body, EXPORT_REPLY_BYTES, self.wait)
    }

    fn probe(&mut self) -> Outcome {
        let tag = || {
            let mut body = LogBatch::new(self.id, "tags", usize::MAX);
            body.text(RUN_TAG, self.tag);
            body.finish()
        };
        let body = self.witness.map_or_else(tag, <[u8]>::to_vec);
        self.send(&body, 1)
    }

    fn has_witness(&self) -> bool {
        self.witness.is_some()
    }

    fn keep(&mut self, refused: Refused<'_>, key: &str, complaint: &Complaint) -> Result<()> {
        self.rejected.append(refused, key, self.id, complaint)?;
        self.has_kept = true;
        Ok(())
    }
}

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod fork_tests;
#[cfg(test)]
mod runs_tests;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod target_tests;
#[cfg(test)]
mod tls_tests;
