//! One stream's offline run: folders with a file each, of which the last one grows.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use prost::Message;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::group::Group;
use super::log::Reader;
use super::message::{Record, Run};
use super::names;
use super::writer::{PRODUCER_NAME, Writer, timestamp};
use crate::deliver::samples::Tally;
use crate::error::{Error, Result};
use crate::file_destination::{Mark, OwnFile, State};
use crate::fs::{self, FileId};

/// Folders of one run with the same second in their names.
const MAX_FOLDERS: u32 = 1000;

/// What is noted of an offline run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Own {
    /// Records of the file so far.
    records: i64,
    /// History records of the run so far, also in earlier files.
    history: i64,
    /// When the file's run started, in microseconds since the epoch.
    start_micros: i64,
    /// The file goes on where another one ended.
    goes_on: bool,
    /// Time of the last rows.
    last_micros: i64,
    /// Hashes of the names of the parameters that it has.
    parameters: BTreeSet<u64>,
    /// The run's tags so far.
    tags: Vec<String>,
    /// Samples of the machine so far.
    #[serde(default)]
    samples: Tally,
}

/// What an offline run is set up with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The folder of all offline runs.
    pub folder: PathBuf,
    /// The name of the state in it.
    pub state_name: String,
    /// Our run's identifier.
    pub run_id: String,
    /// The run as W&B is to know it.
    pub run: Run,
    /// When the run directory was created, in microseconds since the epoch.
    pub start_micros: i64,
    /// Mode of files.
    pub mode: u32,
}

/// An offline run that is written.
#[derive(Debug)]
pub struct OfflineRun {
    /// What the user should hear.
    pub notices: Vec<String>,
    setup: Setup,
    own: Own,
    writer: Writer,
    /// The file that grows; `None` until there is something to add, where the last one was uploaded.
    file: Option<OwnFile>,
    /// The last file's name below the folder, and how far it is known.
    name: String,
    mark: Mark,
    /// The summary lacks what stood in the file before it was opened.
    has_to_learn: bool,
    /// The place in the log that was noted last.
    place: Value,
}

impl OfflineRun {
    /// Opens the run where it was left. Without a state it is made anew. What was uploaded is not added to: a new folder goes on as soon as there is something to add.
    ///
    /// # Errors
    /// If what is there is of another run.
    pub fn open(setup: Setup) -> Result<Self> {
        fs::require_no_link(&setup.folder)?;
        fs::create_folder(&setup.folder, setup.mode)?;
        let state = setup.folder.join(&setup.state_name);
        let Some(known) = State::<Own>::load(&state)? else {
            let start = setup.start_micros;
            let own = Own { start_micros: start, last_micros: start, ..Own::default() };
            let mut run = Self::over(setup, own, String::new(), Mark::default());
            run.begin(start, false)?;
            return Ok(run);
        };
        if known.run_id != setup.run_id {
            return Err(Error::conflict(format!(
                "{} belongs to another run, {:?}: move it away to have this run's rows written",
                state.display(),
                known.run_id
            )));
        }
        let path = setup.folder.join(&known.file);
        let mut run = Self::over(setup, known.own, known.file, known.mark);
        if !is_uploaded(&path)? {
            run.file = OwnFile::resume(&path, run.mark)?;
            run.has_to_learn = true;
            if run.file.is_none() {
                run.notices.push(format!(
                    "{} was deleted or changed, for example by `wandb sync --clean`: a new folder goes on; delete {} to have all \
                     rows written again",
                    path.display(),
                    state.display()
                ));
            }
        }
        run.place = known.place;
        Ok(run)
    }

    fn over(setup: Setup, own: Own, name: String, mark: Mark) -> Self {
        let writer = Writer::behind(mark.length, own.records, own.history, own.start_micros);
        Self {
            notices: Vec::new(),
            setup,
            own,
            writer,
            file: None,
            name,
            mark,
            has_to_learn: false,
            place: Value::Null,
        }
    }

