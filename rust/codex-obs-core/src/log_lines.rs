//! The lines of a log beside the rows, as they are: of every stream, archives and rotated shards first.

use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::follow::reader::{Next, Shard};
use crate::limits::LINES_PAGE_BYTES;
use crate::paths::FileKind;
use crate::reading::log_of;
use crate::scan::{Snapshot, Source, Tick};

/// Lines of a log, page by page.
#[derive(Debug)]
pub struct LogLines {
    sources: std::vec::IntoIter<Source>,
    open: Option<(Arc<str>, Shard)>,
    /// Why the rest of some files could not be read.
    problems: Vec<Error>,
}

impl LogLines {
    /// Of one snapshot of run directories, or of files.
    ///
    /// # Errors
    /// If a path does not exist, or cannot be read, or `tick` says to stop.
    pub fn open(log: FileKind, paths: &[PathBuf], clock: &Clock, tick: Tick<'_>) -> Result<Self> {
        let (directories, files): (Vec<PathBuf>, Vec<PathBuf>) = paths.iter().cloned().partition(|path| path.is_dir());
        let mut all = if files.is_empty() { Snapshot::default() } else { Snapshot::of_files(log, &files)? };
        for directory in &directories {
            all.add(log_of(log, directory, clock, tick)?);
        }
        Ok(Self { sources: all.sources.into_iter(), open: None, problems: Vec::new() })
    }

    /// The next whole lines, all of one stream, with their newlines; `None` behind the last.
    pub fn next_page(&mut self) -> Option<(Arc<str>, Vec<u8>)> {
        let mut page = Vec::new();
        loop {
            if self.open.is_none() {
                let source = self.sources.next()?;
                match Shard::open(&source) {
                    Ok(shard) => self.open = shard.map(|shard| (Arc::clone(&source.stream), shard)),
                    Err(error) => self.problems.push(error),
                }
                continue;
            }
            let (stream, shard) = self.open.as_mut()?;
            if let Next::Line(line) = shard.peek() {
                page.extend_from_slice(line);
                let length = line.len();
                shard.advance(length);
                if page.len() < LINES_PAGE_BYTES {
                    continue;
                }
            } else if shard.skip_too_long() {
                continue;
            } else {
                match shard.fill() {
                    Ok(0) => {}
                    Ok(_) => continue,
                    Err(error) => self.problems.push(error),
                }
                let stream = Arc::clone(stream);
                self.open = None;
                if page.is_empty() {
                    continue;
                }
                return Some((stream, page));
            }
            return Some((Arc::clone(stream), page));
        }
    }

    /// Why the rest of some files could not be read, each once.
    pub fn take_problems(&mut self) -> Vec<Error> {
        std::mem::take(&mut self.problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::line_log::LineLog;
    use crate::shard::policy::Policy;
    use crate::shard::retention::Retention;

    #[test]
    fn lines_come_oldest_first_out_of_archives_shards_and_files_and_half_a_line_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("system_metrics.jsonl");
        let policy = Policy { max_bytes: Some(200), max_age_micros: None, backup_count: Some(2) };
        let mut log = LineLog::new(path.clone(), policy, Retention::default(), 0o600, Clock::System);
        let mut expected = Vec::new();
        for number in 0..100 {
            let line = format!("{{\"n\":{number}}}\n");
            if log.append(line.as_bytes()).unwrap() {
                log.settle().unwrap();
            }
            expected.extend_from_slice(line.as_bytes());
        }
        std::fs::write(folder.path().join("system_metrics.sidecar-b.jsonl"), "{\"n\":\"b\"}\n{\"n\":").unwrap();
        std::fs::write(folder.path().join("system_metrics.jsonl.archive-000002.zst"), "no archive").unwrap();
        let mut lines =
            LogLines::open(FileKind::Samples, &[folder.path().to_owned()], &Clock::System, &mut |_| true).unwrap();
        let mut found: Vec<(String, Vec<u8>)> = Vec::new();
        while let Some((stream, page)) = lines.next_page() {
            match found.last_mut() {
                Some((last, bytes)) if **last == *stream => bytes.extend(page),
                _ => found.push((stream.to_string(), page)),
            }
        }
        assert_eq!(lines.take_problems().len(), 1, "an archive is damaged");
        let (main, other) = (&found[0], &found[1]);
        assert_eq!(other, &("sidecar-b".to_owned(), b"{\"n\":\"b\"}\n".to_vec()));
        let first = expected.iter().position(|&byte| byte == b'\n').unwrap();
        assert!(main.1.starts_with(&expected[..=first]) && main.1.ends_with(&expected[expected.len() - 50..]));
        assert!(main.1.len() < expected.len());
    }
}
