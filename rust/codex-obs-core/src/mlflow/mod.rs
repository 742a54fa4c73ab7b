//! MLflow over its REST interface: a tracking server, or a store on disk behind something that answers like one.
//!
//! [`Mlflow`] is the destination. What it is set up with is in [`settings`]; [`http`](crate::http) carries requests,
//! [`classify`] says what a reply means, [`batch`] sees a batch through to its last metric.

pub mod address;
pub mod batch;
pub mod classify;
pub mod experiments;
pub mod names;
pub mod payload;
pub mod request_size;
pub mod settings;
pub mod trouble;

mod params;
mod runs;
mod samples;

pub use settings::{Holder, MlflowSettings, RequestLimits};

use std::collections::HashMap;
use std::path::PathBuf;

use self::address::url;
use self::batch::{Batch, Carrier};
use self::classify::{Link, Outcome};
use self::names::RULE;
use self::payload::LogBatch;
use self::request_size::RequestSize;
use crate::deliver::destination::{Answer, Destination, Follows, Noted, RunFacts, Start};
use crate::deliver::names::Names;
use crate::deliver::rejected::{Refused, RejectedLog};
use crate::deliver::renamed::RenamedLog;
use crate::deliver::samples::Tally;
use crate::deliver::settings::RunFolder;
use crate::error::Result;
use crate::follow::point::Point;
use crate::follow::reached::Reached;
use crate::http::attempts::{Complaint, Halt};
use crate::limits::{EXPORT_REPLY_BYTES, EXPORT_SHORTEST_BACKOFF};
use crate::paths::{FileKind, Stream};
use crate::problem::Facts;
use crate::run::ending::RunStatus;
use crate::wait::Wait;

/// The tag by which a run is found again, since creating one is not idempotent.
pub const RUN_TAG: &str = "codex_obs.run_id";
/// The tag of a run that was asked for although there was one.
pub const NEW_RUN_TAG: &str = "codex_obs.new_run";

/// MLflow as a destination.
#[derive(Debug)]
pub struct Mlflow {
    settings: MlflowSettings,
    link: Link,
    directory: PathBuf,
    file_mode: u32,
    names: Names,
    streams: HashMap<Stream, Lane>,
    /// The one that was asked for last.
    latest: Option<Stream>,
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
    sync_command: Facts,
    /// The value of our tag.
    tag: String,
    size: RequestSize,
    /// A metric that is stored, to be sent again where it is doubted that the server works.
    witness: Option<Vec<u8>>,
}

/// What belongs to one stream.
#[derive(Debug)]
struct Lane {
    rejected: RejectedLog,
    renamed: RenamedLog,
    /// The batches that were not done at the last call.
    batch: Option<Batch>,
    sample_batch: Option<Batch>,
    param_batch: Option<Batch>,
    tag_batch: Option<Batch>,
    /// Samples of the machine that are stored.
    tally: Tally,
}

impl Mlflow {
    /// A destination that has not connected yet.
    ///
    /// # Errors
    /// If a certificate cannot be used.
    pub fn new(settings: &MlflowSettings, folder: &RunFolder<'_>) -> Result<Self> {
        Ok(Self {
            link: settings.holder.link(settings.limits.timeout, settings.clock.clone())?,
            directory: folder.directory.to_owned(),
            file_mode: folder.file_mode,
            names: Names::new(&RULE),
            streams: HashMap::new(),
            latest: None,
            local_run: String::new(),
            notices: Vec::new(),
            run_id: None,
            experiment: None,
            home: None,
            sync_command: Facts::new(),
            tag: String::new(),
            size: RequestSize::new(settings.limits.metrics, settings.limits.bytes),
            witness: None,
            settings: settings.clone(),
        })
    }

