//! Rotated shards that outlive the count because a destination still needs them.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::name::{Coding, shard_path};
use crate::error::Result;
use crate::fs::{FileId, Held};

/// What of a log is still needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// All of it, as far as is known.
    Everything,
    /// What is behind a place.
    From {
        /// The number of the shard.
        number: u64,
        /// Bytes before the place.
        offset: u64,
    },
    /// Nothing.
    Nothing,
}

impl Need {
    /// What is needed if both are.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Everything, _) | (_, Self::Everything) => Self::Everything,
            (Self::Nothing, need) | (need, Self::Nothing) => need,
            (Self::From { number, offset }, Self::From { number: other_number, offset: other_offset }) => {
                let is_older = (other_number, offset) > (number, other_offset);
                if is_older { other } else { self }
            }
        }
    }

    /// Where in shard `number` what is needed begins; `None` if nothing of it is.
    #[must_use]
    pub fn start_in(self, number: u64) -> Option<u64> {
        match self {
            Self::Everything => Some(0),
            Self::From { number: first, offset } if number == first => Some(offset),
            Self::From { number: first, .. } => (number < first).then_some(0),
            Self::Nothing => None,
        }
    }
}

/// Who needs shards beside the follower of this process.
pub trait Claims: Debug + Send + Sync {
    /// What they need. What `own` is the progress of counts as this process's.
    fn need(&self, own: Option<&Path>) -> Result<Need>;

    /// Hears of the deletion of shard `number` before it happens.
    fn leave(&self, number: u64);
}

/// How far the followers of a log have come, for whoever deletes old shards.
#[derive(Debug)]
pub struct Kept {
    /// Shards kept beyond the count at most.
    most: u64,
    /// The follower of this process, if there is one.
    own: Option<Mutex<Own>>,
    others: Option<Box<dyn Claims>>,
    /// Shards behind the one that this process's follower had reached which were deleted.
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Own {
    /// The shard that holds the last delivered row, and the bytes before the end of that; `None` while that is not known. It is
    /// open, for the inode of a file that is deleted, or compressed, is soon another one's.
    reached: Option<(Arc<Held>, u64)>,
    /// Where its progress is on disk.
    progress: Option<PathBuf>,
}

impl Kept {
    /// Keeps at most `most` shards longer for a follower of this process, all of them while it is not known what was delivered.
    #[must_use]
    pub fn new(most: u64) -> Self {
        Self { most, own: Some(Mutex::default()), others: None, lost: AtomicU64::new(0) }
    }

    /// Keeps at most `most` shards longer for others only.
    #[must_use]
    pub fn for_others(most: u64, others: Box<dyn Claims>) -> Self {
        Self { most, own: None, others: Some(others), lost: AtomicU64::new(0) }
    }

    /// Keeps shards also for others.
    #[must_use]
    pub fn and_for(self, others: Option<Box<dyn Claims>>) -> Self {
        Self { others, ..self }
    }

    /// Notes the shard that holds the last delivered row, and where in it that ends.
    pub fn note(&self, shard: Arc<Held>, offset: u64) {
        if let Some(mut own) = self.own() {
            own.reached = Some((shard, offset));
        }
    }

    /// Notes where the progress of this process's follower is on disk.
    pub fn note_progress(&self, path: &Path) {
        if let Some(mut own) = self.own() {
            own.progress = Some(path.to_owned());
        }
    }

    /// How many shards behind the one that this process's follower had reached were deleted.
    #[must_use]
    pub fn lost(&self) -> u64 {
        // Acquire: pairs with the release of `leave`, which comes before the deletion that the follower sees.
        self.lost.load(Ordering::Acquire)
    }

