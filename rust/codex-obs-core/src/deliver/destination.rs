//! Where points go: what the exporter asks of a remote store.

use std::fmt::Debug;
use std::time::Duration;

use crate::follow::point::Point;
use crate::run::ending::RunStatus;
use crate::run::origin::Origin;
use crate::wait::Wait;
use crate::words::quote;

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
        /// What went wrong, without secrets; ends with the remedy.
        why: String,
    },
}

impl Answer {
    /// Everything was accepted.
    pub const TAKEN: Self = Self::Taken { rejected: 0 };
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
    /// The command that delivers the log later, for words about what can be done.
    pub sync_command: String,
}

/// A remote store of metrics. Its methods are called by one thread, never two at once, and may take as long as
/// [`Wait::remaining`] allows.
pub trait Destination: Send + Debug {
    /// Kind and base address without secrets, such as `mlflow http://127.0.0.1:5000`: the key of the remote run in `run.json`.
    fn address(&self) -> String;

    /// Identifier of the remote run once [`prepare`](Self::prepare) has found or created it.
    fn remote_run(&self) -> Option<&str>;

    /// The address at which people look at the remote run, without secrets, once it is known.
    fn page(&self) -> Option<String> {
        None
    }

    /// The remote run that it was told to deliver to; `None`: the one of `run.json`, or a new one.
    fn meant_run(&self) -> Option<&str> {
        None
    }

    /// Whether it was told to make a new one, whatever there is.
    fn makes_new_run(&self) -> bool {
        false
    }

    /// Whether the remote run, which was prepared, takes the place of `known` in `run.json`.
    fn replaces(&mut self, _known: &str, _wait: &Wait) -> bool {
        true
    }

    /// Finds or creates the remote run. Idempotent; called before anything else, and again after [`Answer::Later`], then
    /// with what `run.json` says by that time.
    fn prepare(&mut self, run: &RunFacts, wait: &Wait) -> Answer;

    /// Sends parameters, as many as there are: those that were not sent before. Idempotent.
    fn params(&mut self, params: &[(String, String)], wait: &Wait) -> Answer;

    /// Sends the user's tags for the run. Idempotent.
    fn tags(&mut self, tags: &[(String, String)], wait: &Wait) -> Answer;

    /// Sends one batch of at most [`most_points`](Self::most_points).
    fn deliver(&mut self, points: &[Point], wait: &Wait) -> Answer;

    /// Says how the run ended.
    fn finish(&mut self, status: RunStatus, end_micros: i64, wait: &Wait) -> Answer;

    /// Most points that one batch may have.
    fn most_points(&self) -> usize {
        1000
    }

    /// What the user should hear once: names that had to be changed, a parameter that may not change. Taken after each call.
    fn notices(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// The arguments with which `codex-ndjson sync` delivers to the same server, without secrets and as a shell reads them.
    fn address_arguments(&self) -> String {
        let address = self.address();
        let (kind, base) = address.split_once(' ').unwrap_or((&address, ""));
        format!("--to {kind} --uri {}", quote(base))
    }

    /// The arguments with which it delivers to the same place there, whatever the environment says.
    fn sync_arguments(&self) -> String {
        self.address_arguments()
    }
}
