//! Looking at one run: from what was kept of it, else from its files.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::entry::{Entry, Status};
use super::fingerprint::{Fingerprint, LOCK_OF_MAIN, are_quiet};
use super::folders::Folder;
use super::{Wanted, cache, config, extremes};
use crate::clock::Clock;
use crate::fs;
use crate::paths::{FileKind, INTERNALS, Stream, stream_of_journal};
use crate::problem::Problem;
use crate::reading;
use crate::recovery::pending::is_written_now;
use crate::run::identity::{self as home, Home};
use crate::run::records::{self, Recorded};
use crate::scan::{self, Tick};

impl Entry {
    /// Of the run in `folder`.
    pub(super) fn of(folder: &Folder, wanted: Wanted, clock: &Clock, tick: Tick<'_>) -> Self {
        let metrics = wanted == Wanted::Metrics;
        let internals = folder.has_internals.then(|| folder.internals().ok()).flatten();
        let is_quiet = !folder.has_internals || internals.as_ref().is_some_and(|(_, names)| are_quiet(names));
        let seen = is_quiet.then(|| Fingerprint::of(folder)).flatten();
        let kept =
            internals.as_ref().zip(seen).and_then(|((dir, _), seen)| cache::read(folder, dir, seen.hash, metrics));
        let names = internals.map(|(_, names)| names);
        let mut entry = kept.unwrap_or_else(|| Self::read(folder, names.as_deref(), seen, wanted, clock, tick));
        if !metrics {
            entry.metrics.clear();
        }
        entry
    }

    /// Reads the run, whose files looked like `seen` before, and keeps what there was to read if nobody changes it.
    fn read(
        folder: &Folder,
        internals: Option<&[OsString]>,
        seen: Option<Fingerprint>,
        wanted: Wanted,
        clock: &Clock,
        tick: Tick<'_>,
    ) -> Self {
        let mut entry = Self { path: folder.path.clone(), ..Self::default() };
        let directory = &folder.path;
        // Looked at before the records: a session that ends between the two has its finish then.
        let is_live = is_live(folder, internals);
        entry.note_identity(folder);
        let has_rows = wanted != Wanted::FactsBesideLiveRows || is_live != Some(true);
        let rows = has_rows.then(|| entry.note_rows(directory, clock, tick)).flatten();
        entry.note_sessions(folder, is_live, seen.is_some(), rows.as_ref());
        if entry.name.is_none() {
            entry.name = directory.file_name().map(|name| name.to_string_lossy().into_owned());
        }
        if let Some(seen) = seen.filter(|_| is_live == Some(false)) {
            entry.keep(folder, seen, clock);
        }
        entry
    }

    /// What was read is what the files have only if they looked the same before and after. A run that was recovered just now was not
    /// quiet before, so it is kept the next time.
    fn keep(&self, folder: &Folder, seen: Fingerprint, clock: &Clock) {
        let now = clock.now_micros();
        let is_sure = self.problems.is_empty() && self.status.is_some() && seen.is_settled(now);
        let is_quiet = !folder.has_internals || folder.internals().is_ok_and(|(_, names)| are_quiet(&names));
        if is_sure && is_quiet && Fingerprint::of(folder) == Some(seen) {
            cache::write(folder, seen.hash, self);
        }
    }

    fn note_identity(&mut self, folder: &Folder) {
        if !folder.has_identity {
            return;
        }
        match Home::look_at(&folder.path.join(home::FILE_NAME)) {
            Ok(Some(home)) => {
                self.run_id = Some(home.run_id);
                self.name = Some(home.name).filter(|name| !name.is_empty());
                self.started_micros = Some(home.created_micros).filter(|&micros| micros > 0);
            }
            Ok(None) => {}
            Err(error) => self.problems.push(error.problem()),
        }
    }

