//! Shards that outlive limit and count because a destination still needs them.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Result;

/// What of a log is still needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// All of it, as far as is known.
    Everything,
    /// What is behind a place.
    From {
        /// The [ordinal](super::ordinal) of the shard.
        ordinal: u64,
        /// Bytes of its lines before the place.
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
            (Self::From { ordinal, offset }, Self::From { ordinal: other_ordinal, offset: other_offset }) => {
                let is_older = (other_ordinal, other_offset) < (ordinal, offset);
                if is_older { other } else { self }
            }
        }
    }

    /// Where in shard `ordinal` what is needed begins; `None` if nothing of it is.
    #[must_use]
    pub fn start_in(self, ordinal: u64) -> Option<u64> {
        match self {
            Self::Everything => Some(0),
            Self::From { ordinal: first, offset } if ordinal == first => Some(offset),
            Self::From { ordinal: first, .. } => (ordinal > first).then_some(0),
            Self::Nothing => None,
        }
    }
}

/// Who needs shards beside the follower of this process.
pub trait Claims: Debug + Send + Sync {
    /// What they need. What `own` is the progress of counts as this process's.
    fn need(&self, own: Option<&Path>) -> Result<Need>;

    /// Hears of the deletion of shard `ordinal` before it happens.
    fn leave(&self, ordinal: u64);
}

/// How far the followers of a log have come, for whoever deletes old shards.
#[derive(Debug)]
pub struct Hold {
    /// Shards kept beyond limit and count at most.
    most: u64,
    /// The follower of this process, if there is one.
    own: Option<Mutex<Own>>,
    others: Option<Box<dyn Claims>>,
    /// Shards behind the one that this process's follower had reached which were deleted.
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Own {
    /// The ordinal of the shard that holds the last delivered row, and the bytes before the end of that; `None` while that is not
    /// known.
    reached: Option<(u64, u64)>,
    /// Where its progress is on disk.
    progress: Option<PathBuf>,
}

impl Hold {
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
    pub fn note(&self, ordinal: u64, offset: u64) {
        if let Some(mut own) = self.own() {
            own.reached = Some((ordinal, offset));
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

    /// What is needed of the log.
    #[must_use]
    pub fn need(&self) -> Need {
        let path = self.own().and_then(|own| own.progress.clone());
        // What cannot be told is kept, up to the limit.
        let others = self.others.as_ref().map_or(Ok(Need::Nothing), |others| others.need(path.as_deref()));
        self.own_need().and(others.unwrap_or(Need::Everything))
    }

    fn own_need(&self) -> Need {
        let Some(own) = self.own() else { return Need::Nothing };
        own.reached.map_or(Need::Everything, |(ordinal, offset)| Need::From { ordinal, offset })
    }

    /// How many of the shards `due`, the oldest first, go although a destination may be behind.
    #[must_use]
    pub fn spare(&self, need: Need, due: &[u64]) -> usize {
        let needed = due.iter().filter(|&&ordinal| need.start_in(ordinal).is_some()).count();
        due.len() - needed.min(usize::try_from(self.most).unwrap_or(usize::MAX))
    }

    /// Shard `ordinal` is about to be deleted.
    pub fn leave(&self, ordinal: u64) {
        if self.own.is_some() && self.own_need().start_in(ordinal) == Some(0) {
            self.lost.fetch_add(1, Ordering::Release);
        }
        if let Some(others) = &self.others {
            others.leave(ordinal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_from_the_one_reached_on_stay_up_to_a_limit() {
        let due = [4, 5, 6, 7, 8];
        let kept = Hold::new(3);
        let spare = || kept.spare(kept.need(), &due);
        assert_eq!(spare(), 2, "nothing is known yet");
        for (reached, go) in [(9, 5), (8, 4), (7, 3), (6, 2), (5, 2), (1, 2)] {
            kept.note(reached, 3);
            assert_eq!(spare(), go, "reached {reached}");
            assert_eq!(kept.need(), Need::From { ordinal: reached, offset: 3 });
        }
        assert_eq!(kept.spare(Need::Nothing, &due), 5);
        assert_eq!(kept.spare(Need::Everything, &[]), 0);
        for ordinal in [1, 2, 3] {
            kept.leave(ordinal);
        }
        assert_eq!(kept.lost(), 2, "behind the one that was reached");
    }

    #[test]
    fn of_two_needs_the_older_place_counts() {
        let from = |ordinal, offset| Need::From { ordinal, offset };
        for (one, other, both) in [
            (Need::Nothing, Need::Nothing, Need::Nothing),
            (Need::Nothing, from(1, 2), from(1, 2)),
            (Need::Everything, from(1, 2), Need::Everything),
            (from(3, 1), from(2, 9), from(2, 9)),
            (from(3, 9), from(3, 1), from(3, 1)),
        ] {
            assert_eq!((one.and(other), other.and(one)), (both, both));
        }
        let starts: Vec<_> = (0..4).map(|ordinal| from(2, 7).start_in(ordinal)).collect();
        assert_eq!(starts, [None, None, Some(7), Some(0)]);
    }
}
