//! Recovered files on their way to the disk. A journal is deleted once its rows are there; for many journals that takes hardly
//! longer than for one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Result;
use crate::fs::Held;
use crate::paths::FileKind;
use crate::worker::files::Files;

/// A recovered stream keeps its lock and some files open until it is synced. Of the descriptors that the process may have this
/// part is taken for that: the others are its own.
const DESCRIPTORS_A_STREAM: u64 = 16;
/// Streams synced together at most, where descriptors are no matter.
const MOST_TOGETHER: u64 = 256;
/// Threads that sync: the disk does in one go what is asked of it at once.
const THREADS: usize = 64;

/// Recoveries that are synced together.
#[must_use]
pub fn together() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    (limit / DESCRIPTORS_A_STREAM).clamp(1, MOST_TOGETHER) as usize
}

/// What one journal's recovery has appended to, and the journal.
#[derive(Debug)]
pub struct Unsynced {
    journal: PathBuf,
    files: Vec<(Arc<Held>, PathBuf)>,
}

impl Unsynced {
    /// The files that are open in `files`, from the journal at `journal`.
    #[must_use]
    pub fn of(files: &mut Files, journal: &Path) -> Self {
        let open = FileKind::ALL.into_iter().filter_map(|kind| {
            let writer = files.get(kind);
            writer.file().map(|file| (file, writer.path().to_owned()))
        });
        Self { files: open.collect(), journal: journal.to_owned() }
    }

    /// Syncs what the recoveries `all` in the run directory `directory` have left, and deletes their journals. The locks of the
    /// streams are still held.
    ///
    /// # Errors
    /// The first one. Journals whose files are not known to be on the disk are kept.
    pub fn settle(directory: &Path, all: &[Self]) -> Result<()> {
        let files: Vec<_> = all.iter().flat_map(|one| &one.files).collect();
        let mut synced = at_once(&files, |(file, path)| crate::fs::sync_file(file, path)).into_iter();
        let mut outcome = Ok(());
        let mut journals = Vec::new();
        for one in all {
            // All of them are looked at: the next stream's stand behind them.
            let is_synced = synced.by_ref().take(one.files.len()).fold(Ok(()), Result::and);
            if is_synced.is_ok() {
                journals.push(&one.journal);
            }
            outcome = outcome.and(is_synced);
        }
        crate::fs::sync_folder(directory)?;
        let removed = at_once(&journals, |journal| crate::fs::remove(journal));
        removed.into_iter().fold(outcome, Result::and)
    }
}

/// Does `work` with each of `items`, with many at a time. What it gives stands in their order.
fn at_once<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Option<R>>> = Mutex::new(items.iter().map(|_| None).collect());
    let take = || {
        loop {
            // Relaxed: each number is handed out once.
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return };
            let result = work(item);
            done.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(result);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..items.len().min(THREADS) {
            let started = std::thread::Builder::new().name("codex-obs-sync".into()).spawn_scoped(scope, || {
                // A panic is a bug: its item is done again below.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(take));
            });
            if started.is_err() {
                break;
            }
        }
        take();
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.into_iter().zip(items).map(|(result, item)| result.unwrap_or_else(|| work(item))).collect()
}