    fn note_rows(&mut self, directory: &Path, clock: &Clock, tick: Tick<'_>) -> Option<(i64, i64)> {
        let outcome = reading::snapshot_of(directory, clock, tick)
            .and_then(|snapshot| scan::run(&snapshot, extremes::Found::default, reading::has_writer, tick));
        let outcome = match outcome {
            Ok(outcome) => outcome,
            // It has been created a moment ago, or its files were moved away.
            Err(error) if error.is_no_log() => {
                self.rows = Some(0);
                return None;
            }
            Err(error) => {
                self.problems.push(error.problem());
                return None;
            }
        };
        let missing = outcome.report.journals.iter();
        let words = |(path, why): &(PathBuf, Problem)| {
            why.clone().in_words(|what| format!("rows may be missing: {} {what}", path.display()))
        };
        self.problems.extend(missing.map(words));
        self.rows = Some(outcome.report.rows);
        self.metrics = extremes::merge(&outcome.parts);
        self.last_step = outcome.parts.iter().filter_map(|(found, _)| found.largest_step).max();
        let times = outcome.parts.iter().filter_map(|(found, _)| found.times);
        times.reduce(|(first, last), (from, to)| (first.min(from), last.max(to)))
    }

    fn note_sessions(&mut self, folder: &Folder, is_live: Option<bool>, is_quiet: bool, rows: Option<&(i64, i64)>) {
        let streams = streams(folder, is_quiet);
        // The main stream speaks for the run; the ranks only where it has said nothing.
        let mut told = streams.iter().map(|stream| records::ends(&folder.path, stream));
        let ends = told.find_map(Result::transpose).transpose();
        let (first, last) = match ends {
            Ok(ends) => ends.unzip(),
            Err(error) => {
                self.problems.push(error.problem());
                (None, None)
            }
        };
        match streams.iter().map(|stream| config::read(&folder.path, stream)).find(|found| !matches!(found, Ok(None))) {
            Some(Ok(config)) => self.config = config,
            Some(Err(error)) => self.problems.push(error.problem()),
            None => {}
        }
        let began = first.map(|first| first.started_micros).filter(|&micros| micros > 0);
        self.started_micros = began.or(self.started_micros).or(rows.map(|times| times.0));
        self.status = match &last {
            _ if is_live == Some(true) => Some(Status::Running),
            Some(Recorded { finish: Some((status, _)), .. }) => Some(Status::Ended(*status)),
            Some(_) if is_live == Some(false) => Some(Status::Crashed),
            Some(_) => {
                let internals = folder.path.join(INTERNALS);
                self.problems.push(
                    format!("whether it is running cannot be told: {} cannot be read", internals.display()).into(),
                );
                None
            }
            None => None,
        };
        self.ended_micros = match &last {
            _ if is_live == Some(true) => None,
            Some(Recorded { finish: Some((_, micros)), .. }) => Some(*micros),
            Some(last) => Some(rows.map_or(last.started_micros, |times| times.1.max(last.started_micros))),
            None => rows.map(|times| times.1),
        };
    }
}

/// The streams that have records of sessions or parameters, the main one first. Of a run with journals they are looked for after the
/// rows were read: recovery may have made the files.
fn streams(folder: &Folder, is_quiet: bool) -> Vec<Stream> {
    let listed = if is_quiet { None } else { Some(fs::list(&folder.path).unwrap_or_default()) };
    let stream_of = |name: &OsString| {
        let name = name.to_str()?;
        FileKind::Session.stream_of(name).or_else(|| FileKind::Params.stream_of(name))
    };
    let mut streams: Vec<Stream> = listed.as_ref().unwrap_or(&folder.files).iter().filter_map(stream_of).collect();
    streams.sort_by_key(|stream| (!stream.is_main(), stream.to_string()));
    streams.dedup();
    streams
}

/// Whether a process writes any stream of the run; `None` if that cannot be told.
fn is_live(folder: &Folder, internals: Option<&[OsString]>) -> Option<bool> {
    if !folder.has_internals {
        return Some(false);
    }
    let names = internals?;
    let is_taken = names.iter().any(|name| name == LOCK_OF_MAIN);
    let streams = names.iter().filter_map(|name| stream_of_journal(name.to_str()?));
    let mut streams = is_taken.then(Stream::main).into_iter().chain(streams);
    Some(streams.any(|stream| is_written_now(&folder.path, &stream)))
}
