//! Recovered files on their way to the disk. A journal is deleted once its rows are there; for many journals that takes hardly
//! longer than for one.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Result;
use crate::fs::Held;
use crate::paths::FileKind;
use crate::worker::files::Files;

/// What one journal's recovery has appended to, and the journal.
#[derive(Debug)]
pub struct Unsynced {
    journal: PathBuf,
    files: Vec<(Arc<Held>, PathBuf)>,
}

impl Unsynced {
    /// The files that are open in `files`, from the journal at `journal`.
    #[must_use]
    pub fn of(files: &mut Files, journal: &Path) -> Self {
        let open = FileKind::ALL.into_iter().filter_map(|kind| {
            let writer = files.get(kind);
            writer.file().map(|file| (file, writer.path().to_owned()))
        });
        Self { files: open.collect(), journal: journal.to_owned() }
    }

    /// Syncs what the recoveries `all` in the run directory `directory` have left, and deletes their journals. The locks of the
    /// streams are still held.
    ///
    /// # Errors
    /// The first one. Journals whose files are not known to be on the disk are kept.
    pub fn settle(directory: &Path, all: Vec<Self>) -> Result<()> {
        if all.len() > 1 {
            // The disk begins with all of them, so that the first wait is for the others too.
            for (file, _) in all.iter().flat_map(|unsynced| &unsynced.files) {
                begin_writing(file);
            }
        }
        let mut outcome = Ok(());
        let mut journals = Vec::new();
        for unsynced in all {
            let synced: Result<()> =
                unsynced.files.iter().try_for_each(|(file, path)| crate::fs::sync_file(file, path));
            match synced {
                Ok(()) => journals.push(unsynced.journal),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        crate::fs::sync_folder(directory)?;
        for journal in journals {
            outcome = outcome.and(crate::fs::remove(&journal));
        }
        outcome
    }
}

fn begin_writing(file: &Held) {
    // SAFETY: a system call on an open descriptor. What it cannot do, the sync does.
    let _ = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}
