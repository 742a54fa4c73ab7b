//! A log of lines that needs no journal: one process appends to it, and what a power cut takes of it is no loss to count.

use std::path::PathBuf;

use super::pack::pack_all;
use super::policy::Policy;
use super::retention::{Plan, Retention};
use super::writer::ShardWriter;
use crate::clock::Clock;
use crate::error::Result;
use crate::pulse::Pulse;

/// A log under a rotation policy, whose old shards are packed or deleted.
#[derive(Debug)]
pub struct LineLog {
    writer: ShardWriter,
    retention: Retention,
    mode: u32,
}

impl LineLog {
    /// A log at `path`, which is not touched before it is needed.
    #[must_use]
    pub fn new(path: PathBuf, policy: Policy, retention: Retention, mode: u32, clock: Clock) -> Self {
        Self { writer: ShardWriter::new(path, policy, mode, clock), retention, mode }
    }

    /// Appends `line`, a whole line with its newline, in one piece; a file that is gone is created again. Gives whether the log
    /// was rotated for it: then [`settle`](Self::settle) has something to do.
    ///
    /// # Errors
    /// If the line could not be written. Half of it is set aside by the next call.
    pub fn append(&mut self, line: &[u8]) -> Result<bool> {
        let outcome = self.try_append(line);
        if outcome.is_err() {
            self.writer.forget();
        }
        outcome
    }

    fn try_append(&mut self, line: &[u8]) -> Result<bool> {
        self.writer.look()?;
        let is_due = self.writer.must_rotate(0, line.len() as u64);
        if is_due {
            self.writer.rotate()?;
        }
        self.writer.append(line)?;
        Ok(is_due)
    }

    /// Packs or deletes the rotated shards beyond the count, and archives beyond their limit.
    ///
    /// # Errors
    /// If a file could not be packed or deleted: then it stays, and the next call tries again.
    pub fn settle(&self) -> Result<()> {
        let Some(keep) = self.writer.policy().backup_count else { return Ok(()) };
        let base = self.writer.path();
        if self.retention.packs {
            pack_all(base, keep, self.mode, &|| true)?;
        }
        let plan = Plan::of(base, keep, self.retention, None, None)?;
        for &due in &plan.due {
            if let Some(leaving) = plan.begin(due, None, &Pulse::default())? {
                leaving.delete()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    fn policy(max_bytes: u64, backup_count: u64) -> Policy {
        Policy { max_bytes: Some(max_bytes), max_age_micros: None, backup_count: Some(backup_count) }
    }

    fn names(folder: &Path) -> BTreeSet<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn fill(log: &mut LineLog, lines: u32) {
        for line in 0..lines {
            if log.append(format!("{{\"line\":{line:03}}}\n").as_bytes()).unwrap() {
                log.settle().unwrap();
            }
        }
    }

    #[test]
    fn every_line_is_in_a_shard_or_an_archive_whatever_the_log_is_called() {
        for name in ["system_metrics.jsonl", "system_metrics.sidecar-a.jsonl", "machine", "my.load.json"] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(name);
            let mut log = LineLog::new(path.clone(), policy(30, 1), Retention::default(), 0o600, Clock::System);
            fill(&mut log, 9);
            let expected = [
                name.to_owned(),
                format!("{name}.1"),
                format!("{name}.archive-000001.zst"),
                format!("{name}.archive-000002.zst"),
                format!("{name}.archive-000003.zst"),
            ];
            assert_eq!(names(folder.path()), expected.into());
            let archive = fs::File::open(folder.path().join(format!("{name}.archive-000001.zst"))).unwrap();
            assert_eq!(zstd::decode_all(archive).unwrap(), b"{\"line\":000}\n{\"line\":001}\n");
            assert_eq!(fs::read(&path).unwrap(), b"{\"line\":008}\n");
        }
    }

    #[test]
    fn shards_beyond_the_count_go_where_nothing_is_packed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("system_metrics.jsonl");
        let retention = Retention { packs: false, max_archive_bytes: None };
        let mut log = LineLog::new(path.clone(), policy(30, 2), retention, 0o600, Clock::System);
        fill(&mut log, 9);
        let expected = ["system_metrics.jsonl", "system_metrics.jsonl.1", "system_metrics.jsonl.2"];
        assert_eq!(names(folder.path()), expected.map(str::to_owned).into());
        assert_eq!(fs::read(shard(&path, 2)).unwrap(), b"{\"line\":004}\n{\"line\":005}\n");
    }

    #[test]
    fn a_log_that_is_deleted_or_torn_goes_on_with_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inner").join("system_metrics.jsonl");
        let mut log = LineLog::new(path.clone(), Policy::OFF, Retention::default(), 0o600, Clock::System);
        log.append(b"{\"a\":1}\n").unwrap();
        fs::remove_dir_all(folder.path().join("inner")).unwrap();
        log.append(b"{\"a\":2}\n").unwrap();
        fs::write(&path, b"{\"a\":2}\n{\"a\"").unwrap();
        log.append(b"{\"a\":3}\n").unwrap();
        log.settle().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"{\"a\":2}\n{\"a\":3}\n");
    }

    fn shard(base: &Path, number: u64) -> PathBuf {
        crate::paths::shard_path(base, number, crate::paths::Coding::Plain)
    }
}
