//! Which stream a process writes, and the recovery of streams whose writers are gone.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::lock::{Attempt, Owner, Purpose};
use crate::paths::{Stream, lock_path};
use crate::process::Process;
use crate::recovery::stream::{Recovered, recover};

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
