//! Where points go: what a delivery asks of a destination.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Result;
use crate::follow::artifacts::Artifact;
use crate::follow::cursor::Cursor;
use crate::follow::point::Point;
use crate::follow::points::Wanted;
use crate::follow::progress::states;
use crate::follow::reached::Reached;
use crate::paths::{FileKind, Stream};
use crate::problem::{Facts, Problem};
use crate::run::ending::RunStatus;
use crate::run::origin::Origin;
use crate::wait::Wait;

/// The tag of a remote run that lacks rows since they were deleted before they were delivered: their number.
pub const ROWS_MISSING_TAG: &str = "codex_obs.rows_missing";

/// What came of handing something to a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Dealt with: the cursor may move past all of it.
    Taken {
        /// How many of it the destination refused for good; they are in `export_rejected.ndjson`.
        rejected: u64,
    },
    /// Not yet: the same is handed over again after the pause, so that the identical bytes are sent.
    Later {
        /// How long to wait, unless the exporter is closed.
        pause: Duration,
        /// What went wrong, without secrets.
        why: String,
    },
    /// Never: the remote run is unknown or deleted, or the set-up cannot work.
    Never {
        /// What went wrong, and what the remedy is about.
        why: Problem,
    },
}

impl Answer {
    /// Everything was accepted.
    pub const TAKEN: Self = Self::Taken { rejected: 0 };
}

/// What a destination follows of each stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one of the things that can be followed")]
pub struct Follows {
    /// Rows, and what it asks of them beside numbers.
    pub points: Option<Wanted>,
    /// Parameters and tags of the run.
    pub params: bool,
    /// Their values as JSON, and not as Python's `str`.
    pub params_as_json: bool,
    /// Spans: lines of `telemetry.ndjson`.
    pub spans: bool,
    /// Samples of the machine: lines of `system_metrics.jsonl`.
    pub samples: bool,
    /// Artifacts: files below `artifacts/`.
    pub artifacts: bool,
    /// Whether retention keeps the rows that it has not got yet.
    pub holds: bool,
}

impl Follows {
    /// Numbers and parameters, kept until they are delivered.
    pub const NUMBERS: Self = Self {
        points: Some(Wanted { values: false, charts_only: false, tags: false, groups: false }),
        params: true,
        params_as_json: false,
        spans: false,
        samples: false,
        artifacts: false,
        holds: true,
    };

    /// The logs of lines that are handed over as they are.
    pub fn records(self) -> impl Iterator<Item = FileKind> {
        let wanted = [(self.spans, FileKind::Telemetry), (self.samples, FileKind::Samples)];
        wanted.into_iter().filter_map(|(wanted, log)| wanted.then_some(log))
    }

    /// Their names, as a [progress](crate::follow::progress::Progress) has them.
    #[must_use]
    pub fn logs(self) -> BTreeSet<String> {
        self.records().map(|log| log.base().to_owned()).collect()
    }
}

/// What is on disk of a stream's delivery.
#[derive(Clone, Copy, Debug)]
pub struct Noted<'a> {
    /// The place up to which its rows are delivered.
    pub cursor: Option<&'a Cursor>,
    /// What [`Destination::keep`] gave for it.
    pub state: Option<&'a str>,
    /// How the run ended, if the destination was told that once everything was delivered.
    pub told: Option<RunStatus>,
}

/// Where the delivery of a stream goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Where the progress on disk says.
    AsNoted,
    /// Where the destination itself knows to be.
    At(Reached),
    /// Not now, or never.
    Not(Answer),
}

/// What a destination needs to know to find or create the remote run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFacts {
    /// Identifier of the run in our files; the tag by which the remote run is found again.
    pub run_id: String,
    /// What people call the run.
    pub name: String,
    /// When the run directory was created, in microseconds since the epoch.
    pub start_micros: i64,
    /// Who trains where, and on which commit.
    pub origin: Origin,
    /// The remote run that `run.json` names for this destination.
    pub remote_run: Option<String>,
    /// Whether a missing remote run may be created: only by the main stream, or by the one that stands in for it.
    pub may_create: bool,
    /// Whether a process writes the main stream right now, so that a remote run that had ended goes on.
    pub is_live: bool,
    /// The command that delivers the log later, for what can be done about a problem.
    pub sync_command: Facts,
    /// What [`Destination::keep`] gave.
    pub states: States,
}

/// What a destination gave to be kept, by stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct States {
    /// The run directory.
    pub directory: PathBuf,
    /// The destination's address.
    pub address: String,
}

impl States {
    /// Reads them: JSON by stream.
    ///
    /// # Errors
    /// If the internals of the run cannot be read.
    pub fn read(&self) -> Result<BTreeMap<Stream, String>> {
        states(&self.directory, &self.address)
    }
}

