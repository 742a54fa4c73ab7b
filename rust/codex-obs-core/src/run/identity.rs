//! `run.json`: what a run is called, written once by whoever opens its directory first.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::clock::Clock;
use crate::encode::line;
use crate::error::{Error, Result};
use crate::fs;
use crate::lock::{self, Attempt, Owner, Purpose, Strangers};
use crate::paths::INTERNALS;
use crate::process::Process;
use crate::record::timestamp;

/// File name of the identity.
pub const FILE_NAME: &str = "run.json";
/// The lock of those who change it.
const LOCK: &str = "lock-identity";
/// Longest wait for others that change it, which takes each of them microseconds.
const LOCK_WAIT: Duration = Duration::from_secs(2);
const LOCK_LOOK: Duration = Duration::from_millis(1);
/// The lock of the one that creates it, where that takes more than one step.
const PLACING: &str = "lock-placing";
/// Longest wait until a file system that keeps what it knows of a file sees that it is whole: on a busy machine a multiple of the
/// second for which FUSE does.
const SEEN_WAIT: Duration = Duration::from_secs(10);
/// Longest wait for that one, and the longest pause between two looks.
const PLACING_WAIT: Duration = Duration::from_secs(30);
const PLACING_LOOK: Duration = Duration::from_millis(20);
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
        let home = match look(&path)? {
            Look::Whole(home) => home,
            Look::Missing | Look::Empty => Self::create(directory, &path, run_id, name, mode, clock)?,
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

    /// The identity of the run in `directory`, or `None` if there is none yet: an empty file is one that another process has begun,
    /// unless something was logged.
    ///
    /// # Errors
    /// If it cannot be read, or is damaged.
    pub fn begun(directory: &Path) -> Result<Option<Self>> {
        let path = directory.join(FILE_NAME);
        match look(&path)? {
            Look::Whole(home) => Ok(Some(home)),
            Look::Missing => Ok(None),
            Look::Empty => Ok(match look_for_rows(directory, &path)? {
                Look::Whole(home) => Some(home),
                Look::Missing | Look::Empty => None,
            }),
        }
    }

    /// Notes the remote run of a destination in the identity of the run in `directory`. Processes that do this at once wait
    /// for each other, and nobody ever reads half of it.
    ///
    /// # Errors
    /// If it cannot be written, or another process is stuck while writing it.
    pub fn note_destination(directory: &Path, address: &str, remote_run: &str) -> Result<()> {
        let path = directory.join(FILE_NAME);
        let lock_path = directory.join(INTERNALS).join(LOCK);
        let deadline = Instant::now() + LOCK_WAIT;
        let _lock = loop {
            match Owner::acquire(&lock_path, &Process::current(), Purpose::Write)? {
                Attempt::Taken(owner) => break owner,
                Attempt::Held(_) if Instant::now() < deadline => std::thread::sleep(LOCK_LOOK),
                Attempt::Held(_) => {
                    return Err(Error::io("lock", &lock_path, ErrorKind::TimedOut.into()));
                }
            }
        };
        let mut home = Self::of(directory)?;
        if home.destinations.get(address).is_some_and(|known| known == remote_run) {
            return Ok(());
        }
        home.destinations.insert(address.to_owned(), remote_run.to_owned());
        let metadata = path.symlink_metadata().map_err(|source| Error::io("examine", &path, source))?;
        let draft = Draft::write(directory, &home.document(), metadata.mode() & 0o777)?;
        draft.place(&path, fs::rename)
    }

    fn document(&self) -> Vec<u8> {
        let destinations = json!(self.destinations).to_string();
        line::identity(&self.run_id, &self.name, self.created_micros, destinations.as_bytes())
    }

    /// The identity at `path`, or `None` if there is none.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        Self::from_file(path, fs::open_existing(path))
    }

    /// As [`read`](Self::read), for somebody who may not be allowed to write, and to whom a link does no harm.
    ///
    /// # Errors
    /// If it cannot be read, or is damaged.
    pub fn look_at(path: &Path) -> Result<Option<Self>> {
        Self::from_file(path, fs::open_read(path))
    }

    fn from_file(path: &Path, opened: Result<std::fs::File>) -> Result<Option<Self>> {
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => return Ok(None),
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
        let draft = Draft::write(directory, &home.document(), mode)?;
        match draft.place(path, fs::rename_new) {
            Ok(()) => {
                fs::sync_folder(directory)?;
                return Ok(home);
            }
            Err(error) if fs::cannot_spare(&error) => return home.create_alone(directory, path, &draft),
            // The kernel says so before it asks the file system: the file may be one that another process has just begun.
            Err(error) if error.io_kind() == Some(ErrorKind::AlreadyExists) => match look(path)? {
                Look::Whole(home) => return Ok(home),
                Look::Empty if !draft.can_spare() => return home.create_alone(directory, path, &draft),
                Look::Empty | Look::Missing => {}
            },
            Err(error) => return Err(error),
        }
        Self::read(path)?.ok_or_else(|| Error::corrupt(path, "it was removed while it was being opened"))
    }

    /// As [`create`](Self::create), where no rename spares what is there: processes wait for each other. A record decides and no
    /// lock of the kernel's, which may be one for this host only on just such file systems.
    fn create_alone(self, directory: &Path, path: &Path, draft: &Draft) -> Result<Self> {
        let lock_path = directory.join(INTERNALS).join(PLACING);
        let process = Process::current();
        let deadline = Instant::now() + PLACING_WAIT;
        let mut pause = LOCK_LOOK;
        let _alone = loop {
            if let Look::Whole(home) = look_for_rows(directory, path)? {
                return Ok(home);
            }
            match Owner::acquire_by_record(&lock_path, &process, Purpose::Write, Strangers::Keep)? {
                Attempt::Taken(owner) => break owner,
                Attempt::Held(_) if Instant::now() < deadline => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(PLACING_LOOK);
                }
                Attempt::Held(_) => {
                    let holder = lock::stranger(&lock_path, &process);
                    let who = holder
                        .map_or_else(|| "another process".to_owned(), |(pid, host)| format!("process {pid} on {host}"));
                    return Err(Error::conflict(format!(
                        "{who} started to create the run in {} and stopped; if it is dead, delete {} and try again",
                        directory.display(),
                        lock_path.display()
                    )));
                }
            }
        };
        // Another host may still remember that there was no such file. Making it is what no host answers from memory.
        match fs::create_new(path, draft.mode) {
            Err(error) if error.io_kind() == Some(ErrorKind::AlreadyExists) => {
                if let Look::Whole(home) = look_for_rows(directory, path)? {
                    return Ok(home);
                }
            }
            outcome => drop(outcome?),
        }
        draft.place(path, fs::rename)?;
        fs::sync_folder(directory)?;
        Ok(self)
    }
}

