//! The largest step of a stream, for calls that leave theirs out.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::fs::FileId;
use crate::paths::{Coding, FileKind, Stream, shard_path};
use crate::shard::archive::Archive;
use crate::shard::footer::Footer;
use crate::shard::ordinal::Shards;
use crate::shard::tally::Tally;
use crate::shard::writer::last_bytes;

const BLOCK_BYTES: usize = 256 << 10;
/// End of `run.ndjson` in which the last session's record is looked for.
const NOTE_BYTES: usize = 64 << 10;

/// Whether `stream` has no row yet.
pub fn is_new(directory: &Path, stream: &Stream) -> Result<bool> {
    let base = FileKind::Metrics.path(directory, stream);
    let length = match base.symlink_metadata() {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        Err(source) => return Err(Error::io("examine", &base, source)),
    };
    Ok(length == 0 && Shards::of(&base)?.current() == 1)
}

/// Whether `stream` has neither a current file nor a newest rotated one, without a look at the whole folder.
pub fn is_fresh(directory: &Path, stream: &Stream) -> Result<bool> {
    let base = FileKind::Metrics.path(directory, stream);
    let newest = Coding::ALL.map(|coding| shard_path(&base, 1, coding));
    for path in std::iter::once(&base).chain(&newest) {
        if FileId::at(path)?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The largest step of `stream`. Archives say theirs, and so does the record of what was deleted.
pub fn largest(directory: &Path, stream: &Stream) -> Result<Option<i64>> {
    let base = FileKind::Metrics.path(directory, stream);
    let shards = Shards::of(&base)?;
    let mut largest = shards.gone.largest_step;
    let archives = shards.archives.iter().map(|&ordinal| Archive::Packed.path(&base, ordinal));
    let numbers = std::iter::once(0).chain(shards.numbers.iter().copied());
    let packed = numbers.clone().map(|number| shard_path(&base, number, Coding::Zstandard));
    for path in archives.chain(packed) {
        if let Some(file) = open(&path)?
            && let Some(footer) = Footer::of(&file, &path)?
        {
            largest = largest.max(footer.largest_step);
        }
    }
    for number in numbers {
        let path = shard_path(&base, number, Coding::Plain);
        if let Some(file) = open(&path)? {
            largest = largest.max(largest_in(file).map_err(|source| Error::io("read", &path, source))?);
        }
    }
    Ok(largest)
}

fn open(path: &Path) -> Result<Option<File>> {
    match crate::fs::open_read(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The largest step in the last rows of `stream`: what to tell people of a run that goes on, at the cost of one read.
pub fn recent(directory: &Path, stream: &Stream) -> Result<Option<i64>> {
    let base = FileKind::Metrics.path(directory, stream);
    for number in 0..=1 {
        let end = last_bytes(&shard_path(&base, number, Coding::Plain), BLOCK_BYTES)?;
        if !end.is_empty() {
            let path = shard_path(&base, number, Coding::Plain);
            return largest_in(end.as_slice()).map_err(|source| Error::io("read", &path, source));
        }
    }
    Ok(None)
}

/// The largest step that the last session of `stream` noted at its end: `Some(None)` if no row had one, `None` if the last session
/// noted nothing, because it was killed or is of an earlier version.
pub fn noted(directory: &Path, stream: &Stream) -> Result<Option<Option<i64>>> {
    let end = last_bytes(&FileKind::Session.path(directory, stream), NOTE_BYTES)?;
    for line in end.rsplit(|&byte| byte == b'\n') {
        let Ok(record) = serde_json::from_slice::<Value>(line) else { continue };
        match record.get("record").and_then(Value::as_str) {
            Some("finish") => {
                let step = record.get("largest_step");
                return Ok(step.filter(|step| step.is_null() || step.is_i64()).map(Value::as_i64));
            }
            Some("start") => return Ok(None),
            _ => {}
        }
    }
    Ok(None)
}

fn largest_in(mut reader: impl Read) -> std::io::Result<Option<i64>> {
    let mut tally = Tally::new(0);
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        match reader.read(&mut block) {
            Ok(0) => break,
            Ok(count) => tally.add(&block[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    tally.end();
    Ok(tally.largest_step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::tally::HEAD_BYTES;

    #[test]
    fn the_largest_step_is_found_whatever_stands_around_it() {
        let lines = concat!(
            "{\"run_id\":\"r\",\"step\":-5,\"split\":\"a\"}\n",
            "{\"run_id\":\"a\\\",\\\"step\\\":99\",\"step\":7,\"split\":\"a\"}\n",
            "{\"run_id\":\"r\",\"step\":null,\"tags\":{}}\n",
            "{\"run_id\":\"r\",\"step\":12.5}\n",
            "no row\n",
        );
        assert_eq!(largest_in(lines.as_bytes()).unwrap(), Some(7));
        assert_eq!(largest_in(&b""[..]).unwrap(), None);
        assert_eq!(largest_in(&b"{\"a\":1,\"step\":9223372036854775807}"[..]).unwrap(), Some(i64::MAX));
        assert_eq!(largest_in(&b"{\"a\":1,\"step\":9223372036854775808}"[..]).unwrap(), None);
    }

    #[test]
    fn steps_are_found_wherever_blocks_end_and_however_long_lines_are() {
        let line =
            |step: usize, length: usize| format!("{{\"a\":1,\"step\":{step},\"b\":\"{}\"}}\n", "x".repeat(length));
        for length in [0, 1, 100, HEAD_BYTES, BLOCK_BYTES - 30, BLOCK_BYTES, 3 * BLOCK_BYTES + 7] {
            let text: String = [line(1, length), line(9, 5), line(3, length), line(4, 0)].concat();
            assert_eq!(largest_in(text.as_bytes()).unwrap(), Some(9), "{length}");
            let text: String = [line(1, length), line(2, 5), line(13, length)].concat();
            assert_eq!(largest_in(text.trim_end().as_bytes()).unwrap(), Some(13), "{length}");
        }
        // What stands behind the start of a line is no step, and gigabytes of NUL bytes are no line.
        let text = format!("{}{}", line(1, 0), line(2, BLOCK_BYTES).replace("\"}", "\"},\"c\":1,\"step\":77}"));
        assert_eq!(largest_in(text.as_bytes()).unwrap(), Some(2));
        let nul = std::io::repeat(0).take(1 << 30);
        assert_eq!(largest_in(nul.chain(format!("\n{}", line(5, 0)).as_bytes())).unwrap(), Some(5));
    }

    #[test]
    fn a_note_counts_if_the_last_session_left_it() {
        let start = r#"{"record":"start"}"#;
        let finish = |step: &str| format!(r#"{{"record":"finish","status":"finished"{step}}}"#);
        let (five, none) = (finish(r#","largest_step":5"#), finish(r#","largest_step":null"#));
        let retired = r#"{"record":"retired","rows":1}"#;
        let cases: [(&[&str], Option<Option<i64>>); 7] = [
            (&[], None),
            (&[start], None),
            (&[start, &five], Some(Some(5))),
            (&[start, &five, retired], Some(Some(5))),
            (&[start, &none], Some(None)),
            (&[start, &five, start], None),
            (&[start, &finish("")], None),
        ];
        for (records, expected) in cases {
            let folder = tempfile::tempdir().unwrap();
            let text: String = records.join("\n") + "\n";
            std::fs::write(folder.path().join("run.ndjson"), text).unwrap();
            assert_eq!(noted(folder.path(), &Stream::main()).unwrap(), expected, "{records:?}");
        }
    }
}