/// A place to which the log of one run is delivered, every stream of it. Its methods are called by one thread, never two at once,
/// and may take as long as [`Wait::remaining`] allows.
pub trait Destination: Send + Debug {
    /// Kind and base address without secrets, such as `mlflow http://127.0.0.1:5000`: the key of the remote run in `run.json`.
    fn address(&self) -> String;

    /// What it follows.
    fn follows(&self) -> Follows {
        Follows::NUMBERS
    }

    /// Identifier of the remote run, for destinations that have such, once [`prepare`](Self::prepare) has found or created it.
    fn remote_run(&self) -> Option<&str> {
        None
    }

    /// The address at which people look at the remote run, without secrets, once it is known.
    fn page(&self) -> Option<String> {
        None
    }

    /// The remote run that it was told to deliver to, which `run.json` then names; `None`: the one that it names, or a new one.
    fn meant_run(&self) -> Option<&str> {
        None
    }

    /// Whether it was told to make a new one, whatever there is.
    fn makes_new_run(&self) -> bool {
        false
    }

    /// Finds or creates the remote run. Idempotent; called before anything else, and again after [`Answer::Later`], then
    /// with what `run.json` says by that time.
    fn prepare(&mut self, run: &RunFacts, wait: &Wait) -> Answer;

    /// Begins or goes on with a stream. Called once for each, after [`prepare`](Self::prepare), and again after [`Start::Not`].
    fn open(&mut self, _stream: &Stream, _noted: &Noted<'_>) -> Start {
        Start::AsNoted
    }

    /// Sends parameters, as many as there are: those that were not sent before. Idempotent.
    fn params(&mut self, stream: &Stream, params: &[(String, String)], wait: &Wait) -> Answer;

    /// Sends the user's tags for the run. Idempotent.
    fn tags(&mut self, stream: &Stream, tags: &[(String, String)], wait: &Wait) -> Answer;

    /// Sends one batch of at most [`most_points`](Self::most_points).
    fn deliver(&mut self, stream: &Stream, points: &[Point], wait: &Wait) -> Answer;

    /// Sends lines of a log that it [follows](Follows::records).
    fn records(&mut self, _stream: &Stream, _log: FileKind, _lines: &[Box<str>], _wait: &Wait) -> Answer {
        Answer::TAKEN
    }

    /// Sends artifacts, if it [follows](Follows) them.
    fn artifacts(&mut self, _stream: &Stream, _artifacts: &[Artifact], _wait: &Wait) -> Answer {
        Answer::TAKEN
    }

    /// The stream gets no more lines of a log that it [follows](Follows::records), and has been handed all of them. `None`: there
    /// is nothing to do. Asked again until it is that.
    fn over(&mut self, _stream: &Stream, _log: FileKind, _wait: &Wait) -> Option<Answer> {
        None
    }

    /// How many spans it would make of lines, for a dry run. `state` is what [`keep`](Self::keep) gave, and then goes on behind
    /// the lines; spans that are open count as well where the stream `is_over`.
    fn count_spans(&self, _state: &mut Option<String>, _lines: &[Box<str>], _is_over: bool) -> u64 {
        0
    }

    /// How many spans it has taken since this was last asked.
    fn take_spans(&mut self) -> u64 {
        0
    }

    /// Whether what it had of a stream is gone, so that the stream has to be opened again. Asked after what was not taken.
    fn has_lost(&self, _stream: &Stream) -> bool {
        false
    }

    /// Whether a stream has to be opened again although all that was handed over was taken. Asked before each step.
    fn wants_again(&self, _stream: &Stream) -> bool {
        false
    }

    /// What it took of a stream is about to be noted as delivered: makes that last. Gives what is to be kept with the place,
    /// as JSON.
    ///
    /// # Errors
    /// If it does not last. The place is not noted then.
    fn keep(&mut self, _stream: &Stream, _reached: &Reached) -> Result<Option<String>> {
        Ok(None)
    }

    /// Whether what it has of each stream ends by itself, so that each is told how that ended, and not the leading one for all.
    fn ends_each_stream(&self) -> bool {
        false
    }

    /// Says how the run ended. `stream` is the one that leads the others, unless [each ends by itself](Self::ends_each_stream).
    fn finish(&mut self, stream: &Stream, status: RunStatus, end_micros: i64, wait: &Wait) -> Answer;

    /// Most points that one batch may have.
    fn most_points(&self) -> usize {
        1000
    }

    /// What the user should hear once: names that had to be changed, a parameter that may not change. Taken after each call.
    fn notices(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// What `codex-ndjson sync` has to be told to deliver to the same server, without secrets: `to` is the kind, `uri` the address.
    fn address_facts(&self) -> Facts {
        let address = self.address();
        let (kind, base) = address.split_once(' ').unwrap_or((&address, ""));
        let uri = (!base.is_empty()).then(|| ("uri", base.to_owned()));
        std::iter::once(("to", kind.to_owned())).chain(uri).collect()
    }

    /// What it has to be told to deliver to the same place there, whatever the environment says.
    fn target_facts(&self) -> Facts {
        self.address_facts()
    }
}