/// What lies at the identity's name.
enum Look {
    Missing,
    /// A file that [`Home::create_alone`] has begun, or that something has emptied since.
    Empty,
    Whole(Home),
}

fn look(path: &Path) -> Result<Look> {
    let whole = Home::read(path);
    if whole.is_err() && path.symlink_metadata().is_ok_and(|found| found.is_file() && found.len() == 0) {
        return Ok(Look::Empty);
    }
    // Between the two it may have become whole.
    let whole = if whole.is_err() { Home::read(path) } else { whole };
    Ok(whole?.map_or(Look::Missing, Look::Whole))
}

/// As [`look`], but an empty identity is damage if anything was logged: the rows have the id that it had. A file system that keeps
/// what it knows of a file may need a moment to see that it is whole.
fn look_for_rows(directory: &Path, path: &Path) -> Result<Look> {
    let has_rows = || fs::list(directory).map(|names| names.iter().any(|name| name.as_bytes().starts_with(b"metrics")));
    let deadline = Instant::now() + SEEN_WAIT;
    loop {
        match look(path)? {
            Look::Empty if !has_rows()? => return Ok(Look::Empty),
            Look::Empty if Instant::now() < deadline => std::thread::sleep(PLACING_LOOK),
            Look::Empty => return Home::read(path).map(|home| home.map_or(Look::Missing, Look::Whole)),
            seen => return Ok(seen),
        }
    }
}

/// New content of the identity, in a file of its own until it gets its name.
struct Draft {
    path: PathBuf,
    content: Vec<u8>,
    mode: u32,
}

impl Draft {
    /// A draft among the internals, where it disturbs nobody.
    fn write(directory: &Path, content: &[u8], mode: u32) -> Result<Self> {
        Self::at(draft_path(directory)?, content, mode)
    }

