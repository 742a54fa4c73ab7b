//! The journal's own file, which somebody may delete, replace or truncate while the run is open.

use std::path::Path;

use super::Drain;
#[cfg(not(loom))]
use crate::error::Result;
#[cfg(not(loom))]
use crate::fs::FileId;

impl Drain {
    /// Makes the journal anew at `path` if it is no longer there, or not whole. Gives whether rows that wait survive this process.
    #[cfg(not(loom))]
    pub fn keep_journal(&mut self, path: &Path) -> bool {
        // What cannot be looked at is not known to be gone.
        if self.ring.is_in_place(path).unwrap_or(true) {
            return true;
        }
        // Without the words that say so, nobody could tell how much of what is owed has arrived.
        if self.owed.is_some() && !self.ring.has_words() {
            return false;
        }
        let is_whole = self.ring.is_whole();
        let outcome = self.renew_journal(path, is_whole);
        let is_renewed = outcome.is_ok();
        self.reporting.stats.journal_errors.add(1);
        self.reporting.warnings.push("renewed", || {
            let path = path.display();
            let harm = if is_whole { "was deleted" } else { "was truncated" };
            match outcome {
                Ok(()) => format!("{path} {harm} under the open run and was created again: waiting rows are safe"),
                Err(error) => format!(
                    "{path} {harm} under the open run and cannot be created again ({error}): waiting rows would be lost if \
                     this process were killed now"
                ),
            }
        });
        is_renewed
    }

    #[cfg(not(loom))]
    fn renew_journal(&mut self, path: &Path, is_whole: bool) -> Result<()> {
        if is_whole && FileId::at(path)?.is_some() {
            // A copy that was put there, or a stranger's: kept, but nobody is to recover from it.
            crate::journal::aside::set_aside(path)?;
        }
        // Frames from before are not to be trusted then, however whole the new file is.
        self.is_lost |= self.ring.renew(path, self.cursor)?;
        Ok(())
    }

    /// There is no file in a model.
    #[cfg(loom)]
    pub fn keep_journal(&mut self, _path: &Path) -> bool {
        true
    }
}
