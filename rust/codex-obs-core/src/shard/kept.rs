//! Rotated shards that outlive the count because a destination still needs them.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::name::{Coding, shard_path};
use crate::fs::{FileId, Held};

/// How far a follower of the log has come, for whoever deletes old shards.
#[derive(Debug)]
pub struct Kept {
    /// Shards kept beyond the count at most.
    most: u64,
    /// The shard that holds the last delivered row; older ones are done with. `None` while that is not known. It is open, for
    /// the inode of a file that is deleted, or compressed, is soon another one's.
    reached: Mutex<Option<Arc<Held>>>,
}

impl Kept {
    /// Keeps at most `most` shards longer, all of them while it is not known what was delivered.
    #[must_use]
    pub fn new(most: u64) -> Self {
        Self { most, reached: Mutex::default() }
    }

    /// Notes the shard that holds the last delivered row.
    pub fn note(&self, shard: Arc<Held>) {
        *self.reached.lock().unwrap_or_else(PoisonError::into_inner) = Some(shard);
    }

    /// How many of the rotated shards `numbers` of `base`, the newest first, must stay if `keep` stay anyway.
    #[must_use]
    pub fn extend(&self, base: &Path, numbers: &[u64], keep: usize) -> usize {
        let most = keep.saturating_add(usize::try_from(self.most).unwrap_or(usize::MAX)).min(numbers.len());
        let reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(reached) = reached.as_ref().filter(|shard| shard.length().is_some()).map(|shard| shard.id()) else {
            return most;
        };
        let leads_there = |number: u64| {
            Coding::ALL
                .into_iter()
                .any(|coding| FileId::at(&shard_path(base, number, coding)).is_ok_and(|id| id == Some(reached)))
        };
        if leads_there(0) {
            return keep;
        }
        // A shard that cannot be found may just have been compressed: nothing is known again until the next one is reached.
        numbers
            .iter()
            .position(|&number| leads_there(number))
            .map_or(most, |index| (index + 1).clamp(keep, most.max(keep)))
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
        assert_eq!(kept.extend(&base, &numbers, 1), 4, "nothing is known yet");
        for (reached, stay) in [(0, 1), (1, 1), (2, 2), (3, 3), (4, 4), (5, 4), (6, 4)] {
            kept.note(open(reached));
            assert_eq!(kept.extend(&base, &numbers, 1), stay, "reached {reached}");
        }
        let path = shard_path(&base, 6, Coding::Plain);
        let oldest = FileId::at(&path).unwrap();
        kept.note(open(6));
        for _ in 0..100 {
            // Deleted before it was delivered whole; its inode is not given to the next file meanwhile.
            let _ = std::fs::remove_file(&path);
            std::fs::remove_file(&base).unwrap();
            std::fs::write(&base, "{}\n").unwrap();
            assert_ne!(FileId::at(&base).unwrap(), oldest);
            assert_eq!(kept.extend(&base, &numbers, 1), 4, "a shard that is not there");
        }
        assert_eq!(kept.extend(&base, &numbers, 9), 9.min(numbers.len()).max(6), "more are kept anyway");
    }
}
