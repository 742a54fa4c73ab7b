//! Whether a found journal's word on how far its rows are in the files is believed.
//!
//! It is true of the files that it was written beside, and of their state when it was left. A journal that was copied, on its own
//! or with its run, speaks of others. The header says which file it was made in. That of the first version does not, but its
//! cursor names the shards that were appended to last, and rows behind its cursor are in no file.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::fs::FileId;
use crate::journal::cursor::{self, Cursor, Extent};
use crate::journal::distance::Distance;
use crate::journal::identity::Identity;
use crate::journal::ring::Ring;
use crate::paths::{Coding, FileKind, Stream, shard_path};
use crate::recovery::replay::{Frames, Missing, ORDER};
use crate::shard::rotate::rotated_numbers;

/// Where the journal of a writer at `distance` is to be read on; `None` if only the files can say how far its rows are in them.
pub fn believed(
    ring: &Arc<Ring>,
    identity: &Identity,
    distance: Distance,
    directory: &Path,
    stream: &Stream,
) -> Result<Option<Cursor>> {
    if distance != Distance::Boot || !ring.is_sound() {
        return Ok(None);
    }
    if ring.is_first() && !ring.is_copy() && is_of_others(ring, identity, directory, stream)? {
        ring.take_for_copy();
    }
    Ok((!ring.is_copy()).then(|| cursor::current(ring.memory())))
}

/// Whether the cursor of a journal of the first version is about other files, or about an earlier state of these.
fn is_of_others(ring: &Arc<Ring>, identity: &Identity, directory: &Path, stream: &Stream) -> Result<bool> {
    let newest = cursor::unfinished(ring.memory()).unwrap_or_else(|| cursor::newest(ring.memory()));
    for extent in newest.extents.into_iter().flatten() {
        if !is_there(&extent, directory, stream)? {
            return Ok(true);
        }
    }
    let frames = Arc::new(Frames::new(ring, identity, newest.after));
    for kind in ORDER {
        if Missing::find(&frames, kind, directory, stream)?.is_any_there() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the file that `extent` names is beside the journal, under its name or a rotated one, and no shorter than noted; also
/// if there is no file of that kind at all, so that nothing can come twice.
fn is_there(extent: &Extent, directory: &Path, stream: &Stream) -> Result<bool> {
    let Some(kind) = FileKind::from_number(extent.file) else { return Ok(false) };
    let base = kind.path(directory, stream);
    let numbers = if kind.rotates() { rotated_numbers(&base)? } else { BTreeSet::new() };
    let rotated = numbers.iter().flat_map(|&number| Coding::ALL.map(|coding| shard_path(&base, number, coding)));
    let mut is_any = false;
    for path in std::iter::once(base.clone()).chain(rotated) {
        let Some(id) = FileId::at(&path)? else { continue };
        is_any = true;
        if id == extent.id {
            let length = path.symlink_metadata().map_or(0, |found| found.len());
            return Ok(length >= extent.length);
        }
    }
    Ok(!is_any)
}
