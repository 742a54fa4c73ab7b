//! What the files of a run look like from outside: if that stays the same, so does what was read from them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::AtFlags;
use xxhash_rust::xxh3::Xxh3;

use super::folders::Folder;
use crate::paths::stream_of_journal;

/// The lock of the main stream.
pub(super) const LOCK_OF_MAIN: &str = "lock-main";
/// A file that was changed less than this before it was looked at may be changed again without a sign of it: the kernel counts times
/// in steps of up to 10 ms, and some file systems in whole seconds.
const STEP_MICROS: i64 = 50_000;
const COARSE_STEP_MICROS: i64 = 2_100_000;

/// A look at a run's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// Names, sizes, times and inodes.
    pub(super) hash: u128,
    /// When a file was changed last, in microseconds since the epoch.
    changed_micros: i64,
    /// Whether times are kept in whole seconds.
    is_coarse: bool,
}

impl Fingerprint {
    /// Of the files that `folder` had when it was listed; `None` if one cannot be looked at, as one that was renamed.
    pub(super) fn of(folder: &Folder) -> Option<Self> {
        let descriptor = folder.descriptor().ok()?;
        let mut hasher = Xxh3::new();
        let (mut changed_micros, mut is_coarse) = (i64::MIN, true);
        hasher.update(&folder.id.device.to_ne_bytes());
        hasher.update(&folder.id.inode.to_ne_bytes());
        for name in &folder.files {
            let found = rustix::fs::statat(descriptor, name, AtFlags::empty()).ok()?;
            hasher.update(name.as_bytes());
            hasher.update(b"\0");
            let times =
                [found.st_mtime as i64, found.st_mtime_nsec as i64, found.st_ctime as i64, found.st_ctime_nsec as i64];
            for number in [found.st_dev as i64, found.st_ino as i64, found.st_size as i64, i64::from(found.st_mode)]
                .iter()
                .chain(&times)
            {
                hasher.update(&number.to_ne_bytes());
            }
            is_coarse &= times[1] == 0 && times[3] == 0;
            for (seconds, nanos) in [(times[0], times[1]), (times[2], times[3])] {
                changed_micros = changed_micros.max(seconds.saturating_mul(1_000_000).saturating_add(nanos / 1000));
            }
        }
        Some(Self { hash: hasher.digest128(), changed_micros, is_coarse })
    }

    /// Whether a change from `now_micros` on shows: each file was left alone for a while.
    pub(super) fn is_settled(self, now_micros: i64) -> bool {
        let step = if self.is_coarse { COARSE_STEP_MICROS } else { STEP_MICROS };
        // Written in the future, by this clock: a change now may get any time.
        self.changed_micros.saturating_add(step) < now_micros
    }
}

/// Whether the names among a run's internals are of neither a journal nor the lock of a main stream: then nobody writes the run, and
/// nothing is to be recovered.
pub(super) fn are_quiet(names: &[OsString]) -> bool {
    !names
        .iter()
        .any(|name| name.to_str().is_some_and(|name| stream_of_journal(name).is_some()) || name == LOCK_OF_MAIN)
}
