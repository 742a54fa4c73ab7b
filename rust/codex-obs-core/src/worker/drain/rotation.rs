//! Rotation between two batches, and who hears of it.

use std::time::{Duration, Instant};

use super::Drain;
use crate::fs::FileId;
use crate::paths::FileKind;

/// A rotation that failed is tried again after this long; rows go to the old shard meanwhile.
const ROTATION_RETRY: Duration = Duration::from_secs(1);

impl Drain {
    pub(super) fn may_rotate(&self) -> bool {
        self.no_rotation_before.is_none_or(|time| Instant::now() >= time)
    }

    /// Rotates a file between two batches. If that fails the shard grows on, which loses nothing.
    pub(super) fn rotate(&mut self, kind: FileKind) {
        let outgoing = self.files.get(kind).file();
        let id = self.files.get(kind).extent().map(|(id, _)| id);
        if let Some(packer) = &self.reporting.packer {
            packer.announce();
        }
        match self.files.get(kind).rotate() {
            Ok(()) => {
                self.note_passed(kind, id);
                self.no_rotation_before = None;
                self.reporting.stats.rotations.add(1);
                if !self.rotated.contains(&kind) {
                    self.rotated.push(kind);
                }
                if let (Some(syncer), Some(file)) = (&self.reporting.syncer, outgoing) {
                    syncer.note(file);
                }
                self.note_folder(kind);
            }
            Err(error) => {
                self.no_rotation_before = Some(Instant::now() + ROTATION_RETRY);
                self.reporting.stats.rotation_errors.add(1);
                self.reporting
                    .warnings
                    .push("rotation", || format!("{error}; the shard keeps growing until rotation works again"));
            }
        }
    }

    /// Says that the rows before the cursor are in the file `id`, which nothing is appended to any more, or in older ones.
    pub(super) fn note_passed(&self, kind: FileKind, id: Option<FileId>) {
        if let (Some(passed), Some(id)) = (&self.reporting.passed, id) {
            passed.note(kind, id, self.cursor);
        }
    }

    /// The kinds of files that were rotated since this was last asked.
    #[must_use]
    pub fn take_rotated(&mut self) -> Vec<FileKind> {
        std::mem::take(&mut self.rotated)
    }

    pub(super) fn note_folder(&mut self, kind: FileKind) {
        if let (Some(syncer), Some(folder)) = (&self.reporting.syncer, self.files.get(kind).path().parent()) {
            syncer.note_folder(folder.to_owned());
        }
    }
}
