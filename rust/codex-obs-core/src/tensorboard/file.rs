//! One stream's event file.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_64;

use super::events::{Events, Moment, run_of};
use crate::deliver::samples::Tally;
use crate::error::{Error, Result};
use crate::file_destination::{OwnFile, State};
use crate::fs::{self, FileId};
use crate::paths::Stream;

/// The name of the file. TensorBoard looks for `tfevents`, other readers for what stands before it, and for a number behind it.
pub const FILE_NAME: &str = "events.out.tfevents.0.codex_obs";
/// The name of the state beside it.
pub const STATE_NAME: &str = ".codex_obs.json";
/// Bytes in which the first record of a file is whole: a run's id has 4 KiB at most.
const HEAD_BYTES: u64 = 8 << 10;

/// What is noted of an event file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Own {
    /// Texts with parameters or tags so far.
    texts: i64,
    /// Hashes of the parameters and tags that it has.
    parameters: BTreeSet<u64>,
    /// The run's parameters are in the table of hyperparameters.
    has_hyperparameters: bool,
    /// The same table says that the run finished.
    is_finished: bool,
    /// Samples of the machine so far.
    #[serde(default)]
    samples: Tally,
}

/// An event file that is written.
#[derive(Debug)]
pub struct EventFile {
    /// Events that are not in the file yet.
    events: Events,
    own: Own,
    file: OwnFile,
    /// The place in the log that was noted last.
    place: Value,
    folder: PathBuf,
    run_id: String,
    start_micros: i64,
    mode: u32,
}

impl EventFile {
    /// Opens the file of the run `run_id` in `folder`, where it was left. Without a state, or with one of another file, it is
    /// made anew.
    ///
    /// # Errors
    /// If what is there is of another run or of another program.
    pub fn open(folder: &Path, run_id: &str, start_micros: i64, mode: u32) -> Result<Self> {
        fs::create_folder(folder, mode)?;
        let path = folder.join(FILE_NAME);
        let known: Option<State<Own>> = State::load(&folder.join(STATE_NAME))?;
        if let Some(other) = known.as_ref().filter(|known| known.run_id != run_id) {
            return Err(foreign(folder, &other.run_id));
        }
        let resumed = match &known {
            Some(known) => OwnFile::resume(&path, known.mark)?,
            None => None,
        };
        let (own, place, file) = if let (Some(known), Some(file)) = (known, resumed) {
            (known.own, known.place, file)
        } else {
            require_own(folder, &path, run_id)?;
            let mut events = Events::default();
            events.head(run_id, start_micros);
            (Own::default(), Value::Null, OwnFile::create(&path, &events.records, mode)?)
        };
        let (folder, run_id) = (folder.to_owned(), run_id.to_owned());
        Ok(Self { events: Events::default(), own, file, place, folder, run_id, start_micros, mode })
    }

    /// Up to where it has the logs.
    #[must_use]
    pub fn place(&self) -> &Value {
        &self.place
    }

    /// Whether there is a file in `folder`, or what was noted of one.
    pub fn is_in(folder: &Path) -> Result<bool> {
        Ok(FileId::at(&folder.join(FILE_NAME))?.is_some() || FileId::at(&folder.join(STATE_NAME))?.is_some())
    }

    /// Whether it is no longer there, so that it has to be opened again.
    pub fn is_gone(&self) -> Result<bool> {
        self.file.is_there().map(|is_there| !is_there)
    }

    /// Adds the events that `push` pushes. After an error nothing of it is there.
    pub fn add(&mut self, push: impl FnOnce(&mut Events)) -> Result<()> {
        push(&mut self.events);
        let appended = self.file.append(&self.events.records);
        self.events.records.clear();
        appended
    }

    /// Adds samples of the machine on which `stream` is written. What is none is left out.
    pub fn samples(&mut self, stream: &Stream, lines: &[Box<str>]) -> Result<()> {
        let mut tally = self.own.samples;
        self.add(|events| {
            for point in lines.iter().filter_map(|line| tally.next(line)).flat_map(|sample| sample.points(stream)) {
                let (step, micros) = (point.step, point.timestamp_micros);
                events.scalar(Moment { split: &point.split, metric: &point.metric, step, micros }, point.number());
            }
        })?;
        self.own.samples = tally;
        Ok(())
    }

    /// Adds parameters, with values as JSON, to the table of hyperparameters and as text. Those whose name it has are left out.
    pub fn parameters(&mut self, parameters: &[(String, String)]) -> Result<()> {
        self.texts(parameters, |key, _| xxh3_64(key.as_bytes()), true)
    }

    /// Adds tags of the run as text. Those that it has are left out.
    pub fn tags(&mut self, tags: &[(String, String)]) -> Result<()> {
        self.texts(tags, |key, json| xxh3_64(format!("{key}\0{json}").as_bytes()), false)
    }

