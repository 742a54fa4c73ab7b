//! TensorBoard's event files, as its own writers make them: one a stream, in a folder of its own.
//!
//! [`TensorBoard`] is the destination, [`file`] its file, [`events`] what stands in it.

pub mod events;
pub mod file;
pub mod frame;
pub mod message;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use self::events::Moment;
use self::file::EventFile;
use crate::deliver::destination::{Answer, Destination, Follows, Noted, RunFacts, Start};
use crate::deliver::settings::{Connector, RunFolder};
use crate::error::Result;
use crate::file_destination::{MOST_POINTS, answer};
use crate::follow::point::{Point, Value};
use crate::follow::points::Wanted;
use crate::follow::reached::Reached;
use crate::fs;
use crate::paths::{FileKind, Stream};
use crate::problem::Facts;
use crate::run::ending::RunStatus;
use crate::wait::Wait;

/// The folder in a run directory, unless another is named.
pub const FOLDER: &str = "tensorboard";

/// The folder in a stream's with the samples of its machine: they come from another file than the rows, and what an event file
/// has depends on the log only, so that they have one of their own.
pub const SAMPLES_FOLDER: &str = "system";

/// Event files as a destination.
#[derive(Debug)]
pub struct TensorBoard {
    /// The folder that was named.
    named: Option<PathBuf>,
    folder: PathBuf,
    mode: u32,
    run_id: String,
    start_micros: i64,
    files: BTreeMap<Stream, EventFile>,
    samples: BTreeMap<Stream, EventFile>,
}

impl TensorBoard {
    /// A destination in `folder`, else in the run directory.
    #[must_use]
    pub fn new(folder: Option<PathBuf>, run: &RunFolder<'_>) -> Self {
        Self {
            folder: folder.clone().unwrap_or_else(|| run.directory.join(FOLDER)),
            named: folder,
            mode: run.file_mode,
            run_id: String::new(),
            start_micros: 0,
            files: BTreeMap::new(),
            samples: BTreeMap::new(),
        }
    }

    /// What makes destinations in `folder`, else in the run directory.
    #[must_use]
    pub fn connector(folder: Option<PathBuf>) -> Connector {
        Connector::new(move |run| Ok(Box::new(Self::new(folder.clone(), run))))
    }

    /// The folder of a stream's file.
    fn folder(&self, stream: &Stream) -> PathBuf {
        if stream.is_main() { self.folder.clone() } else { self.folder.join(stream.as_str()) }
    }

    fn open_in(&self, folder: &Path) -> Result<EventFile> {
        // A folder that was named may be one that a link leads to; below the run directory, or in it, none is.
        let own = folder.ancestors().take_while(|part| part.starts_with(&self.folder));
        own.filter(|part| self.named.is_none() || *part != self.folder).try_for_each(fs::require_no_link)?;
        EventFile::open(folder, &self.run_id, self.start_micros, self.mode)
    }

    /// Opens the files of a stream. Gives up to where they have its logs.
    fn opened(&mut self, stream: &Stream) -> Result<Reached> {
        let folder = self.folder(stream);
        let file = self.open_in(&folder)?;
        let mut reached = Reached::of_json(file.place());
        self.files.insert(stream.clone(), file);
        self.samples.remove(stream);
        let folder = folder.join(SAMPLES_FOLDER);
        if EventFile::is_in(&folder)? {
            let file = self.open_in(&folder)?;
            reached.records = Reached::of_json(file.place()).records;
            self.samples.insert(stream.clone(), file);
        }
        Ok(reached)
    }

    fn add_samples(&mut self, stream: &Stream, lines: &[Box<str>]) -> Result<()> {
        if !self.samples.contains_key(stream) {
            let file = self.open_in(&self.folder(stream).join(SAMPLES_FOLDER))?;
            self.samples.insert(stream.clone(), file);
        }
        self.samples.get_mut(stream).map_or(Ok(()), |file| file.samples(stream, lines))
    }

