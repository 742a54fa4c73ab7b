//! Artifacts: copies of files and folders in the run directory.
//!
//! A copy is made under a name of its own among the internals and renamed when it is whole: who looks sees nothing, the old content or
//! the new. A folder takes the place of the one that had its name, with all that was in it.

use std::ffi::{OsStr, OsString};
use std::fs::{self as std_fs, File, Metadata};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::id;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::fs::{self, FileId};
use crate::paths::{INTERNALS, artifacts_lock_path, artifacts_path};

/// Longest name below the folder of artifacts.
const MAX_NAME_BYTES: usize = 1024;
/// Begins the names of copies that are being made.
const DRAFT: &str = "artifact-";
/// Longest part of it, as file systems have it.
const MAX_PART_BYTES: usize = 255;

/// Copies of this process so far. It only tells them apart.
static COPIES: AtomicU64 = AtomicU64::new(0);

/// Copies `source`, a file or a folder, to `name` below the artifacts of the run in `directory`; without a name to its own. Gives what
/// is left out: links to anything but files, and what is neither a file nor a folder.
///
/// # Errors
/// If the name leads out of the folder, or something cannot be read or written. Then nothing has changed there.
pub fn copy(directory: &Path, source: &Path, name: Option<&Path>, mode: u32) -> Result<Vec<PathBuf>> {
    let name = checked_name(source, name)?;
    let found = std_fs::metadata(source).map_err(|error| Error::io("examine", source, error))?;
    let root = artifacts_path(directory);
    let internals = directory.join(INTERNALS);
    fs::create_folder(&internals, mode)?;
    fs::require_folder(&internals)?;
    let lock = fs::open_append(&artifacts_lock_path(directory), mode)?;
    clean_with(&lock, &internals);
    // Where there are no locks nothing is cleaned up, and nothing is lost.
    let _ = flock(&lock, FlockOperation::LockShared);
    let number = COPIES.fetch_add(1, Ordering::Relaxed);
    let draft = Draft(internals.join(format!("{DRAFT}{}-{number}.new", id())));
    let mut copier = Copier { mode, skipped: Vec::new(), own: Vec::new() };
    if found.is_dir() {
        // A folder that the run lies in would hold its own copy.
        copier.own.extend(FileId::at(&internals)?.into_iter().chain(FileId::at(&root)?));
        copier.folder(source, &draft.0)?;
    } else if found.is_file() {
        copier.file(source, &draft.0)?;
    } else {
        return Err(Error::setting("path", format!("{} is neither a file nor a folder", source.display())));
    }
    let target = root.join(&name);
    for folder in target.ancestors().skip(1).take_while(|folder| folder.starts_with(&root)) {
        fs::require_no_link(folder)?;
    }
    fs::create_folder(target.parent().unwrap_or(&root), mode)?;
    place(&draft.0, &target, found.is_dir())?;
    Ok(copier.skipped)
}

/// Deletes what killed processes left of copies of theirs.
pub fn clean(directory: &Path) {
    let path = artifacts_lock_path(directory);
    if let Ok(lock) = fs::open_existing(&path) {
        clean_with(&lock, &directory.join(INTERNALS));
    }
}

/// While nobody copies.
fn clean_with(lock: &File, internals: &Path) {
    if flock(lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return;
    }
    let is_left = |name: &OsString| name.to_str().is_some_and(|name| name.starts_with(DRAFT));
    for name in fs::list(internals).unwrap_or_default().iter().filter(|name| is_left(name)) {
        drop(Draft(internals.join(name)));
    }
    let _ = flock(lock, FlockOperation::Unlock);
}

/// The name, which stays in the folder.
fn checked_name(source: &Path, name: Option<&Path>) -> Result<PathBuf> {
    let own = || std::path::absolute(source).ok().and_then(|path| path.file_name().map(PathBuf::from));
    let refused = |reason: &str| Error::setting("name", format!("an artifact cannot have the name: {reason}"));
    let Some(name) = name.map(Path::to_owned).or_else(own) else { return Err(refused("give one")) };
    if name.as_os_str().is_empty() {
        return Err(refused("it is empty"));
    }
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    if !name.components().all(is_plain) || name.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(refused("give a path below the folder of artifacts, without `..`"));
    }
    let too_long = |part: &OsStr| part.len() > MAX_PART_BYTES;
    if name.as_os_str().len() > MAX_NAME_BYTES || name.iter().any(too_long) {
        return Err(refused("it is too long"));
    }
    Ok(name)
}

