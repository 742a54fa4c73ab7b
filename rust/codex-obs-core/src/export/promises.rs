//! What earlier deliveries still need of a stream's shards, by the progress that they left on disk.
//!
//! A session keeps the rows that an earlier one meant for a destination, also where it has none itself. Its own rows were
//! promised to nobody: what is needed ends where the log ended when it began.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::cursor::{Cursor, Progress, lock_path, progress_path, progress_paths};
use super::locate::{first_lines, place};
use crate::error::{Error, Result};
use crate::fs::FileId;
use crate::home::Home;
use crate::journal::identity::Process;
use crate::journal::owner::{Attempt, Owner, Purpose};
use crate::scan::{Snapshot, Source};
use crate::shard::kept::{Claims, Need};
use crate::shard::name::{Coding, ShardName, Stream};

/// Stands for the remote run while that is not known.
const NO_RUN: &str = "";

/// The destinations of a stream that were promised something.
#[derive(Debug)]
pub struct Promises {
    directory: PathBuf,
    stream: Stream,
    /// Where the log ended when the session began.
    end: Option<End>,
    /// The deliveries of which it is not known that they have come that far.
    open: Mutex<Vec<PathBuf>>,
}

/// The end of a log.
#[derive(Clone, Copy, Debug)]
struct End {
    /// Hash of the newest shard's first line.
    shard: u64,
    file: FileId,
    length: u64,
}

/// An index in a list of shards and the stored bytes before a place in that.
type Place = (usize, u64);

impl Promises {
    /// What is promised of `stream` right now; `None` if nothing ever was. How far the deliveries have come is looked up once
    /// it is [needed](Claims::need): a place in an archive takes reading it.
    pub fn find(directory: &Path, stream: &Stream) -> Result<Option<Self>> {
        let open = progress_paths(directory, stream)?;
        if open.is_empty() {
            return Ok(None);
        }
        let sources = Snapshot::of_stream(directory, stream)?.sources;
        let hashes = first_lines(&sources)?;
        let newest = (0..sources.len()).rev().find_map(|index| Some((&sources[index], hashes[index]?)));
        let end = newest.map(|(source, shard)| End {
            shard,
            file: source.file_id().unwrap_or_default(),
            length: source.stored_length(),
        });
        Ok(Some(Self { directory: directory.to_owned(), stream: stream.clone(), end, open: Mutex::new(open) }))
    }

    fn sources(&self) -> Result<Vec<Source>> {
        Ok(Snapshot::of_stream(&self.directory, &self.stream)?.sources)
    }

    /// Where the delivery with its progress at `path` is, if it has not come to `end`.
    fn behind(path: &Path, sources: &[Source], end: Place) -> Result<Option<Place>> {
        if !path.exists() {
            return Ok(None);
        }
        let progress = Progress::load(path)?;
        if progress.is_superseded {
            return Ok(None);
        }
        let at = progress.cursor.map_or(Ok((0, 0)), |cursor| place(sources, &cursor, true))?;
        Ok(Some(at).filter(|&at| at < end))
    }