    /// Does something with a stream's file and notes that.
    fn noted(&mut self, stream: &Stream, change: impl FnOnce(&mut EventFile) -> Result<()>) -> Answer {
        answer(self.files.get_mut(stream).map_or(Ok(()), |file| change(file).and_then(|()| file.note(None))))
    }
}

impl Destination for TensorBoard {
    fn address(&self) -> String {
        format!("tensorboard {}", self.named.as_deref().unwrap_or(Path::new(FOLDER)).display())
    }

    fn follows(&self) -> Follows {
        let points = Wanted { values: true, charts_only: true, ..Wanted::default() };
        Follows { points: Some(points), params_as_json: true, samples: true, ..Follows::NUMBERS }
    }

    fn prepare(&mut self, run: &RunFacts, _wait: &Wait) -> Answer {
        run.run_id.clone_into(&mut self.run_id);
        self.start_micros = run.start_micros;
        Answer::TAKEN
    }

    fn open(&mut self, stream: &Stream, _noted: &Noted<'_>) -> Start {
        self.opened(stream).map_or_else(|error| Start::Not(answer(Err(error))), Start::At)
    }

    fn params(&mut self, stream: &Stream, params: &[(String, String)], _wait: &Wait) -> Answer {
        self.noted(stream, |file| file.parameters(params))
    }

    fn tags(&mut self, stream: &Stream, tags: &[(String, String)], _wait: &Wait) -> Answer {
        self.noted(stream, |file| file.tags(tags))
    }

    fn deliver(&mut self, stream: &Stream, points: &[Point], _wait: &Wait) -> Answer {
        let Some(file) = self.files.get_mut(stream) else { return Answer::TAKEN };
        answer(file.add(|events| {
            for point in points {
                let (step, micros) = (point.step, point.timestamp_micros);
                let at = Moment { split: &point.split, metric: &point.metric, step, micros };
                match &point.value {
                    Value::Number(number) => events.scalar(at, *number),
                    Value::Structured(value) => value.form().iter().for_each(|form| events.structured(at, form)),
                }
            }
        }))
    }

    fn records(&mut self, stream: &Stream, _log: FileKind, lines: &[Box<str>], _wait: &Wait) -> Answer {
        answer(self.add_samples(stream, lines))
    }

    fn has_lost(&self, stream: &Stream) -> bool {
        let mut files = [&self.files, &self.samples].into_iter().filter_map(|files| files.get(stream));
        files.any(|file| file.is_gone().unwrap_or(false))
    }

    fn keep(&mut self, stream: &Stream, reached: &Reached) -> Result<Option<String>> {
        let parts = [
            (&mut self.files, Reached { rows: reached.rows.clone(), ..Reached::default() }),
            (&mut self.samples, Reached { records: reached.records.clone(), ..Reached::default() }),
        ];
        for (files, reached) in parts {
            let place = reached.to_json();
            if let Some(file) = files.get_mut(stream).filter(|file| *file.place() != place) {
                file.note(Some(place))?;
            }
        }
        Ok(None)
    }

    /// A run that failed or was killed may go on, and TensorBoard keeps the first word that it hears: it hears none.
    fn ends_each_stream(&self) -> bool {
        true
    }

    fn finish(&mut self, stream: &Stream, status: RunStatus, end_micros: i64, _wait: &Wait) -> Answer {
        if status != RunStatus::Finished {
            return Answer::TAKEN;
        }
        let file = self.files.get_mut(stream);
        answer(file.map_or(Ok(()), |file| file.finish(end_micros).and_then(|()| file.note(None))))
    }

    fn most_points(&self) -> usize {
        MOST_POINTS
    }

    fn address_facts(&self) -> Facts {
        let folder = self.named.as_ref().map(|folder| ("dest", folder.to_string_lossy().into_owned()));
        std::iter::once(("to", "tensorboard".to_owned())).chain(folder).collect()
    }
}
