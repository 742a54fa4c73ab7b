//! What is in a shard, counted while its bytes pass by: lines, the largest step, hashes.

use memchr::memmem::Finder;
use xxhash_rust::xxh3::Xxh3Default;

/// Most bytes of a line before its step: a schema, a timestamp and a run id, escaped.
pub const HEAD_BYTES: usize = 64 << 10;

/// Counts of the lines that passed.
pub struct Tally {
    /// Lines, also one that lacks its newline.
    pub rows: u64,
    /// Those of them that begin at or behind a place.
    pub rows_behind: u64,
    /// Largest step; `None` if no line has one.
    pub largest_step: Option<i64>,
    /// Bytes.
    pub bytes: u64,
    place: u64,
    step: Finder<'static>,
    hash: Xxh3Default,
    first_line: Xxh3Default,
    /// Start of the line that is not whole yet.
    line: Vec<u8>,
    in_line: bool,
}

impl Tally {
    /// Counts nothing yet; what begins at or behind `place` is counted apart as well.
    #[must_use]
    pub fn new(place: u64) -> Self {
        Self {
            rows: 0,
            rows_behind: 0,
            largest_step: None,
            bytes: 0,
            place,
            // In a line of ours nothing before the step can contain this: a quote inside a text has a backslash before it.
            step: Finder::new(br#","step":"#),
            hash: Xxh3Default::new(),
            first_line: Xxh3Default::new(),
            line: Vec::new(),
            in_line: false,
        }
    }

    /// Adds the next bytes.
    pub fn add(&mut self, mut bytes: &[u8]) {
        self.hash.update(bytes);
        while !bytes.is_empty() {
            let newline = memchr::memchr(b'\n', bytes);
            let (piece, rest) = bytes.split_at(newline.map_or(bytes.len(), |at| at + 1));
            let text = newline.map_or(piece, |at| &piece[..at]);
            if !self.in_line {
                self.rows += 1;
                self.rows_behind += u64::from(self.bytes >= self.place);
            }
            if self.rows == 1 {
                self.first_line.update(text);
            }
            self.bytes += piece.len() as u64;
            match (newline.is_some(), self.line.is_empty()) {
                (true, true) => self.note_step(text),
                (is_whole, _) => {
                    let room = HEAD_BYTES.saturating_sub(self.line.len());
                    self.line.extend_from_slice(&text[..text.len().min(room)]);
                    if is_whole {
                        self.end_line();
                    }
                }
            }
            self.in_line = newline.is_none();
            bytes = rest;
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.note_step(&line);
        self.line = line;
        self.line.clear();
    }

    fn note_step(&mut self, line: &[u8]) {
        let start = &line[..line.len().min(HEAD_BYTES)];
        if let Some(at) = self.step.find(start) {
            self.largest_step = self.largest_step.max(integer(&start[at + self.step.needle().len()..]));
        }
    }

    /// Nothing follows. Gives the hashes of all bytes and of the first line without its newline.
    pub fn end(&mut self) -> (u64, u64) {
        self.end_line();
        (self.hash.digest(), self.first_line.digest())
    }
}

/// The integer at the start of `bytes`, if one is there.
fn integer(bytes: &[u8]) -> Option<i64> {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'-').unwrap_or(bytes.len());
    if matches!(bytes.get(end), Some(b'.' | b'e' | b'E')) {
        return None;
    }
    std::str::from_utf8(&bytes[..end]).ok()?.parse().ok()
}

impl std::fmt::Debug for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tally").field("rows", &self.rows).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;

    #[test]
    fn counts_do_not_depend_on_how_the_bytes_come() {
        let long = format!("{{\"run_id\":\"{}\",\"step\":77}}\n", "x".repeat(9000));
        let text = [
            "{\"run_id\":\"r\",\"step\":-5,\"split\":\"a\"}\n",
            "{\"run_id\":\"a\\\",\\\"step\\\":99\",\"step\":7,\"split\":\"a\"}\n",
            "\n{\"run_id\":\"r\",\"step\":null,\"tags\":{}}\n",
            &long,
            "{\"run_id\":\"r\",\"step\":12.5}\nno row",
        ]
        .concat();
        let first = text.split('\n').next().unwrap();
        let second = first.len() as u64 + 1;
        for size in [1, 2, 3, 7, 64, 4096, text.len()] {
            for (place, behind) in [(0, 7), (1, 6), (second, 6), (text.len() as u64, 0)] {
                let mut tally = Tally::new(place);
                text.as_bytes().chunks(size).for_each(|piece| tally.add(piece));
                let hashes = tally.end();
                assert_eq!(
                    (tally.rows, tally.rows_behind, tally.bytes),
                    (7, behind, text.len() as u64),
                    "{size} {place}"
                );
                assert_eq!(tally.largest_step, Some(77));
                assert_eq!(hashes, (xxh3_64(text.as_bytes()), xxh3_64(first.as_bytes())));
            }
        }
        let mut tally = Tally::new(0);
        assert_eq!((tally.end().0, tally.rows, tally.largest_step), (xxh3_64(b""), 0, None));
    }
}
