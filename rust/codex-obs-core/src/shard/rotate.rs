//! Rotation and retention: the names of shards move up by one, the oldest beyond the count go.
//!
//! Renames go from the highest number down and never onto an existing file, so that whatever a death leaves behind is a
//! valid set of shards with at most one more gap, which the next rotation fills.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags};

use super::kept::{Kept, Need};
use super::name::{Coding, ShardName, shard_path};
use crate::error::{Error, Result};
use crate::pulse::Pulse;

/// Numbers of the rotated shards of `base` that exist in any coding, ascending.
pub fn rotated_numbers(base: &Path) -> Result<BTreeSet<u64>> {
    list_rotated(base, &Pulse::default())
}

fn list_rotated(base: &Path, pulse: &Pulse) -> Result<BTreeSet<u64>> {
    let folder = base.parent().unwrap_or(Path::new("."));
    let name = base.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let (kind, _) = name.split_once('.').unwrap_or((name, ""));
    let current = ShardName::parse(name, kind);
    let mut numbers = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(|source| Error::io("list", folder, source))? {
        pulse.beat();
        let entry = entry.map_err(|source| Error::io("list", folder, source))?;
        let shard = entry.file_name().to_str().and_then(|name| ShardName::parse(name, kind));
        if let Some(shard) = shard
            && shard.number > 0
            && Some(&shard.stream) == current.as_ref().map(|current| &current.stream)
        {
            numbers.insert(shard.number);
        }
    }
    Ok(numbers)
}

/// Moves `base` to `.1`, `.1` to `.2` and so on up to the first gap. Every rename is a beat of `pulse`: there may be many.
pub fn shift(base: &Path, pulse: &Pulse) -> Result<()> {
    let numbers = list_rotated(base, pulse)?;
    let gap = (1..=u64::MAX).find(|number| !numbers.contains(number)).expect("there are fewer files than numbers");
    for number in (0..gap).rev() {
        for coding in Coding::ALL {
            if number == 0 && coding != Coding::Plain {
                continue;
            }
            rename_new(&shard_path(base, number, coding), &shard_path(base, number + 1, coding))?;
            pulse.beat();
        }
    }
    Ok(())
}

/// Renames `from`, if it exists, to `to`, which does not.
fn rename_new(from: &Path, to: &Path) -> Result<()> {
    let renamed = match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // File systems without the flag: nobody else rotates this stream, so looking first is enough.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !to.exists() => rustix::fs::rename(from, to),
        outcome => outcome,
    };
    match renamed {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::io("rotate", from, errno.into())),
    }
}

/// What went with the shards that were deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retired {
    /// Lines.
    pub rows: u64,
    /// Those of them that a destination still needed; `None` where there is none.
    pub undelivered: Option<u64>,
}

/// Deletes the oldest rotated shards of `base` beyond `keep`, and beyond what a destination needs.
pub fn retire(base: &Path, keep: u64, needed: Option<&Kept>, pulse: &Pulse) -> Result<Retired> {
    let numbers: Vec<u64> = list_rotated(base, pulse)?.into_iter().collect();
    let mut keep = usize::try_from(keep).unwrap_or(usize::MAX);
    let mut retired = Retired::default();
    if numbers.len() <= keep {
        return Ok(retired);
    }
    let mut need = Need::Nothing;
    if let Some(needed) = needed {
        need = needed.need(base, &numbers);
        keep = needed.extend(need, &numbers, keep);
        retired.undelivered = (need != Need::Nothing).then_some(0);
    }
    for &number in numbers.iter().skip(keep).rev() {
        if let Some(needed) = needed {
            needed.leave(base, &numbers, number);
        }
        let start = need.start_in(number);
        for coding in Coding::ALL {
            let (lines, behind) = delete(&shard_path(base, number, coding), coding, start.unwrap_or(0), pulse)?;
            retired.rows += lines;
            if let (Some(undelivered), Some(_)) = (&mut retired.undelivered, start) {
                *undelivered += behind;
            }
        }
    }
    Ok(retired)
}

