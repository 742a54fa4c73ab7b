//! Which stream a process writes, and the recovery of streams whose writers are gone.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::journal::identity::Process;
use crate::journal::owner::{Attempt, Owner, Purpose, Strangers};
use crate::shard::name::Stream;
use crate::shard::tail::INTERNALS;
use crate::worker::recover::{Recovered, bring_back, journal_path, recover};
use crate::worker::unsynced::Unsynced;

/// Longest wait for a recovery of the stream by another process.
const RECOVERY_WAIT: Duration = Duration::from_secs(10);
const RECOVERY_LOOK: Duration = Duration::from_millis(2);

/// A stream that belongs to this process until `owner` is dropped.
#[derive(Debug)]
pub struct Claim {
    /// The stream.
    pub stream: Stream,
    /// Its lock.
    pub owner: Owner,
    /// What an earlier owner had left.
    pub recovered: Recovered,
}

/// Which stream a process asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seat {
    /// The main stream and no other.
    Main,
    /// That of its rank, else one of its own.
    Rank,
    /// One of its own: the rank's belongs to the process that it helps, even if that has not taken it yet.
    Process,
}

/// Takes a stream of `seat` and recovers what its last owner left. `None` if the main stream is asked for and not free.
pub(super) fn claim(
    directory: &Path,
    seat: Seat,
    rank: u64,
    process: &Process,
    clock: &Clock,
) -> Result<Option<Claim>> {
    let first = (seat != Seat::Process).then(|| Stream::of_rank(rank));
    let own = (0..).map(|attempt| Stream::of_process(rank, process.pid, attempt));
    for stream in first.into_iter().chain(own.take_while(|_| seat != Seat::Main)) {
        let Some(owner) = acquire_to_write(&lock_path(directory, &stream), process)? else { continue };
        let recovered = recover(directory, &stream, process, clock, false)?;
        // The journal of another machine stays until someone says that no writer lives there.
        if recovered.journals_foreign == 0 {
            return Ok(Some(Claim { stream, owner, recovered }));
        }
    }
    Ok(None)
}

/// No stream could be taken.
pub(super) fn nothing_free(directory: &Path) -> Error {
    Error::conflict(format!("no stream is free in {}", directory.display()))
}

/// Takes a lock to write. A recovery by someone else is waited for: it would send this process to another stream.
fn acquire_to_write(path: &Path, process: &Process) -> Result<Option<Owner>> {
    let deadline = Instant::now() + RECOVERY_WAIT;
    loop {
        match Owner::acquire(path, process, Purpose::Write)? {
            Attempt::Taken(owner) => return Ok(Some(owner)),
            Attempt::Held(Purpose::Recover) if Instant::now() < deadline => std::thread::sleep(RECOVERY_LOOK),
            Attempt::Held(_) => return Ok(None),
        }
    }
}

/// Recoveries that are synced together: each holds a lock and some files meanwhile.
pub(super) const TOGETHER: usize = 16;

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
    let mut streams = journals(directory)?;
    streams.retain(|stream| Some(stream) != own);
    for some in streams.chunks(TOGETHER) {
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            break;
        }
        match recover_some(directory, some, process, clock, foreign) {
            (recovered, Ok(())) => total.add(&recovered),
            (recovered, failed) => {
                total.add(&recovered);
                outcome = outcome.and(failed);
            }
        }
    }
    outcome.map(|()| total)
}

/// Recovers some streams and syncs them together.
fn recover_some(
    directory: &Path,
    streams: &[Stream],
    process: &Process,
    clock: &Clock,
    foreign: bool,
) -> (Recovered, Result<()>) {
    let mut total = Recovered::default();
    let mut outcome = Ok(());
    let (mut held, mut unsynced) = (Vec::new(), Vec::new());
    let strangers = if foreign { Strangers::Gone } else { Strangers::Keep };
    for stream in streams {
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
        outcome = outcome.and(Unsynced::settle(directory, unsynced));
    }
    drop(held);
    (total, outcome)
}

/// Recovers `stream` if its writer is gone. What cannot be done now is left to whoever comes next.
pub(super) fn recover_one(directory: &Path, stream: &Stream, process: &Process, clock: &Clock) -> Recovered {
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
        let stream = name.to_str().and_then(|name| name.strip_prefix("journal-")).and_then(Stream::parse);
        streams.extend(stream);
    }
    streams.sort();
    Ok(streams)
}

/// The lock of `stream`.
pub(super) fn lock_path(directory: &Path, stream: &Stream) -> PathBuf {
    directory.join(INTERNALS).join(format!("lock-{stream}"))
}