/// Puts a whole copy in its place.
fn place(draft: &Path, target: &Path, is_folder: bool) -> Result<()> {
    let failed = |error: io::Error| Error::io("rename an artifact to", target, error);
    let is_there = match std_fs::symlink_metadata(target) {
        Ok(found) if found.is_dir() != is_folder => {
            let other = if is_folder { "a file has that name" } else { "a folder has that name" };
            return Err(Error::not_ours(target, other));
        }
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(Error::io("examine", target, error)),
    };
    if !is_folder || !is_there {
        return std_fs::rename(draft, target).map_err(failed);
    }
    // What was there is where the draft was, and goes with it.
    match rustix::fs::renameat_with(CWD, draft, CWD, target, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            let old = Draft(draft.with_extension("old"));
            std_fs::rename(target, &old.0).map_err(failed)?;
            std_fs::rename(draft, target).map_err(|error| {
                // As it was. If that fails too, the first failure is the one that counts.
                let _ = std_fs::rename(&old.0, target);
                failed(error)
            })
        }
        Err(errno) => Err(failed(errno.into())),
    }
}

/// A name among the internals, which is free again in the end.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        // Nothing depends on it: what stays is in nobody's way.
        let _ = match std_fs::symlink_metadata(&self.0) {
            Ok(found) if found.is_dir() => std_fs::remove_dir_all(&self.0),
            Ok(_) => std_fs::remove_file(&self.0),
            Err(_) => Ok(()),
        };
    }
}

struct Copier {
    mode: u32,
    skipped: Vec<PathBuf>,
    /// Folders of the run itself.
    own: Vec<FileId>,
}

impl Copier {
    fn folder(&mut self, source: &Path, target: &Path) -> Result<()> {
        let mut folders = vec![(source.to_owned(), target.to_owned())];
        while let Some((source, target)) = folders.pop() {
            fs::create_folder(&target, self.mode)?;
            for name in fs::list(&source)? {
                let (from, to) = (source.join(&name), target.join(&name));
                match kind(&from)? {
                    Kind::Folder(found) if !self.own.contains(&FileId::from(&found)) => folders.push((from, to)),
                    Kind::File => self.file(&from, &to)?,
                    Kind::Gone => {}
                    Kind::Folder(_) | Kind::Other => self.skipped.push(from),
                }
            }
        }
        Ok(())
    }

    fn file(&self, source: &Path, target: &Path) -> Result<()> {
        let from = fs::open_read(source)?;
        let to = fs::create_new(target, self.mode)?;
        share_or_copy(&from, &to).map_err(|error| Error::io("copy to", target, error))
    }
}

enum Kind {
    File,
    Folder(Metadata),
    Gone,
    Other,
}

/// What lies at `path`: a link is the file that it leads to, and nothing else.
fn kind(path: &Path) -> Result<Kind> {
    let failed = |error| Error::io("examine", path, error);
    let found = match std_fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kind::Gone),
        Err(error) => return Err(failed(error)),
    };
    if found.is_symlink() {
        return Ok(if std_fs::metadata(path).is_ok_and(|found| found.is_file()) { Kind::File } else { Kind::Other });
    }
    Ok(if found.is_file() {
        Kind::File
    } else if found.is_dir() {
        Kind::Folder(found)
    } else {
        Kind::Other
    })
}

