//! Structured values of a run, evenly chosen: of each key as many as a chart shows, however many there are.
//!
//! [`Picks`] reads the manifest once and after that only what was added to it, as [`Series`](super::Series) does with rows.

use std::collections::HashMap;
use std::sync::Arc;

use super::gather::{Key, LocalKey};
use super::shard::{Shard, known};
use crate::error::Result;
use crate::limits::{MAX_NAME_BYTES, PICKS, PICKS_BYTES};
use crate::scan::names::Seeded;
use crate::scan::{self, Names, Part, Payload, PayloadReader, Position, Sink, Snapshot, Source, Tick};

/// A structured value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    /// The step.
    pub step: Option<i64>,
    /// Microseconds since the epoch.
    pub time: Option<i64>,
    /// The value as JSON.
    pub payload: Box<str>,
}

/// The structured values of a run.
#[derive(Debug)]
pub struct Picks {
    own_run: Option<String>,
    /// How many of each key are kept at least, if there are so many.
    most: usize,
    shards: Vec<Shard>,
    kept: HashMap<Key, Kept>,
    /// Of lines that are read again the next time.
    loose: HashMap<Key, Kept>,
}

/// The values of one key that are kept, of `count` that there were: the first of every `stride`, each with its number, and the last.
#[derive(Clone, Debug)]
struct Kept {
    count: u64,
    stride: u64,
    picks: Vec<(u64, Pick)>,
    last: Option<(u64, Pick)>,
}

impl Default for Picks {
    fn default() -> Self {
        Self { own_run: None, most: PICKS, shards: Vec::new(), kept: HashMap::new(), loose: HashMap::new() }
    }
}

impl Picks {
    /// Notes whose values are the folder's own, before any is read.
    pub fn set_own_run(&mut self, run_id: Option<String>) {
        self.own_run = run_id;
    }

    /// Reads what `snapshot`, which is one of the manifest of the same run as all before it, has more than what was read.
    ///
    /// # Errors
    /// As [`scan::run`]. Then all is read again the next time.
    pub fn refresh(
        &mut self,
        snapshot: Snapshot,
        is_written: impl Fn(&Source) -> bool + Copy,
        tick: Tick<'_>,
    ) -> Result<()> {
        let shards = std::mem::take(&mut self.shards);
        self.loose.clear();
        let outcome = self.add(&shards, snapshot, is_written, tick);
        match outcome {
            Ok(shards) => {
                self.shards = shards;
                Ok(())
            }
            Err(error) => {
                self.kept.clear();
                Err(error)
            }
        }
    }

    /// Reads what is behind `shards`, and gives the shards that were read then.
    fn add(
        &mut self,
        shards: &[Shard],
        snapshot: Snapshot,
        is_written: impl Fn(&Source) -> bool + Copy,
        tick: Tick<'_>,
    ) -> Result<Vec<Shard>> {
        let Snapshot { sources, report } = snapshot;
        let nothing: Vec<Shard> = sources.iter().map(Shard::new).collect();
        let known = known(shards, &sources);
        let newest = super::newest(&sources);
        let mut readings = Vec::with_capacity(sources.len());
        for (place, source) in sources.iter().enumerate() {
            let shard = known[place].map_or(&nothing[place], |known| &shards[known]);
            readings.push(shard.reading(source, newest.get(&source.stream) == Some(&place))?);
        }
        // Values of a file that is gone, or has become another, cannot be told from the others.
        let is_gone = known.iter().flatten().count() < shards.len();
        if is_gone || readings.iter().any(|reading| reading.forget) {
            self.kept.clear();
            return self.add(&[], Snapshot { sources, report }, is_written, tick);
        }
        let mut kept = Snapshot { sources: Vec::new(), report };
        let mut loose = Snapshot::default();
        for reading in &mut readings {
            kept.sources.extend(reading.kept.take());
            loose.sources.extend(reading.loose.take());
        }
        self.most = PICKS;
        let mut pages = scan::Pages::new(kept);
        while let Some(outcome) = pages.next(Gather::default, is_written, tick)? {
            merge(&mut self.kept, outcome.parts, self.own_run.as_deref(), self.most);
            self.fit();
        }
        let outcome = scan::run(&loose, Gather::default, is_written, tick)?;
        merge(&mut self.loose, outcome.parts, self.own_run.as_deref(), self.most);
        let mut read = Vec::with_capacity(sources.len());
        let places = sources.iter().zip(readings).zip(nothing);
        for ((source, reading), mut shard) in places.filter(|((source, _), _)| source.file_id().is_some()) {
            shard.add(source, reading, Vec::new(), Vec::new());
            read.push(shard);
        }
        Ok(read)
    }