    /// Moves the cursors at the end of a shard that is about to be deleted to the start of the next one. Without the shard it
    /// could not be told any more that nothing of it is missing.
    fn pass(&self, number: u64) -> Result<()> {
        let sources = self.sources()?;
        let Some(index) = sources.iter().position(|source| number_of(source) == Some(number)) else { return Ok(()) };
        let hashes = first_lines(&sources)?;
        let (Some(&Some(here)), Some(&Some(next))) = (hashes.get(index), hashes.get(index + 1)) else {
            return Ok(());
        };
        let end = (index, sources[index].stored_length());
        let is_at_end = |cursor: &Cursor| Ok(cursor.shard == here && place(&sources, cursor, true)? == end);
        for path in progress_paths(&self.directory, &self.stream)? {
            let progress = Progress::load(&path)?;
            if !progress.cursor.as_ref().map_or(Ok(false), is_at_end)? {
                continue;
            }
            // Whoever delivers right now has the shard open.
            let Some(_locks) = self.lock(progress.address)? else { continue };
            let mut progress = Progress::load(&path)?;
            let Some(cursor) = progress.cursor.as_mut() else { continue };
            // Someone may have delivered more before the lock was taken.
            if is_at_end(cursor)? {
                cursor.enter(next, sources[index + 1].file_id().unwrap_or_default());
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

impl Claims for Promises {
    fn need(&self, own: Option<&Path>) -> Result<Need> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.is_empty() {
            return Ok(Need::Nothing);
        }
        let sources = self.sources()?;
        let hashes = first_lines(&sources)?;
        let Some(end) = self.end.and_then(|end| end.among(&sources, &hashes)) else { return Ok(Need::Nothing) };
        let (mut still, mut oldest) = (Vec::new(), None::<Place>);
        for path in open.iter() {
            if Some(path.as_path()) == own {
                still.push(path.clone());
            } else if let Some(at) = Self::behind(path, &sources, end)? {
                still.push(path.clone());
                oldest = Some(oldest.map_or(at, |oldest| oldest.min(at)));
            }
        }
        // What was promised has an end: whoever has reached it needs nothing any more.
        *open = still;
        Ok(oldest.map_or(Need::Nothing, |(index, offset)| {
            number_of(&sources[index]).map_or(Need::Everything, |number| Need::From { number, offset })
        }))
    }

    fn leave(&self, number: u64) {
        // What cannot be told or written is said of the cursor when it is used again: its shard is gone.
        let _ = self.pass(number);
    }
}

impl End {
    /// Where it is now; `None` if its shard is gone.
    fn among(self, sources: &[Source], hashes: &[Option<u64>]) -> Option<Place> {
        let mut alike = (0..sources.len()).rev().filter(|&index| hashes[index] == Some(self.shard));
        let newest = alike.clone().next();
        let index = alike.find(|&index| sources[index].file_id() == Some(self.file)).or(newest)?;
        let stored = sources[index].stored_length();
        Some((index, if sources[index].coding == Coding::Plain { self.length.min(stored) } else { stored }))
    }
}

fn number_of(source: &Source) -> Option<u64> {
    let name = source.path.file_name()?.to_str()?;
    ShardName::parse(name, "metrics").map(|shard| shard.number)
}

/// Puts on disk that a destination is to get the stream, unless what it got already is there: whoever deletes old shards
/// looks for it, also if the destination is never reached.
///
/// `run` is the remote run that is asked for, if one is; else it is the one that `run.json` names.
pub fn promise(directory: &Path, stream: &Stream, address: &str, run: Option<&str>) -> Result<()> {
    let named = || Ok(Home::of(directory)?.destinations.get(address).cloned());
    let known = run.map_or_else(named, |run| Ok(Some(run.to_owned())))?;
    let path = known.map(|run| progress_path(directory, stream, address, &run));
    if let Some(path) = path.filter(|path| path.exists()) {
        return mark(&path, false);
    }
    begin(&progress_path(directory, stream, address, NO_RUN), address)
}

/// Lets the progress at `path`, of a remote run that is known now, stand for what was promised.
pub fn rename(directory: &Path, stream: &Stream, address: &str, path: &Path) -> Result<()> {
    let promised = progress_path(directory, stream, address, NO_RUN);
    if !promised.exists() {
        return Ok(());
    }
    begin(path, address)?;
    std::fs::remove_file(&promised).map_err(|source| Error::io("remove", &promised, source))
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

fn begin(path: &Path, address: &str) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    Progress { address: Some(address.to_owned()), ..Progress::default() }.save(path)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::export::cursor::hash;
    use crate::shard::tail::INTERNALS;

    #[test]
    fn an_archive_is_read_when_something_is_to_be_deleted_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, stream) = (folder.path(), Stream::main());
        std::fs::create_dir(directory.join(INTERNALS)).unwrap();
        let line = |step: u64| format!("{{\"step\":{step}}}\n");
        let text: String = (0..100_000).map(line).collect();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        let whole = encoder.finish().unwrap();
        let archive = directory.join("metrics.ndjson.1.gz");
        std::fs::write(directory.join("metrics.ndjson"), "{\"new\":1}\n").unwrap();
        let mut cursor = Cursor::default();
        cursor.enter(hash(line(0).as_bytes()), FileId::default());
        cursor.pass(text.len() as u64, line(99_999).as_bytes());
        let path = progress_path(directory, &stream, "test", "1");
        Progress { cursor: Some(cursor), ..Progress::default() }.save(&path).unwrap();
        // Half of the archive can be read to its first line and not to its end.
        std::fs::write(&archive, &whole[..whole.len() / 2]).unwrap();
        let promises = Promises::find(directory, &stream).unwrap().unwrap();
        let before = promises.need(None);
        assert!(!matches!(before, Ok(Need::Nothing)), "{before:?}");
        std::fs::write(&archive, &whole).unwrap();
        assert_eq!(promises.need(None).unwrap(), Need::From { number: 1, offset: whole.len() as u64 });
        let all = Progress::load(&path).unwrap();
        let mut cursor = all.cursor.clone().unwrap();
        cursor.enter(hash(b"{\"new\":1}\n"), FileId::default());
        cursor.pass(10, b"{\"new\":1}\n");
        Progress { cursor: Some(cursor), ..all }.save(&path).unwrap();
        assert_eq!(promises.need(None).unwrap(), Need::Nothing);
        std::fs::write(&archive, "no archive").unwrap();
        assert_eq!(promises.need(None).unwrap(), Need::Nothing, "it is not looked at again");
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
        cursor.enter(hash(b"{\"old\":1}\n"), FileId::default());
        cursor.pass(10 + 1, b"{\"old\":1}\n");
        let paths = ["test a", "test b"].map(|address| progress_path(directory, &stream, address, "1"));
        let has_moved = |is_known: bool, held: Option<&str>| {
            for (path, address) in paths.iter().zip(["test a", "test b"]) {
                let address = is_known.then(|| address.to_owned());
                Progress { cursor: Some(cursor.clone()), address, ..Progress::default() }.save(path).unwrap();
            }
            let lock = held.map(|address| lock_path(directory, &stream, address));
            let lock = lock.map(|path| Owner::acquire(&path, &Process::current(), Purpose::Write).unwrap());
            let promises = Promises::find(directory, &stream).unwrap().unwrap();
            promises.pass(1).unwrap();
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
}
