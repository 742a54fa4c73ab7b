//! The end of a file that was not closed by us: a torn last line must not swallow the next row.
//!
//! The last line may be as long as the file: a program that extends a file by gigabytes leaves a hole there, and a power cut NUL
//! bytes. It is looked at in pieces, holes are passed over, and what is set aside of it has holes where there were none but NUL
//! bytes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::fs::{create_folder, create_new, open_existing};
use crate::limits::DEFAULT_FILE_MODE;

use crate::paths::INTERNALS;

/// Bytes looked at in one step.
const BLOCK_BYTES: u64 = 64 << 10;

/// Makes the file at `path` end with a newline (or empty). A whole JSON object that only lacks its newline gets it. A torn
/// line, or NUL bytes that a power cut left, are moved to `.codex_obs/torn-<file>-<offset>` beside it. Gives whether
/// something was moved.
pub fn mend(path: &Path) -> Result<bool> {
    let file = open_existing(path)?;
    let length = file.metadata().map_err(|source| Error::io("examine", path, source))?.len();
    let failed = |source| Error::io("read", path, source);
    let start = line_start(&file, length).map_err(failed)?;
    if start == length {
        return Ok(false);
    }
    if is_whole_object(&file, start, length).map_err(failed)? {
        file.write_all_at(b"\n", length).map_err(|source| Error::io("write", path, source))?;
        return Ok(false);
    }
    set_aside(path, &file, start, length)?;
    file.set_len(start).map_err(|source| Error::io("cut", path, source))?;
    Ok(true)
}

/// Where the next data stands at or behind `offset`; `None` if there is none, and `offset` itself where nobody can tell.
fn next_data(file: &File, offset: u64) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(at) => Ok(Some(at.max(offset))),
        Err(Errno::NXIO) => Ok(None),
        Err(Errno::INVAL | Errno::NOTSUP) => Ok(Some(offset)),
        Err(errno) => Err(errno.into()),
    }
}

