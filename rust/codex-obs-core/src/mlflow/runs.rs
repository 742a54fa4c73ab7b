//! The remote run: found by its tag, created, woken, ended.

use super::address::url;
use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_64;

use super::payload;
use super::settings::DEFAULT_EXPERIMENT;
use super::trouble::{Trouble, accepted, not_mlflow, shown};
use super::{Mlflow, NEW_RUN_TAG, RUN_TAG};
use crate::deliver::destination::{Answer, RunFacts};
use crate::http::attempts::{Complaint, Halt};
use crate::limits::{EXPORT_LONGEST_BACKOFF, EXPORT_QUICK_ATTEMPTS, EXPORT_REPLY_BYTES, EXPORT_RUN_REPLY_BYTES};
use crate::problem::{Facts, Problem};
use crate::run::ending::RunStatus;
use crate::run::origin::Origin;
use crate::wait::Wait;

/// Most characters of a run's name: the width of MLflow's column.
const NAME_CHARACTERS: usize = 250;
/// Longest identifier that stands in the tag as it is.
const TAG_CHARACTERS: usize = 200;

#[derive(Deserialize)]
struct Run {
    info: Info,
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    run: Tagged,
}

#[derive(Default, Deserialize)]
struct Tagged {
    info: Option<Info>,
    #[serde(default)]
    data: Data,
}

#[derive(Default, Deserialize)]
struct Data {
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct Info {
    run_id: String,
    experiment_id: Option<String>,
}

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Created {
    run: Run,
}

impl Mlflow {
    pub(super) fn find_or_create(&mut self, run: &RunFacts, wait: &Wait) -> Answer {
        let known = self.settings.run_id.clone().or_else(|| run.remote_run.clone());
        let found = match known.filter(|_| self.settings.new_run.is_none()) {
            Some(id) if !is_run_id(&id) => {
                let what = format!("{id:?} cannot be the identifier of a run in MLflow");
                let facts = self.for_new_run(&run.sync_command);
                Err(Answer::Never { why: Problem::new("mlflow_run_id", what, facts) })
            }
            Some(id) => match self.check_owner(&id, run, wait) {
                Ok(()) => self.confirm(&id, run, wait).map(|()| Some(id)),
                Err(delivery) => Err(delivery),
            },
            None => self.search(run, wait),
        };
        let found = match found {
            Ok(None) if run.may_create => self.create(run, wait).map(Some),
            Ok(None) => {
                let why = "the main stream has not created the remote run yet".to_owned();
                Err(Answer::Later { pause: self.settings.limits.timeout, why })
            }
            found => found,
        };
        match found {
            Ok(id) => {
                self.run_id = id;
                Answer::TAKEN
            }
            Err(delivery) => delivery,
        }
    }

    pub(super) fn end(&mut self, status: RunStatus, end_micros: i64, wait: &Wait) -> Answer {
        let Some(id) = self.run_id.clone() else { return Answer::TAKEN };
        let status = match status {
            RunStatus::Finished => "FINISHED",
            RunStatus::Failed => "FAILED",
            RunStatus::Killed => "KILLED",
        };
        let body = payload::update(&id, status, end_micros);
        match self.run_request("runs/update", &body, EXPORT_REPLY_BYTES, wait) {
            Ok(_) => Answer::TAKEN,
            Err(trouble) => self.run_trouble(trouble, &id),
        }
    }

