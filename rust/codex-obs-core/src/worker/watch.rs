//! The names of a stream's lock and journal. Somebody may delete them, or the whole folder of internals, under an open run: then
//! another process could take the stream, and rows that wait would die with this one.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::drain::Drain;
use super::tenure::Tenure;

/// Time between two looks while nothing is written: rows that are logged later than this are in a journal that has its name.
const PAUSE: Duration = Duration::from_millis(100);
/// A journal that could not be made anew is tried again after this long.
const RETRY: Duration = Duration::from_secs(1);

/// Looks at the names and has made anew what is gone.
#[derive(Debug)]
pub struct Watch {
    journal: PathBuf,
    /// Up to where everything was written at the last look, and when that was.
    last: Option<(u64, Instant)>,
    no_renewal_before: Option<Instant>,
}

impl Watch {
    /// A watch over the journal at `path`, and over the lock beside it.
    #[must_use]
    pub fn over(path: &Path) -> Self {
        Self { journal: path.to_owned(), last: None, no_renewal_before: None }
    }

    /// Looks, after each batch and now and then between.
    pub fn look(&mut self, tenure: &Tenure, drain: &mut Drain) {
        let (position, now) = (drain.position(), Instant::now());
        if self.last.is_some_and(|(last, time)| last == position && now.duration_since(time) < PAUSE) {
            return;
        }
        self.last = Some((position, now));
        // The names of a stream that another process has taken are that one's.
        if tenure.look() && self.no_renewal_before.is_none_or(|time| now >= time) {
            let is_safe = drain.keep_journal(&self.journal);
            self.no_renewal_before = (!is_safe).then(|| now + RETRY);
        }
    }
}
