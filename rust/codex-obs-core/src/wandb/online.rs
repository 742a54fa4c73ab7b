//! Online runs as a destination. W&B's own client says how many records of a run its server has, and has nothing else to say of what
//! arrived: what it accepted is lost if it dies before it has sent it. So records are numbered from the start of their stream, and
//! a delivery begins at the last place whose number the server has reached; what it has already is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::PathBuf;

use super::WandbSettings;
use super::group::{FOLLOWS, groups};
use super::marks::Marks;
use super::message::Run;
use super::names;
use crate::deliver::destination::{Answer, Destination, Follows, Noted, RunFacts, Start};
use crate::deliver::settings::RunFolder;
use crate::error::Result;
use crate::follow::params::Params;
use crate::follow::point::Point;
use crate::follow::reached::Reached;
use crate::limits::EXPORT_SHORTEST_BACKOFF;
use crate::paths::Stream;
use crate::problem::Facts;
use crate::run::ending::RunStatus;
use crate::wait::Wait;

/// What came of a call of a [`Sink`]: its value, or why not.
pub type Outcome<T> = std::result::Result<T, Answer>;

/// W&B's own client.
pub trait Sink: Send + Debug {
    /// Makes sure that there is one.
    ///
    /// # Errors
    /// Says why there is none.
    fn prepare(&mut self) -> Outcome<()>;

    /// Opens a stream's run, or opens it anew. Gives the number of records that the server has.
    ///
    /// # Errors
    /// Says why not.
    fn open(&mut self, stream: &Stream, run: &Run) -> Outcome<i64>;

    /// Logs records, each with its number, as JSON objects.
    ///
    /// # Errors
    /// Says why not. How many were accepted is not known then.
    fn history(&mut self, stream: &Stream, records: &[(i64, String)]) -> Outcome<()>;

    /// Notes parameters: names, and values as JSON.
    ///
    /// # Errors
    /// Says why not.
    fn config(&mut self, stream: &Stream, params: &[(String, String)]) -> Outcome<()>;

    /// Adds tags that the run lacks.
    ///
    /// # Errors
    /// Says why not.
    fn tags(&mut self, stream: &Stream, tags: &[String]) -> Outcome<()>;

    /// Ends a stream's run once the server has all of it.
    ///
    /// # Errors
    /// Says why that is not sure.
    fn finish(&mut self, stream: &Stream, exit_code: i32) -> Outcome<()>;

    /// Ends every run that is open.
    fn leave(&mut self, exit_code: i32);

    /// Where people look at the main stream's run.
    fn page(&self) -> Option<String>;
}

/// A stream's run.
#[derive(Debug)]
struct Track {
    marks: Marks,
    /// Records that the server had when the run was opened. `None`: it has all of them, and the run is opened once there are more.
    on_server: Option<i64>,
    /// Records that were accepted before the run was opened anew.
    promised: i64,
}

/// Online runs as a destination.
#[derive(Debug)]
pub struct Online<S: Sink> {
    sink: S,
    settings: WandbSettings,
    directory: PathBuf,
    run_id: String,
    name: String,
    /// Whether the stream that is opened has the parameters of the run.
    leads: bool,
    tracks: BTreeMap<Stream, Track>,
    /// Streams whose run has to be opened anew.
    lost: BTreeSet<Stream>,
    /// How the run ended, as W&B was told.
    told: Option<RunStatus>,
}

impl<S: Sink> Online<S> {
    /// A destination for the run.
    #[must_use]
    pub fn new(settings: WandbSettings, sink: S, run: &RunFolder<'_>) -> Self {
        Self {
            sink,
            settings,
            directory: run.directory.to_owned(),
            run_id: String::new(),
            name: String::new(),
            leads: false,
            tracks: BTreeMap::new(),
            lost: BTreeSet::new(),
            told: None,
        }
    }

    fn run(&self, stream: &Stream) -> Run {
        Run { tags: self.settings.tags.clone(), ..self.settings.run(&self.run_id, &self.name, stream) }
    }

    /// Opens a stream's run where the server stands, and hands it what it may have lost of the parameters.
    fn begin(&mut self, stream: &Stream, noted: &Noted<'_>, promised: i64) -> Outcome<Reached> {
        let on_server = self.sink.open(stream, &self.run(stream))?;
        if self.leads {
            self.repeat_params(stream)?;
        }
        let mut marks = Marks::of_json(noted.state);
        let rows = marks.back_to(on_server);
        self.tracks.insert(stream.clone(), Track { marks, on_server: Some(on_server), promised });
        self.lost.remove(stream);
        Ok(Reached { rows, ..Reached::default() })
    }

    /// Hands over all parameters and tags so far. What is there already does not change.
    fn repeat_params(&mut self, stream: &Stream) -> Outcome<()> {
        let mut params = Params::new(&self.directory, stream).as_json(true);
        let mut read = || params.read(0).map_err(|error| later(error.to_string()));
        while let Some(news) = read()? {
            if !news.params.is_empty() {
                self.sink.config(stream, &news.params)?;
            }
            if !news.tags.is_empty() {
                self.sink.tags(stream, &names::tags(&news.tags))?;
            }
        }
        Ok(())
    }