    /// Makes sure that a run is not that of another log, by its tag.
    fn check_owner(&mut self, id: &str, run: &RunFacts, wait: &Wait) -> Result<(), Answer> {
        let url = url(self.settings.holder.base(), &format!("runs/get?run_id={id}"));
        let reply = accepted(self.link.get(&url, EXPORT_RUN_REPLY_BYTES, wait))
            .map_err(|trouble| self.run_trouble(trouble, id))?;
        let asked: Asked = serde_json::from_slice(&reply).map_err(|error| self.unreadable(&error))?;
        self.note_home(asked.run.info.as_ref());
        let own = tag_value(&run.run_id);
        let Some(tag) = asked.run.data.tags.into_iter().find(|tag| tag.key == RUN_TAG && tag.value != own) else {
            return Ok(());
        };
        let what = format!(
            "the MLflow run {id} at {} is that of another run: its tag {RUN_TAG} is {}, and this run is {own:?}; nothing was \
             sent there",
            self.settings.holder.base(),
            shown(&tag.value),
        );
        let facts = self.for_new_run(&run.sync_command);
        Err(Answer::Never { why: Problem::new("mlflow_run_of_another", what, facts) })
    }

    /// Makes sure that a run exists, bears our tag and, if it is written right now, is running.
    fn confirm(&mut self, id: &str, run: &RunFacts, wait: &Wait) -> Result<(), Answer> {
        if run.may_create && run.is_live {
            // MLflow keeps the end of an earlier session unless another is given; zero reads as none.
            self.run_request("runs/update", &payload::update(id, "RUNNING", 0), EXPORT_REPLY_BYTES, wait)
                .map_err(|trouble| self.run_trouble(trouble, id))?;
        }
        let mut tag = payload::LogBatch::new(id, "tags", self.settings.limits.bytes);
        tag.text(RUN_TAG, &tag_value(&run.run_id));
        self.run_request("runs/log-batch", &tag.finish(), EXPORT_REPLY_BYTES, wait)
            .map_err(|trouble| self.run_trouble(trouble, id))?;
        Ok(())
    }

    fn search(&mut self, run: &RunFacts, wait: &Wait) -> Result<Option<String>, Answer> {
        let Some(experiment) = self.experiment(run, wait)? else { return Ok(None) };
        let own = tag_value(&run.run_id);
        let body = payload::search(&experiment, &self.tags(&own));
        let reply = self
            .run_request("runs/search", &body, EXPORT_RUN_REPLY_BYTES, wait)
            .map_err(|trouble| self.experiment_trouble(trouble, run))?;
        let found: Found = serde_json::from_slice(&reply).map_err(|error| self.unreadable(&error))?;
        let Some(info) = found.runs.into_iter().next().map(|run| run.info) else { return Ok(None) };
        self.note_home(Some(&info));
        let id = info.run_id;
        if !is_run_id(&id) {
            return Err(self.unreadable(&"the run has no usable identifier"));
        }
        self.confirm(&id, run, wait)?;
        Ok(Some(id))
    }

    fn create(&mut self, run: &RunFacts, wait: &Wait) -> Result<String, Answer> {
        let name: String = run.name.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        let name: String = name.chars().take(NAME_CHARACTERS).collect();
        let experiment = self.experiment(run, wait)?.unwrap_or_default();
        let own = tag_value(&run.run_id);
        let mut tags = self.tags(&own);
        let origin = origin_tags(&run.origin);
        tags.extend(origin.iter().map(|(key, value)| (*key, value.as_str())));
        let body = payload::create(&experiment, &name, run.start_micros, &tags);
        // Not idempotent: whatever comes of this one attempt, the tag is searched for first the next time.
        let url = url(self.settings.holder.base(), "runs/create");
        let outcome = self.link.post_patiently(1, &url, &body, EXPORT_REPLY_BYTES, wait);
        let reply = accepted(outcome).map_err(|trouble| self.experiment_trouble(trouble, run))?;
        let created: Created = serde_json::from_slice(&reply).map_err(|error| self.unreadable(&error))?;
        self.note_home(Some(&created.run.info));
        let id = created.run.info.run_id;
        if is_run_id(&id) { Ok(id) } else { Err(self.unreadable(&"the run has no usable identifier")) }
    }

    /// Notes the experiment that a run is in, if the server says one that can stand in an address.
    fn note_home(&mut self, info: Option<&Info>) {
        let experiment = info.and_then(|info| info.experiment_id.clone());
        self.home = experiment.filter(|id| is_run_id(id)).or(self.home.take());
    }

