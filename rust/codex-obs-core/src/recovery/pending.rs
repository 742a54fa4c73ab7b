//! Journals of dead writers, brought back for a reader: on disk where that is allowed, else as they are read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use super::run::journals;
use crate::clock::Clock;
use crate::encode::row::RowEncoder;
use crate::error::{Error, Result};
use crate::fs::FileId;
use crate::journal::cursor;
use crate::journal::distance::Distance;
use crate::journal::ring::{Ring, gap};
use crate::lock::{self, Attempt, Owner, Patience, Purpose, Strangers};
use crate::paths::{FileKind, Stream, journal_path, lock_path};
use crate::process::Process;
use crate::recovery::belief::believed;
use crate::recovery::replay::{Frames, Missing};
use crate::recovery::stream::{Recovered, belongs, bring_back};
use crate::recovery::unsynced::{Unsynced, together};
use crate::worker::owed::Owed;

/// What a journal adds to the shards of a stream.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The stream.
    pub stream: Stream,
    /// Bytes of this file behind this length belong to an append that was not finished.
    pub cut: Option<(FileId, u64)>,
    /// Lines that stand behind the newest shard.
    pub tail: Missing,
    /// How many they are.
    pub rows: u64,
    /// Frames of the journal that cannot be read, and rows in them that the files lack.
    pub lost: (u64, u64),
}

impl PartialEq for Pending {
    fn eq(&self, other: &Self) -> bool {
        (&self.stream, self.cut, self.rows, self.tail.begin())
            == (&other.stream, other.cut, other.rows, other.tail.begin())
    }
}

/// What a reader finds in the journals of a run.
#[derive(Debug, Default)]
pub struct Found {
    /// What was brought back on disk.
    pub recovered: Recovered,
    /// What could not be, as lines.
    pub pending: Vec<Pending>,
    /// Journals whose rows cannot be had, and why.
    pub lost_sight: Vec<(PathBuf, Why)>,
    /// Whether a process that is stuck kept this one from recovering what it could.
    pub stuck: bool,
}

/// Why a reader does not get at the rows of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is of another machine, whose process may live.
    Foreign,
    /// Another process recovers it and makes no progress.
    Recovering,
    /// It cannot be read: a word about that.
    Unreadable(String),
}

/// Longest wait of a reader for processes that take locks or recover, all together.
pub const READER_WAIT: Duration = Duration::from_secs(2);
const RECOVERY_LOOK: Duration = Duration::from_millis(2);

/// Recovers `directory` as far as it may be written. What cannot be written comes back as [`Pending`].
///
/// # Errors
/// If the files of the run cannot be read.
pub fn recover_for_reading(directory: &Path, clock: &Clock) -> Result<(Recovered, Vec<Pending>)> {
    let found = look(directory, FileKind::Metrics, clock, &Patience::of(READER_WAIT))?;
    Ok((found.recovered, found.pending))
}

/// As [`recover_for_reading`], with all that a reader of the log `kind` should hear of, and for no longer than `patience` says.
///
/// # Errors
/// As [`recover_for_reading`].
pub fn look(directory: &Path, kind: FileKind, clock: &Clock, patience: &Patience) -> Result<Found> {
    let mut found = Found::default();
    // Opened once for all of them; where it cannot be, the first look says so.
    let _folder = crate::fs::RunFolder::open(directory);
    let streams = match journals(directory) {
        Ok(streams) => streams,
        // Another user's, who lets others read the log alone.
        Err(error) if is_denied(&error) => {
            found.recovered.journals_unreadable = 1;
            return Ok(found);
        }
        Err(error) => return Err(error),
    };
    if streams.is_empty() {
        return Ok(found);
    }
    let process = Process::current();
    let (mut begun, together) = (Vec::new(), together());
    for stream in &streams {
        if patience.is_stopped() {
            break;
        }
        begun.extend(recover_one(directory, stream, &process, clock, patience, &mut found));
        if begun.len() >= together {
            settle(directory, std::mem::take(&mut begun));
        }
    }
    settle(directory, begun);
    if patience.is_stopped() {
        return Ok(found);
    }
    for stream in journals(directory)? {
        match read(directory, &stream, kind, &process, patience)? {
            Seen::Nothing => {}
            Seen::Rows(pending) => found.pending.push(pending),
            Seen::Denied => found.recovered.journals_unreadable += 1,
            Seen::LostSight(why) => found.lost_sight.push((journal_path(directory, &stream), why)),
        }
    }
    found.stuck &= !found.pending.is_empty();
    Ok(found)
}

/// Syncs recoveries and frees their streams. What cannot be synced is in the files, and its journal is left for the next one.
fn settle(directory: &Path, begun: Vec<(Owner, Unsynced)>) {
    let (held, unsynced): (Vec<_>, Vec<_>) = begun.into_iter().unzip();
    if !unsynced.is_empty() {
        let _ = Unsynced::settle(directory, &unsynced);
    }
    drop(held);
}

