//! The runs below a folder that is none itself.

use std::path::{Path, PathBuf};

use super::listing::Base;
use crate::paths::FileKind;

/// How deep they are looked for: `runs/<group>/<name>`.
const DEPTH: usize = 3;
/// Folders that are looked into: a folder that is no place for runs may hold millions.
const FOLDERS: usize = 2000;
/// Runs that are named.
const NAMED: usize = 5;

/// Names the runs below `directory` in words, or nothing.
pub(super) fn in_words(directory: &Path) -> Option<String> {
    let runs = runs(directory);
    let named: Vec<String> = runs.iter().take(NAMED).map(|path| path.display().to_string()).collect();
    let more = runs.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    (!named.is_empty()).then(|| format!("; there are runs below it: {}{more}", named.join(", ")))
}

fn runs(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut level = vec![directory.to_owned()];
    let mut looked = 0;
    for _ in 0..DEPTH {
        let mut below = Vec::new();
        for folder in level {
            looked += 1;
            if looked > FOLDERS {
                return found;
            }
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            let is_folder = |path: &PathBuf| path.is_dir() && !path.is_symlink();
            let hidden =
                |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            let folders = entries.flatten().map(|entry| entry.path()).filter(|path| !hidden(path) && is_folder(path));
            let mut folders: Vec<PathBuf> = folders.collect();
            folders.sort();
            let (runs, others): (Vec<_>, Vec<_>) = folders.into_iter().partition(|path| is_run(path));
            found.extend(runs);
            below.extend(others);
        }
        level = below;
    }
    found
}

fn is_run(directory: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(directory) else { return false };
    entries
        .flatten()
        .any(|entry| entry.file_name().to_str().is_some_and(|name| Base::parse(FileKind::Metrics, name).is_some()))
}