    /// Keeps fewer of each key until they take no more than their limit.
    fn fit(&mut self) {
        while self.held() > PICKS_BYTES && self.most > 1 {
            self.most /= 2;
            self.kept.values_mut().for_each(Kept::widen);
        }
    }

    /// Bytes of memory that the values take.
    #[must_use]
    pub fn held(&self) -> usize {
        self.kept.values().flat_map(Kept::all).map(|(_, pick)| size_of::<(u64, Pick)>() + pick.payload.len()).sum()
    }

    /// The values of `key` in the order in which they were logged: all of them, or at least as many as a chart shows, the first and
    /// the last among them.
    #[must_use]
    pub fn of(&self, key: &Key) -> Vec<&Pick> {
        let kept = [self.kept.get(key), self.loose.get(key)];
        kept.into_iter().flatten().flat_map(Kept::all).map(|(_, pick)| pick).collect()
    }
}

impl Default for Kept {
    fn default() -> Self {
        Self { count: 0, stride: 1, picks: Vec::new(), last: None }
    }
}

impl Kept {
    fn push(&mut self, pick: Pick, most: usize) {
        self.put((self.count, pick), most);
        self.count += 1;
    }

    /// Puts what was found behind these values there.
    fn append(&mut self, other: Self, most: usize) {
        while self.stride < other.stride {
            self.widen();
        }
        for (number, pick) in other.picks.into_iter().chain(other.last) {
            self.put((self.count + number, pick), most);
        }
        self.count += other.count;
    }

    fn put(&mut self, numbered: (u64, Pick), most: usize) {
        if self.picks.last().is_some_and(|(number, _)| number / self.stride == numbered.0 / self.stride) {
            self.last = Some(numbered);
            return;
        }
        self.last = None;
        self.picks.push(numbered);
        while self.picks.len() > 2 * most {
            self.widen();
        }
    }

    /// Keeps half of them.
    fn widen(&mut self) {
        self.stride *= 2;
        let end = self.last.take().or_else(|| self.picks.last().cloned());
        let stride = self.stride;
        self.picks.dedup_by_key(|(number, _)| *number / stride);
        self.last = end.filter(|end| self.picks.last().is_some_and(|(number, _)| *number != end.0));
    }

    fn all(&self) -> impl Iterator<Item = &(u64, Pick)> {
        self.picks.iter().chain(&self.last)
    }
}

/// What one thread reads.
#[derive(Debug, Default)]
struct Gather {
    parts: Vec<Found>,
}

/// The values of a part, by its number.
#[derive(Debug)]
struct Found {
    number: usize,
    stream: Arc<str>,
    kept: HashMap<LocalKey, Kept, Seeded>,
}

impl Sink for Gather {
    type Reader = PayloadReader;

    const MAX_HELD: usize = MAX_NAME_BYTES;

    fn begin(&mut self, part: &Part<'_>) {
        self.parts.push(Found { number: part.number, stream: Arc::clone(part.stream), kept: HashMap::default() });
    }

    fn row(&mut self, row: &Payload<'_>, _names: &Names, _position: Position) {
        let (Some(part), Some(payload)) = (self.parts.last_mut(), row.payload) else { return };
        let key = [0, row.split.0, row.metric.0, row.dataset.0, row.run_id.0];
        let pick = Pick { step: row.step, time: row.timestamp, payload: payload.into() };
        part.kept.entry(key).or_default().push(pick, PICKS);
    }

    fn held(&self) -> usize {
        0
    }
}

