//! The end of a file that was not closed by us: a torn last line must not swallow the next row.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::{Error, Result};
use crate::fs::{create_folder, create_new, open_existing};
use crate::limits::DEFAULT_FILE_MODE;

pub use crate::fs::INTERNALS;

/// Bytes looked at in one step backwards.
const BLOCK_BYTES: u64 = 64 << 10;

/// Makes the file at `path` end with a newline (or empty). A whole JSON object that only lacks its newline gets it. A torn
/// line, or NUL bytes that a power cut left, are moved to `.codex_obs/torn-<file>-<offset>` beside it. Gives whether
/// something was moved.
pub fn mend(path: &Path) -> Result<bool> {
    let file = open_existing(path)?;
    let length = file.metadata().map_err(|source| Error::io("examine", path, source))?.len();
    let start = line_start(&file, length).map_err(|source| Error::io("read", path, source))?;
    if start == length {
        return Ok(false);
    }
    let mut torn = vec![0; (length - start) as usize];
    file.read_exact_at(&mut torn, start).map_err(|source| Error::io("read", path, source))?;
    if is_whole_object(&torn) {
        file.write_all_at(b"\n", length).map_err(|source| Error::io("write", path, source))?;
        return Ok(false);
    }
    set_aside(path, start, &torn)?;
    file.set_len(start).map_err(|source| Error::io("cut", path, source))?;
    Ok(true)
}

/// Offset behind the last newline.
fn line_start(file: &File, length: u64) -> std::io::Result<u64> {
    let mut end = length;
    let mut block = vec![0; BLOCK_BYTES as usize];
    while end > 0 {
        let start = end.saturating_sub(BLOCK_BYTES);
        let bytes = &mut block[..(end - start) as usize];
        file.read_exact_at(bytes, start)?;
        if let Some(newline) = memchr::memrchr(b'\n', bytes) {
            return Ok(start + newline as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Whether `bytes` are one object with balanced braces outside of strings.
fn is_whole_object(bytes: &[u8]) -> bool {
    let mut depth = 0_u32;
    let mut in_string = false;
    let mut escaped = false;
    for (index, byte) in bytes.iter().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' => depth += 1,
            b'}' if depth == 1 => return index + 1 == bytes.len(),
            b'}' if depth == 0 => return false,
            b'}' => depth -= 1,
            _ if depth == 0 => return false,
            _ => {}
        }
    }
    false
}

fn set_aside(path: &Path, offset: u64, torn: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(".")).join(INTERNALS);
    create_folder(&folder, DEFAULT_FILE_MODE)?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("file");
    for attempt in 0.. {
        let target = folder.join(format!("torn-{name}-{offset}-{attempt}"));
        match create_new(&target, 0o600) {
            Ok(mut file) => {
                return file.write_all(torn).map_err(|source| {
                    // Nothing is gone yet, and every further attempt would leave another part.
                    let _ = crate::fs::remove(&target);
                    Error::io("write", &target, source)
                });
            }
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::AlreadyExists) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Length of the first line of the log below without its newline.
    const FIRST: usize = 12;

    #[test]
    fn every_prefix_of_a_log_ends_with_a_whole_line_after_mending() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.ndjson");
        let log = b"{\"a\":\"}{\\\"\"}\n{\"b\":{\"c\":[1]}}\n";
        for length in 0..=log.len() {
            std::fs::write(&path, &log[..length]).unwrap();
            let moved = mend(&path).unwrap();
            let left = std::fs::read(&path).unwrap();
            let expected = match length {
                ..FIRST => &log[..0],
                _ if length + 1 >= log.len() => &log[..],
                _ => &log[..=FIRST],
            };
            assert_eq!(left, expected, "prefix of {length}");
            assert_eq!(moved, !matches!(length, 0 | FIRST | 13) && length + 1 < log.len(), "prefix of {length}");
        }
    }

    #[test]
    fn what_is_moved_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.ndjson");
        for _ in 0..2 {
            std::fs::write(&path, b"{}\n{\"torn").unwrap();
            assert!(mend(&path).unwrap());
            assert_eq!(std::fs::read(&path).unwrap(), b"{}\n");
        }
        for attempt in 0..2 {
            let kept = folder.path().join(INTERNALS).join(format!("torn-metrics.ndjson-3-{attempt}"));
            assert_eq!(std::fs::read(kept).unwrap(), b"{\"torn");
        }
    }
}
