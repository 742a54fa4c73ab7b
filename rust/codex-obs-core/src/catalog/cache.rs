//! What was found out about a run, kept beside it for as long as its files look the same.
//!
//! Nothing is believed that is not sure: the first line has a fingerprint of the run's files and a hash of what follows. A copy of a
//! run has other inodes, so what was copied with it does not count. Whatever is wrong with the file, the run is read anew.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::fs::{Dir, Mode, OFlags};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::entry::{Entry, Status};
use super::extremes::{Extremes, Point};
use super::folders::Folder;
use crate::fs;
use crate::paths::INTERNALS;
use crate::run::identity as home;

/// Its name among the internals.
const FILE_NAME: &str = "summary-cache";
/// What its first line begins with: another one is of another version.
const MAGIC: &str = "codex_obs summary 1";
/// Longest one that is written or read. Runs with more metrics than fit, some 40,000, are read each time.
const MAX_BYTES: u64 = 4 << 20;
/// What most of them fit into, which then takes one read.
const USUAL_BYTES: usize = 4 << 10;

/// What is kept beside the metrics.
#[derive(Serialize, Deserialize)]
struct Kept {
    name: Option<String>,
    run_id: Option<String>,
    status: String,
    started_micros: Option<i64>,
    ended_micros: Option<i64>,
    last_step: Option<i64>,
    rows: Option<u64>,
    config: Option<String>,
}

/// Split, metric, and the last, smallest and largest value. Numbers are kept as their bits, so that each is the same again.
type KeptMetric = (String, String, (Option<u64>, Option<i64>), Option<(u64, Option<i64>)>, Option<(u64, Option<i64>)>);

fn path(folder: &Folder) -> PathBuf {
    folder.path.join(INTERNALS).join(FILE_NAME)
}

/// What is kept of the run in `folder`, whose files have this fingerprint; `None` if there is nothing, or nothing that fits.
pub(super) fn read(folder: &Folder, internals: &Dir, fingerprint: u128, metrics: bool) -> Option<Entry> {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    // NONBLOCK: a FIFO that somebody put there is not waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(internals.fd().ok()?, FILE_NAME, flags, Mode::empty()).ok()?;
    File::from(file).take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    let (first, rest) = bytes.split_at_checked(bytes.iter().position(|&byte| byte == b'\n')? + 1)?;
    if first != first_line(fingerprint, rest).as_bytes() {
        return None;
    }
    let (head, courses) = rest.split_at(rest.iter().position(|&byte| byte == b'\n')? + 1);
    let kept: Kept = serde_json::from_slice(head).ok()?;
    let mut entry = Entry {
        path: folder.path.clone(),
        name: kept.name,
        run_id: kept.run_id,
        status: Some(Status::of_word(&kept.status)?),
        started_micros: kept.started_micros,
        ended_micros: kept.ended_micros,
        last_step: kept.last_step,
        rows: kept.rows,
        config: kept.config,
        ..Entry::default()
    };
    if metrics {
        let courses: Vec<KeptMetric> = serde_json::from_slice(courses).ok()?;
        let point = |(value, step): (u64, Option<i64>)| Point { value: Some(f64::from_bits(value)), step };
        entry.metrics.extend(courses.into_iter().map(|(split, metric, (last, step), min, max)| {
            let last = Point { value: last.map(f64::from_bits), step };
            ((split, metric), Extremes { last, min: min.map(point), max: max.map(point) })
        }));
    }
    Some(entry)
}

/// Keeps `entry`. What goes wrong costs the time to read the run again, and nothing else.
pub(super) fn write(folder: &Folder, fingerprint: u128, entry: &Entry) {
    let Some(status) = entry.status else { return };
    let kept = Kept {
        name: entry.name.clone(),
        run_id: entry.run_id.clone(),
        status: status.word().to_owned(),
        started_micros: entry.started_micros,
        ended_micros: entry.ended_micros,
        last_step: entry.last_step,
        rows: entry.rows,
        config: entry.config.clone(),
    };
    let bits = |point: Point| Some((point.value?.to_bits(), point.step));
    let courses: Vec<KeptMetric> = entry
        .metrics
        .iter()
        .map(|((split, metric), course)| {
            let last = (course.last.value.map(f64::to_bits), course.last.step);
            (split.clone(), metric.clone(), last, course.min.and_then(bits), course.max.and_then(bits))
        })
        .collect();
    let Ok(mut rest) = serde_json::to_vec(&kept) else { return };
    rest.push(b'\n');
    if serde_json::to_writer(&mut rest, &courses).is_err() {
        return;
    }
    rest.push(b'\n');
    let mut content = first_line(fingerprint, &rest).into_bytes();
    content.append(&mut rest);
    if content.len() as u64 >= MAX_BYTES {
        return;
    }
    let Some(mode) = mode(folder) else { return };
    let internals = folder.path.join(INTERNALS);
    // Only in the run of this user: others read it and leave no trace.
    if !folder.has_internals && fs::create_folder(&internals, mode).is_err() {
        return;
    }
    // In place and without a sync: half of it has not the hash that it says it has. Not truncated before: file systems write a file
    // that was emptied to the disk as soon as it is closed.
    if let Ok(mut file) = fs::open_read_write(&path(folder), mode)
        && file.write_all(&content).is_ok()
        && file.metadata().is_ok_and(|found| found.len() > content.len() as u64)
    {
        let _ = file.set_len(content.len() as u64);
    }
}

/// The mode that the run's files have. `None` if they are not this process's.
fn mode(folder: &Folder) -> Option<u32> {
    let identity = folder.path.join(home::FILE_NAME);
    let found = identity.symlink_metadata().ok()?;
    fs::require_usable(&identity).ok()?;
    Some(found.mode() & 0o666 | 0o600)
}

fn first_line(fingerprint: u128, rest: &[u8]) -> String {
    format!("{MAGIC} {fingerprint:032x} {:032x}\n", xxh3_128(rest))
}
