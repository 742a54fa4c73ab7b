use std::io::Cursor;

use super::*;

/// Gives a few bytes at a time.
struct Dribble<'a>(Cursor<&'a [u8]>, usize);

impl Read for Dribble<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(self.1);
        self.0.read(&mut buffer[..length])
    }
}

/// The lines of the whole content, read in ranges of `step` bytes.
fn lines(content: &[u8], step: u64, at_once: usize) -> Vec<String> {
    let mut found = Vec::new();
    let length = content.len() as u64;
    for start in (0..length).step_by(step as usize) {
        let range = Range { start, end: (start + step).min(length) };
        let from = &content[range.read_from() as usize..];
        let mut input = Dribble(Cursor::new(from), at_once);
        read(&mut input, range, &mut Vec::new(), &Mutex::new(()), |piece| {
            match piece {
                Piece::Lines([]) => {}
                Piece::Lines(bytes) => {
                    assert_eq!(bytes.last(), Some(&b'\n'));
                    found.extend(bytes.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec));
                }
                Piece::Unfinished(bytes) => {
                    assert!(!bytes.contains(&b'\n'));
                    found.push(bytes.to_vec());
                }
                Piece::TooLong => found.push(b"too long".to_vec()),
            }
            true
        })
        .unwrap();
    }
    found.into_iter().map(|line| String::from_utf8(line).unwrap()).collect()
}

#[test]
fn each_line_comes_once_wherever_the_ranges_end() {
    for content in ["a\nbb\n\nccc\ndddd\n", "a\nbb\n\nccc\ndddd", "\n\n\n", "x", "\n", "one long line without an end"] {
        let expected: Vec<&str> = content.split_inclusive('\n').collect();
        for step in 1..=content.len() as u64 + 1 {
            for at_once in [1, 2, 3, 100] {
                assert_eq!(lines(content.as_bytes(), step, at_once), expected, "{content:?} by {step}, {at_once}");
            }
        }
    }
}

#[test]
fn a_byte_order_mark_is_taken_off_at_the_start_only() {
    let content = "\u{feff}a\n\u{feff}b\n";
    for at_once in 1..8 {
        for step in 4..12 {
            assert_eq!(lines(content.as_bytes(), step, at_once), ["a\n", "\u{feff}b\n"], "{at_once}, {step}");
        }
    }
    assert!(lines("\u{feff}".as_bytes(), 100, 1).is_empty());
}

#[test]
fn a_line_beyond_the_cap_is_given_up_and_the_next_one_is_read() {
    let mut content = b"first\n".to_vec();
    content.resize(content.len() + MAX_LINE_BYTES + SCAN_BLOCK_BYTES + 100, b'x');
    content.extend_from_slice(b"\nlast\n");
    let found = lines(&content, u64::MAX, usize::MAX);
    assert_eq!(found, ["first\n", "too long", "last\n"]);
    content.truncate(content.len() - 7);
    assert_eq!(lines(&content, u64::MAX, usize::MAX), ["first\n", "too long"]);
    let found = lines(&content, 8 << 20, usize::MAX);
    assert_eq!(found, ["first\n", "too long"]);
}

#[test]
fn reading_ends_when_it_is_told_to() {
    let content = vec![b'\n'; 4 * SCAN_BLOCK_BYTES];
    let mut pieces = 0;
    let range = Range { start: 0, end: content.len() as u64 };
    read(&mut Cursor::new(&content), range, &mut Vec::new(), &Mutex::new(()), |_| {
        pieces += 1;
        pieces < 2
    })
    .unwrap();
    assert_eq!(pieces, 2);
}