    /// The stream's run, which is opened if it is not.
    fn track(&mut self, stream: &Stream) -> Outcome<&mut Track> {
        let run = self.run(stream);
        let Some(track) = self.tracks.get_mut(stream) else {
            return Err(later(format!("the run of the stream {stream} is not open")));
        };
        if track.on_server.is_none() {
            let on_server = self.sink.open(stream, &run)?;
            let known = track.marks.records();
            if on_server < known {
                return Err(later(format!("W&B has {on_server} of {known} records: the rest is sent again")));
            }
            track.on_server = Some(on_server);
        }
        Ok(track)
    }

    /// Does something with a stream's run. If that fails it is opened anew, since nobody knows what arrived.
    fn with_run(&mut self, stream: &Stream, work: impl FnOnce(&mut S, &mut Track) -> Outcome<()>) -> Answer {
        // A call of the sink and its track are borrowed together.
        let outcome = self.track(stream).map(drop).and_then(|()| match self.tracks.get_mut(stream) {
            Some(track) => work(&mut self.sink, track),
            None => Ok(()),
        });
        match outcome {
            Ok(()) => Answer::TAKEN,
            Err(answer) => {
                self.lost.insert(stream.clone());
                answer
            }
        }
    }
}

impl<S: Sink> Destination for Online<S> {
    fn address(&self) -> String {
        "wandb online".to_owned()
    }

    fn follows(&self) -> Follows {
        FOLLOWS
    }

    fn page(&self) -> Option<String> {
        self.sink.page()
    }

    fn prepare(&mut self, run: &RunFacts, _wait: &Wait) -> Answer {
        run.run_id.clone_into(&mut self.run_id);
        run.name.clone_into(&mut self.name);
        self.leads = run.may_create;
        self.sink.prepare().err().unwrap_or(Answer::TAKEN)
    }

    fn open(&mut self, stream: &Stream, noted: &Noted<'_>) -> Start {
        self.told = noted.told.or(self.told);
        let promised = self.tracks.get(stream).map_or(0, |track| track.promised.max(track.marks.records()));
        let marks = Marks::of_json(noted.state);
        // Told the end, the server has everything before it.
        if self.told.is_some() && marks.records() > 0 && !self.lost.contains(stream) {
            self.tracks.insert(stream.clone(), Track { marks, on_server: None, promised });
            return Start::AsNoted;
        }
        self.begin(stream, noted, promised).map_or_else(Start::Not, Start::At)
    }

    fn params(&mut self, stream: &Stream, params: &[(String, String)], _wait: &Wait) -> Answer {
        self.with_run(stream, |sink, _| sink.config(stream, params))
    }

    fn tags(&mut self, stream: &Stream, tags: &[(String, String)], _wait: &Wait) -> Answer {
        self.with_run(stream, |sink, _| sink.tags(stream, &names::tags(tags)))
    }

    fn deliver(&mut self, stream: &Stream, points: &[Point], _wait: &Wait) -> Answer {
        self.with_run(stream, |sink, track| {
            let numbered = (track.marks.records()..).zip(groups(points));
            let mut end = track.marks.records();
            let mut records = Vec::new();
            for (number, group) in numbered {
                end = number + 1;
                if track.on_server.is_none_or(|on_server| number >= on_server) {
                    records.push((number, group.to_json()));
                }
            }
            if !records.is_empty() {
                sink.history(stream, &records)?;
            }
            track.marks.pass(end);
            Ok(())
        })
    }

    fn has_lost(&self, stream: &Stream) -> bool {
        self.lost.contains(stream)
    }

    fn wants_again(&self, stream: &Stream) -> bool {
        self.lost.contains(stream)
    }

    fn keep(&mut self, stream: &Stream, reached: &Reached) -> Result<Option<String>> {
        Ok(self.tracks.get_mut(stream).map(|track| {
            track.marks.set(reached.rows.as_ref());
            track.marks.to_json()
        }))
    }

    fn finish(&mut self, stream: &Stream, status: RunStatus, _end_micros: i64, _wait: &Wait) -> Answer {
        if let Some(other) = self.lost.iter().next() {
            return later(format!("the stream {other} is sent again"));
        }
        if let Err(answer) = self.track(stream).map(drop) {
            self.lost.insert(stream.clone());
            return answer;
        }
        let others = self.tracks.keys().filter(|other| *other != stream).cloned();
        for each in others.chain([stream.clone()]).collect::<Vec<_>>() {
            let Some(track) = self.tracks.get_mut(&each).filter(|track| track.on_server.is_some()) else { continue };
            if track.marks.records() < track.promised {
                return later(format!("the stream {each} is sent again"));
            }
            if let Err(answer) = self.sink.finish(&each, names::exit_code(status)) {
                self.lost.insert(each);
                return answer;
            }
            track.on_server = None;
        }
        self.told = Some(status);
        Answer::TAKEN
    }

    fn address_facts(&self) -> Facts {
        vec![("to", "wandb".to_owned()), ("wandb_mode", "online".to_owned())]
    }
}

impl<S: Sink> Drop for Online<S> {
    fn drop(&mut self) {
        self.sink.leave(names::exit_code(self.told.unwrap_or(RunStatus::Finished)));
    }
}

fn later(why: String) -> Answer {
    Answer::Later { pause: EXPORT_SHORTEST_BACKOFF, why }
}

#[cfg(test)]
#[path = "online_tests.rs"]
mod tests;