/// The same blocks where the file system can share them, else a copy, made by the kernel where it can.
fn share_or_copy(mut from: &File, mut to: &File) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    io::copy(&mut from, &mut to).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn run() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (run, source) = (folder.path().join("run"), folder.path().join("source"));
        std_fs::create_dir(&run).unwrap();
        std_fs::create_dir_all(source.join("sub")).unwrap();
        std_fs::write(source.join("a"), "a").unwrap();
        std_fs::write(source.join("sub/b"), "b").unwrap();
        (folder, run, source)
    }

    fn read(path: &Path) -> String {
        std_fs::read_to_string(path).unwrap()
    }

    fn is_tidy(run: &Path) -> bool {
        fs::list(&run.join(INTERNALS)).unwrap() == ["artifacts-lock"]
    }

    #[test]
    fn a_file_is_copied_with_our_mode_and_replaced_by_a_newer_one() {
        let (_folder, run, source) = run();
        let file = source.join("a");
        std_fs::set_permissions(&file, std_fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(copy(&run, &file, None, 0o640).unwrap(), Vec::<PathBuf>::new());
        let copied = run.join("artifacts/a");
        assert_eq!(read(&copied), "a");
        assert_eq!(std_fs::metadata(&copied).unwrap().permissions().mode() & 0o777, 0o640);
        std_fs::write(&file, "newer").unwrap();
        assert_eq!(read(&copied), "a", "it is no link");
        copy(&run, &file, None, 0o600).unwrap();
        assert_eq!(read(&copied), "newer");
        copy(&run, &file, Some(Path::new("best/model")), 0o600).unwrap();
        assert_eq!(read(&run.join("artifacts/best/model")), "newer");
        assert!(is_tidy(&run));
    }

    #[test]
    fn what_a_killed_process_left_of_a_copy_goes_with_the_next_one_unless_somebody_copies() {
        let (_folder, run, source) = run();
        copy(&run, &source, None, 0o600).unwrap();
        let leave = || {
            std_fs::create_dir_all(run.join(INTERNALS).join("artifact-4000000-0.new/sub")).unwrap();
            std_fs::write(run.join(INTERNALS).join("artifact-4000000-1.old"), "x").unwrap();
        };
        leave();
        copy(&run, &source, None, 0o600).unwrap();
        assert!(is_tidy(&run));
        leave();
        let other = File::open(artifacts_lock_path(&run)).unwrap();
        flock(&other, FlockOperation::LockShared).unwrap();
        clean(&run);
        copy(&run, &source, None, 0o600).unwrap();
        assert!(!is_tidy(&run), "they may be the other's");
        drop(other);
        clean(&run);
        assert!(is_tidy(&run));
    }

    #[test]
    fn a_folder_takes_the_place_of_the_one_before() {
        let (_folder, run, source) = run();
        copy(&run, &source, Some(Path::new("out")), 0o600).unwrap();
        assert_eq!(read(&run.join("artifacts/out/sub/b")), "b");
        std_fs::remove_file(source.join("a")).unwrap();
        std_fs::write(source.join("sub/b"), "newer").unwrap();
        copy(&run, &source, Some(Path::new("out")), 0o600).unwrap();
        assert_eq!(read(&run.join("artifacts/out/sub/b")), "newer");
        assert!(!run.join("artifacts/out/a").exists());
        assert!(is_tidy(&run));
    }

    #[test]
    fn links_in_a_folder_are_the_files_that_they_lead_to_and_nothing_else() {
        let (folder, run, source) = run();
        std_fs::write(folder.path().join("outside"), "outside").unwrap();
        symlink(folder.path().join("outside"), source.join("link")).unwrap();
        symlink(&source, source.join("circle")).unwrap();
        symlink("nowhere", source.join("dangling")).unwrap();
        rustix::fs::mknodat(
            CWD,
            source.join("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        let mut skipped = copy(&run, &source, None, 0o600).unwrap();
        skipped.sort();
        assert_eq!(skipped, ["circle", "dangling", "fifo"].map(|name| source.join(name)));
        let copied = run.join("artifacts/source");
        assert_eq!(read(&copied.join("link")), "outside");
        assert!(!std_fs::symlink_metadata(copied.join("link")).unwrap().is_symlink());
        assert!(copy(&run, &source.join("fifo"), None, 0o600).is_err());
    }

    #[test]
    fn a_folder_that_the_run_lies_in_is_copied_without_the_copies() {
        let (folder, run, _) = run();
        copy(&run, folder.path(), Some(Path::new("all")), 0o600).unwrap();
        copy(&run, folder.path(), Some(Path::new("all")), 0o600).unwrap();
        assert_eq!(read(&run.join("artifacts/all/source/a")), "a");
        assert!(!run.join("artifacts/all/run/artifacts").exists());
    }

    #[test]
    fn no_name_leads_out_of_the_folder_and_nothing_is_written_through_a_link() {
        let (folder, run, source) = run();
        let long = "x".repeat(256);
        for name in ["", "..", "../x", "a/../../x", "/etc/x", "a\0b", &long] {
            let error = copy(&run, &source.join("a"), Some(Path::new(name)), 0o600).unwrap_err();
            assert!(error.is_setting(), "{name}: {error}");
        }
        let elsewhere = folder.path().join("elsewhere");
        std_fs::create_dir(&elsewhere).unwrap();
        std_fs::create_dir(run.join("artifacts")).unwrap();
        symlink(&elsewhere, run.join("artifacts/out")).unwrap();
        assert!(copy(&run, &source.join("a"), Some(Path::new("out/a")), 0o600).is_err());
        symlink(elsewhere.join("planted"), run.join("artifacts/a")).unwrap();
        copy(&run, &source.join("a"), None, 0o600).unwrap();
        assert!(std_fs::read_dir(&elsewhere).unwrap().next().is_none());
        assert_eq!(read(&run.join("artifacts/a")), "a");
    }

    #[test]
    fn what_cannot_be_copied_leaves_what_was_there() {
        let (_folder, run, source) = run();
        copy(&run, &source, Some(Path::new("out")), 0o600).unwrap();
        assert!(copy(&run, &source.join("a"), Some(Path::new("out")), 0o600).is_err(), "a folder has that name");
        assert!(copy(&run, &source.join("missing"), Some(Path::new("out")), 0o600).is_err());
        assert_eq!(read(&run.join("artifacts/out/a")), "a");
        assert!(is_tidy(&run));
    }
}
