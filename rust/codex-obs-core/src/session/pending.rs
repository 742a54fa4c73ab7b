//! Journals of dead writers, brought back for a reader: on disk where that is allowed, else as they are read.

use std::path::Path;
use std::sync::Arc;

use super::claim::{self, journals};
use crate::clock::Clock;
use crate::encode::row::RowEncoder;
use crate::error::{Error, Result};
use crate::fs::FileId;
use crate::journal::cursor::{self, Cursor};
use crate::journal::identity::Process;
use crate::journal::owner;
use crate::journal::ring::Ring;
use crate::shard::name::Stream;
use crate::worker::files::FileKind;
use crate::worker::owed::Owed;
use crate::worker::recover::{Distance, Recovered, belongs, journal_path};
use crate::worker::replay::{Frames, Missing};

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
}

impl PartialEq for Pending {
    fn eq(&self, other: &Self) -> bool {
        (&self.stream, self.cut, self.rows, self.tail.begin())
            == (&other.stream, other.cut, other.rows, other.tail.begin())
    }
}

/// Recovers `directory` as far as it may be written. What cannot be written comes back as [`Pending`].
///
/// # Errors
/// If a journal cannot even be read.
pub fn recover_for_reading(directory: &Path, clock: &Clock) -> Result<(Recovered, Vec<Pending>)> {
    match journals(directory) {
        Ok(streams) if !streams.is_empty() => {}
        Err(error) if !is_denied(&error) => return Err(error),
        // Another user's, who lets others read the log alone.
        outcome => {
            let journals_unreadable = outcome.is_err().into();
            return Ok((Recovered { journals_unreadable, ..Recovered::default() }, Vec::new()));
        }
    }
    let process = Process::current();
    // An error means that a journal is left, which is looked at below.
    let mut recovered = claim::recover_all(directory, None, &process, clock, false).unwrap_or_default();
    let mut pending = Vec::new();
    for stream in journals(directory)? {
        match read(directory, &stream, &process) {
            Err(error) if is_denied(&error) => recovered.journals_unreadable += 1,
            outcome => pending.extend(outcome?),
        }
    }
    Ok((recovered, pending))
}

fn is_denied(error: &Error) -> bool {
    error.io_kind() == Some(std::io::ErrorKind::PermissionDenied)
}

/// What the journal of `stream` would add, unless its writer lives or is of another machine.
fn read(directory: &Path, stream: &Stream, observer: &Process) -> Result<Option<Pending>> {
    let path = journal_path(directory, stream);
    // Who may not read it cannot see either whether its writer lives.
    if let Err(error) = crate::fs::open_read(&path)
        && is_denied(&error)
    {
        return Err(error);
    }
    if owner::is_held(&claim::lock_path(directory, stream), observer) {
        return Ok(None);
    }
    let file = match crate::fs::open_read(&path) {
        Ok(file) => file,
        Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => return Ok(None),
        Err(error) => return Err(error),
    };
    // The file is copied into memory of our own and not written unless asked to.
    let Ok(Some((ring, identity))) = Ring::attach(file, &path) else { return Ok(None) };
    if !belongs(&identity, directory, stream) {
        return Ok(None);
    }
    let ring = Arc::new(ring);
    let (mut cut, mut from) = (None, Cursor::default());
    let mut is_trusted = false;
    match Distance::of(&identity.process, observer) {
        Distance::Foreign => return Ok(None),
        Distance::Machine => {}
        // Of a cursor that cannot be believed, or a copy, the files say how far it was.
        Distance::Boot if !ring.is_sound() || ring.is_copy() => {}
        Distance::Boot => {
            from = cursor::current(ring.memory());
            is_trusted = true;
            if let Some(intent) = cursor::unfinished(ring.memory()) {
                let mut encoder = RowEncoder::new(&identity.run_id, identity.legacy);
                let owed = Owed::again(&ring, from, &intent, &mut encoder);
                is_trusted = owed.map_or(Ok(false), |owed| owed.fits(directory, stream))?;
                let extents = intent.extents.into_iter().flatten();
                let metrics = extents.filter(|extent| extent.file == FileKind::Metrics as u64).next();
                cut = metrics.filter(|_| is_trusted).map(|extent| (extent.id, extent.length));
            }
        }
    }
    let frames = Arc::new(Frames::new(&ring, &identity, from));
    let tail = if is_trusted {
        Missing::all(&frames, FileKind::Metrics)
    } else {
        Missing::find(&frames, FileKind::Metrics, directory, stream)?
    };
    Ok(Some(Pending { stream: stream.clone(), cut, rows: tail.count(), tail }))
}
