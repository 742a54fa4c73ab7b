//! Where in the metrics a session begins, and where streams that have ended stand.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Error, Result};
use crate::paths::{FileKind, Stream};
use crate::recovery::run::is_written;
use crate::run::records::Place;
use crate::scan::Snapshot;
use crate::shard::ordinal::Shards;

/// The end of the metrics of `stream` as it is now.
///
/// # Errors
/// If the files cannot be looked at.
pub fn end(directory: &Path, stream: &Stream) -> Result<Place> {
    let base = FileKind::Metrics.path(directory, stream);
    let offset = length(&base)?;
    Ok(Place { shard: Shards::of(&base)?.current(), offset })
}

fn length(base: &Path) -> Result<u64> {
    match base.symlink_metadata() {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(source) => Err(Error::io("examine", base, source)),
    }
}

/// Where the streams other than `own` stand that nobody writes.
///
/// # Errors
/// If the files cannot be looked at.
pub fn ended(directory: &Path, own: &Stream) -> Result<BTreeMap<String, Place>> {
    let mut streams = Snapshot::streams(directory)?;
    streams.retain(|stream| stream != own && !is_written(directory, stream));
    let bases: Vec<_> = streams.iter().map(|stream| FileKind::Metrics.path(directory, stream)).collect();
    let mut ended = BTreeMap::new();
    // One look at the names for all streams: there may be thousands.
    for (stream, (base, shards)) in streams.iter().zip(bases.iter().zip(Shards::of_all(directory, &bases)?)) {
        let place = Place { shard: shards.current(), offset: length(base)? };
        // Somebody may have taken the stream since. Then its own start record says where it begins.
        if !is_written(directory, stream) {
            ended.insert(stream.to_string(), place);
        }
    }
    Ok(ended)
}
