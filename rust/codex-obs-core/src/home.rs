//! `run.json`: what a run is called, written once by whoever opens its directory first.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags};
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::encode::line;
use crate::error::{Error, Result};
use crate::fs::{self, FileId};
use crate::journal::identity::Process;
use crate::journal::owner::{Attempt, Owner, Purpose};
use crate::record::timestamp;
use crate::shard::tail::INTERNALS;

/// File name of the identity.
pub const FILE_NAME: &str = "run.json";
/// The lock of those who change it.
const LOCK: &str = "lock-identity";
/// Longest wait for others that change it, which takes each of them microseconds.
const LOCK_WAIT: Duration = Duration::from_secs(2);
const LOCK_LOOK: Duration = Duration::from_millis(1);
/// Longest identity file read. Ours have a few hundred bytes and remote ids.
const MAX_BYTES: u64 = 1 << 20;
/// Longest run id: it stands in every row and in the journal's header.
const MAX_RUN_ID_BYTES: usize = 4096;

/// The identity of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// Part of every row.
    pub run_id: String,
    /// What people call it.
    pub name: String,
    /// When its directory was created, in microseconds since the epoch.
    pub created_micros: i64,
    /// The remote run of each destination, by its address.
    pub destinations: BTreeMap<String, String>,
}

impl Home {
    /// The identity of the run in `directory`, which exists: the one that is there, else a new one.
    ///
    /// # Errors
    /// If `run_id` is not the one of the run that is there.
    pub fn open(directory: &Path, run_id: Option<&str>, name: Option<&str>, mode: u32, clock: &Clock) -> Result<Self> {
        if run_id.is_some_and(|id| id.is_empty() || id.len() > MAX_RUN_ID_BYTES) {
            return Err(Error::setting("run_id", "must have 1 to 4096 bytes"));
        }
        let path = directory.join(FILE_NAME);
        finish_placing(directory, &path)?;
        let home = match Self::read(&path)? {
            Some(home) => home,
            None => Self::create(directory, &path, run_id, name, mode, clock)?,
        };
        match run_id {
            Some(asked) if asked != home.run_id => Err(Error::conflict(format!(
                "{} belongs to the run {:?}, not to {asked:?}: leave run_id out to continue it, or choose another directory",
                directory.display(),
                home.run_id
            ))),
            _ => Ok(home),
        }
    }