    /// The tags by which the run is found again.
    fn tags<'a>(&'a self, own: &'a str) -> Vec<(&'a str, &'a str)> {
        let mark = self.settings.new_run.iter().map(|mark| (NEW_RUN_TAG, mark.as_str()));
        std::iter::once((RUN_TAG, own)).chain(mark).collect()
    }

    fn run_request(&mut self, method: &str, body: &[u8], most_bytes: usize, wait: &Wait) -> Result<Vec<u8>, Trouble> {
        let url = url(self.settings.holder.base(), method);
        accepted(self.link.post_patiently(EXPORT_QUICK_ATTEMPTS, &url, body, most_bytes, wait))
    }

    /// What to do about trouble with a run that should exist.
    pub(super) fn run_trouble(&self, trouble: Trouble, id: &str) -> Answer {
        let base = self.settings.holder.base();
        let (kind, what) = match trouble {
            Trouble::Halted(Halt::Later { pause, why, .. }) => return Answer::Later { pause, why },
            Trouble::Halted(Halt::Gone(words)) if words.contains("deleted") => {
                ("mlflow_run_deleted", format!("the run {id} is deleted at {base}: {words}"))
            }
            Trouble::Halted(Halt::Gone(words)) => {
                ("mlflow_run_unknown", format!("the run {id} is unknown at {base}: {words}"))
            }
            Trouble::Refused(Complaint { status, words }) => {
                ("mlflow_run_refused", format!("{base} refused the run {id} with status {status}: {words}"))
            }
        };
        let mut facts = self.for_new_run(&self.sync_command);
        facts.push(("run", id.to_owned()));
        Answer::Never { why: Problem::new(kind, what, facts) }
    }

    /// The command `plain` for a new run in the experiment that was asked for.
    fn for_new_run(&self, plain: &Facts) -> Facts {
        let is_default = self.settings.experiment_name.is_none() && self.settings.experiment_id == DEFAULT_EXPERIMENT;
        self.in_experiment(plain, (!is_default).then(|| self.experiment_fact()))
    }

    pub(super) fn unreadable(&self, error: &dyn std::fmt::Display) -> Answer {
        Answer::Later { pause: EXPORT_LONGEST_BACKOFF, why: not_mlflow(self.settings.holder.base(), error) }
    }
}

/// The value of our tag: the run's identifier, or a mark made from it where it could end the search's quotes.
pub(super) fn tag_value(run_id: &str) -> String {
    let plain = |letter: char| {
        letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.' | ':' | '/' | ' ' | '+' | '@')
    };
    if !run_id.is_empty() && run_id.len() <= TAG_CHARACTERS && run_id.chars().all(plain) {
        return run_id.to_owned();
    }
    format!("xxh3-{:016x}", xxh3_64(run_id.as_bytes()))
}

/// The tags that say who trains where, and on which commit. The names that begin with `mlflow.` are those of MLflow's own
/// client (<https://mlflow.org/docs/latest/ml/tracking/tracking-api/#system-tags>), and its pages show them.
fn origin_tags(origin: &Origin) -> Vec<(&'static str, String)> {
    let tags = [
        ("codex_obs.host", &origin.host),
        ("mlflow.user", &origin.user),
        ("mlflow.source.git.commit", &origin.git_commit),
        ("mlflow.source.git.branch", &origin.git_branch),
    ];
    tags.into_iter().filter_map(|(key, value)| Some((key, shown_tag(value.as_deref()?)))).collect()
}

fn shown_tag(value: &str) -> String {
    value.chars().filter(|letter| !letter.is_control()).take(NAME_CHARACTERS).collect()
}

/// Whether a server's identifier is one of MLflow's form.
fn is_run_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=256).contains(&id.len()) && id.bytes().all(plain)
}
