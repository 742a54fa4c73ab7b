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
    let offset = match base.symlink_metadata() {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(source) => return Err(Error::io("examine", &base, source)),
    };
    Ok(Place { shard: Shards::of(&base)?.current(), offset })
}

/// Where the streams other than `own` stand that nobody writes.
///
/// # Errors
/// If the files cannot be looked at.
pub fn ended(directory: &Path, own: &Stream) -> Result<BTreeMap<String, Place>> {
    let mut ended = BTreeMap::new();
    for stream in Snapshot::streams(directory)? {
        if stream != *own && !is_written(directory, &stream) {
            let place = end(directory, &stream)?;
            // Somebody may have taken the stream since. Then its own start record says where it begins.
            if !is_written(directory, &stream) {
                ended.insert(stream.to_string(), place);
            }
        }
    }
    Ok(ended)
}