    /// The identity of the run in `directory`, which must be there.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub fn of(directory: &Path) -> Result<Self> {
        let missing = || Error::no_log(format!("{} is no run directory: it has no {FILE_NAME}", directory.display()));
        Self::read(&directory.join(FILE_NAME))?.ok_or_else(missing)
    }

    /// Notes the remote run of a destination in the identity of the run in `directory`. Processes that do this at once wait
    /// for each other, and nobody ever reads half of it.
    ///
    /// # Errors
    /// If it cannot be written, or another process stands still in doing so.
    pub fn note_destination(directory: &Path, address: &str, remote_run: &str) -> Result<()> {
        let path = directory.join(FILE_NAME);
        let lock_path = directory.join(INTERNALS).join(LOCK);
        let deadline = Instant::now() + LOCK_WAIT;
        let _lock = loop {
            match Owner::acquire(&lock_path, &Process::current(), Purpose::Write)? {
                Attempt::Taken(owner) => break owner,
                Attempt::Held(_) if Instant::now() < deadline => std::thread::sleep(LOCK_LOOK),
                Attempt::Held(_) => {
                    return Err(Error::io("lock", &lock_path, std::io::ErrorKind::TimedOut.into()));
                }
            }
        };
        let mut home = Self::of(directory)?;
        if home.destinations.get(address).is_some_and(|known| known == remote_run) {
            return Ok(());
        }
        home.destinations.insert(address.to_owned(), remote_run.to_owned());
        let metadata = path.symlink_metadata().map_err(|source| Error::io("examine", &path, source))?;
        let draft = draft_path(directory)?;
        let mut file = fs::create_new(&draft, metadata.mode() & 0o777)?;
        let written = file.write_all(&home.document()).and_then(|()| file.sync_data());
        let placed = written.and_then(|()| std::fs::rename(&draft, &path));
        placed.map_err(|source| {
            let _ = std::fs::remove_file(&draft);
            Error::io("write", &path, source)
        })
    }

    fn document(&self) -> Vec<u8> {
        let destinations = json!(self.destinations).to_string();
        line::identity(&self.run_id, &self.name, self.created_micros, destinations.as_bytes())
    }

    /// The identity at `path`, or `None` if there is none.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let file = match fs::open_existing(path) {
            Ok(file) => file,
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(|source| Error::io("read", path, source))?;
        let text = |document: &Value, key| document.get(key).and_then(Value::as_str).map(str::to_owned);
        let document: Value = serde_json::from_slice(&bytes)
            .map_err(|error| Error::corrupt(path, format!("{error}; restore it or choose another run directory")))?;
        match (text(&document, "run_id"), text(&document, "name")) {
            (Some(run_id), name) if !run_id.is_empty() && run_id.len() <= MAX_RUN_ID_BYTES => {
                let created = text(&document, "created").and_then(|text| timestamp::parse(text.as_bytes()));
                let remote_runs = document.get("destinations").and_then(Value::as_object);
                let destinations = remote_runs
                    .into_iter()
                    .flatten()
                    .filter_map(|(address, remote_run)| Some((address.clone(), remote_run.as_str()?.to_owned())));
                Ok(Some(Self {
                    run_id,
                    name: name.unwrap_or_default(),
                    created_micros: created.unwrap_or(0),
                    destinations: destinations.collect(),
                }))
            }
            _ => Err(Error::corrupt(path, "it has no run_id; restore it or choose another run directory")),
        }
    }

    /// Writes a new identity as a whole, or reads the one of a process that was faster.
    fn create(
        directory: &Path,
        path: &Path,
        run_id: Option<&str>,
        name: Option<&str>,
        mode: u32,
        clock: &Clock,
    ) -> Result<Self> {
        let home = Self {
            run_id: match run_id {
                Some(run_id) => run_id.to_owned(),
                None => new_run_id()?,
            },
            name: name.map_or_else(|| default_name(directory), str::to_owned),
            created_micros: clock.now_micros(),
            destinations: BTreeMap::new(),
        };
        let draft = draft_path(directory)?;
        let mut file = fs::create_new(&draft, mode)?;
        let written = file.write_all(&home.document()).and_then(|()| file.sync_data());
        let placed = written.map_err(|source| Error::io("write", &draft, source)).and_then(|()| place(&draft, path));
        if !matches!(placed, Ok(true)) {
            let _ = std::fs::remove_file(&draft);
        }
        if placed? {
            fs::sync_folder(directory)?;
            return Ok(home);
        }
        Self::read(path)?.ok_or_else(|| Error::corrupt(path, "it was removed while it was being opened"))
    }
}

fn default_name(directory: &Path) -> String {
    let resolved = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    resolved.file_name().map_or_else(|| "run".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// A name beside the internals that nobody else uses.
fn draft_path(directory: &Path) -> Result<PathBuf> {
    Ok(directory.join(INTERNALS).join(format!("{FILE_NAME}.{}", new_run_id()?)))
}

/// Gives `draft` the name `path` unless that exists; gives whether it did.
fn place(draft: &Path, path: &Path) -> Result<bool> {
    let placed = match rustix::fs::renameat_with(CWD, draft, CWD, path, RenameFlags::NOREPLACE) {
        // File systems without the flag have hard links, which do not replace either.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            rustix::fs::link(draft, path).and_then(|()| match rustix::fs::unlink(draft) {
                // Another process was faster, see `finish_placing`.
                Err(rustix::io::Errno::NOENT) => Ok(()),
                outcome => outcome,
            })
        }
        outcome => outcome,
    };
    match placed {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::EXIST) => Ok(false),
        Err(errno) => Err(Error::io("create", path, errno.into())),
    }
}

