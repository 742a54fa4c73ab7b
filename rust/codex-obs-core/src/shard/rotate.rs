//! Rotation: the names of shards move up by one.
//!
//! Renames go from the highest number down and never onto an existing file, so that whatever a death leaves behind is a
//! valid set of shards with at most one more gap, which the next rotation fills.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::fs::FileId;
use crate::paths::{Coding, ShardName, shard_path};
use crate::pulse::Pulse;

/// Numbers of the rotated shards of `base` that exist in any coding, ascending.
pub fn rotated_numbers(base: &Path) -> Result<BTreeSet<u64>> {
    Ok(listed(base, &Pulse::default())?.into_keys().collect())
}

/// How many names each number of a rotated shard has.
fn listed(base: &Path, pulse: &Pulse) -> Result<BTreeMap<u64, u32>> {
    let folder = base.parent().unwrap_or(Path::new("."));
    let name = base.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let mut numbers = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(|source| Error::io("list", folder, source))? {
        pulse.beat();
        let entry = entry.map_err(|source| Error::io("list", folder, source))?;
        let file_name = entry.file_name();
        let rest = file_name.to_str().and_then(|file_name| file_name.strip_prefix(name));
        if let Some((number, _)) = rest.and_then(ShardName::behind).filter(|&(number, _)| number > 0) {
            *numbers.entry(number).or_insert(0) += 1;
        }
    }
    Ok(numbers)
}

/// Moves `base` to `.1`, `.1` to `.2` and so on up to the first gap. Every move is a beat of `pulse`: there may be many.
pub fn shift(base: &Path, pulse: &Pulse) -> Result<()> {
    let numbers = listed(base, pulse)?;
    let gap = (1..=u64::MAX).find(|number| !numbers.contains_key(number)).expect("there are fewer files than numbers");
    for number in (0..gap).rev() {
        move_up(base, number, numbers.get(&number).is_some_and(|&names| names > 1))?;
        pulse.beat();
    }
    Ok(())
}

/// Gives shard `number` the next number. Of several files with that number one is read; the others go out of the way while
/// it moves, or a death in between would leave the same rows under two numbers.
fn move_up(base: &Path, number: u64, has_copies: bool) -> Result<()> {
    if number == 0 {
        return rename_new(base, &shard_path(base, 1, Coding::Plain)).map(|_| ());
    }
    let mut aside = Vec::new();
    if has_copies {
        let is_there = |coding: &Coding| shard_path(base, number, *coding).symlink_metadata().is_ok();
        for coding in Coding::ALL.into_iter().filter(is_there).skip(1) {
            let path = shard_path(base, number, coding);
            let mut waiting = path.clone().into_os_string();
            waiting.push(MOVING);
            // One that a death left there is the same copy, or one that was never read.
            crate::fs::rename(&path, Path::new(&waiting))?;
            aside.push((PathBuf::from(waiting), coding));
        }
    }
    // Somebody may be compressing it right now.
    for coding in Coding::ALL {
        if rename_new(&shard_path(base, number, coding), &shard_path(base, number + 1, coding))? {
            break;
        }
    }
    for (waiting, coding) in aside {
        rename_new(&waiting, &shard_path(base, number + 1, coding))?;
    }
    Ok(())
}

/// What stands behind the name of a file that waits for the one with the same number.
pub(super) const MOVING: &str = ".moving";

/// Renames `from`, if it exists, to `to`, which does not. Gives whether it existed.
pub(super) fn rename_new(from: &Path, to: &Path) -> Result<bool> {
    let renamed = match crate::fs::rename_new(from, to) {
        // File systems without such renames: nobody else rotates this stream, so looking first is enough. A look that fails is
        // no answer: what lies there would be replaced.
        Err(error) if crate::fs::cannot_spare(&error) => match FileId::at(to)? {
            None => crate::fs::rename(from, to),
            Some(_) => Err(Error::io("rotate", from, ErrorKind::AlreadyExists.into())),
        },
        outcome => outcome,
    };
    match renamed {
        Ok(()) => Ok(true),
        Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<(String, String)> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
            .collect();
        names.sort();
        names
    }

    fn write(folder: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
    }

    fn owned(files: &[(&str, &str)]) -> Vec<(String, String)> {
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn shards_move_up_to_the_first_gap_and_other_streams_stay() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("metrics.ndjson");
        let others =
            [("metrics.rank-1.ndjson", "r"), ("metrics.rank-1.ndjson.1", "s"), ("metrics_manifest.ndjson.1", "m")];
        write(folder.path(), &others);
        write(
            folder.path(),
            &[
                ("metrics.ndjson", "0"),
                ("metrics.ndjson.1", "1"),
                ("metrics.ndjson.2.gz", "2"),
                ("metrics.ndjson.4", "4"),
            ],
        );
        shift(&base, &Pulse::default()).unwrap();
        let mut expected = owned(&others);
        expected.extend(owned(&[
            ("metrics.ndjson.1", "0"),
            ("metrics.ndjson.2", "1"),
            ("metrics.ndjson.3.gz", "2"),
            ("metrics.ndjson.4", "4"),
        ]));
        expected.sort();
        assert_eq!(names(folder.path()), expected);
    }

    #[test]
    fn files_with_one_number_move_together_and_a_death_in_between_doubles_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("metrics.ndjson");
        write(folder.path(), &[("metrics.ndjson", "0"), ("metrics.ndjson.1", "1"), ("metrics.ndjson.1.gz", "g")]);
        write(folder.path(), &[("metrics.ndjson.1.zst", "z"), ("metrics.ndjson.2.gz", "h")]);
        let pulse = Pulse::default();
        shift(&base, &pulse).unwrap();
        assert!(pulse.beats() >= 3, "every move shows that the writer gets on");
        let expected = [
            ("metrics.ndjson.1", "0"),
            ("metrics.ndjson.2", "1"),
            ("metrics.ndjson.2.gz", "g"),
            ("metrics.ndjson.2.zst", "z"),
            ("metrics.ndjson.3.gz", "h"),
        ];
        assert_eq!(names(folder.path()), owned(&expected));
    }

    #[test]
    fn a_rotation_cut_short_anywhere_is_finished_by_the_next() {
        for crash_after in 0..4 {
            let folder = tempfile::tempdir().unwrap();
            let base = folder.path().join("metrics.ndjson");
            write(folder.path(), &[("metrics.ndjson", "0"), ("metrics.ndjson.1", "1"), ("metrics.ndjson.2", "2")]);
            for number in (0..3_u64).rev().take(crash_after) {
                rename_new(&shard_path(&base, number, Coding::Plain), &shard_path(&base, number + 1, Coding::Plain))
                    .unwrap();
            }
            if base.exists() {
                shift(&base, &Pulse::default()).unwrap();
            }
            let expected = [("metrics.ndjson.1", "0"), ("metrics.ndjson.2", "1"), ("metrics.ndjson.3", "2")];
            assert_eq!(names(folder.path()), owned(&expected), "after {crash_after} renames");
        }
    }
}