    /// Whether the file that grows is no longer there, so that the run has to be opened again.
    pub fn is_gone(&self) -> Result<bool> {
        self.file.as_ref().map_or(Ok(false), |file| file.is_there().map(|is_there| !is_there))
    }

    /// Adds groups of rows.
    pub fn groups(&mut self, groups: impl IntoIterator<Item = Group>) -> Result<()> {
        let mut groups = groups.into_iter().peekable();
        let Some(first) = groups.peek() else { return Ok(()) };
        let micros = first.micros;
        self.add(micros, |run| {
            for group in groups {
                run.own.last_micros = group.micros;
                run.writer.group(group);
            }
        })
    }

    /// Adds samples of the machine. What is none is left out.
    pub fn samples(&mut self, lines: &[Box<str>]) -> Result<()> {
        let mut tally = self.own.samples;
        let samples: Vec<_> = lines.iter().filter_map(|line| tally.next(line)).collect();
        let Some(first) = samples.first() else { return Ok(()) };
        self.add(first.micros, |run| {
            run.own.samples = tally;
            for sample in &samples {
                run.writer.stats(sample.micros, sample.for_wandb());
            }
        })
    }

    /// Adds parameters: names, and values as JSON. Those whose name it has are left out.
    pub fn config(&mut self, parameters: &[(String, String)]) -> Result<()> {
        let hash = |key: &str| xxh3_64(key.as_bytes());
        let new: Vec<_> =
            parameters.iter().filter(|(key, _)| !self.own.parameters.contains(&hash(key))).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        self.add(self.own.last_micros, |run| {
            run.own.parameters.extend(new.iter().map(|(key, _)| hash(key)));
            run.writer.config(new);
        })
    }

    /// Adds tags of the run. Those that it has are left out.
    pub fn tags(&mut self, tags: &[String]) -> Result<()> {
        let new: Vec<_> = tags.iter().filter(|tag| !self.own.tags.contains(tag)).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        self.add(self.own.last_micros, |run| {
            run.own.tags.extend(new);
            let again = run.run(run.own.goes_on);
            run.writer.run(&again);
        })
    }

    /// Adds what `push` pushes. After an error nothing of it is there.
    fn add(&mut self, micros: i64, push: impl FnOnce(&mut Self)) -> Result<()> {
        if let Some(file) = &self.file
            && is_uploaded(file.path())?
        {
            self.file = None;
        }
        if self.file.is_none() {
            self.begin(micros, true)?;
        }
        let before = (self.own.clone(), self.writer.count, self.writer.history);
        push(self);
        let Some(file) = &mut self.file else { return Ok(()) };
        if let Err(error) = file.append(&self.writer.records) {
            self.writer.records.clear();
            (self.own, self.writer.count, self.writer.history) = before;
            return Err(error);
        }
        self.mark = file.mark();
        self.writer.written();
        Ok(())
    }

    /// Notes that it has the log up to `place`, or up to where it was noted before.
    pub fn note(&mut self, place: Option<Value>) -> Result<()> {
        if let Some(place) = place {
            self.place = place;
        }
        if let Some(file) = &mut self.file {
            file.sync()?;
        }
        (self.own.records, self.own.history) = (self.writer.count, self.writer.history);
        self.save(&self.name, self.mark, self.own.clone())
    }

    fn save(&self, name: &str, mark: Mark, own: Own) -> Result<()> {
        State::new(&self.setup.run_id, name, mark, self.place.clone(), own)
            .save(&self.setup.folder.join(&self.setup.state_name), self.setup.mode)
    }

