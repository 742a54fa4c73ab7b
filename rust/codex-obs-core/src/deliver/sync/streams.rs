//! Which streams are delivered.

use std::path::Path;

use crate::deliver::destination::Follows;
use crate::deliver::settings::DeliverySettings;
use crate::error::{Error, Result};
use crate::fs;
use crate::paths::{FileKind, Stream};
use crate::problem::Problem;
use crate::scan::Snapshot;

/// The streams to deliver, which are some: those with rows, the first one the main one where there is one, and those that have
/// nothing but samples of a machine.
pub(super) fn streams(directory: &Path, settings: &DeliverySettings, follows: Follows) -> Result<Vec<Stream>> {
    let (mut found, others): (Vec<_>, Vec<_>) =
        Snapshot::streams(directory)?.into_iter().partition(|stream| settings.includes(stream));
    if !found.is_empty() {
        if follows.samples {
            let names = fs::list(directory)?;
            let sampled = names.iter().filter_map(|name| FileKind::Samples.stream_of(name.to_str()?));
            let mut sampled: Vec<_> =
                sampled.filter(|stream| !found.contains(stream) && !others.contains(stream)).collect();
            sampled.sort();
            found.extend(sampled);
        }
        return Ok(found);
    }
    let directory = directory.display();
    Err(Error::no_log(match others.first() {
        None => Problem::from(format!("{directory} holds no metrics to deliver")),
        Some(other) => {
            let what = format!("{directory} holds no metrics of the main stream, only of others such as {other}");
            Problem::new("other_streams", what, Vec::new())
        }
    }))
}