/// Recovers a stream whose writer is gone, unless another process does so. What is to be synced comes with the lock. An error
/// means that a journal is left, which is read then.
fn recover_one(
    directory: &Path,
    stream: &Stream,
    process: &Process,
    clock: &Clock,
    patience: &Patience,
    found: &mut Found,
) -> Option<(Owner, Unsynced)> {
    let path = lock_path(directory, stream);
    loop {
        match Owner::acquire_within(&path, process, Purpose::Recover, Strangers::Keep, patience) {
            Ok(Attempt::Taken(held)) => {
                let (recovered, unsynced) = bring_back(directory, stream, process, clock, false).ok()?;
                found.recovered.add(&recovered);
                return unsynced.map(|unsynced| (held, unsynced));
            }
            Ok(Attempt::Held(Purpose::Recover)) if !patience.is_over() => std::thread::sleep(RECOVERY_LOOK),
            Ok(Attempt::Held(_)) => return None,
            Err(error) => {
                found.stuck |= error.io_kind() == Some(io::ErrorKind::TimedOut);
                return None;
            }
        }
    }
}

/// Whether a process writes `stream` of the run in `directory`, as far as can be told without waiting for others that look or take locks.
#[must_use]
pub fn is_written_now(directory: &Path, stream: &Stream) -> bool {
    let at_once = Patience::of(Duration::ZERO);
    lock::is_held_within(&lock_path(directory, stream), &Process::current(), &at_once)
}

/// What a journal that is left has for a reader.
enum Seen {
    Nothing,
    Rows(Pending),
    LostSight(Why),
    /// Another user's, and not for others to read.
    Denied,
}

fn is_denied(error: &Error) -> bool {
    error.io_kind() == Some(io::ErrorKind::PermissionDenied)
}

/// What the journal of `stream` would add to the log `kind`, unless its writer lives or is of another machine.
fn read(directory: &Path, stream: &Stream, kind: FileKind, observer: &Process, patience: &Patience) -> Result<Seen> {
    let path = journal_path(directory, stream);
    // Who may not read it cannot see either whether its writer lives.
    if crate::fs::open_read(&path).is_err_and(|error| is_denied(&error)) {
        return Ok(Seen::Denied);
    }
    let lock = lock_path(directory, stream);
    if lock::is_held_within(&lock, observer, patience) {
        return Ok(match lock::held_for(&lock) {
            Purpose::Recover => Seen::LostSight(Why::Recovering),
            Purpose::Write => Seen::Nothing,
        });
    }
    let file = match crate::fs::open_read(&path) {
        Ok(file) => file,
        Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => return Ok(Seen::Nothing),
        Err(error) => return Ok(Seen::LostSight(Why::Unreadable(error.to_string()))),
    };
    // The file is copied into memory of our own and not written unless asked to.
    let (ring, identity) = match Ring::attach(file, &path) {
        Ok(Some(journal)) => journal,
        Ok(None) => return Ok(Seen::Nothing),
        Err(error) => return Ok(Seen::LostSight(Why::Unreadable(error.to_string()))),
    };
    if !belongs(&identity, directory, stream) {
        return Ok(Seen::LostSight(Why::Unreadable("it is of another run or stream".to_owned())));
    }
    let ring = Arc::new(ring);
    let distance = Distance::of(&identity.process, observer);
    if distance == Distance::Foreign {
        return Ok(Seen::LostSight(Why::Foreign));
    }
    let mut cut = None;
    // Where the cursor is not believed, the files say how far it was.
    let believed = believed(&ring, &identity, distance, directory, stream)?;
    let (from, mut is_trusted) = (believed.unwrap_or_default(), believed.is_some());
    if let Some(intent) = cursor::unfinished(ring.memory()).filter(|_| is_trusted) {
        let mut encoder = RowEncoder::new(&identity.run_id, identity.legacy);
        let owed = Owed::again(&ring, from, &intent, &mut encoder);
        is_trusted = owed.map_or(Ok(false), |owed| owed.fits(directory, stream))?;
        let mut extents = intent.extents.into_iter().flatten();
        let own = extents.find(|extent| extent.file == kind as u64);
        cut = own.filter(|_| is_trusted).map(|extent| (extent.id, extent.length));
    }
    let frames = Arc::new(Frames::new(&ring, &identity, from));
    let tail = if is_trusted { Missing::all(&frames, kind) } else { Missing::find(&frames, kind, directory, stream)? };
    let lost = match kind {
        _ if is_trusted => gap::lost(ring.gaps()),
        FileKind::Metrics => tail.lost(),
        // Other files do not say how many rows there were.
        _ => (0, 0),
    };
    Ok(Seen::Rows(Pending { stream: stream.clone(), cut, rows: tail.count(), tail, lost }))
}
