//! How a file goes on behind a noted length, compared with the lines that were to be appended there.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::fs::length_now;

/// Bytes compared in one step.
const BLOCK_BYTES: usize = 64 << 10;

/// What stands behind the noted length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// So many of the bytes, and the file ends there.
    Part(usize),
    /// All of them, and something else behind.
    More,
    /// Something else behind the first so many, which are whole lines. The file may even be shorter than the noted length, or
    /// have no line that ends there: then it is not the file whose length was noted.
    Other(usize),
}

impl Behind {
    /// Compares what `file` has behind `noted` with `lines`.
    pub fn compare(file: &File, noted: u64, lines: &[u8]) -> io::Result<Self> {
        let length = length_now(file)?;
        let Some(more) = length.checked_sub(noted) else { return Ok(Self::Other(0)) };
        if noted > 0 {
            let mut last = [0];
            file.read_exact_at(&mut last, noted - 1)?;
            if last != *b"\n" {
                return Ok(Self::Other(0));
            }
        }
        let there = usize::try_from(more).unwrap_or(usize::MAX).min(lines.len());
        let equal = equal_bytes(file, noted, &lines[..there])?;
        Ok(if equal < there {
            Self::Other(whole_lines(&lines[..equal]))
        } else if more > lines.len() as u64 {
            Self::More
        } else {
            Self::Part(there)
        })
    }
}

/// Bytes at the start of `expected` that `file` has from `offset` on.
fn equal_bytes(file: &File, offset: u64, expected: &[u8]) -> io::Result<usize> {
    let mut block = vec![0; BLOCK_BYTES.min(expected.len())];
    let mut equal = 0;
    for expected in expected.chunks(BLOCK_BYTES) {
        let found = &mut block[..expected.len()];
        match file.read_exact_at(found, offset + equal as u64) {
            Ok(()) => {}
            // Cut meanwhile.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(equal),
            Err(error) => return Err(error),
        }
        if found != expected {
            return Ok(equal + found.iter().zip(expected).take_while(|(found, expected)| found == expected).count());
        }
        equal += expected.len();
    }
    Ok(equal)
}

/// Length of the whole lines at the start of `bytes`.
#[must_use]
pub fn whole_lines(bytes: &[u8]) -> usize {
    memchr::memrchr(b'\n', bytes).map_or(0, |newline| newline + 1)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn every_end_of_a_file_is_told_from_the_others() {
        let lines = b"{\"a\":1}\n{\"b\":2}\n";
        let cases: [(&[u8], u64, Behind); 9] = [
            (b"", 0, Behind::Part(0)),
            (b"{}\n", 3, Behind::Part(0)),
            (b"{}\n{\"a\":1}\n{\"b", 3, Behind::Part(11)),
            (b"{}\n{\"a\":1}\n{\"b\":2}\n", 3, Behind::Part(16)),
            (b"{}\n{\"a\":1}\n{\"b\":2}\nx", 3, Behind::More),
            (b"{}\n{\"a\":1}\n{\"c", 3, Behind::Other(8)),
            (b"{}\n{\"c", 3, Behind::Other(0)),
            (b"{}", 3, Behind::Other(0)),
            (b"{} {\"a\":1}\n", 3, Behind::Other(0)),
        ];
        for (content, noted, expected) in cases {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(content).unwrap();
            assert_eq!(Behind::compare(&file, noted, lines).unwrap(), expected, "{}", String::from_utf8_lossy(content));
        }
    }

    #[test]
    fn what_is_longer_than_a_block_is_compared_whole() {
        let lines: Vec<u8> = (0..3 * BLOCK_BYTES).map(|at| if at % 100 == 99 { b'\n' } else { b'a' }).collect();
        for differs in [0, BLOCK_BYTES - 1, BLOCK_BYTES, 2 * BLOCK_BYTES + 7] {
            let mut content = lines.clone();
            content[differs] ^= 1;
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&content).unwrap();
            let expected = Behind::Other(whole_lines(&lines[..differs]));
            assert_eq!(Behind::compare(&file, 0, &lines).unwrap(), expected);
        }
    }
}