/// Puts what threads have read behind what there is, in order of position.
fn merge(all: &mut HashMap<Key, Kept>, threads: Vec<(Gather, Names)>, own_run: Option<&str>, most: usize) {
    let mut parts = Vec::new();
    for (gather, names) in threads {
        for Found { number, stream, kept } in gather.parts {
            let named = kept.into_iter().map(|(key, kept)| (Key::of(&stream, key, &names, own_run), kept));
            parts.push((number, named.collect::<Vec<_>>()));
        }
    }
    parts.sort_by_key(|&(number, _)| number);
    for (key, kept) in parts.into_iter().flat_map(|(_, kept)| kept) {
        all.entry(key).or_default().append(kept, most);
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::io::Write as _;
    use std::path::Path;

    use super::*;
    use crate::paths::FileKind;

    fn line(number: i64, metric: &str) -> String {
        format!(
            "{{\"manifest_id\":\"{number}\",\"step\":{number},\"split\":\"train\",\"metric\":\"{metric}\",\"run_id\":\"r\",\
             \"descriptor\":{{\"type\":\"int\",\"payload\":{number}}}}}\n"
        )
    }

    fn append(path: &Path, text: &str) {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn steps(picks: &mut Picks, folder: &Path, metric: &str) -> Vec<i64> {
        let snapshot = Snapshot::of_log(FileKind::Manifest, folder, &[]).unwrap();
        picks.refresh(snapshot, |_| false, &mut |_| true).unwrap();
        let text = |text: &str| text.to_owned();
        let key = Key { stream: text("main"), split: text("train"), metric: text(metric), dataset: None, run_id: None };
        picks.of(&key).iter().map(|pick| pick.step.unwrap()).collect()
    }

    #[test]
    fn values_are_evenly_chosen_and_only_what_was_added_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics_manifest.ndjson");
        let mut picks = Picks::default();
        picks.set_own_run(Some("r".to_owned()));
        append(&path, &(line(1, "h") + &line(2, "h") + &line(1, "other")));
        assert_eq!(steps(&mut picks, folder.path(), "h"), [1, 2]);
        // A line that is not ended counts, and is not counted twice once it is.
        let third = line(3, "h");
        append(&path, third.trim_end());
        assert_eq!(steps(&mut picks, folder.path(), "h"), [1, 2, 3]);
        append(&path, "\n");
        assert_eq!(steps(&mut picks, folder.path(), "h"), [1, 2, 3]);
        // What was read is not read again: nobody notices that it was changed.
        let text = std::fs::read_to_string(&path).unwrap().replacen("\"step\":1,", "\"step\":7,", 1);
        std::fs::write(&path, text).unwrap();
        assert_eq!(steps(&mut picks, folder.path(), "h"), [1, 2, 3]);
        // A rotation, and many more.
        std::fs::rename(&path, folder.path().join("metrics_manifest.ndjson.1")).unwrap();
        let mut more = String::new();
        (4..=20_000).for_each(|step| write!(more, "{}", line(step, "h")).unwrap());
        append(&path, &more);
        let found = steps(&mut picks, folder.path(), "h");
        assert!((PICKS..=2 * PICKS + 1).contains(&found.len()), "{}", found.len());
        assert_eq!((found[0], found[found.len() - 1]), (1, 20_000));
        // Two of them are as far apart as any other two, but for the last.
        let apart: Vec<i64> = found.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(apart[..apart.len() - 1].iter().all(|&apart| apart <= 20_000 / PICKS as i64), "{apart:?}");
        assert!(apart.iter().filter(|&&apart| apart < 20_000 / (4 * PICKS) as i64).count() <= 6, "{apart:?}");
        assert_eq!(steps(&mut picks, folder.path(), "other"), [1]);
        // Another file in its place.
        std::fs::remove_file(folder.path().join("metrics_manifest.ndjson.1")).unwrap();
        std::fs::write(&path, line(5, "h")).unwrap();
        assert_eq!(steps(&mut picks, folder.path(), "h"), [5]);
        assert_eq!(steps(&mut picks, folder.path(), "other"), [0_i64; 0]);
    }

    #[test]
    fn values_take_no_more_memory_than_their_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics_manifest.ndjson");
        let long = "x".repeat(1 << 20);
        for number in 0..64 {
            let line = line(number, "h").replace(&format!("\"payload\":{number}"), &format!("\"payload\":\"{long}\""));
            append(&path, &line);
        }
        let mut picks = Picks::default();
        picks.set_own_run(Some("r".to_owned()));
        let found = steps(&mut picks, folder.path(), "h");
        assert!(picks.held() <= PICKS_BYTES);
        assert!(found.len() > 8 && found.ends_with(&[63]) && found.starts_with(&[0]), "{found:?}");
    }
}
