//! Files of a run that look like its log and are not read, so that nobody takes a part of the rows for all of them.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::line::{Line, LineParser};
use super::listing::Listing;
use super::parser::Parser;
use super::report::Report;
use crate::fs::open_read;
use crate::paths::{Coding, FileKind, shard_path};

/// What is looked at of a file whose name does not say enough, and of two files to see whether one is a copy.
const SAMPLE_BYTES: usize = 64 << 10;

/// Files of ours that are no log of metrics.
const OURS: [&str; 2] = ["metrics_manifest", "metrics_summary"];
/// What the names of logs have in them, and those of archives that may hold some.
const LOGS: [&str; 2] = ["ndjson", "jsonl"];
const ARCHIVES: [&str; 5] = [".tar", ".tgz", ".txz", ".zip", ".7z"];

/// Notes the files of `directory` that look like a log and are none of the shards.
pub(super) fn note(log: FileKind, directory: &Path, listing: &Listing, report: &mut Report) {
    let mut unread: Vec<_> = listing
        .others
        .iter()
        .map(|name| directory.join(name))
        .filter(|path| log == FileKind::Manifest || !is_ours(path.file_name().unwrap_or_default()))
        .filter(|path| looks_like_a_log(path, path.file_name().unwrap_or_default()))
        .collect();
    // What lay unread beside a shard lies unread beside its archive.
    unread.retain(|path| !is_copy(&path.with_extension("zst"), path).unwrap_or(false));
    for (base, names) in &listing.shards {
        let base = directory.join(base.file_name());
        for (&number, codings) in &names.numbers {
            let Some((&read, others)) = codings.split_first() else { continue };
            let read = shard_path(&base, number, read);
            for &coding in others {
                let other = shard_path(&base, number, coding);
                if !is_copy(&read, &other).unwrap_or(true) {
                    unread.push(other);
                }
            }
        }
    }
    unread.sort();
    report.leave_unread(unread);
}

fn is_ours(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_ascii_lowercase();
    OURS.iter().any(|ours| name.starts_with(ours))
}

fn looks_like_a_log(path: &Path, name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_ascii_lowercase();
    let Ok(file) = open_read(path) else { return false };
    let is_empty = file.metadata().is_ok_and(|metadata| metadata.len() == 0);
    let says_so = |words: &[&str]| words.iter().any(|&word| name.contains(word));
    !is_empty && (says_so(&LOGS) || says_so(&ARCHIVES) || begins_with_a_row(file, &name).unwrap_or(false))
}

/// Whether the first line that is not blank is a row.
fn begins_with_a_row(file: File, name: &str) -> io::Result<bool> {
    let mut sample = Vec::new();
    open(file, coding_of(name))?.take(SAMPLE_BYTES as u64).read_to_end(&mut sample)?;
    let mut parser = LineParser::<Parser>::default();
    let mut lines = sample.split(|&byte| byte == b'\n').map(|line| parser.read(line, |_, _| ()));
    Ok(lines.find(|line| *line != Line::Blank) == Some(Line::Row(())))
}

/// Whether what is stored in `other` is the beginning of what is stored in `read`, or all of it, as far as a sample tells.
fn is_copy(read: &Path, other: &Path) -> io::Result<bool> {
    let sample = |path: &Path| {
        let mut sample = Vec::new();
        let file = open_read(path).map_err(io::Error::other)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // An archive that is being written ends anywhere.
        let _ = open(file, coding_of(&name))?.take(SAMPLE_BYTES as u64).read_to_end(&mut sample);
        Ok::<_, io::Error>(sample)
    };
    Ok(sample(read)?.starts_with(&sample(other)?))
}

fn coding_of(name: &str) -> Coding {
    [Coding::Gzip, Coding::Zstandard]
        .into_iter()
        .find(|coding| name.ends_with(coding.suffix()))
        .unwrap_or(Coding::Plain)
}

fn open(file: File, coding: Coding) -> io::Result<Box<dyn Read>> {
    Ok(match coding {
        Coding::Plain => Box::new(file),
        Coding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(file)),
        Coding::Zstandard => Box::new(zstd::Decoder::new(file)?),
    })
}
