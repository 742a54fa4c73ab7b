//! Shards that outlive limit and count because a destination still needs them.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// What they need. What `own` are the progresses of counts as this process's.
    fn need(&self, own: &[PathBuf]) -> Result<Need>;

    /// Hears of the deletion of shard `ordinal` before it happens.
    fn leave(&self, ordinal: u64);
}

/// How far the followers of a log have come, for whoever deletes old shards.
#[derive(Debug)]
pub struct Hold {
    /// Shards kept beyond limit and count at most.
    most: u64,
    /// The followers of this process.
    own: Mutex<Vec<Own>>,
    others: Option<Box<dyn Claims>>,
}

#[derive(Debug, Default)]
struct Own {
    /// The ordinal of the shard that holds the last delivered row, and the bytes before the end of that; `None` while that is not
    /// known.
    reached: Option<(u64, u64)>,
    /// Where its progress is on disk.
    progress: Option<PathBuf>,
    /// Shards behind the one that it had reached which were deleted.
    lost: u64,
}

impl Own {
    fn need(&self) -> Need {
        self.reached.map_or(Need::Everything, |(ordinal, offset)| Need::From { ordinal, offset })
    }
}

/// What is held for one follower of this process: everything while it is not known what was delivered.
#[derive(Clone, Debug)]
pub struct Part {
    hold: Arc<Hold>,
    index: usize,
}

impl Part {
    /// Notes the shard that holds the last delivered row, and where in it that ends.
    pub fn note(&self, ordinal: u64, offset: u64) {
        self.with(|own| own.reached = Some((ordinal, offset)));
    }

    /// Notes where the progress of the follower is on disk.
    pub fn note_progress(&self, path: &Path) {
        self.with(|own| own.progress = Some(path.to_owned()));
    }

    /// Holds nothing for the follower.
    pub fn let_go(&self) {
        self.note(u64::MAX, 0);
    }

    /// How many shards behind the one that the follower had reached were deleted.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.with(|own| own.lost)
    }

    fn with<T>(&self, with: impl FnOnce(&mut Own) -> T) -> T {
        with(&mut self.hold.own()[self.index])
    }
}

impl Hold {
    /// Keeps at most `most` shards longer for followers of this process, which have a [`part`](Self::part) each.
    #[must_use]
    pub fn new(most: u64) -> Self {
        Self { most, own: Mutex::default(), others: None }
    }

    /// Keeps shards also for others.
    #[must_use]
    pub fn and_for(self, others: Option<Box<dyn Claims>>) -> Self {
        Self { others, ..self }
    }

    /// What is held for one more follower of this process.
    #[must_use]
    pub fn part(self: &Arc<Self>) -> Part {
        let mut own = self.own();
        own.push(Own::default());
        Part { hold: Arc::clone(self), index: own.len() - 1 }
    }

    fn own(&self) -> MutexGuard<'_, Vec<Own>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is needed of the log.
    #[must_use]
    pub fn need(&self) -> Need {
        let own: Vec<PathBuf> = self.own().iter().filter_map(|own| own.progress.clone()).collect();
        // What cannot be told is kept, up to the limit.
        let others = self.others.as_ref().map_or(Ok(Need::Nothing), |others| others.need(&own));
        let need = self.own().iter().map(Own::need).fold(Need::Nothing, Need::and);
        need.and(others.unwrap_or(Need::Everything))
    }

    /// How many of the shards `due`, the oldest first, go although a destination may be behind.
    #[must_use]
    pub fn spare(&self, need: Need, due: &[u64]) -> usize {
        let needed = due.iter().filter(|&&ordinal| need.start_in(ordinal).is_some()).count();
        due.len() - needed.min(usize::try_from(self.most).unwrap_or(usize::MAX))
    }

    /// Shard `ordinal` is about to be deleted.
    pub fn leave(&self, ordinal: u64) {
        for own in self.own().iter_mut().filter(|own| own.need().start_in(ordinal) == Some(0)) {
            own.lost += 1;
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
        let hold = Arc::new(Hold::new(3));
        assert_eq!(hold.spare(hold.need(), &due), 5, "nobody needs anything");
        let kept = hold.part();
        let spare = || hold.spare(hold.need(), &due);
        assert_eq!(spare(), 2, "nothing is known yet");
        for (reached, go) in [(9, 5), (8, 4), (7, 3), (6, 2), (5, 2), (1, 2)] {
            kept.note(reached, 3);
            assert_eq!(spare(), go, "reached {reached}");
            assert_eq!(hold.need(), Need::From { ordinal: reached, offset: 3 });
        }
        assert_eq!(hold.spare(Need::Nothing, &due), 5);
        assert_eq!(hold.spare(Need::Everything, &[]), 0);
        for ordinal in [1, 2, 3] {
            hold.leave(ordinal);
        }
        assert_eq!(kept.lost(), 2, "behind the one that was reached");
        let slower = hold.part();
        kept.note(9, 0);
        slower.note(2, 7);
        assert_eq!(hold.need(), Need::From { ordinal: 2, offset: 7 }, "the one that is behind counts");
        hold.leave(3);
        assert_eq!((kept.lost(), slower.lost()), (2, 1));
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
