//! A current file that somebody packed while nobody wrote it becomes the newest rotated shard.

use std::path::{Path, PathBuf};

use super::rotate::{MOVING, rename_new, shift};
use crate::error::Result;
use crate::paths::{Coding, shard_path};
use crate::pulse::Pulse;

/// Moves `<base>.gz` or `<base>.zst` to the next rotated number. If the log has a plain current file, which is the one that is
/// read, they stay, and come back to be named.
///
/// # Errors
/// If a name cannot be changed.
pub fn adopt(base: &Path) -> Result<Vec<PathBuf>> {
    let is_file = |path: &PathBuf| path.symlink_metadata().is_ok_and(|metadata| metadata.is_file());
    let packed: Vec<(Coding, PathBuf)> = [Coding::Gzip, Coding::Zstandard]
        .into_iter()
        .map(|coding| (coding, shard_path(base, 0, coding)))
        .filter(|(_, path)| is_file(path))
        .collect();
    if packed.is_empty() || base.symlink_metadata().is_ok() {
        return Ok(packed.into_iter().map(|(_, path)| path).collect());
    }
    shift(base, &Pulse::default())?;
    let mut aside = Vec::new();
    // Of two the first is read; a death between two renames must not make both of them shards.
    for (coding, path) in packed.iter().skip(1) {
        let target = shard_path(base, 1, *coding);
        let mut waiting = target.clone().into_os_string();
        waiting.push(MOVING);
        rename_new(path, Path::new(&waiting))?;
        aside.push((waiting, target));
    }
    for (coding, path) in packed.iter().take(1) {
        rename_new(path, &shard_path(base, 1, *coding))?;
    }
    for (waiting, target) in aside {
        rename_new(Path::new(&waiting), &target)?;
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_current_file_is_the_newest_shard_unless_there_is_a_plain_one() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("metrics.ndjson");
        let names = || {
            let mut names: Vec<String> = std::fs::read_dir(folder.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        for name in ["metrics.ndjson.gz", "metrics.ndjson.zst", "metrics.ndjson.1"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        assert!(adopt(&base).unwrap().is_empty());
        let moved = ["metrics.ndjson.1.gz", "metrics.ndjson.1.zst", "metrics.ndjson.2"];
        assert_eq!(names(), moved);
        assert!(adopt(&base).unwrap().is_empty());
        std::fs::write(&base, "").unwrap();
        std::fs::write(folder.path().join("metrics.ndjson.zst"), "stays").unwrap();
        assert_eq!(adopt(&base).unwrap(), [folder.path().join("metrics.ndjson.zst")]);
        assert_eq!(names().len(), 5);
    }
}
