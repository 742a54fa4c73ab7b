//! What earlier deliveries still need of a stream's shards, by the progress that they left on disk.
//!
//! A session keeps the rows that an earlier one meant for a destination, also where it has none itself. Its own rows were
//! promised to nobody: what is needed ends where the log ended when it began. Unless another process delivers the stream right
//! now: that one needs everything from its cursor on.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cursor::Cursor;
use super::locate::{first_lines, place};
use super::progress::{NO_RUN, Progress, lock_path, progress_path, progress_paths};
use crate::error::Result;
use crate::fs::FileId;
use crate::lock::{Attempt, Owner, Purpose, is_held};
use crate::paths::{Coding, FileKind, Stream};
use crate::process::Process;
use crate::run::identity::Home;
use crate::scan::{Snapshot, Source};
use crate::shard::hold::{Claims, Need};
use crate::worker::warnings::Warnings;

/// The destinations of a stream that were promised something.
#[derive(Debug)]
pub struct Holds {
    log: FileKind,
    directory: PathBuf,
    stream: Stream,
    /// Where the log ended when the session began.
    end: Option<End>,
    /// Deliveries that have come that far, which is all that they were promised.
    done: Mutex<HashSet<PathBuf>>,
    warnings: Arc<Warnings>,
}

/// The end of a log.
#[derive(Clone, Copy, Debug)]
struct End {
    /// Hash of the newest shard's first line.
    shard: u64,
    ordinal: u64,
    file: FileId,
    /// As it is stored, which is as it was written unless the shard was packed already.
    length: u64,
    is_plain: bool,
}

/// How far a delivery has come.
enum Stand {
    /// To the end of what it was promised.
    Done,
    /// It counts again once it is asked for: another remote run is in its place.
    Superseded,
    /// Only to a place before the end.
    At(Position),
}

/// An index in a list of shards and the stored bytes before a place in that.
type Position = (usize, u64);

impl Holds {
    /// What is promised of a log of `stream` right now. How far the deliveries have come is looked up once it is
    /// [needed](Claims::need): a place in an archive takes reading it. Of a stream that `is_new` nothing is promised yet, and
    /// nothing is looked at.
    pub fn find(
        log: FileKind,
        directory: &Path,
        stream: &Stream,
        warnings: &Arc<Warnings>,
        is_new: bool,
    ) -> Result<Self> {
        let is_nothing = is_new || progress_paths(directory, stream)?.is_empty();
        let end = if is_nothing { None } else { Self::end(log, directory, stream)? };
        let (directory, stream) = (directory.to_owned(), stream.clone());
        Ok(Self { log, directory, stream, end, done: Mutex::default(), warnings: Arc::clone(warnings) })
    }

    fn end(log: FileKind, directory: &Path, stream: &Stream) -> Result<Option<End>> {
        let sources = Snapshot::of_stream(log, directory, stream)?.sources;
        let hashes = first_lines(&sources)?;
        let newest = (0..sources.len()).rev().find_map(|index| Some((&sources[index], hashes[index]?)));
        Ok(newest.map(|(source, shard)| End {
            shard,
            ordinal: source.ordinal,
            file: source.file_id().unwrap_or_default(),
            length: source.stored_length(),
            is_plain: source.coding == Coding::Plain,
        }))
    }

    fn sources(&self) -> Result<Vec<Source>> {
        Ok(Snapshot::of_stream(self.log, &self.directory, &self.stream)?.sources)
    }

    /// How far the delivery with this progress has come. `end` is where what it was promised ends, and where that is now.
    fn stand(&self, progress: &Progress, sources: &[Source], end: Option<(End, Position)>) -> Result<Stand> {
        if progress.is_superseded {
            return Ok(Stand::Superseded);
        }
        let Some((end, end_now)) = end else { return Ok(Stand::Done) };
        let at = match progress.cursor_in(self.log) {
            // Of a shard that was packed since, it could not be told any more where in it the end was.
            Some(cursor) if end.is_reached_by(cursor) => return Ok(Stand::Done),
            Some(cursor) => place(sources, cursor, true)?,
            None => (0, 0),
        };
        Ok(if at < end_now { Stand::At(at) } else { Stand::Done })
    }