/// Removes the draft that is still a second name of the file at `path`, because its maker is, or died, between giving it one
/// and taking the other.
fn finish_placing(directory: &Path, path: &Path) -> Result<()> {
    if !path.symlink_metadata().is_ok_and(|metadata| metadata.nlink() > 1) {
        return Ok(());
    }
    let id = FileId::at(path)?;
    let folder = directory.join(INTERNALS);
    for entry in std::fs::read_dir(&folder).map_err(|source| Error::io("list", &folder, source))? {
        let entry = entry.map_err(|source| Error::io("list", &folder, source))?;
        let is_draft = entry.file_name().to_str().is_some_and(|name| name.starts_with(FILE_NAME));
        if is_draft && FileId::at(&entry.path())? == id {
            match std::fs::remove_file(entry.path()) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &entry.path(), source));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// A random UUID (RFC 9562, version 4).
fn new_run_id() -> Result<String> {
    let mut bytes = [0_u8; 16];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    if filled != Ok(bytes.len()) {
        let source = filled.err().map_or_else(|| std::io::ErrorKind::UnexpectedEof.into(), std::io::Error::from);
        return Err(Error::io("read", Path::new("/dev/urandom"), source));
    }
    let number = u128::from_be_bytes(bytes) & !(0xF << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{number:032x}");
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_folder(&folder.path().join(INTERNALS)).unwrap();
        folder
    }

    fn open(folder: &Path, run_id: Option<&str>) -> Result<Home> {
        Home::open(folder, run_id, Some("n"), 0o600, &Clock::default())
    }

    #[test]
    fn whoever_comes_first_names_the_run() {
        let folder = folder();
        let first = open(folder.path(), None).unwrap();
        assert_eq!((first.run_id.len(), &first.run_id[14..15], first.name.as_str()), (36, "4", "n"));
        assert_eq!(open(folder.path(), None).unwrap(), first);
        assert_eq!(open(folder.path(), Some(&first.run_id)).unwrap(), first);
        assert!(open(folder.path(), Some("other")).unwrap_err().is_conflict());
        assert_eq!(std::fs::read_dir(folder.path().join(INTERNALS)).unwrap().count(), 0, "no draft is left");
    }

    #[test]
    fn processes_that_race_agree() {
        let folder = folder();
        let homes: Vec<Home> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| open(folder.path(), None).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(homes.iter().all(|home| *home == homes[0]));
    }

    #[test]
    fn processes_that_note_remote_runs_at_once_lose_none() {
        let folder = folder();
        let first = open(folder.path(), None).unwrap();
        std::thread::scope(|scope| {
            for number in 0..8 {
                let path = folder.path();
                scope.spawn(move || {
                    Home::note_destination(path, &format!("mlflow http://\"{number}\""), &format!("run-{number}"))
                });
            }
            for _ in 0..50 {
                assert_eq!(open(folder.path(), None).unwrap().run_id, first.run_id, "nobody reads half of it");
            }
        });
        let home = Home::of(folder.path()).unwrap();
        assert_eq!((&home.run_id, &home.name, home.created_micros), (&first.run_id, &first.name, first.created_micros));
        let expected: BTreeMap<String, String> =
            (0..8).map(|number| (format!("mlflow http://\"{number}\""), format!("run-{number}"))).collect();
        assert_eq!(home.destinations, expected);
        let left: Vec<_> =
            std::fs::read_dir(folder.path().join(INTERNALS)).unwrap().map(|entry| entry.unwrap()).collect();
        assert!(left.iter().all(|entry| entry.file_name() == "guard"), "{left:?}");
    }

    #[test]
    fn an_identity_whose_maker_died_between_link_and_unlink_is_used() {
        let folder = folder();
        let first = open(folder.path(), None).unwrap();
        let draft = draft_path(folder.path()).unwrap();
        std::fs::hard_link(folder.path().join(FILE_NAME), &draft).unwrap();
        assert_eq!(open(folder.path(), None).unwrap(), first);
        assert!(!draft.exists());
        std::fs::hard_link(folder.path().join(FILE_NAME), folder.path().join("elsewhere")).unwrap();
        assert!(open(folder.path(), None).is_err(), "a link that is not ours");
    }

    #[test]
    fn a_damaged_identity_is_named_and_kept() {
        let folder = folder();
        let path = folder.path().join(FILE_NAME);
        for text in ["", "{}", "[1]", "{\"run_id\":1}", "{\"run_id\":\"\"}"] {
            std::fs::write(&path, text).unwrap();
            let message = open(folder.path(), None).unwrap_err().to_string();
            assert!(message.contains("run.json is damaged"), "{message}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
