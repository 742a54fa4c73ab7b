//! What the lines of a found journal take on the disk: looked at before they are written, since nobody vouches for a journal.

use std::io::ErrorKind;
use std::path::Path;

use crate::error::{Error, Result};
use crate::journal::cursor::Cursor;
use crate::journal::frame::Frame;
use crate::journal::frame::expansion::lines_bytes;
use crate::journal::identity::Identity;
use crate::journal::ring::Ring;
use crate::limits::{RECOVERY_SHARDS, RECOVERY_SPARED_BYTES, RECOVERY_UNASKED_BYTES};
use crate::shard::policy::Policy;

/// Bytes of lines that a recovery writes in a microsecond at least: no shard becomes too old meanwhile.
const BYTES_PER_MICRO: u64 = 16;

/// Bytes that the lines of `frame` take.
#[must_use]
pub fn of_frame(frame: &Frame<'_>, run_id: &str) -> u64 {
    let length = frame.length() as u64;
    frame.metrics().map_or(length, |call| lines_bytes(&call, length, run_id.len() as u64))
}

/// Bytes that the lines behind `from` take.
#[must_use]
pub fn behind(ring: &Ring, from: Cursor, run_id: &str) -> u64 {
    let (mut at, mut bytes) = (from, 0_u64);
    loop {
        while let Some((frame, next)) = ring.frame(&mut at) {
            bytes = bytes.saturating_add(of_frame(&frame, run_id));
            at = next;
        }
        match ring.gap(&at) {
            Some(gap) => at = gap.to,
            None => return bytes,
        }
    }
}

/// Refuses to write `bytes` of lines to `directory` where that would leave the disk without room for others.
///
/// # Errors
/// `StorageFull`, with what is needed.
pub fn require(directory: &Path, journal: &Path, bytes: u64) -> Result<()> {
    if bytes <= RECOVERY_UNASKED_BYTES {
        return Ok(());
    }
    // A file system that does not say is full when a write fails.
    let Some(free) = crate::fs::free_bytes(directory) else { return Ok(()) };
    if bytes.saturating_add(RECOVERY_SPARED_BYTES) <= free {
        return Ok(());
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let why = format!(
        "its rows take up to {} MiB in {}, where {} MiB are free and {} MiB are to stay so; free some, or move the journal away \
         if its rows are not needed",
        mib(bytes),
        directory.display(),
        mib(free),
        mib(RECOVERY_SPARED_BYTES)
    );
    Err(Error::io("recover", journal, std::io::Error::new(ErrorKind::StorageFull, why)))
}

/// The rules of rotation that a journal names, as far as they are believed: for `bytes` of lines no more shards are begun than
/// renames can cope with.
#[must_use]
pub fn policy(identity: &Identity, bytes: u64) -> Policy {
    let limit = |number: u64, least: u64| (number != u64::MAX && number > 0).then(|| number.max(least));
    Policy {
        max_bytes: limit(identity.max_shard_bytes, bytes / RECOVERY_SHARDS),
        max_age_micros: limit(identity.max_shard_age, bytes / BYTES_PER_MICRO),
        backup_count: (identity.backup_count != u64::MAX).then_some(identity.backup_count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_were_planted_make_few_shards_and_others_are_kept() {
        let rules = |max_bytes, max_age, bytes| {
            let identity =
                Identity { max_shard_bytes: max_bytes, max_shard_age: max_age, backup_count: 5, ..Identity::default() };
            let Policy { max_bytes, max_age_micros, backup_count } = policy(&identity, bytes);
            assert_eq!(backup_count, Some(5));
            (max_bytes, max_age_micros)
        };
        assert_eq!(rules(64 << 20, 86_400_000_000, 8 << 30), (Some(64 << 20), Some(86_400_000_000)));
        assert_eq!(rules(1000, 1_000_000, 300_000), (Some(1000), Some(1_000_000)));
        assert_eq!(rules(1, 1, 8_000_000_000), (Some(26_666_666), Some(500_000_000)));
        assert_eq!(rules(0, 0, 8_000_000_000), (None, None));
        assert_eq!(rules(u64::MAX, u64::MAX, 8_000_000_000), (None, None));
    }

    #[test]
    fn room_is_asked_for_before_much_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("journal-main");
        require(folder.path(), &journal, RECOVERY_UNASKED_BYTES).unwrap();
        let error = require(folder.path(), &journal, u64::MAX).unwrap_err();
        assert_eq!(error.io_kind(), Some(ErrorKind::StorageFull));
        assert!(error.to_string().contains("MiB are free"), "{error}");
        let free = crate::fs::free_bytes(folder.path()).unwrap();
        assert!(free < RECOVERY_SPARED_BYTES || require(folder.path(), &journal, free + 1 - (512 << 20)).is_err());
    }
}