    fn at(path: PathBuf, content: &[u8], mode: u32) -> Result<Self> {
        let mut file = fs::create_new(&path, mode)?;
        let draft = Self { path, content: content.to_owned(), mode };
        file.write_all(content).map_err(|source| Error::io("write", &draft.path, source))?;
        fs::sync_file(&file, &draft.path)?;
        Ok(draft)
    }

    /// Gives the draft its name by `rename`. The internals may be on another file system (a bind mount), from which there is no
    /// rename: then the draft is written again beside its name.
    fn place(&self, path: &Path, rename: impl Fn(&Path, &Path) -> Result<()>) -> Result<()> {
        match rename(&self.path, path) {
            Err(error) if error.io_kind() == Some(ErrorKind::CrossesDevices) => {
                let name = self.path.file_name().unwrap_or_default().to_string_lossy();
                let beside = Self::at(path.with_file_name(format!(".{name}")), &self.content, self.mode)?;
                rename(&beside.path, path)
            }
            outcome => outcome,
        }
    }
}

impl Draft {
    /// Whether the file system knows renames that spare what is there.
    fn can_spare(&self) -> bool {
        let mut elsewhere = self.path.as_os_str().to_owned();
        elsewhere.push(".new");
        let elsewhere = PathBuf::from(elsewhere);
        match fs::rename_new(&self.path, &elsewhere) {
            Ok(()) => fs::rename(&elsewhere, &self.path).is_ok(),
            Err(error) => !fs::cannot_spare(&error),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // There is none any more if it got its name.
        let _ = fs::remove_if_there(&self.path);
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

/// A random UUID (RFC 9562, version 4).
fn new_run_id() -> Result<String> {
    let mut bytes = [0_u8; 16];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    if filled != Ok(bytes.len()) {
        let source = filled.err().map_or_else(|| ErrorKind::UnexpectedEof.into(), std::io::Error::from);
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
        fs::create_folder(&folder.path().join(INTERNALS), 0o600).unwrap();
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
    fn a_link_that_is_not_ours_is_refused() {
        let folder = folder();
        open(folder.path(), None).unwrap();
        std::fs::hard_link(folder.path().join(FILE_NAME), folder.path().join("elsewhere")).unwrap();
        assert!(open(folder.path(), None).is_err());
    }

    fn create_alone(folder: &Path) -> Result<Home> {
        let home = Home { run_id: new_run_id()?, name: "n".into(), created_micros: 0, destinations: BTreeMap::new() };
        let draft = Draft::write(folder, &home.document(), 0o600)?;
        home.create_alone(folder, &folder.join(FILE_NAME), &draft)
    }

    #[test]
    fn processes_that_race_agree_where_no_rename_spares_what_is_there() {
        for _ in 0..20 {
            let folder = folder();
            let homes: Vec<Home> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| create_alone(folder.path()).unwrap())).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(homes.iter().all(|home| *home == homes[0]));
            assert_eq!(open(folder.path(), None).unwrap(), homes[0]);
            assert_eq!(std::fs::read_dir(folder.path().join(INTERNALS)).unwrap().count(), 0, "nothing is left");
        }
    }

    #[test]
    fn an_identity_that_was_begun_is_created_and_one_that_rows_refer_to_is_not() {
        let folder = folder();
        let path = folder.path().join(FILE_NAME);
        std::fs::write(&path, "").unwrap();
        let home = create_alone(folder.path()).unwrap();
        assert_eq!(open(folder.path(), None).unwrap(), home);
        std::fs::write(&path, "").unwrap();
        std::fs::write(folder.path().join("metrics.rank-1.ndjson"), "").unwrap();
        assert!(create_alone(folder.path()).unwrap_err().to_string().contains("is damaged"));
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

    #[test]
    fn a_run_that_another_process_has_just_begun_is_none_yet_and_half_of_one_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Home::begun(folder.path()).unwrap().is_none());
        std::fs::write(folder.path().join(FILE_NAME), "").unwrap();
        assert!(Home::begun(folder.path()).unwrap().is_none());
        std::fs::write(folder.path().join(FILE_NAME), "{").unwrap();
        assert!(Home::begun(folder.path()).is_err());
    }
}