    /// What belongs to a stream.
    fn lane(&mut self, stream: &Stream) -> std::result::Result<&mut Lane, Answer> {
        if !self.streams.contains_key(stream) {
            let lane = self.new_lane(stream).map_err(|error| Answer::Never { why: error.problem() })?;
            self.streams.insert(stream.clone(), lane);
        }
        if self.latest.as_ref() != Some(stream) {
            self.latest = Some(stream.clone());
        }
        Ok(self.streams.get_mut(stream).expect("it was added if it was missing"))
    }

    fn new_lane(&self, stream: &Stream) -> Result<Lane> {
        let folder = RunFolder { directory: &self.directory, file_mode: self.file_mode };
        let (clock, address) = (&self.settings.clock, address(&self.settings));
        let mut rejected = RejectedLog::new(&folder, stream, clock.clone(), address.clone())?;
        rejected.set_run(&self.local_run);
        let renamed = RenamedLog::new(&folder, stream, clock.clone(), address)?;
        Ok(Lane {
            rejected,
            renamed,
            batch: None,
            sample_batch: None,
            param_batch: None,
            tag_batch: None,
            tally: Tally::default(),
        })
    }

    fn send_points(&mut self, stream: &Stream, points: &[Point], wait: &Wait) -> Answer {
        let Some(id) = self.run_id.clone() else { return self.unprepared() };
        let kept = match self.lane(stream) {
            Ok(lane) => lane.batch.take(),
            Err(answer) => return answer,
        };
        let kept = kept.filter(|batch| matches!(batch.source(), batch::Source::Metrics(own) if own == points));
        let batch = kept.unwrap_or_else(|| Batch::of_metrics(points, &id, &mut self.names));
        let (answer, left) = self.send_metrics(stream, batch, points.len(), &id, wait);
        if let Ok(lane) = self.lane(stream) {
            lane.batch = left;
        }
        answer
    }

    /// Sends so many metrics; what is not done is given back.
    fn send_metrics(
        &mut self,
        stream: &Stream,
        mut batch: Batch,
        count: usize,
        id: &str,
        wait: &Wait,
    ) -> (Answer, Option<Batch>) {
        let mut size = self.size;
        let outcome = self.carry(stream, &mut batch, &mut size, id, wait);
        self.size = size;
        match outcome {
            Ok(()) => {
                if let Some((key, point)) = batch.witness() {
                    let mut body = LogBatch::new(id, "metrics", self.settings.limits.bytes);
                    body.metric(key, point.number(), point.timestamp_micros, point.step);
                    self.witness = Some(body.finish());
                }
                (Answer::Taken { rejected: batch.rejected() }, None)
            }
            Err(halt) => {
                if matches!(halt, Halt::Later { is_timeout: true, .. }) {
                    self.size.timed_out(count);
                }
                (self.run_trouble(trouble::Trouble::Halted(halt), id), Some(batch))
            }
        }
    }

    /// Sends parameters or tags; what is not done is given back.
    fn send_texts(&mut self, stream: &Stream, mut batch: Batch, id: &str, wait: &Wait) -> (Answer, Option<Batch>) {
        let mut size = RequestSize::new(self.settings.limits.params, self.size.bytes());
        match self.carry(stream, &mut batch, &mut size, id, wait) {
            Ok(()) => (Answer::Taken { rejected: batch.rejected() }, None),
            Err(halt) => (self.run_trouble(trouble::Trouble::Halted(halt), id), Some(batch)),
        }
    }

    fn carry(
        &mut self,
        stream: &Stream,
        batch: &mut Batch,
        size: &mut RequestSize,
        id: &str,
        wait: &Wait,
    ) -> std::result::Result<(), Halt> {
        let failed = |error: &dyn std::fmt::Display| Halt::later(EXPORT_SHORTEST_BACKOFF, error.to_string());
        let Some(lane) = self.streams.get_mut(stream) else { return Err(failed(&"the stream is not known yet")) };
        let mut carrier = Route {
            url: url(self.settings.holder.base(), "runs/log-batch"),
            link: &mut self.link,
            rejected: &mut lane.rejected,
            witness: self.witness.as_deref(),
            tag: &self.tag,
            has_kept: false,
            id,
            wait,
        };
        let outcome = batch.deliver(&mut carrier, size);
        if carrier.has_kept {
            lane.rejected.sync().map_err(|error| failed(&error))?;
        }
        outcome
    }