    /// Adds the summary and how the run ended, behind all that was added. Rows that come later take their place.
    pub fn finish(&mut self, exit_code: i32, end_micros: i64) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        if std::mem::take(&mut self.has_to_learn) {
            let source = File::open(file.path()).map_err(|source| Error::io("open", file.path(), source))?;
            // What stands behind that is replaced.
            let known = BufReader::new(source).take(self.mark.length);
            self.writer.learn(known).map_err(|source| Error::io("read", file.path(), source))?;
        }
        let count = self.writer.count;
        self.writer.end(exit_code, end_micros);
        let ended = file.end(&self.writer.records);
        self.writer.records.clear();
        self.writer.count = count;
        ended
    }

    /// The place in the log up to which it has the rows.
    #[must_use]
    pub fn place(&self) -> &Value {
        &self.place
    }

    /// The folder of the last file.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        let path = self.setup.folder.join(&self.name);
        path.parent().map_or_else(|| self.setup.folder.clone(), Path::to_owned)
    }

    fn run(&self, resume: bool) -> Run {
        let start_time = Some(timestamp(self.own.start_micros));
        Run { start_time, tags: self.own.tags.clone(), resume, ..self.setup.run.clone() }
    }

    /// Begins a folder, of the run itself or of one that goes on.
    fn begin(&mut self, start_micros: i64, goes_on: bool) -> Result<()> {
        (self.own.start_micros, self.own.goes_on) = (start_micros, goes_on);
        let (name, path) = self.free_name(goes_on)?;
        let mut writer = Writer::behind(0, 0, self.own.history.max(self.writer.history), start_micros);
        writer.head(&self.run(goes_on));
        let folder = path.parent().unwrap_or(&self.setup.folder);
        fs::require_no_link(folder)?;
        fs::create_folder(&folder.join("files"), self.setup.mode)?;
        let file = OwnFile::create(&path, &writer.records, self.setup.mode)?;
        writer.written();
        if goes_on {
            // Noted before anything is added, so that whoever goes on after a death finds it.
            let own = Own { records: writer.count, history: writer.history, ..self.own.clone() };
            if let Err(error) = self.save(&name, file.mark(), own) {
                let _ = std::fs::remove_file(&path);
                return Err(error);
            }
        }
        (self.name, self.mark, self.writer) = (name, file.mark(), writer);
        (self.file, self.has_to_learn) = (Some(file), false);
        Ok(())
    }

    /// A name that nobody uses; that of the run itself may be used by an older file of it.
    fn free_name(&self, goes_on: bool) -> Result<(String, PathBuf)> {
        let id = &self.setup.run.run_id;
        let folder = names::folder(id, self.own.start_micros);
        for number in 0..MAX_FOLDERS {
            let suffix = if number == 0 { String::new() } else { format!("-{number}") };
            let name = format!("{folder}{suffix}/run-{id}.wandb");
            let path = self.setup.folder.join(&name);
            let is_free = match FileId::at(&path)? {
                None => true,
                Some(_) => !goes_on && !is_uploaded(&path)? && is_of(&path, id)?,
            };
            if is_free {
                return Ok((name, path));
            }
        }
        Err(Error::conflict(format!(
            "{} has too many folders of this run: move them away",
            self.setup.folder.display()
        )))
    }
}

/// Whether `wandb sync` has uploaded the file.
fn is_uploaded(path: &Path) -> Result<bool> {
    let mut marker = path.as_os_str().to_owned();
    marker.push(".synced");
    FileId::at(Path::new(&marker)).map(|found| found.is_some())
}

/// Whether the file at `path` is one of ours, of the run `id`.
fn is_of(path: &Path, id: &str) -> Result<bool> {
    let mut reader = Reader::new(BufReader::new(fs::open_read(path)?));
    let mut record = || match reader.read() {
        Ok(data) => Ok(data.and_then(|data| Record::decode(data).ok())),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(source) => Err(Error::io("read", path, source)),
    };
    let info = record()?.and_then(|record| record.header?.version_info);
    let run = record()?.and_then(|record| record.run);
    Ok(info.is_some_and(|info| info.producer.starts_with(PRODUCER_NAME)) && run.is_some_and(|run| run.run_id == id))
}

#[cfg(test)]
#[path = "offline_tests.rs"]
mod tests;
