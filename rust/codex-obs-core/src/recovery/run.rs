//! All streams of a run: which have a journal, whose writer lives, and bringing back what the others left.

use crate::primitives::Instant;
use std::path::Path;

use super::stream::{Recovered, bring_back, recover};
use super::unsynced::{Unsynced, together};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::fs::RunFolder;
use crate::lock::{self, Attempt, Holder, Owner, Purpose, Strangers};
use crate::paths::{INTERNALS, Stream, journal_path, lock_path, stream_of_journal, stream_of_lock};
use crate::process::Process;

/// Recovers every stream of `directory` but `own` whose writer is gone. With `foreign`, also those of other machines. Streams that
/// are not begun by `deadline` are left to whoever comes next.
///
/// # Errors
/// The first one, after all other streams were tried.
pub fn recover_all(
    directory: &Path,
    own: Option<&Stream>,
    process: &Process,
    clock: &Clock,
    foreign: bool,
    deadline: Option<Instant>,
) -> Result<Recovered> {
    let mut total = Recovered::default();
    let mut outcome = Ok(());
    // Opened once for all of them; where it cannot be, the first look says so.
    let _folder = RunFolder::open(directory);
    let mut streams = journals(directory)?;
    streams.retain(|stream| Some(stream) != own);
    for some in streams.chunks(together()) {
        if is_over(deadline) {
            break;
        }
        let (recovered, done) = recover_some(directory, some, process, clock, foreign, deadline);
        total.add(&recovered);
        outcome = outcome.and(done);
    }
    outcome.map(|()| total)
}

fn is_over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

/// Recovers `stream` if its writer is gone. What cannot be done now is left to whoever comes next.
#[must_use]
pub fn recover_one(directory: &Path, stream: &Stream, process: &Process, clock: &Clock) -> Recovered {
    if !journal_path(directory, stream).exists() {
        return Recovered::default();
    }
    match Owner::acquire(&lock_path(directory, stream), process, Purpose::Recover) {
        Ok(Attempt::Taken(_held)) => recover(directory, stream, process, clock, false).unwrap_or_default(),
        Ok(Attempt::Held(_)) | Err(_) => Recovered::default(),
    }
}

/// The streams that have a journal in `directory`, in text order.
pub fn journals(directory: &Path) -> Result<Vec<Stream>> {
    named_streams(directory, stream_of_journal)
}

/// The processes of this machine and PID namespace that have a stream of the run in `directory` open, in order of its name. By
/// what their locks say of them: no lock is touched.
///
/// # Errors
/// If the internals cannot be listed.
pub fn writers(directory: &Path) -> Result<Vec<(Stream, u32)>> {
    let observer = Process::current();
    let pid_of = |stream: &Stream| {
        // One that cannot be read is taken right now, or another user's.
        let holder = Holder::read(&lock_path(directory, stream)).ok().flatten()?;
        let is_here = holder.purpose() == Purpose::Write
            && !holder.is_out_of_sight(&observer)
            && !holder.is_surely_gone(&observer);
        holder.process().filter(|_| is_here).map(|process| process.pid)
    };
    let streams = named_streams(directory, stream_of_lock)?;
    Ok(streams.into_iter().filter_map(|stream| pid_of(&stream).map(|pid| (stream, pid))).collect())
}

/// The streams that have a file among the internals of `directory`, in text order.
fn named_streams(directory: &Path, stream_of: fn(&str) -> Option<Stream>) -> Result<Vec<Stream>> {
    let folder = directory.join(INTERNALS);
    let names = match crate::fs::list(&folder) {
        Ok(names) => names,
        Err(error)
            if matches!(error.io_kind(), Some(std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut streams = Vec::new();
    for name in names {
        streams.extend(name.to_str().and_then(stream_of));
    }
    streams.sort();
    Ok(streams)
}

/// Brings back what dead writers of the run in `directory` left in their journals; with `foreign`, also those of other
/// machines, which is right only if no writer lives there any more.
///
/// # Errors
/// If there is no run, or if something could not be written: then the journals are kept.
pub fn recover_directory(directory: &Path, foreign: bool) -> Result<Recovered> {
    if !directory.is_dir() {
        return Err(Error::no_log(format!("{} is no run directory", directory.display())));
    }
    recover_all(directory, None, &Process::current(), &Clock::System, foreign, None)
}

/// Whether a process writes `stream` of the run in `directory`, as far as can be told.
#[must_use]
pub fn is_written(directory: &Path, stream: &Stream) -> bool {
    lock::is_held(&lock_path(directory, stream), &Process::current())
}

/// Recovers some streams, as many as are begun by `deadline`, and syncs them together.
fn recover_some(
    directory: &Path,
    streams: &[Stream],
    process: &Process,
    clock: &Clock,
    foreign: bool,
    deadline: Option<Instant>,
) -> (Recovered, Result<()>) {
    let mut total = Recovered::default();
    let mut outcome = Ok(());
    let (mut held, mut unsynced) = (Vec::new(), Vec::new());
    let strangers = if foreign { Strangers::Gone } else { Strangers::Keep };
    for stream in streams {
        if is_over(deadline) {
            break;
        }
        let attempt = Owner::acquire_from(&lock_path(directory, stream), process, Purpose::Recover, strangers);
        let recovered = attempt.and_then(|attempt| match attempt {
            Attempt::Taken(owner) => {
                let recovered = bring_back(directory, stream, process, clock, foreign);
                held.push(owner);
                recovered
            }
            Attempt::Held(_) => Ok((Recovered::default(), None)),
        });
        match recovered {
            Ok((recovered, left)) => {
                total.add(&recovered);
                unsynced.extend(left);
            }
            Err(error) => outcome = outcome.and(Err(error)),
        }
    }
    if !unsynced.is_empty() {
        outcome = outcome.and(Unsynced::settle(directory, &unsynced));
    }
    drop(held);
    (total, outcome)
}