    /// Whether a living process delivers the stream to `address` right now; where that is not known, to any that the run has.
    fn is_delivered(&self, address: Option<&str>) -> bool {
        let observer = Process::current();
        let is_held = |address: &str| {
            let path = lock_path(&self.directory, &self.stream, address);
            path.exists() && is_held(&path, &observer)
        };
        match address {
            Some(address) => is_held(address),
            // Without an identity there is nobody who delivers.
            None => {
                Home::of(&self.directory).is_ok_and(|home| home.destinations.keys().any(|address| is_held(address)))
            }
        }
    }

    /// What is needed now.
    fn look(&self, own: &[PathBuf]) -> Result<Need> {
        let mut open = Vec::new();
        for path in progress_paths(&self.directory, &self.stream)? {
            if own.contains(&path) {
                continue;
            }
            let progress = Progress::load(&path)?;
            if !progress.is_of(self.log) {
                continue;
            }
            let is_live = self.is_delivered(progress.address.as_deref());
            if is_live || self.end.is_some() && !self.done().contains(&path) {
                open.push((path, progress, is_live));
            }
        }
        if open.is_empty() {
            return Ok(Need::Nothing);
        }
        let sources = self.sources()?;
        let hashes = first_lines(&sources)?;
        let end = self.end.and_then(|end| Some((end, end.among(&sources, &hashes)?)));
        let mut need = Need::Nothing;
        for (path, progress, is_live) in open {
            let stand = match progress.cursor_in(self.log) {
                Some(cursor) if is_live => Stand::At(place(&sources, cursor, true)?),
                None if is_live => Stand::At((0, 0)),
                _ => self.stand(&progress, &sources, end)?,
            };
            match stand {
                Stand::Done => drop(self.done().insert(path)),
                Stand::Superseded => {}
                Stand::At((index, offset)) => {
                    let ordinal = sources.get(index).map_or(0, |source| source.ordinal);
                    let is_known = ordinal > 0;
                    need = need.and(if is_known { Need::From { ordinal, offset } } else { Need::Everything });
                }
            }
        }
        Ok(need)
    }

    fn done(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the cursors at the end of a shard that is about to be deleted to the start of the next one. Without the shard it
    /// could not be told any more that nothing of it is missing.
    fn pass(&self, ordinal: u64) -> Result<()> {
        let sources = self.sources()?;
        let Some(index) = sources.iter().position(|source| source.ordinal == ordinal) else { return Ok(()) };
        let hashes = first_lines(&sources)?;
        let (Some(&Some(here)), Some(&Some(next))) = (hashes.get(index), hashes.get(index + 1)) else {
            return Ok(());
        };
        let end = (index, sources[index].stored_length());
        let is_at_end = |cursor: &Cursor| Ok(cursor.shard == here && place(&sources, cursor, true)? == end);
        for path in progress_paths(&self.directory, &self.stream)? {
            let progress = Progress::load(&path)?;
            if !progress.cursor_in(self.log).map_or(Ok(false), is_at_end)? {
                continue;
            }
            // Whoever delivers right now has the shard open.
            let Some(_locks) = self.lock(progress.address)? else { continue };
            let mut progress = Progress::load(&path)?;
            let Some(cursor) = progress.cursor_mut(self.log) else { continue };
            // Someone may have delivered more before the lock was taken.
            if is_at_end(cursor)? {
                let next_source = &sources[index + 1];
                cursor.enter(next, next_source.ordinal, next_source.file_id().unwrap_or_default());
                progress.save(&path)?;
            }
        }
        Ok(())
    }

    /// Keeps deliveries to `address` away; to all that the run has where it is not known. `None` if one is at work.
    fn lock(&self, address: Option<String>) -> Result<Option<Vec<Owner>>> {
        let addresses = match address {
            Some(address) => vec![address],
            None => Home::of(&self.directory)?.destinations.into_keys().collect(),
        };
        let mut locks = Vec::new();
        for address in addresses {
            let path = lock_path(&self.directory, &self.stream, &address);
            match Owner::acquire(&path, &Process::current(), Purpose::Write)? {
                Attempt::Taken(owner) => locks.push(owner),
                Attempt::Held(_) => return Ok(None),
            }
        }
        Ok(Some(locks))
    }
}

impl Claims for Holds {
    fn need(&self, own: &[PathBuf]) -> Result<Need> {
        self.look(own).inspect_err(|error| {
            self.warnings.push("promises", || {
                format!("{error}: undelivered rows are unknown, so nothing is deleted up to the limit")
            });
        })
    }

