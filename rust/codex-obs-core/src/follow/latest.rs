//! The last value of each metric of a run, for who looks now and then.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::follower::{Follower, Stopped};
use super::points::Rows;
use crate::error::Result;
use crate::paths::{FileKind, Stream};
use crate::scan::Snapshot;

/// Points looked at in one go.
const MOST_POINTS: usize = 1 << 14;
/// Metrics of a stream that are kept. Further ones are not shown.
const MOST_METRICS: usize = 100_000;

/// Split and metric.
type Name = (Arc<str>, Arc<str>);

/// The last value of each metric of a run.
#[derive(Debug)]
pub struct Latest {
    directory: PathBuf,
    streams: BTreeMap<Stream, Track>,
}

/// One stream.
#[derive(Debug)]
pub struct Track {
    follower: Follower,
    rows: Rows,
    /// The last value of each metric.
    pub values: HashMap<Name, f64>,
    /// Rows with a number so far.
    points: u64,
    /// The step of the last of them.
    pub step: Option<i64>,
}

impl Latest {
    /// The values of the run in `directory`; none before the first [`refresh`](Self::refresh).
    #[must_use]
    pub fn of(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), streams: BTreeMap::new() }
    }

    /// Reads what was written since the last time.
    ///
    /// # Errors
    /// If the run cannot be read.
    pub fn refresh(&mut self) -> Result<()> {
        for stream in Snapshot::streams(&self.directory)? {
            if !self.streams.contains_key(&stream) {
                let track = Track::open(&self.directory, &stream)?;
                self.streams.insert(stream, track);
            }
        }
        self.streams.values_mut().try_for_each(Track::read)
    }

    /// The streams, the main one first.
    pub fn streams(&self) -> impl Iterator<Item = (&Stream, &Track)> {
        self.streams.iter()
    }
}

impl Track {
    fn open(directory: &Path, stream: &Stream) -> Result<Self> {
        let mut rows = Rows::new("", 0);
        rows.most = MOST_POINTS;
        let follower = Follower::open(FileKind::Metrics, directory, stream, None, None, None)?;
        Ok(Self { follower, rows, values: HashMap::new(), points: 0, step: None })
    }

    /// Rows so far, also those that have no number.
    #[must_use]
    pub fn rows(&self) -> u64 {
        let unshown = self.rows.unshown();
        self.points + unshown.structured + unshown.without_step + unshown.without_value
    }

    fn read(&mut self) -> Result<()> {
        loop {
            let stopped = self.follower.read(&mut self.rows)?;
            for point in &self.rows.points {
                self.step = Some(point.step);
                let name = (Arc::clone(&point.split), Arc::clone(&point.metric));
                if let Some(known) = self.values.get_mut(&name) {
                    *known = point.number();
                } else if self.values.len() < MOST_METRICS {
                    self.values.insert(name, point.number());
                }
            }
            let count = self.rows.points.len();
            self.points += count as u64;
            self.rows.release(count);
            if stopped == Stopped::AtEnd {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: i64, metric: &str, value: &str) -> String {
        format!(
            r#"{{"$schema":"s","schema_version":"v1","timestamp":"2026-11-20T08:15:30.000125Z","run_id":"r","step":{step},"split":"train","metric":"{metric}","value":{value},"dataset":null,"tags":{{}}}}
"#
        )
    }

    #[test]
    fn the_last_value_of_each_metric_stands_and_only_what_is_new_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.ndjson");
        std::fs::write(&path, [row(0, "a", "1.0"), row(0, "b", "2.5"), row(1, "a", "3.0")].concat()).unwrap();
        let mut latest = Latest::of(folder.path());
        latest.refresh().unwrap();
        let value = |latest: &Latest, metric: &str| {
            let (_, track) = latest.streams().next().unwrap();
            track.values[&(Arc::from("train"), Arc::from(metric))]
        };
        assert_eq!((value(&latest, "a"), value(&latest, "b")), (3.0, 2.5));
        std::fs::rename(&path, folder.path().join("metrics.ndjson.1")).unwrap();
        std::fs::write(&path, [row(2, "b", "7.0"), row(3, "c", "null")].concat()).unwrap();
        std::fs::write(folder.path().join("metrics.rank-1.ndjson"), row(9, "a", "4.0")).unwrap();
        latest.refresh().unwrap();
        assert_eq!((value(&latest, "a"), value(&latest, "b")), (3.0, 7.0));
        let seen: Vec<_> =
            latest.streams().map(|(stream, track)| (stream.as_str(), track.rows(), track.step)).collect();
        assert_eq!(seen, [("main", 5, Some(2)), ("rank-1", 1, Some(9))]);
    }
}