/// Offset behind the last newline.
fn line_start(file: &File, length: u64) -> io::Result<u64> {
    let mut end = length;
    let mut step = BLOCK_BYTES;
    let mut block = vec![0; BLOCK_BYTES as usize];
    while end > 0 {
        let start = end.saturating_sub(step);
        if next_data(file, start)?.is_none_or(|data| data >= end) {
            // A hole, which has no newline. The next one may be as large as all before.
            end = start;
            step = step.saturating_mul(2);
            continue;
        }
        if step > BLOCK_BYTES {
            step = BLOCK_BYTES;
            continue;
        }
        let bytes = &mut block[..(end - start) as usize];
        file.read_exact_at(bytes, start)?;
        if let Some(newline) = memchr::memrchr(b'\n', bytes) {
            return Ok(start + newline as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Whether the bytes of `file` from `start` to `end` are one object with balanced braces outside of strings.
fn is_whole_object(file: &File, start: u64, end: u64) -> io::Result<bool> {
    let mut object = Object::default();
    let mut block = vec![0; BLOCK_BYTES as usize];
    let mut offset = start;
    while offset < end {
        let length = (end - offset).min(BLOCK_BYTES);
        let bytes = &mut block[..length as usize];
        file.read_exact_at(bytes, offset)?;
        if !bytes.iter().all(|&byte| object.accept(byte)) {
            return Ok(false);
        }
        offset += length;
    }
    Ok(object.is_closed)
}

/// An object of which a part was read.
#[derive(Debug, Default)]
struct Object {
    depth: u64,
    in_string: bool,
    escaped: bool,
    is_closed: bool,
}

impl Object {
    /// Whether the object may go on with `byte`.
    fn accept(&mut self, byte: u8) -> bool {
        if self.is_closed {
            return false;
        }
        if self.in_string {
            match byte {
                // JSON has these in strings only as escapes. NUL bytes are what a power cut leaves.
                0..0x20 => return false,
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return true;
        }
        match byte {
            b'{' => self.depth += 1,
            _ if self.depth == 0 => return false,
            b'}' => {
                self.depth -= 1;
                self.is_closed = self.depth == 0;
            }
            b'"' => self.in_string = true,
            b'\t' | b'\r' => {}
            0..0x20 => return false,
            _ => {}
        }
        true
    }
}

fn set_aside(path: &Path, file: &File, start: u64, end: u64) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(".")).join(INTERNALS);
    create_folder(&folder, DEFAULT_FILE_MODE)?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("file");
    for attempt in 0.. {
        let target = folder.join(format!("torn-{name}-{start}-{attempt}"));
        match create_new(&target, 0o600) {
            Ok(copy) => {
                return copy_sparsely(file, start, end, &copy).map_err(|source| {
                    // Nothing is gone yet, and every further attempt would leave another part.
                    let _ = crate::fs::remove(&target);
                    Error::io("write", &target, source)
                });
            }
            Err(error) if error.io_kind() == Some(io::ErrorKind::AlreadyExists) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Copies bytes to the start of an empty file. Blocks of NUL bytes become holes, and holes stay holes.
fn copy_sparsely(file: &File, start: u64, end: u64, copy: &File) -> io::Result<()> {
    copy.set_len(end - start)?;
    let mut block = vec![0; BLOCK_BYTES as usize];
    let mut offset = start;
    while let Some(data) = next_data(file, offset)?.filter(|&data| data < end) {
        let length = (end - data).min(BLOCK_BYTES);
        let bytes = &mut block[..length as usize];
        file.read_exact_at(bytes, data)?;
        if bytes.iter().any(|&byte| byte != 0) {
            copy.write_all_at(bytes, data - start)?;
        }
        offset = data + length;
        if offset >= end {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};
    use std::os::unix::fs::MetadataExt;

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

    #[test]
    fn no_json_has_nul_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.ndjson");
        for torn in ["{\"a\":\"\0\0\0\"}", "{\"a\":1\0}", "{\"a\":1}\0", "\0{\"a\":1}", "[1]", "}", "1"] {
            std::fs::write(&path, format!("{{}}\n{torn}")).unwrap();
            assert!(mend(&path).unwrap(), "{torn:?}");
            assert_eq!(std::fs::read(&path).unwrap(), b"{}\n");
        }
        std::fs::write(&path, "{\t\"a\": [{}]}").unwrap();
        assert!(!mend(&path).unwrap());
    }

    #[test]
    fn a_tail_of_a_terabyte_takes_neither_time_nor_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.ndjson");
        for (whole, parts) in [
            ("{}\n", &[][..]),
            ("", &[]),
            ("{}\n", &[(1_u64 << 39, "between")]),
            ("{}\n", &[(1 << 20, "{\"torn"), (3 << 38, "far"), ((1 << 40) - 3, "end")]),
        ] {
            let mut file = File::create(&path).unwrap();
            file.write_all(whole.as_bytes()).unwrap();
            file.set_len(1 << 40).unwrap();
            for (offset, text) in parts {
                file.seek(SeekFrom::Start(*offset)).unwrap();
                file.write_all(text.as_bytes()).unwrap();
            }
            assert!(mend(&path).unwrap());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
            let kept = folder.path().join(INTERNALS).join(format!("torn-metrics.ndjson-{}-0", whole.len()));
            let copy = File::open(&kept).unwrap();
            let metadata = copy.metadata().unwrap();
            assert_eq!(metadata.len(), (1 << 40) - whole.len() as u64);
            assert!(metadata.blocks() * 512 < 4 << 20, "{} bytes are stored", metadata.blocks() * 512);
            for (offset, text) in parts {
                let mut found = vec![0; text.len()];
                copy.read_exact_at(&mut found, offset - whole.len() as u64).unwrap();
                assert_eq!(found, text.as_bytes());
            }
            std::fs::remove_file(&kept).unwrap();
        }
    }

    #[test]
    fn nul_bytes_that_were_written_become_a_hole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.ndjson");
        let mut content = b"{}\n".to_vec();
        content.resize(8 << 20, 0);
        std::fs::write(&path, &content).unwrap();
        assert!(mend(&path).unwrap());
        let kept = std::fs::metadata(folder.path().join(INTERNALS).join("torn-metrics.ndjson-3-0")).unwrap();
        assert_eq!((kept.len(), kept.blocks()), ((8 << 20) - 3, 0));
    }
}
