//! The container of `.wandb` files: that of LevelDB's logs, with a header and another checksum. Data stand in blocks of 32 KiB, in
//! which each piece of a record has a head of its own: checksum, length, kind.

use std::io::{self, Read};

/// What the file begins with: the name, a magic number and the version of the format.
pub const HEAD: [u8; 7] = *b":W&B\xE1\xBE\x00";
const BLOCK_BYTES: usize = 32 << 10;
const PIECE_HEAD_BYTES: usize = 7;

/// What a piece is of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Piece {
    Whole = 1,
    First = 2,
    Middle = 3,
    Last = 4,
}

/// Adds `data` as one record. `position`: where in the file `out` ends.
pub fn push(out: &mut Vec<u8>, position: u64, data: &[u8]) {
    let mut place = (position % BLOCK_BYTES as u64) as usize;
    let mut rest = data;
    let mut is_first = true;
    loop {
        let mut room = BLOCK_BYTES - place;
        if room < PIECE_HEAD_BYTES {
            out.resize(out.len() + room, 0);
            (place, room) = (0, BLOCK_BYTES);
        }
        let (piece, behind) = rest.split_at(rest.len().min(room - PIECE_HEAD_BYTES));
        let kind = match (is_first, behind.is_empty()) {
            (true, true) => Piece::Whole,
            (true, false) => Piece::First,
            (false, false) => Piece::Middle,
            (false, true) => Piece::Last,
        };
        out.extend_from_slice(&checksum(kind as u8, piece).to_le_bytes());
        // A block has 32 KiB: its length fits.
        out.extend_from_slice(&(piece.len() as u16).to_le_bytes());
        out.push(kind as u8);
        out.extend_from_slice(piece);
        if behind.is_empty() {
            return;
        }
        (rest, is_first) = (behind, false);
        place = (place + PIECE_HEAD_BYTES + piece.len()) % BLOCK_BYTES;
    }
}

fn checksum(kind: u8, data: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(data);
    hasher.finalize()
}

/// The records of a file, one after the other.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    block: Vec<u8>,
    place: usize,
    record: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Reads a file from its start.
    pub fn new(source: R) -> Self {
        Self { source, block: Vec::new(), place: 0, record: Vec::new() }
    }

    /// The next record. `None`: nothing whole follows.
    pub fn read(&mut self) -> io::Result<Option<&[u8]>> {
        self.record.clear();
        loop {
            if self.block.len() < self.place + PIECE_HEAD_BYTES && !self.fill()? {
                return Ok(None);
            }
            let head = &self.block[self.place..];
            let Some((&[a, b, c, d, low, high, kind], rest)) = head.split_first_chunk::<PIECE_HEAD_BYTES>() else {
                return Ok(None);
            };
            let length = usize::from(u16::from_le_bytes([low, high]));
            let Some(piece) = rest.get(..length) else { return Ok(None) };
            if u32::from_le_bytes([a, b, c, d]) != checksum(kind, piece) {
                return Ok(None);
            }
            self.record.extend_from_slice(piece);
            self.place += PIECE_HEAD_BYTES + length;
            if kind == Piece::Whole as u8 || kind == Piece::Last as u8 {
                return Ok(Some(&self.record));
            }
        }
    }

    /// Reads the next block.
    fn fill(&mut self) -> io::Result<bool> {
        let is_first = self.block.is_empty();
        self.block.clear();
        (&mut self.source).take(BLOCK_BYTES as u64).read_to_end(&mut self.block)?;
        self.place = if is_first { HEAD.len() } else { 0 };
        Ok(self.block.len() >= self.place + PIECE_HEAD_BYTES && (!is_first || self.block.starts_with(&HEAD)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(file: &[u8]) -> Vec<Vec<u8>> {
        let mut reader = Reader::new(file);
        let mut records = Vec::new();
        while let Some(record) = reader.read().unwrap() {
            records.push(record.to_vec());
        }
        records
    }

    fn written(lengths: &[usize]) -> (Vec<u8>, Vec<Vec<u8>>) {
        let records: Vec<Vec<u8>> =
            lengths.iter().enumerate().map(|(number, &length)| vec![number as u8; length]).collect();
        let mut file = HEAD.to_vec();
        for record in &records {
            let position = file.len() as u64;
            push(&mut file, position, record);
        }
        (file, records)
    }

    #[test]
    fn records_come_back_whatever_blocks_they_cross() {
        let block = BLOCK_BYTES - PIECE_HEAD_BYTES;
        for lengths in [
            vec![0, 0, 1],
            vec![block - HEAD.len(), 5, block - 12, 7],
            vec![block - HEAD.len() - 1, 5],
            vec![block - HEAD.len() - 7, 0, 3],
            vec![block - HEAD.len() - 8, 4, 3 * BLOCK_BYTES, 1 << 20, 2],
        ] {
            let (file, records) = written(&lengths);
            assert_eq!(read(&file), records, "{lengths:?}");
        }
    }

    #[test]
    fn damage_and_a_torn_end_stop_the_reading() {
        let (mut file, records) = written(&[10, 20, 30]);
        for length in 0..file.len() {
            let whole = read(&file[..length]);
            assert!(whole.len() < 3 && records.starts_with(&whole), "{length}");
        }
        file[40] ^= 1;
        assert_eq!(read(&file), records[..1]);
    }

    proptest! {
        #[test]
        fn any_records_come_back(lengths in prop::collection::vec(prop_oneof![0..200_usize, 32_000..33_000_usize], 0..40)) {
            let (file, records) = written(&lengths);
            prop_assert_eq!(read(&file), records);
        }
    }
}
