//! Artifacts on their way: what lies below `artifacts/` of a run and a destination does not have as it is now.
//!
//! Which ones it has stands in a file among the internals, a line each. A line follows its delivery, so that after a crash between
//! them the same is delivered again.

use std::collections::{HashMap, HashSet};
use std::fs::Metadata;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::fs;
use crate::paths::{artifact_notes_path, artifacts_path};

const MODE: u32 = 0o600;
/// Longest line looked at. Names have a kilobyte at most, and six times as much where they are escaped.
const MAX_LINE_BYTES: u64 = 16 << 10;

/// A file below the artifacts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Its path below them, with slashes.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Its bytes.
    pub size: u64,
    /// When it was written last, in nanoseconds since the epoch.
    pub mtime_ns: i64,
}

/// Every artifact of the run in `directory`, in order of their names. Links lead nowhere.
///
/// # Errors
/// If a folder cannot be read.
pub fn all(directory: &Path) -> Result<Vec<Artifact>> {
    let root = artifacts_path(directory);
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        let names = match fs::list(&folder) {
            Ok(names) => names,
            // There is none, or it was replaced by a newer one meanwhile.
            Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => continue,
            Err(error) => return Err(error),
        };
        for path in names.into_iter().map(|name| folder.join(name)) {
            match path.symlink_metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(path),
                Ok(metadata) if metadata.is_file() => found.push(Artifact::of(path, &root, &metadata)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("examine", &path, error)),
            }
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// Those that the destination at `address` does not have as they are now.
///
/// # Errors
/// If a folder, or what was noted, cannot be read.
pub fn pending(directory: &Path, address: &str) -> Result<Vec<Artifact>> {
    let mut found = all(directory)?;
    if !found.is_empty() {
        let names: HashSet<&str> = found.iter().map(|each| each.name.as_str()).collect();
        let known = noted(&artifact_notes_path(directory, address), &names)?;
        found.retain(|each| known.get(&each.name) != Some(&(each.size, each.mtime_ns)));
    }
    Ok(found)
}

/// Notes that the destination at `address` has `artifacts`.
///
/// # Errors
/// If that cannot be written.
pub fn note(directory: &Path, address: &str, artifacts: &[Artifact]) -> Result<()> {
    let path = artifact_notes_path(directory, address);
    let mut file = fs::open_append(&path, MODE)?;
    let failed = |source| Error::io("write", &path, source);
    let end = file.metadata().map_err(failed)?.len();
    let mut text = String::new();
    let mut last = [b'\n'];
    if end > 0 && fs::open_read(&path)?.read_at(&mut last, end - 1).map_err(failed)? == 1 && last != [b'\n'] {
        // A crash left half a line.
        text.push('\n');
    }
    for each in artifacts {
        let line = json!({"path": each.name, "size": each.size, "mtime_ns": each.mtime_ns});
        text.push_str(&line.to_string());
        text.push('\n');
    }
    file.write_all(text.as_bytes()).map_err(failed)
}

/// Size and time of those of `names` that a destination has.
fn noted(path: &Path, names: &HashSet<&str>) -> Result<HashMap<String, (u64, i64)>> {
    let file = match fs::open_read(path) {
        Ok(file) => file,
        Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => return Ok(HashMap::new()),
        Err(error) => return Err(error),
    };
    let mut known = HashMap::new();
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
        if read.map_err(|source| Error::io("read", path, source))? == 0 {
            return Ok(known);
        }
        let Ok(found) = serde_json::from_slice::<Value>(&line) else { continue };
        let name = found.get("path").and_then(Value::as_str).filter(|name| names.contains(name));
        let facts = (found.get("size").and_then(Value::as_u64), found.get("mtime_ns").and_then(Value::as_i64));
        if let (Some(name), (Some(size), Some(mtime_ns))) = (name, facts) {
            known.insert(name.to_owned(), (size, mtime_ns));
        }
    }
}

impl Artifact {
    fn of(path: PathBuf, root: &Path, metadata: &Metadata) -> Self {
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Self { name, path, size: metadata.len(), mtime_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::INTERNALS;

    fn names(artifacts: &[Artifact]) -> Vec<&str> {
        artifacts.iter().map(|each| each.name.as_str()).collect()
    }

    #[test]
    fn what_is_noted_is_not_pending_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path();
        assert_eq!(pending(run, "a").unwrap(), []);
        std::fs::create_dir_all(run.join("artifacts/out")).unwrap();
        std::fs::create_dir(run.join(INTERNALS)).unwrap();
        std::fs::write(run.join("artifacts/out/b"), "b").unwrap();
        std::fs::write(run.join("artifacts/a"), "a").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", run.join("artifacts/link")).unwrap();
        let found = pending(run, "a").unwrap();
        assert_eq!(names(&found), ["a", "out/b"]);
        note(run, "a", &found[..1]).unwrap();
        assert_eq!(names(&pending(run, "a").unwrap()), ["out/b"]);
        assert_eq!(names(&pending(run, "b").unwrap()), ["a", "out/b"], "of another destination");
        let notes = artifact_notes_path(run, "a");
        let mut text = std::fs::read(&notes).unwrap();
        text.extend_from_slice(b"{\"path\":\"out/b\",\"si");
        std::fs::write(&notes, text).unwrap();
        note(run, "a", &found[1..]).unwrap();
        assert_eq!(pending(run, "a").unwrap(), []);
        std::fs::write(run.join("artifacts/a"), "newer").unwrap();
        assert_eq!(names(&pending(run, "a").unwrap()), ["a"]);
    }
}