/// Deletes one shard and gives its number of lines, and of those behind `start`. What is no regular file is none of ours and
/// stays.
fn delete(path: &Path, coding: Coding, start: u64, pulse: &Pulse) -> Result<(u64, u64)> {
    if !path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Ok((0, 0));
    }
    let lines = match coding {
        Coding::Plain => count_lines(path, start, pulse)?,
        // The number of rows in an archive that someone else made is not worth its decompression here.
        Coding::Gzip | Coding::Zstandard => (0, 0),
    };
    let removed = fs::remove_file(path);
    pulse.beat();
    match removed {
        Ok(()) => Ok(lines),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((0, 0)),
        Err(source) => Err(Error::io("delete", path, source)),
    }
}

fn count_lines(path: &Path, start: u64, pulse: &Pulse) -> Result<(u64, u64)> {
    // Opened so that a FIFO put there just now is not waited for.
    let mut file = crate::fs::open_read(path)?;
    let mut block = vec![0; 256 << 10];
    let (mut offset, mut lines, mut behind) = (0, 0, 0);
    loop {
        pulse.beat();
        match file.read(&mut block) {
            Ok(0) => return Ok((lines, behind)),
            Ok(length) => {
                let first = usize::try_from(start.saturating_sub(offset)).unwrap_or(usize::MAX).min(length);
                let count = |bytes: &[u8]| memchr::memchr_iter(b'\n', bytes).count() as u64;
                let rest = count(&block[first..length]);
                lines += count(&block[..first]) + rest;
                behind += rest;
                offset += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(Error::io("read", path, source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fs::Held;

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
        let pulse = Pulse::default();
        shift(&base, &pulse).unwrap();
        assert!(pulse.beats() >= 3, "every rename shows that the writer gets on");
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
    fn the_oldest_beyond_the_count_go_and_their_lines_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("metrics.ndjson");
        write(
            folder.path(),
            &[
                ("metrics.ndjson", "a\n"),
                ("metrics.ndjson.1", "b\n"),
                ("metrics.ndjson.3", "c\nd\n"),
                ("metrics.ndjson.9", "e\n"),
            ],
        );
        assert_eq!(retire(&base, 5, None, &Pulse::default()).unwrap().rows, 0);
        assert_eq!(retire(&base, 1, None, &Pulse::default()).unwrap(), Retired { rows: 3, undelivered: None });
        assert_eq!(names(folder.path()), owned(&[("metrics.ndjson", "a\n"), ("metrics.ndjson.1", "b\n")]));
    }

    #[test]
    fn lines_that_a_destination_still_needed_are_told_from_the_others() {
        let numbers = 1..=5;
        for (number, offset, undelivered) in [(0, 0, 0), (1, 2, 0), (4, 6, 3), (4, 2, 5), (5, 2, 8)] {
            let folder = tempfile::tempdir().unwrap();
            let base = folder.path().join("metrics.ndjson");
            fs::write(&base, "a\n").unwrap();
            for shard in numbers.clone() {
                fs::write(shard_path(&base, shard, Coding::Plain), "a\nb\nc\n").unwrap();
            }
            let path = shard_path(&base, number, Coding::Plain);
            let kept = Kept::new(0);
            kept.note(Arc::new(Held::over(crate::fs::open_read(&path).unwrap(), &path).unwrap()), offset);
            let retired = retire(&base, 2, Some(&kept), &Pulse::default()).unwrap();
            assert_eq!(retired, Retired { rows: 9, undelivered: Some(undelivered) }, "from {offset} in {number}");
            let lost = numbers.clone().filter(|&shard| shard > 2 && shard < number).count() as u64;
            assert_eq!(kept.lost(), lost);
        }
    }

    #[test]
    fn what_is_no_regular_file_is_neither_waited_for_nor_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("metrics.ndjson");
        write(folder.path(), &[("metrics.ndjson.1", "a\n"), ("metrics.ndjson.2", "b\n"), ("metrics.ndjson.3", "c\n")]);
        let fifo = folder.path().join("metrics.ndjson.7");
        rustix::fs::mkfifoat(CWD, &fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        fs::create_dir(folder.path().join("metrics.ndjson.8")).unwrap();
        assert_eq!(retire(&base, 2, None, &Pulse::default()).unwrap().rows, 1);
        assert!(fifo.exists() && !folder.path().join("metrics.ndjson.3").exists());
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