    #[expect(clippy::unused_self, reason = "reads like its siblings where it is called")]
    fn unprepared(&self) -> Answer {
        Answer::Later { pause: EXPORT_SHORTEST_BACKOFF, why: "the remote run is not known yet".to_owned() }
    }
}

fn address(settings: &MlflowSettings) -> String {
    format!("mlflow {}", settings.holder.base())
}

impl Destination for Mlflow {
    fn address(&self) -> String {
        address(&self.settings)
    }

    fn follows(&self) -> Follows {
        Follows { samples: true, ..Follows::NUMBERS }
    }

    fn remote_run(&self) -> Option<&str> {
        self.run_id.as_deref()
    }

    fn page(&self) -> Option<String> {
        let (home, id) = (self.home.as_ref()?, self.run_id.as_ref()?);
        let Holder::Server(_) = self.settings.holder else { return None };
        Some(format!("{}/#/experiments/{home}/runs/{id}", self.settings.holder.base()))
    }

    fn meant_run(&self) -> Option<&str> {
        self.settings.run_id.as_deref()
    }

    fn makes_new_run(&self) -> bool {
        self.settings.new_run.is_some()
    }

    fn prepare(&mut self, run: &RunFacts, wait: &Wait) -> Answer {
        self.streams.values_mut().for_each(|lane| lane.rejected.set_run(&run.run_id));
        run.run_id.clone_into(&mut self.local_run);
        self.tag = runs::tag_value(&run.run_id);
        self.sync_command.clone_from(&run.sync_command);
        self.find_or_create(run, wait)
    }

    fn open(&mut self, stream: &Stream, noted: &Noted<'_>) -> Start {
        let tally = noted.state.and_then(|state| serde_json::from_str(state).ok()).unwrap_or_default();
        match self.lane(stream) {
            Ok(lane) => {
                lane.tally = tally;
                Start::AsNoted
            }
            Err(answer) => Start::Not(answer),
        }
    }

    fn params(&mut self, stream: &Stream, params: &[(String, String)], wait: &Wait) -> Answer {
        self.send_params(stream, params, wait)
    }

    fn tags(&mut self, stream: &Stream, tags: &[(String, String)], wait: &Wait) -> Answer {
        self.send_tags(stream, tags, wait)
    }

    fn deliver(&mut self, stream: &Stream, points: &[Point], wait: &Wait) -> Answer {
        self.send_points(stream, points, wait)
    }

    fn records(&mut self, stream: &Stream, _: FileKind, lines: &[Box<str>], wait: &Wait) -> Answer {
        self.send_samples(stream, lines, wait)
    }

    fn keep(&mut self, stream: &Stream, _: &Reached) -> Result<Option<String>> {
        Ok(self.tally(stream))
    }

    fn finish(&mut self, _: &Stream, status: RunStatus, end_micros: i64, wait: &Wait) -> Answer {
        self.end(status, end_micros, wait)
    }

    fn most_points(&self) -> usize {
        self.settings.limits.metrics
    }

    fn target_facts(&self) -> Facts {
        let run = self.settings.run_id.clone().map_or_else(|| self.experiment_fact(), |id| ("run_id", id));
        self.address_facts().into_iter().chain([run]).collect()
    }

    fn notices(&mut self) -> Vec<String> {
        let mut notices = std::mem::take(&mut self.notices);
        if let Some(lane) = self.latest.as_ref().and_then(|stream| self.streams.get_mut(stream)) {
            notices.extend(lane.renamed.keep(&self.local_run, &mut self.names));
        }
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