    fn own(&self) -> Option<MutexGuard<'_, Own>> {
        self.own.as_ref().map(|own| own.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is needed of the log `base` with the rotated shards `numbers`.
    #[must_use]
    pub fn need(&self, base: &Path, numbers: &[u64]) -> Need {
        let path = self.own().and_then(|own| own.progress.clone());
        // What cannot be told is kept, up to the limit.
        let others = self.others.as_ref().map_or(Ok(Need::Nothing), |others| others.need(path.as_deref()));
        self.own_need(base, numbers).and(others.unwrap_or(Need::Everything))
    }

    fn own_need(&self, base: &Path, numbers: &[u64]) -> Need {
        let Some(own) = self.own() else { return Need::Nothing };
        let Some((reached, offset)) = own.reached.as_ref().filter(|(shard, _)| shard.length().is_some()) else {
            return Need::Everything;
        };
        let leads_there = |number: u64| {
            Coding::ALL
                .into_iter()
                .any(|coding| FileId::at(&shard_path(base, number, coding)).is_ok_and(|id| id == Some(reached.id())))
        };
        // A shard that cannot be found may just have been compressed: nothing is known again until the next one is reached.
        let number = std::iter::once(0).chain(numbers.iter().copied()).find(|&number| leads_there(number));
        number.map_or(Need::Everything, |number| Need::From { number, offset: *offset })
    }

    /// How many of the rotated shards `numbers`, the newest first, must stay for `need` if `keep` stay anyway.
    #[must_use]
    pub fn extend(&self, need: Need, numbers: &[u64], keep: usize) -> usize {
        let most = keep.saturating_add(usize::try_from(self.most).unwrap_or(usize::MAX)).min(numbers.len());
        let needed = numbers.iter().filter(|&&number| need.start_in(number).is_some()).count();
        needed.clamp(keep, most.max(keep))
    }

    /// Shard `number` of the log `base` is about to be deleted.
    pub fn leave(&self, base: &Path, numbers: &[u64], number: u64) {
        if self.own.is_some() && self.own_need(base, numbers).start_in(number) == Some(0) {
            self.lost.fetch_add(1, Ordering::Release);
        }
        if let Some(others) = &self.others {
            others.leave(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_from_the_one_reached_on_stay_up_to_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("metrics.ndjson");
        let numbers = [1, 2, 3, 4, 5, 6];
        for number in [0].into_iter().chain(numbers) {
            std::fs::write(shard_path(&base, number, Coding::Plain), "{}\n").unwrap();
        }
        let open = |number| {
            let path = shard_path(&base, number, Coding::Plain);
            Arc::new(Held::over(crate::fs::open_read(&path).unwrap(), &path).unwrap())
        };
        let kept = Kept::new(3);
        let extend = |keep| kept.extend(kept.need(&base, &numbers), &numbers, keep);
        assert_eq!(extend(1), 4, "nothing is known yet");
        for (reached, stay) in [(0, 1), (1, 1), (2, 2), (3, 3), (4, 4), (5, 4), (6, 4)] {
            kept.note(open(reached), 3);
            assert_eq!(extend(1), stay, "reached {reached}");
            assert_eq!(kept.need(&base, &numbers), Need::From { number: reached, offset: 3 });
        }
        let path = shard_path(&base, 6, Coding::Plain);
        let oldest = FileId::at(&path).unwrap();
        kept.note(open(6), 3);
        for _ in 0..100 {
            // Deleted before it was delivered whole; its inode is not given to the next file meanwhile.
            let _ = std::fs::remove_file(&path);
            std::fs::remove_file(&base).unwrap();
            std::fs::write(&base, "{}\n").unwrap();
            assert_ne!(FileId::at(&base).unwrap(), oldest);
            assert_eq!(extend(1), 4, "a shard that is not there");
        }
        assert_eq!(extend(9), 9, "more are kept anyway");
    }

    #[test]
    fn of_two_needs_the_older_place_counts() {
        let from = |number, offset| Need::From { number, offset };
        for (one, other, both) in [
            (Need::Nothing, Need::Nothing, Need::Nothing),
            (Need::Nothing, from(1, 2), from(1, 2)),
            (Need::Everything, from(1, 2), Need::Everything),
            (from(3, 9), from(2, 1), from(3, 9)),
            (from(3, 9), from(3, 1), from(3, 1)),
        ] {
            assert_eq!((one.and(other), other.and(one)), (both, both));
        }
        let starts: Vec<_> = (0..4).map(|number| from(2, 7).start_in(number)).collect();
        assert_eq!(starts, [Some(0), Some(0), Some(7), None]);
    }
}
