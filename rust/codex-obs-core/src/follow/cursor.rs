//! A place in a log, as it is kept on disk.
//!
//! A shard is known by its ordinal and its first line, since rotation renames it and packing gives it another inode: first
//! lines may be equal, and ordinals begin anew in a log whose archives and records were removed by hand. The hash of the last
//! delivered line tells whether the bytes before the offset are still the ones that were delivered.

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use crate::fs::FileId;

/// Shards known to be done with, beside the current one, in case that one is lost.
const MAX_COMPLETED: usize = 16;

/// A place in a log: behind a line that was delivered, or that there was nothing to deliver of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Hash of the shard's first line.
    pub shard: u64,
    /// The shard's [ordinal](crate::shard::ordinal); 0 where it is not known, as in a cursor of an older version.
    pub ordinal: u64,
    /// Bytes before the place, of the shard as it is uncompressed.
    pub offset: u64,
    /// Hash of the line that ends there.
    pub last: u64,
    /// The shard's file when it was last seen: of several that look the same it is preferred.
    pub file: FileId,
    /// Hashes of the first lines of the shards before, the newest last.
    pub completed: Vec<u64>,
}

/// The hash of a line, without its newline.
#[must_use]
pub fn hash(line: &[u8]) -> u64 {
    xxh3_64(line.strip_suffix(b"\n").unwrap_or(line))
}

impl Cursor {
    /// Goes on in a new shard; the cursor stands before its first line until [`pass`](Self::pass) is called.
    pub fn enter(&mut self, shard: u64, ordinal: u64, file: FileId) {
        let is_same = self.shard == shard && (self.ordinal == ordinal || self.ordinal == 0 || ordinal == 0);
        if self.offset > 0 && !is_same {
            self.completed.push(self.shard);
            let excess = self.completed.len().saturating_sub(MAX_COMPLETED);
            self.completed.drain(..excess);
        }
        (self.shard, self.ordinal, self.offset, self.last, self.file) = (shard, ordinal, 0, 0, file);
    }

    /// Goes on behind a line.
    #[inline]
    pub fn pass(&mut self, end: u64, line: &[u8]) {
        (self.offset, self.last) = (end, hash(line));
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "shard": self.shard, "ordinal": self.ordinal, "offset": self.offset, "last": self.last,
            "device": self.file.device, "inode": self.file.inode, "completed": self.completed,
        })
    }

    /// One that [`to_json`](Self::to_json) gave, now or in an older version.
    #[must_use]
    pub fn of_json(value: &Value) -> Option<Self> {
        let number = |key: &str| value.get(key).and_then(Value::as_u64);
        Some(Self {
            shard: number("shard")?,
            ordinal: number("ordinal").unwrap_or(0),
            offset: number("offset")?,
            last: number("last")?,
            file: FileId { device: number("device")?, inode: number("inode")? },
            completed: value.get("completed")?.as_array()?.iter().filter_map(Value::as_u64).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newline_does_not_count() {
        assert_eq!(hash(b"{}\n"), hash(b"{}"));
        assert_ne!(hash(b"{}"), hash(b"{ }"));
    }
}