    fn texts(
        &mut self,
        rows: &[(String, String)],
        hash: impl Fn(&str, &str) -> u64,
        are_parameters: bool,
    ) -> Result<()> {
        let mut own = self.own.clone();
        let mut new = Vec::new();
        for (key, json) in rows {
            if own.parameters.insert(hash(key, json)) {
                // What is no JSON is text: the tag that says how many rows are missing.
                let text = || RawValue::from_string(Value::from(json.as_str()).to_string());
                new.push((key.clone(), RawValue::from_string(json.clone()).or_else(|_| text()).unwrap_or_default()));
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        let start = self.start_micros;
        let is_first = are_parameters && !own.has_hyperparameters;
        own.has_hyperparameters |= are_parameters;
        let number = own.texts;
        own.texts += 1;
        self.add(|events| {
            if is_first {
                events.hyperparameters(&new, start);
            }
            events.parameter_text(&new, number, start);
        })?;
        self.own = own;
        Ok(())
    }

    /// Says in the table of hyperparameters that the run finished, which can be said once.
    pub fn finish(&mut self, micros: i64) -> Result<()> {
        if !self.own.is_finished {
            self.add(|events| events.finished(micros))?;
            self.own.is_finished = true;
        }
        Ok(())
    }

    /// Notes that it has the log up to `place`, or up to where it was noted before.
    pub fn note(&mut self, place: Option<Value>) -> Result<()> {
        self.file.sync()?;
        if let Some(place) = place {
            self.place = place;
        }
        State::new(&self.run_id, FILE_NAME, self.file.mark(), self.place.clone(), self.own.clone())
            .save(&self.folder.join(STATE_NAME), self.mode)
    }
}

/// Refuses a file that this run did not write.
fn require_own(folder: &Path, path: &Path, run_id: &str) -> Result<()> {
    let file = match fs::open_read(path) {
        Ok(file) => file,
        Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut head = Vec::new();
    file.take(HEAD_BYTES).read_to_end(&mut head).map_err(|source| Error::io("read", path, source))?;
    match run_of(&head) {
        Some(own) if own == run_id => Ok(()),
        Some(other) => Err(foreign(folder, &other)),
        None => Err(Error::conflict(format!(
            "{} was not written by codex_obs and is left as it is: move it away, or choose another folder for TensorBoard",
            path.display()
        ))),
    }
}

fn foreign(folder: &Path, run_id: &str) -> Error {
    Error::conflict(format!(
        "{} holds the events of another run, {run_id:?}: choose another folder for TensorBoard",
        folder.display()
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn open(folder: &Path) -> EventFile {
        EventFile::open(folder, "r", 1_000_000, 0o600).unwrap()
    }

    fn log(file: &mut EventFile, steps: std::ops::Range<i64>) {
        file.add(|events| {
            for step in steps {
                events.scalar(Moment { split: "train", metric: "loss", step, micros: step }, 0.5);
            }
        })
        .unwrap();
    }

    fn parameters(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|&(key, json)| (key.to_owned(), json.to_owned())).collect()
    }

    #[test]
    fn a_file_goes_on_where_it_was_noted_and_has_the_bytes_of_one_that_never_stopped() {
        let folders = tempfile::tempdir().unwrap();
        let [whole, parts] = ["whole", "parts"].map(|name| folders.path().join(name));
        let (first, more) = (parameters(&[("lr", "0.1")]), parameters(&[("lr", "0.2"), ("n", "1")]));
        let mut file = open(&whole);
        file.parameters(&first).unwrap();
        file.parameters(&more).unwrap();
        file.tags(&parameters(&[("missing", "at least 3")])).unwrap();
        log(&mut file, 0..10);
        file.finish(11).unwrap();

        let mut file = open(&parts);
        assert_eq!(*file.place(), Value::Null);
        file.parameters(&first).unwrap();
        file.note(None).unwrap();
        let mut file = open(&parts);
        file.parameters(&first).unwrap();
        file.parameters(&more).unwrap();
        file.tags(&parameters(&[("missing", "at least 3")])).unwrap();
        file.tags(&parameters(&[("missing", "at least 3")])).unwrap();
        log(&mut file, 0..4);
        file.note(Some(json!(4))).unwrap();
        log(&mut file, 4..7);
        let mut file = open(&parts);
        assert_eq!(*file.place(), json!(4));
        log(&mut file, 4..10);
        file.note(Some(json!(10))).unwrap();
        file.finish(11).unwrap();
        file.finish(12).unwrap();
        let bytes = |folder: &Path| std::fs::read(folder.join(FILE_NAME)).unwrap();
        assert!(bytes(&parts) == bytes(&whole));

        std::fs::remove_file(parts.join(STATE_NAME)).unwrap();
        assert_eq!(*open(&parts).place(), Value::Null, "it is made anew");
        assert!(bytes(&parts).len() < 100);
    }

    #[test]
    fn files_of_others_are_refused_and_left_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        std::fs::write(&path, "something else").unwrap();
        let error = EventFile::open(folder.path(), "r", 0, 0o600).unwrap_err();
        assert!(error.is_conflict() && error.to_string().contains("move it away"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "something else");
        std::fs::remove_file(&path).unwrap();

        let mut file = open(folder.path());
        for has_state in [false, true] {
            if has_state {
                file.note(Some(json!(1))).unwrap();
            }
            let error = EventFile::open(folder.path(), "other", 0, 0o600).unwrap_err();
            assert!(error.to_string().contains("another run, \"r\""), "{error}");
        }
    }

    #[test]
    fn a_file_that_was_deleted_or_replaced_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("tensorboard");
        let mut file = open(&inner);
        log(&mut file, 0..3);
        file.note(Some(json!(3))).unwrap();
        assert!(!file.is_gone().unwrap());
        std::fs::remove_dir_all(&inner).unwrap();
        assert!(file.is_gone().unwrap());
        let mut file = open(&inner);
        assert_eq!(*file.place(), Value::Null);
        log(&mut file, 0..3);
    }
}
