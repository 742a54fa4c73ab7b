//! Finding out which lines of a surveyed ring are missing from the files, by comparing bytes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use super::files::{FileKind, Files};
use crate::encode::row::RowEncoder;
use crate::error::{Error, Result};
use crate::journal::frame::Kind;
use crate::journal::identity::Identity;
use crate::journal::ring::Ring;
use crate::shard::name::{Coding, Stream, shard_path};
use crate::shard::rotate::rotated_numbers;
use crate::stats::Stats;

/// One line that a frame stands for.
pub struct Line {
    /// The file it belongs to.
    pub kind: FileKind,
    /// The line with its newline.
    pub bytes: Vec<u8>,
    hash: u128,
}

/// Appends the lines of all frames of `ring` that are missing from the files, and counts their rows as written.
pub fn replay(
    directory: &Path,
    stream: &Stream,
    ring: &Ring,
    identity: &Identity,
    files: &mut Files,
    stats: &Stats,
) -> Result<()> {
    for line in missing(directory, stream, ring, identity)? {
        append(files, &line, stats)?;
        stats.rows_written.add(u64::from(line.kind == FileKind::Metrics));
    }
    Ok(())
}

/// The lines of all frames of `ring` that are missing from the files, in order.
pub fn missing(directory: &Path, stream: &Stream, ring: &Ring, identity: &Identity) -> Result<Vec<Line>> {
    let frames = encode(ring, identity);
    let mut present = count_present(directory, stream, &frames)?;
    // Each file was written in this order: what belongs before lines that are there was there before them. One file says
    // nothing of another, because each reached the disk at a time of its own.
    let known = FileKind::ALL.map(|kind| {
        frames.iter().rposition(|lines| {
            let mut lines = lines.iter().filter(|line| line.kind == kind).peekable();
            lines.peek().is_some()
                && lines.all(|line| present.get(&(line.kind as u64, line.hash)).is_some_and(|&n| n > 0))
        })
    });
    let is_behind = |index: usize, line: &Line| known[line.kind as usize].is_none_or(|known| index > known);
    let mut missing: Vec<Line> = frames
        .into_iter()
        .enumerate()
        .flat_map(|(index, lines)| lines.into_iter().filter(move |line| is_behind(index, line)))
        .collect();
    missing.retain(|line| {
        let count = present.entry((line.kind as u64, line.hash)).or_default();
        let is_missing = *count == 0;
        *count = count.saturating_sub(1);
        is_missing
    });
    Ok(missing)
}

/// The lines of every frame, in order of sequence numbers; the manifest line of a row stands before it.
fn encode(ring: &Ring, identity: &Identity) -> Vec<Vec<Line>> {
    let mut encoder = RowEncoder::new(&identity.run_id, identity.legacy);
    let mut frames = Vec::new();
    for (_, at, length) in ring.survey() {
        let Some(frame) = ring.surveyed(at, length) else { continue };
        let mut lines = Vec::new();
        let mut push = |kind, bytes: Vec<u8>| lines.push(Line { kind, hash: xxh3_128(&bytes), bytes });
        match (frame.kind, frame.metrics(), frame.line()) {
            (Kind::Metrics, Some(call), _) => {
                encoder.call(&call);
                for (name, value) in call.rows() {
                    let (mut metrics, mut manifest) = (Vec::new(), Vec::new());
                    encoder.row(name, &value, &mut metrics, &mut manifest);
                    if !manifest.is_empty() {
                        push(FileKind::Manifest, manifest);
                    }
                    push(FileKind::Metrics, metrics);
                }
            }
            (Kind::Line, _, Some((file, line))) => push(file.into(), line.to_vec()),
            // A pad, or a frame of a version to come, which its checksum has shown to be whole.
            _ => {}
        }
        frames.push(lines);
    }
    frames
}

/// How often each line of `frames` is in the files, counting in every plain shard.
fn count_present(directory: &Path, stream: &Stream, frames: &[Vec<Line>]) -> Result<HashMap<(u64, u128), u64>> {
    let mut present: HashMap<(u64, u128), u64> =
        frames.iter().flatten().map(|line| ((line.kind as u64, line.hash), 0)).collect();
    for kind in FileKind::ALL {
        if !frames.iter().flatten().any(|line| line.kind == kind) {
            continue;
        }
        let base = kind.path(directory, stream);
        for number in std::iter::once(0).chain(rotated_numbers(&base)?) {
            let path = shard_path(&base, number, Coding::Plain);
            match crate::fs::open_read(&path) {
                Ok(file) => count_in(file, kind, &mut present).map_err(|source| Error::io("read", &path, source))?,
                Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(present)
}

fn count_in(file: File, kind: FileKind, present: &mut HashMap<(u64, u128), u64>) -> std::io::Result<()> {
    let mut reader = BufReader::with_capacity(256 << 10, file);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') {
            // A last line that lacks nothing else gets its newline when the file is opened.
            line.push(b'\n');
        }
        if let Some(count) = present.get_mut(&(kind as u64, xxh3_128(&line))) {
            *count += 1;
        }
    }
}

fn append(files: &mut Files, line: &Line, stats: &Stats) -> Result<()> {
    let torn = files.torn_tails();
    let writer = files.get(line.kind);
    writer.open()?;
    if writer.must_rotate(0, line.bytes.len() as u64) {
        stats.rows_retired.add(writer.rotate()?.rows);
        stats.rotations.add(1);
    }
    writer.append(&line.bytes)?;
    stats.torn_tails.add(files.torn_tails() - torn);
    Ok(())
}
