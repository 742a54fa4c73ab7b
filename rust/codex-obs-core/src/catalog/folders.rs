//! The folders below one folder, looked into by all cores, and the runs in them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use rustix::fd::BorrowedFd;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};

use super::entry::Entry;
use super::{Catalog, Wanted};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::fs::FileId;
use crate::limits::MAX_SCAN_THREADS;
use crate::paths::INTERNALS;
use crate::run::identity as home;
use crate::scan::is_shard;

/// Time between two questions whether to go on.
const TICK: Duration = Duration::from_millis(50);
/// Folders of a run that hold no runs, and may hold very much else.
const OF_A_RUN: [&str; 4] = ["artifacts", "tensorboard", "wandb", "mlruns"];

/// A folder that is to be looked into.
struct Task {
    path: PathBuf,
    /// Whether a symbolic link led there. What lies below it has a place of its own, perhaps above: it is not gone into.
    is_linked: bool,
}

/// A folder with the names in it.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) id: FileId,
    dir: Dir,
    /// Those of files that belong to a run, in text order.
    pub(super) files: Vec<OsString>,
    pub(super) has_identity: bool,
    pub(super) has_internals: bool,
}

struct Workers<'a> {
    tasks: Sender<Option<Task>>,
    waiting: AtomicUsize,
    threads: usize,
    stopped: AtomicBool,
    wanted: Wanted,
    clock: &'a Clock,
    found: Mutex<Found>,
}

/// Names of files whose content a catalog shows begin like this.
const BEGINNINGS: [&[u8]; 3] = [b"metrics.", b"params.", b"run."];

/// Whether a file's content is shown by a catalog.
fn counts(name: &OsStr) -> bool {
    BEGINNINGS.iter().any(|beginning| name.as_bytes().starts_with(beginning))
}

/// Runs by the folder that they are, whatever path leads there.
#[derive(Default)]
struct Found {
    entries: BTreeMap<(u64, u64), (bool, Entry)>,
    unread: Vec<(PathBuf, String)>,
}

/// Looks into `folder` and all below.
pub(super) fn visit(folder: &Path, wanted: Wanted, clock: &Clock, go_on: &mut dyn FnMut() -> bool) -> Result<Catalog> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let (sender, receiver) = unbounded();
    let workers = Workers {
        tasks: sender,
        waiting: AtomicUsize::new(0),
        threads: cores.min(MAX_SCAN_THREADS),
        stopped: AtomicBool::new(false),
        wanted,
        clock,
        found: Mutex::default(),
    };
    workers.add(Task { path: folder.to_owned(), is_linked: false });
    // Asked once however short the work is.
    if !go_on() {
        workers.stop();
    }
    std::thread::scope(|scope| {
        let (done, ended) = unbounded::<()>();
        for _ in 0..workers.threads {
            let (done, receiver, workers) = (done.clone(), receiver.clone(), &workers);
            scope.spawn(move || {
                workers.work(&receiver);
                drop(done);
            });
        }
        drop(done);
        // Disconnected once every thread is through, also by a panic, which the scope passes on.
        while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            if !go_on() {
                workers.stop();
            }
        }
    });
    // Relaxed: the threads have ended.
    if workers.stopped.load(Ordering::Relaxed) {
        return Err(Error::io("read", folder, io::ErrorKind::Interrupted.into()));
    }
    let found = workers.found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut entries: Vec<Entry> = found.entries.into_values().map(|(_, entry)| entry).collect();
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    let mut unread = found.unread;
    unread.sort();
    Ok(Catalog { entries, unread })
}

