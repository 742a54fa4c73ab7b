//! Runs of Weights & Biases, one a stream: offline ones, as its own client makes them, in folders that `wandb sync` uploads; and
//! online ones, which that client is handed.
//!
//! [`Wandb`] is the offline destination, [`offline`] its files, [`writer`] what stands in them, [`log`] their container. [`Online`] is
//! the other one. Both make the same [groups](group) of the rows.

pub mod group;
pub mod log;
pub mod marks;
pub mod message;
pub mod names;
pub mod offline;
pub mod online;
pub mod settings;
pub mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use self::online::Online;
pub use self::settings::WandbSettings;

use self::group::{FOLLOWS, groups};
use self::offline::{OfflineRun, Setup};
use crate::deliver::destination::{Answer, Destination, Follows, Noted, RunFacts, Start};
use crate::deliver::settings::RunFolder;
use crate::error::Result;
use crate::file_destination::{MOST_POINTS, answer};
use crate::follow::point::Point;
use crate::follow::reached::Reached;
use crate::paths::{FileKind, Stream};
use crate::problem::Facts;
use crate::run::ending::RunStatus;
use crate::wait::Wait;

/// The folder in a run directory.
pub const FOLDER: &str = "wandb";

/// Offline runs as a destination.
#[derive(Debug)]
pub struct Wandb {
    settings: WandbSettings,
    folder: PathBuf,
    mode: u32,
    run_id: String,
    name: String,
    start_micros: i64,
    runs: BTreeMap<Stream, OfflineRun>,
}

impl Wandb {
    /// A destination in the run directory.
    #[must_use]
    pub fn new(settings: WandbSettings, run: &RunFolder<'_>) -> Self {
        Self {
            settings,
            folder: run.directory.join(FOLDER),
            mode: run.file_mode,
            run_id: String::new(),
            name: String::new(),
            start_micros: 0,
            runs: BTreeMap::new(),
        }
    }

    fn setup(&self, stream: &Stream) -> Setup {
        Setup {
            folder: self.folder.clone(),
            state_name: stream.file_name(".codex_obs", "json"),
            run_id: self.run_id.clone(),
            run: self.settings.run(&self.run_id, &self.name, stream),
            start_micros: self.start_micros,
            mode: self.mode,
        }
    }

    /// Does something with a stream's run and notes that.
    fn noted(&mut self, stream: &Stream, change: impl FnOnce(&mut OfflineRun) -> Result<()>) -> Answer {
        answer(self.runs.get_mut(stream).map_or(Ok(()), |run| change(run).and_then(|()| run.note(None))))
    }
}

impl Destination for Wandb {
    fn address(&self) -> String {
        "wandb offline".to_owned()
    }

    fn follows(&self) -> Follows {
        Follows { samples: true, ..FOLLOWS }
    }

    fn prepare(&mut self, run: &RunFacts, _wait: &Wait) -> Answer {
        run.run_id.clone_into(&mut self.run_id);
        run.name.clone_into(&mut self.name);
        self.start_micros = run.start_micros;
        Answer::TAKEN
    }

    fn open(&mut self, stream: &Stream, _noted: &Noted<'_>) -> Start {
        let opened = OfflineRun::open(self.setup(stream)).and_then(|mut run| {
            run.tags(&self.settings.tags)?;
            Ok(run)
        });
        match opened {
            Ok(run) => {
                let reached = Reached::of_json(run.place());
                self.runs.insert(stream.clone(), run);
                Start::At(reached)
            }
            Err(error) => Start::Not(answer(Err(error))),
        }
    }

    fn params(&mut self, stream: &Stream, params: &[(String, String)], _wait: &Wait) -> Answer {
        self.noted(stream, |run| run.config(params))
    }

    fn tags(&mut self, stream: &Stream, tags: &[(String, String)], _wait: &Wait) -> Answer {
        self.noted(stream, |run| run.tags(&names::tags(tags)))
    }

    fn deliver(&mut self, stream: &Stream, points: &[Point], _wait: &Wait) -> Answer {
        let Some(run) = self.runs.get_mut(stream) else { return Answer::TAKEN };
        answer(run.groups(groups(points)))
    }

    fn records(&mut self, stream: &Stream, _log: FileKind, lines: &[Box<str>], _wait: &Wait) -> Answer {
        answer(self.runs.get_mut(stream).map_or(Ok(()), |run| run.samples(lines)))
    }

    fn has_lost(&self, stream: &Stream) -> bool {
        self.runs.get(stream).is_some_and(|run| run.is_gone().unwrap_or(false))
    }

    fn keep(&mut self, stream: &Stream, reached: &Reached) -> Result<Option<String>> {
        if let Some(run) = self.runs.get_mut(stream) {
            run.note(Some(reached.to_json()))?;
        }
        Ok(None)
    }

    fn ends_each_stream(&self) -> bool {
        true
    }

    fn finish(&mut self, stream: &Stream, status: RunStatus, end_micros: i64, _wait: &Wait) -> Answer {
        let exit_code = names::exit_code(status);
        answer(self.runs.get_mut(stream).map_or(Ok(()), |run| run.finish(exit_code, end_micros)))
    }

    fn most_points(&self) -> usize {
        MOST_POINTS
    }

    fn notices(&mut self) -> Vec<String> {
        self.runs.values_mut().flat_map(|run| run.notices.drain(..)).collect()
    }

    fn address_facts(&self) -> Facts {
        vec![("to", "wandb".to_owned())]
    }
}
