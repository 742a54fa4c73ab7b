//! Whose files are ours. A mount may show another owner than the process that made a file (NFS with `root_squash`, bindfs),
//! so what counts is the owner of a file that was made there just now.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::Stat;

use crate::error::{Error, Result};

/// Owners that a file system shows for files of ours.
static SHOWN: Mutex<Vec<Shown>> = Mutex::new(Vec::new());

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shown {
    device: u64,
    /// Who the process is.
    process: u32,
    /// Who it is there.
    owner: u32,
}

/// Refuses what lies at `path` if it belongs to someone else. `probe` gives device and owner of a file made in a folder for a
/// moment, if one can be made.
pub(super) fn require(path: &Path, found: &Stat, probe: impl Fn(&Path) -> Option<(u64, u32)>) -> Result<()> {
    let process = rustix::process::geteuid().as_raw();
    if found.st_uid == process {
        return Ok(());
    }
    let shown = Shown { device: found.st_dev, process, owner: found.st_uid };
    let known = || SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if known().contains(&shown) {
        return Ok(());
    }
    // A refusal is not kept: it is rare, and a file system may be mounted anew with other rules.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if probe(parent) == Some((shown.device, shown.owner)) {
        known().push(shown);
        return Ok(());
    }
    Err(Error::not_ours(path, "it belongs to another user"))
}
