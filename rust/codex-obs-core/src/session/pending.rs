//! Journals of dead writers, brought back for a reader: on disk where that is allowed, else in memory.

use std::path::Path;

use super::claim::{self, journals};
use crate::clock::Clock;
use crate::encode::row::RowEncoder;
use crate::error::Result;
use crate::fs::FileId;
use crate::journal::cursor::{self, Cursor};
use crate::journal::identity::Process;
use crate::journal::memory::Backing;
use crate::journal::owner;
use crate::journal::ring::Ring;
use crate::shard::name::Stream;
use crate::worker::files::FileKind;
use crate::worker::recover::{Distance, Recovered, journal_path};
use crate::worker::replay;

/// What a journal adds to the shards of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The stream.
    pub stream: Stream,
    /// Bytes of this file behind this length belong to an append that was not finished.
    pub cut: Option<(FileId, u64)>,
    /// Lines that stand behind the newest shard.
    pub tail: Vec<u8>,
    /// How many they are.
    pub rows: u64,
}

/// Recovers `directory` as far as it may be written. What cannot be written comes back as [`Pending`].
///
/// # Errors
/// If a journal cannot even be read.
pub fn recover_for_reading(directory: &Path, clock: &Clock) -> Result<(Recovered, Vec<Pending>)> {
    if journals(directory)?.is_empty() {
        return Ok((Recovered::default(), Vec::new()));
    }
    let process = Process::current();
    // An error means that a journal is left, which is looked at below.
    let recovered = claim::recover_all(directory, None, &process, clock, false).unwrap_or_default();
    let mut pending = Vec::new();
    for stream in journals(directory)? {
        pending.extend(read(directory, &stream, &process)?);
    }
    Ok((recovered, pending))
}

/// What the journal of `stream` would add, unless its writer lives or is of another machine.
fn read(directory: &Path, stream: &Stream, observer: &Process) -> Result<Option<Pending>> {
    if owner::is_held(&claim::lock_path(directory, stream), observer) {
        return Ok(None);
    }
    let path = journal_path(directory, stream);
    let file = match crate::fs::open_read(&path) {
        Ok(file) => file,
        Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => return Ok(None),
        Err(error) => return Err(error),
    };
    // Mirrored: the file is copied into memory of our own and not written unless asked to.
    let Ok(Some((ring, identity))) = Ring::attach(file, &path, Backing::Mirrored) else { return Ok(None) };
    let mut pending = Pending { stream: stream.clone(), cut: None, tail: Vec::new(), rows: 0 };
    match Distance::of(&identity.process, observer) {
        Distance::Foreign => return Ok(None),
        Distance::Machine => {
            let missing = replay::missing(directory, stream, &ring, &identity)?;
            for line in missing.iter().filter(|line| line.kind == FileKind::Metrics) {
                pending.tail.extend_from_slice(&line.bytes);
                pending.rows += 1;
            }
        }
        Distance::Boot if !cursor::is_sound(ring.memory()) => return Ok(None),
        Distance::Boot => {
            let intent = cursor::unfinished(ring.memory());
            let extents = intent.into_iter().flat_map(|intent| intent.extents).flatten();
            let metrics = extents.into_iter().find(|extent| extent.file == FileKind::Metrics as u64);
            pending.cut = metrics.map(|extent| (extent.id, extent.length));
            encode(&ring, &mut RowEncoder::new(&identity.run_id, identity.legacy), &mut pending);
        }
    }
    Ok(Some(pending))
}

/// The metric rows behind the cursor.
fn encode(ring: &Ring, encoder: &mut RowEncoder, pending: &mut Pending) {
    let mut manifest = Vec::new();
    let mut at: Cursor = cursor::current(ring.memory());
    while let Some((frame, next)) = ring.frame(&mut at) {
        if let Some(call) = frame.metrics() {
            encoder.call(&call);
            for (name, value) in call.rows().skip(at.rows as usize) {
                manifest.clear();
                encoder.row(name, &value, &mut pending.tail, &mut manifest);
                pending.rows += 1;
            }
        }
        at = next;
    }
}
