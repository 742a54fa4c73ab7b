//! Journals that nobody is to recover from any more: they are kept under another name.

use std::path::Path;

use super::ring::Ring;
use crate::error::Result;
use crate::fs::FileId;
use crate::paths::INTERNALS;

/// Begins the name of a journal that nobody recovers from.
const SET_ASIDE: &str = "damaged-";

/// Gives the journal at `path` a name under which nobody recovers from it.
pub fn set_aside(path: &Path) -> Result<()> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("journal");
    for number in 0..u32::MAX {
        let target = path.with_file_name(format!("{SET_ASIDE}{name}-{number}"));
        if FileId::at(&target)?.is_none() {
            return crate::fs::rename(path, &target);
        }
    }
    Ok(())
}

/// The journals of a run that were [set aside](set_aside), by name, and the rows that waited in each as far as it says so.
#[must_use]
pub fn set_aside_in(directory: &Path) -> Vec<(String, u64)> {
    let internals = directory.join(INTERNALS);
    let mut kept: Vec<_> = crate::fs::list(&internals)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|name| name.into_string().ok().filter(|name| name.starts_with(SET_ASIDE)))
        .map(|name| {
            let path = internals.join(&name);
            let rows = crate::fs::open_read(&path).and_then(|file| Ring::rows_waiting(file, &path));
            (name, rows.unwrap_or(0))
        })
        .collect();
    kept.sort();
    kept
}