    fn leave(&self, ordinal: u64) {
        // What cannot be told or written is said of the cursor when it is used again: its shard is gone.
        let _ = self.pass(ordinal);
    }
}

impl End {
    fn is_reached_by(self, cursor: &Cursor) -> bool {
        self.is_plain && (cursor.shard, cursor.file) == (self.shard, self.file) && cursor.offset >= self.length
    }

    /// Where it is now; `None` if its shard is gone.
    fn among(self, sources: &[Source], hashes: &[Option<u64>]) -> Option<Position> {
        let mut alike = (0..sources.len()).rev().filter(|&index| hashes[index] == Some(self.shard));
        let newest = alike.clone().next();
        let is_it = |&index: &usize| match (self.ordinal, sources[index].ordinal) {
            (0, _) | (_, 0) => sources[index].file_id() == Some(self.file),
            (ordinal, its) => its == ordinal,
        };
        let index = alike.find(is_it).or(newest)?;
        let stored = sources[index].stored_length();
        Some((index, if sources[index].coding == Coding::Plain { self.length.min(stored) } else { stored }))
    }
}

/// Puts on disk that a destination is to get the stream, unless what it got already is there: whoever deletes old shards
/// looks for it, also if the destination is never reached. `promised` has its address and what it follows.
///
/// `run` is the remote run that is asked for, if one is; else it is the one that `run.json` names.
pub fn promise(directory: &Path, stream: &Stream, promised: &Progress, run: Option<&str>) -> Result<()> {
    let address = promised.address.as_deref().unwrap_or_default();
    let named = || Ok(Home::of(directory)?.destinations.get(address).cloned());
    let known = run.map_or_else(named, |run| Ok(Some(run.to_owned())))?;
    let path = known.map(|run| progress_path(directory, stream, address, &run)).filter(|path| path.exists());
    let path = path.unwrap_or_else(|| progress_path(directory, stream, address, NO_RUN));
    let is_new = !path.exists();
    let found = Progress::load(&path)?;
    let meant = Progress {
        address: promised.address.clone(),
        is_without_rows: promised.is_without_rows,
        follows: promised.follows.clone(),
        is_superseded: false,
        ..found.clone()
    };
    if is_new || meant != found { meant.save(&path) } else { Ok(()) }
}

/// Lets the progress at `path`, of a remote run that is known now, stand for what was promised.
pub fn rename(directory: &Path, stream: &Stream, address: &str, path: &Path) -> Result<()> {
    let promised = progress_path(directory, stream, address, NO_RUN);
    if path == promised || !promised.exists() {
        return Ok(());
    }
    if !path.exists() {
        Progress::load(&promised)?.save(path)?;
    }
    crate::fs::remove(&promised)
}

/// Keeps nothing any more for the remote run `replaced`, whose place another one takes in `run.json`. How far it got stays
/// known, in case that someone goes back to it.
pub fn supersede(directory: &Path, address: &str, replaced: &str) -> Result<()> {
    for stream in Snapshot::streams(directory)? {
        let path = progress_path(directory, &stream, address, replaced);
        if path.exists() {
            mark(&path, true)?;
        }
    }
    Ok(())
}

fn mark(path: &Path, is_superseded: bool) -> Result<()> {
    let progress = Progress::load(path)?;
    if progress.is_superseded == is_superseded {
        return Ok(());
    }
    Progress { is_superseded, ..progress }.save(path)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::follow::cursor::hash;
    use crate::paths::INTERNALS;

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn an_archive_is_read_when_something_is_to_be_deleted_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, stream) = (folder.path(), Stream::main());
        std::fs::create_dir(directory.join(INTERNALS)).unwrap();
        let line = |step: u64| format!("{{\"step\":{step}}}\n");
        let text: String = (0..100_000).map(line).collect();
        let whole = gzip(&text);
        let archive = directory.join("metrics.ndjson.1.gz");
        std::fs::write(directory.join("metrics.ndjson"), "{\"new\":1}\n").unwrap();
        let mut cursor = Cursor::default();
        cursor.enter(hash(line(0).as_bytes()), 0, FileId::default());
        cursor.pass(text.len() as u64, line(99_999).as_bytes());
        let path = progress_path(directory, &stream, "test", "1");
        Progress { cursor: Some(cursor), ..Progress::default() }.save(&path).unwrap();
        // Half of the archive can be read to its first line and not to its end.
        std::fs::write(&archive, &whole[..whole.len() / 2]).unwrap();
        let holds = Holds::find(FileKind::Metrics, directory, &stream, &Arc::default(), false).unwrap();
        let before = holds.need(&[]);
        assert!(!matches!(before, Ok(Need::Nothing)), "{before:?}");
        std::fs::write(&archive, &whole).unwrap();
        assert_eq!(holds.need(&[]).unwrap(), Need::From { ordinal: 1, offset: whole.len() as u64 });
        let all = Progress::load(&path).unwrap();
        let mut cursor = all.cursor.clone().unwrap();
        cursor.enter(hash(b"{\"new\":1}\n"), 0, FileId::default());
        cursor.pass(10, b"{\"new\":1}\n");
        Progress { cursor: Some(cursor), ..all }.save(&path).unwrap();
        assert_eq!(holds.need(&[]).unwrap(), Need::Nothing);
        std::fs::write(&archive, "no archive").unwrap();
        assert_eq!(holds.need(&[]).unwrap(), Need::Nothing, "it is not looked at again");
    }

    #[test]
    fn a_delivery_that_had_come_to_the_end_needs_nothing_of_a_shard_that_was_continued_and_packed() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, stream) = (folder.path(), Stream::main());
        std::fs::create_dir(directory.join(INTERNALS)).unwrap();
        let log = directory.join("metrics.ndjson");
        std::fs::write(&log, "{\"a\":1}\n{\"a\":2}\n").unwrap();
        let mut cursor = Cursor::default();
        cursor.enter(hash(b"{\"a\":1}\n"), 0, FileId::at(&log).unwrap().unwrap());
        let path = progress_path(directory, &stream, "test", "1");
        for (delivered, needed) in [(8, Need::From { ordinal: 1, offset: 0 }), (16, Need::Nothing)] {
            std::fs::write(&log, "{\"a\":1}\n{\"a\":2}\n").unwrap();
            cursor.pass(delivered, b"{\"a\":2}\n");
            Progress { cursor: Some(cursor.clone()), ..Progress::default() }.save(&path).unwrap();
            let holds = Holds::find(FileKind::Metrics, directory, &stream, &Arc::default(), false).unwrap();
            let archive = directory.join("metrics.ndjson.1.gz");
            std::fs::write(&archive, gzip("{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n")).unwrap();
            std::fs::write(&log, "{\"new\":1}\n").unwrap();
            assert_eq!(holds.need(&[]).unwrap(), needed);
            std::fs::remove_file(&archive).unwrap();
        }
    }

    #[test]
    fn a_delivery_that_is_at_work_needs_everything_from_its_cursor_on() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, stream) = (folder.path(), Stream::main());
        std::fs::create_dir(directory.join(INTERNALS)).unwrap();
        let holds = Holds::find(FileKind::Metrics, directory, &stream, &Arc::default(), false).unwrap();
        for (number, line) in [(2, "{\"a\":1}\n"), (1, "{\"b\":1}\n")] {
            std::fs::write(directory.join(format!("metrics.ndjson.{number}")), line).unwrap();
        }
        std::fs::write(directory.join("metrics.ndjson"), "{\"c\":1}\n").unwrap();
        let path = progress_path(directory, &stream, "test", "1");
        let address = Some("test".to_owned());
        Progress { address: address.clone(), ..Progress::default() }.save(&path).unwrap();
        assert_eq!(holds.need(&[]).unwrap(), Need::Nothing, "nobody was promised these rows");
        let lock = lock_path(directory, &stream, "test");
        let Attempt::Taken(owner) = Owner::acquire(&lock, &Process::current(), Purpose::Write).unwrap() else {
            panic!("the lock is free")
        };
        assert_eq!(holds.need(&[]).unwrap(), Need::From { ordinal: 1, offset: 0 });
        assert_eq!(holds.need(std::slice::from_ref(&path)).unwrap(), Need::Nothing, "its own are counted elsewhere");
        let mut cursor = Cursor::default();
        cursor.enter(hash(b"{\"b\":1}\n"), 2, FileId::default());
        cursor.pass(8, b"{\"b\":1}\n");
        Progress { cursor: Some(cursor), address, ..Progress::default() }.save(&path).unwrap();
        assert_eq!(holds.need(&[]).unwrap(), Need::From { ordinal: 2, offset: 8 });
        drop(owner);
        assert_eq!(holds.need(&[]).unwrap(), Need::Nothing, "it has gone away");
    }

    #[test]
    fn only_a_delivery_to_the_same_address_keeps_a_cursor_in_a_shard_that_goes() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, stream) = (folder.path(), Stream::main());
        std::fs::create_dir(directory.join(INTERNALS)).unwrap();
        let home = r#"{"run_id":"r","name":"n","destinations":{"test a":"1","test b":"1"}}"#;
        std::fs::write(directory.join("run.json"), home).unwrap();
        let log = directory.join("metrics.ndjson");
        std::fs::write(directory.join("metrics.ndjson.1"), "{\"old\":1}\n").unwrap();
        std::fs::write(&log, "{\"new\":1}\n").unwrap();
        let mut cursor = Cursor::default();
        cursor.enter(hash(b"{\"old\":1}\n"), 0, FileId::default());
        cursor.pass(10 + 1, b"{\"old\":1}\n");
        let paths = ["test a", "test b"].map(|address| progress_path(directory, &stream, address, "1"));
        let has_moved = |is_known: bool, held: Option<&str>| {
            for (path, address) in paths.iter().zip(["test a", "test b"]) {
                let address = is_known.then(|| address.to_owned());
                Progress { cursor: Some(cursor.clone()), address, ..Progress::default() }.save(path).unwrap();
            }
            let lock = held.map(|address| lock_path(directory, &stream, address));
            let lock = lock.map(|path| Owner::acquire(&path, &Process::current(), Purpose::Write).unwrap());
            let holds = Holds::find(FileKind::Metrics, directory, &stream, &Arc::default(), false).unwrap();
            holds.pass(1).unwrap();
            drop(lock);
            paths.each_ref().map(|path| Progress::load(path).unwrap().cursor.unwrap().offset == 0)
        };
        assert_eq!(has_moved(true, None), [true, true]);
        assert_eq!(has_moved(true, Some("test a")), [false, true]);
        assert_eq!(has_moved(true, Some("test b")), [true, false]);
        assert_eq!(has_moved(true, Some("test of another")), [true, true]);
        assert_eq!(has_moved(false, None), [true, true]);
        assert_eq!(has_moved(false, Some("test b")), [false, false], "whose they are is not known");
    }

    #[test]
    fn each_log_is_kept_for_those_that_follow_it() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, stream) = (folder.path(), Stream::main());
        std::fs::create_dir(directory.join(INTERNALS)).unwrap();
        for log in ["metrics", "telemetry"] {
            std::fs::write(directory.join(format!("{log}.ndjson.1")), "{\"old\":1}\n").unwrap();
            std::fs::write(directory.join(format!("{log}.ndjson")), "{\"new\":1}\n").unwrap();
        }
        let path = progress_path(directory, &stream, "otlp", "");
        let spans = Progress { is_without_rows: true, follows: ["telemetry".to_owned()].into(), ..Progress::default() };
        let needs = |progress: &Progress| {
            progress.save(&path).unwrap();
            [FileKind::Metrics, FileKind::Telemetry].map(|log| {
                let holds = Holds::find(log, directory, &stream, &Arc::default(), false).unwrap();
                holds.need(&[]).unwrap()
            })
        };
        assert_eq!(needs(&spans), [Need::Nothing, Need::From { ordinal: 1, offset: 0 }]);
        let rows = Progress { is_without_rows: false, follows: [].into(), ..spans.clone() };
        assert_eq!(needs(&rows), [Need::From { ordinal: 1, offset: 0 }, Need::Nothing]);
        let mut cursor = Cursor::default();
        cursor.enter(hash(b"{\"new\":1}\n"), 2, FileId::default());
        cursor.pass(10, b"{\"new\":1}\n");
        let done = Progress { records: [("telemetry".to_owned(), cursor)].into(), ..spans };
        assert_eq!(needs(&done), [Need::Nothing, Need::Nothing]);
    }
}
