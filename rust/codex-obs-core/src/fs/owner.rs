//! Whose files are ours. A mount may show another owner than the process that made a file (NFS with `root_squash`, bindfs),
//! so what counts is the owner of a file that was made there just now.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags, Stat};

use super::descriptor;
use super::folder::{Access, Place};
use crate::error::{Error, Result};

/// Owners that a file system shows for files of ours.
static SHOWN: Mutex<Vec<Shown>> = Mutex::new(Vec::new());

/// Attempts to find a name for a file that nobody else has.
const ATTEMPTS: u32 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shown {
    device: u64,
    /// Who the process is.
    process: u32,
    /// Who it is there.
    owner: u32,
}

/// Refuses what lies at `path` if it belongs to someone else.
pub(super) fn require(path: &Path, found: &Stat) -> Result<()> {
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

/// Device and owner of a file made in `folder`, which is removed again; `None` where none can be made.
fn probe(folder: &Path) -> Option<(u64, u32)> {
    (0..ATTEMPTS).find_map(|_| {
        let path = folder.join(format!(".codex_obs-owner-{:016x}", random()?));
        let place = Place::of(&path, Access::Write).ok()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = descriptor::open(place.folder(), place.name(), flags, Mode::RUSR | Mode::WUSR).ok()?;
        let found = rustix::fs::fstat(&file);
        let _ = rustix::fs::unlinkat(place.folder(), place.name(), AtFlags::empty());
        found.ok().map(|found| (found.st_dev, found.st_uid))
    })
}

fn random() -> Option<u64> {
    let mut bytes = [0; 8];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    (filled == Ok(bytes.len())).then(|| u64::from_ne_bytes(bytes))
}