impl Workers<'_> {
    fn add(&self, task: Task) {
        // Counted before it can be taken, and off only after what it led to was counted: zero means that all is done.
        self.waiting.fetch_add(1, Ordering::AcqRel);
        // The receiver lives as long as the threads.
        let _ = self.tasks.send(Some(task));
    }

    fn stop(&self) {
        // Relaxed: the flag guards nothing but itself.
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn work(&self, tasks: &Receiver<Option<Task>>) {
        while let Ok(Some(task)) = tasks.recv() {
            // Who takes a task and panics would leave the others waiting.
            let turn = Turn(self);
            if !self.is_stopped() {
                self.look(task);
            }
            drop(turn);
        }
    }

    fn look(&self, task: Task) {
        let (folder, below) = match Folder::open(&task) {
            Ok(Some(opened)) => opened,
            Ok(None) => return,
            Err(error) => {
                let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
                found.unread.push((task.path, io::Error::from(error).kind().to_string()));
                return;
            }
        };
        for task in below {
            self.add(task);
        }
        if folder.is_run() {
            let id = (folder.id.device, folder.id.inode);
            let entry = Entry::of(&folder, self.wanted, self.clock, &mut |_| !self.is_stopped());
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            match found.entries.get(&id) {
                // By a link and by its own path: its own one is shown, of two links the first.
                Some((was_linked, known)) if (task.is_linked, &entry.path) > (*was_linked, &known.path) => {}
                _ => drop(found.entries.insert(id, (task.is_linked, entry))),
            }
        }
    }
}

/// One task's work. The thread that ends the last one sends the others home.
struct Turn<'w, 'a>(&'w Workers<'a>);

impl Drop for Turn<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
        if self.0.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            for _ in 0..self.0.threads {
                let _ = self.0.tasks.send(None);
            }
        }
    }
}

impl Folder {
    /// The folder of `task` and those below it that may hold runs; `None` if it is gone, or no folder.
    fn open(task: &Task) -> std::result::Result<Option<(Self, Vec<Task>)>, rustix::io::Errno> {
        use rustix::io::Errno;

        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let descriptor = match rustix::fs::openat(CWD, &task.path, flags, Mode::empty()) {
            Ok(descriptor) => descriptor,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let id = FileId::from(&rustix::fs::fstat(&descriptor)?);
        let mut folder = Self {
            path: task.path.clone(),
            id,
            files: Vec::new(),
            has_identity: false,
            has_internals: false,
            dir: Dir::new(descriptor)?,
        };
        let (mut folders, mut links) = (Vec::new(), Vec::new());
        while let Some(entry) = folder.dir.read() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            let kind = match entry.file_type() {
                FileType::Unknown => rustix::fs::statat(folder.descriptor()?, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_or(FileType::Unknown, |found| FileType::from_raw_mode(found.st_mode)),
                kind => kind,
            };
            match kind {
                FileType::Directory if name == INTERNALS => folder.has_internals = true,
                FileType::Directory if !name.as_bytes().starts_with(b".") => folders.push(name.to_owned()),
                FileType::Symlink if !name.as_bytes().starts_with(b".") => links.push(name.to_owned()),
                _ => {}
            }
            if kind != FileType::Directory {
                folder.has_identity |= name == home::FILE_NAME;
                if counts(name) {
                    folder.files.push(name.to_owned());
                }
            }
        }
        folder.files.sort_unstable();
        if task.is_linked {
            return Ok(Some((folder, Vec::new())));
        }
        let is_run = folder.is_run();
        folders.retain(|name| !(is_run && OF_A_RUN.iter().any(|&own| name == own)));
        let below = |is_linked| move |name: &OsString| Task { path: beside(&task.path, name), is_linked };
        let mut tasks: Vec<Task> = folders.iter().map(below(false)).collect();
        tasks.extend(links.iter().map(below(true)));
        Ok(Some((folder, tasks)))
    }

    /// The folder itself, to look names up in it.
    pub(super) fn descriptor(&self) -> rustix::io::Result<BorrowedFd<'_>> {
        self.dir.fd()
    }

    /// The folder of the run's internals, and the names in it.
    pub(super) fn internals(&self) -> rustix::io::Result<(Dir, Vec<OsString>)> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut dir = Dir::new(rustix::fs::openat(self.descriptor()?, INTERNALS, flags, Mode::empty())?)?;
        let mut names = Vec::new();
        while let Some(entry) = dir.read() {
            names.push(OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned());
        }
        Ok((dir, names))
    }

    /// Whether it has rows of a run, or is the directory of one that has none yet.
    fn is_run(&self) -> bool {
        self.has_identity && self.has_internals || self.files.iter().any(|name| name.to_str().is_some_and(is_shard))
    }
}

/// `name` in `folder`, without `./` before it.
fn beside(folder: &Path, name: &OsStr) -> PathBuf {
    if folder == Path::new(".") { PathBuf::from(name) } else { folder.join(name) }
}
