//! Frames read back: nothing in them is believed to be within bounds.

use xxhash_rust::xxh3::xxh3_64;

use super::{
    FALSE, FIRST_HEADER_BYTES, FIRST_VERSION, FLAG_NO_STEP, FLOAT, HEADER_BYTES, INLINE, Kind, LineFile, NO_DATASET,
    NULL, OFFSET_ROWS, STRUCTURED, TRUE, UNREADABLE, VERSION, Value,
};

/// A frame's header, read back and found plausible; the checksum is still to be compared by [`Frame::verify`].
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    bytes: &'a [u8],
    body: usize,
    /// What it holds.
    pub kind: Kind,
    flags: u16,
    /// Its sequence number.
    pub sequence: u64,
    /// Rows published before it; `None` in the first version.
    pub row: Option<u64>,
}

impl<'a> Frame<'a> {
    /// Reads the frame at the start of `bytes`, or `None` if there is none: too short, unknown or of an impossible length.
    /// A pad's bytes end with its header.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let header = bytes.first_chunk::<FIRST_HEADER_BYTES>()?;
        let (body, row) = match header[12] {
            FIRST_VERSION => (FIRST_HEADER_BYTES, None),
            VERSION => (HEADER_BYTES, Some(u64::from_le_bytes(*bytes[FIRST_HEADER_BYTES..].first_chunk()?))),
            _ => return None,
        };
        let length = u32::from_le_bytes(*header[8..].first_chunk()?) as usize;
        let kind = match header[13] {
            1 => Kind::Metrics,
            2 => Kind::Line,
            3 => Kind::Pad,
            4 => Kind::End,
            _ => return None,
        };
        if length < body || !length.is_multiple_of(8) || length > bytes.len() {
            return None;
        }
        let shown = if kind == Kind::Pad { body } else { length };
        let flags = u16::from_le_bytes(*header[14..].first_chunk()?);
        let sequence = u64::from_le_bytes(*header[16..].first_chunk()?);
        Some((Self { bytes: &bytes[..shown], body, kind, flags, sequence, row }, length))
    }

    /// Whether the frame carries `sequence` and its checksum is right.
    #[must_use]
    pub fn verify(&self, sequence: u64) -> bool {
        let stored = u64::from_le_bytes(*self.bytes.first_chunk().expect("parse saw a header"));
        self.sequence == sequence && stored == xxh3_64(&self.bytes[8..])
    }

    /// Its length, but for what a pad fills.
    #[must_use]
    pub fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Number of rows, as its body says: only that of metrics has any.
    #[must_use]
    pub fn rows(&self) -> u64 {
        let at = self.body + OFFSET_ROWS - HEADER_BYTES;
        let rows = self.bytes.get(at..).filter(|_| self.kind == Kind::Metrics).and_then(|rest| rest.first_chunk());
        rows.map_or(0, |rows| u32::from_le_bytes(*rows).into())
    }

    /// The line of a line frame and its file.
    #[must_use]
    pub fn line(&self) -> Option<(LineFile, &'a [u8])> {
        let mut cursor = Cursor(self.bytes.get(self.body..)?);
        let file = match cursor.u32()? {
            1 => LineFile::Params,
            2 => LineFile::Summary,
            3 => LineFile::Session,
            4 => LineFile::Telemetry,
            _ => return None,
        };
        let length = cursor.u32()? as usize;
        Some((file, cursor.take(length)?))
    }

    /// The call of a metrics frame.
    #[must_use]
    pub fn metrics(&self) -> Option<MetricsFrame<'a>> {
        let mut cursor = Cursor(self.bytes.get(self.body..)?);
        let timestamp = cursor.u64()? as i64;
        let step = cursor.u64()? as i64;
        let rows = cursor.u32()?;
        let split_bytes = cursor.u16()?;
        let dataset_bytes = cursor.u16()?;
        let tags_bytes = cursor.u32()?;
        let marks = [cursor.u32()?, cursor.u32()?, cursor.u32()?];
        let split = cursor.text(split_bytes.into())?;
        let dataset = if dataset_bytes == NO_DATASET { None } else { Some(cursor.text(dataset_bytes.into())?) };
        let tags = cursor.take(tags_bytes as usize)?;
        let step = (self.flags & FLAG_NO_STEP == 0).then_some(step);
        Some(MetricsFrame { timestamp, step, rows, split, dataset, tags, marks, entries: cursor })
    }
}

/// The decoded fixed part of a metrics frame; its rows come from [`rows`](Self::rows).
#[derive(Clone, Copy, Debug)]
pub struct MetricsFrame<'a> {
    /// Microseconds since the epoch.
    pub timestamp: i64,
    /// `None` for an event without one.
    pub step: Option<i64>,
    /// Number of rows.
    pub rows: u32,
    /// See [`Call`].
    pub split: &'a str,
    /// See [`Call`].
    pub dataset: Option<&'a str>,
    /// The text of [`Tags`]; empty for none.
    pub tags: &'a [u8],
    /// The marks of [`Tags`].
    pub marks: [u32; 3],
    entries: Cursor<'a>,
}

impl<'a> MetricsFrame<'a> {
    /// Bytes of the rows, with what pads the frame.
    #[must_use]
    pub fn entry_bytes(&self) -> usize {
        self.entries.0.len()
    }

    /// Name and value of each row, in order.
    pub fn rows(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> + use<'a> {
        let mut cursor = self.entries;
        (0..self.rows).map_while(move |_| cursor.row())
    }
}

/// Reads fields off the front of a slice; `None` once it is too short.
#[derive(Clone, Copy, Debug)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self, length: usize) -> Option<&'a str> {
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn row(&mut self) -> Option<(&'a str, Value<'a>)> {
        let [kind] = self.array()?;
        let name = usize::from(self.u16()?);
        Some(match kind {
            FLOAT => {
                let number = f64::from_bits(self.u64()?);
                (self.text(name)?, Value::Float(number))
            }
            FALSE => (self.text(name)?, Value::Bool(false)),
            TRUE => (self.text(name)?, Value::Bool(true)),
            NULL => (self.text(name)?, Value::Null),
            UNREADABLE => {
                let length = self.u32()?;
                (self.text(name)?, Value::Unreadable(self.text(length as usize)?))
            }
            STRUCTURED => {
                let id = self.array()?;
                let length = self.u32()?;
                (self.text(name)?, Value::Structured { id, descriptor: self.take(length as usize)? })
            }
            INLINE => {
                let length = self.u32()?;
                (self.text(name)?, Value::Inline(self.take(length as usize)?))
            }
            _ => return None,
        })
    }
}
