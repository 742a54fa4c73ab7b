//! One run of a catalog.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::extremes::{Extremes, MetricName};
use crate::problem::Problem;
use crate::record::DEFAULT_SPLIT;
use crate::run::ending::RunStatus;

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// A process writes it.
    Running,
    /// Its last session has said how it ended.
    Ended(RunStatus),
    /// Its last session has ended without a word.
    Crashed,
}

/// What a catalog says of one run. What cannot be told is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// The run directory.
    pub path: PathBuf,
    /// What people call it.
    pub name: Option<String>,
    /// The id in its rows.
    pub run_id: Option<String>,
    /// How it stands; `None` for a log without a record of its sessions.
    pub status: Option<Status>,
    /// When its first session began, in microseconds since the epoch.
    pub started_micros: Option<i64>,
    /// When its last session ended, as far as is known; `None` while it runs.
    pub ended_micros: Option<i64>,
    /// The largest step.
    pub last_step: Option<i64>,
    /// Rows, without those that a later session has superseded.
    pub rows: Option<u64>,
    /// Its parameters as a JSON object.
    pub config: Option<String>,
    /// How each metric went, by split and name; empty unless asked for.
    pub metrics: BTreeMap<MetricName, Extremes>,
    /// What of it could not be read, and why.
    pub problems: Vec<Problem>,
}

impl Status {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Ended(status) => status.word(),
            Self::Crashed => "crashed",
        }
    }

    /// The status that a word stands for.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        match word {
            "running" => Some(Self::Running),
            "crashed" => Some(Self::Crashed),
            other => RunStatus::of_word(other).map(Self::Ended),
        }
    }
}

impl Entry {
    /// The metric that is asked for as `split/metric`, or by its name alone: that of the split `train`, else of the first split that
    /// has it.
    #[must_use]
    pub fn metric(&self, asked: &str) -> Option<&Extremes> {
        let named = || self.metrics.iter().filter(|((_, metric), _)| metric == asked);
        let in_split = || {
            // Either of the two may have a slash in it.
            asked
                .match_indices('/')
                .find_map(|(at, _)| self.metrics.get(&(asked[..at].to_owned(), asked[at + 1..].to_owned())))
        };
        let usual = named().find(|((split, _), _)| split == DEFAULT_SPLIT).or_else(|| named().next());
        usual.map(|(_, course)| course).or_else(in_split)
    }
}
