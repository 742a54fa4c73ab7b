//! Frames: one call to `log`, or one line for another file, as bytes in the ring.
//!
//! Everything is little-endian; a frame is a multiple of 8 bytes long and starts at a multiple of 8.
//!
//! | offset | type | meaning |
//! |---|---|---|
//! | 0 | u64 | checksum: XXH3 of the bytes from 8 on (of a pad: of its header) |
//! | 8 | u32 | length of the frame with its padding |
//! | 12 | u8, u8, u16 | version, kind, flags |
//! | 16 | u64 | sequence number |
//! | 24 | | body |
//!
//! The body of a metrics frame: i64 timestamp (µs), i64 step, u32 rows, u16 length of the split, u16 length of the dataset
//! (0xFFFF: null), u32 length of the tags, three u32 marks; then split, dataset, tags; then for each row u8 kind, u16 length
//! of the name, numbers that the kind asks for, the name, and text that the kind asks for. The body of a line frame: u32 file, u32 length, the line.

mod settle;
mod template;

use xxhash_rust::xxh3::xxh3_64;

use crate::record::Tags;

pub use template::Template;

/// Version of the frame layout.
pub const VERSION: u8 = 1;
/// Bytes before the body.
pub const HEADER_BYTES: usize = 24;
/// Most rows in one frame; a longer call becomes several frames.
pub const MAX_ROWS: u32 = 1 << 20;

const NO_DATASET: u16 = u16::MAX;
const FLAG_NO_STEP: u16 = 1;
/// Fixed part of a metrics body.
const METRICS_BYTES: usize = 8 + 8 + 4 + 2 + 2 + 4 + 12;
const OFFSET_FLAGS: usize = 14;
const OFFSET_TIMESTAMP: usize = HEADER_BYTES;
const OFFSET_STEP: usize = HEADER_BYTES + 8;
const OFFSET_ROWS: usize = HEADER_BYTES + 16;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The rows of one call.
    Metrics = 1,
    /// One finished line for another file.
    Line = 2,
    /// Nothing: fills the ring up to its end.
    Pad = 3,
}

/// Which file a line frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum LineFile {
    /// `params.ndjson`
    Params = 1,
    /// `tracking_summary.ndjson`
    Summary = 2,
    /// `run.ndjson`
    Session = 3,
}

/// One metric of a call, as stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A number, finite or not.
    Float(f64),
    /// A boolean, written as 0 or 1.
    Bool(bool),
    /// None.
    Null,
    /// A value whose conversion raised an exception of this class.
    Unreadable(&'a str),
    /// A structured value: manifest id and descriptor (canonical JSON).
    Structured {
        /// The 128 bits behind `manifest-<32 hex>`.
        id: [u8; 16],
        /// The descriptor's JSON text.
        descriptor: &'a [u8],
    },
    /// A structured value that stands in the row itself (legacy rows): its JSON text.
    Inline(&'a [u8]),
}

const FLOAT: u8 = 1;
const FALSE: u8 = 2;
const TRUE: u8 = 3;
const NULL: u8 = 4;
const UNREADABLE: u8 = 5;
const STRUCTURED: u8 = 6;
const INLINE: u8 = 7;

/// What all rows of one call share.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Microseconds since the epoch.
    pub timestamp: i64,
    /// `None` only for events without a step.
    pub step: Option<i64>,
    /// At most 4 KiB.
    pub split: &'a str,
    /// At most 4 KiB.
    pub dataset: Option<&'a str>,
    /// See [`Tags`].
    pub tags: &'a Tags,
}

/// Builds the frames of one call in a buffer that is used again and again.
///
/// Usage: [`begin`](Self::begin), one push a metric, then hand the builder to the journal. Text must already be cut to
/// [`crate::limits::MAX_TEXT_BYTES`].
#[derive(Debug, Default)]
pub struct FrameBuilder {
    bytes: Vec<u8>,
    /// Start of the frame under construction.
    start: usize,
    /// Rows in it.
    rows: u32,
    /// Rows in the finished frames.
    rows_before: u64,
    /// Length of the call's fixed part, repeated when a call needs several frames.
    prefix: usize,
    max_frame_bytes: usize,
    step: Option<i64>,
}

impl FrameBuilder {
    /// Starts the first frame of a call. A frame that would exceed `max_frame_bytes` is continued in another one.
    pub fn begin(&mut self, call: &Call<'_>, max_frame_bytes: usize) {
        self.bytes.clear();
        self.start = 0;
        self.rows = 0;
        self.rows_before = 0;
        self.max_frame_bytes = max_frame_bytes;
        self.step = call.step;
        let dataset = call.dataset.map_or(NO_DATASET, |text| text.len() as u16);
        let flags = if call.step.is_none() { FLAG_NO_STEP } else { 0 };
        let mut fixed = [0; HEADER_BYTES + METRICS_BYTES];
        fixed[12] = VERSION;
        fixed[13] = Kind::Metrics as u8;
        fixed[14..16].copy_from_slice(&flags.to_le_bytes());
        fixed[24..32].copy_from_slice(&call.timestamp.to_le_bytes());
        fixed[32..40].copy_from_slice(&call.step.unwrap_or(0).to_le_bytes());
        fixed[44..46].copy_from_slice(&(call.split.len() as u16).to_le_bytes());
        fixed[46..48].copy_from_slice(&dataset.to_le_bytes());
        fixed[48..52].copy_from_slice(&(call.tags.text.len() as u32).to_le_bytes());
        for (index, mark) in call.tags.marks.iter().enumerate() {
            fixed[52 + 4 * index..56 + 4 * index].copy_from_slice(&mark.to_le_bytes());
        }
        self.bytes.extend_from_slice(&fixed);
        self.bytes.extend_from_slice(call.split.as_bytes());
        self.bytes.extend_from_slice(call.dataset.unwrap_or("").as_bytes());
        self.bytes.extend_from_slice(&call.tags.text);
        self.prefix = self.bytes.len();
    }

    /// Adds a number, finite or not.
    #[inline]
    pub fn float(&mut self, name: &str, value: f64) {
        self.entry(FLOAT, name, value.to_le_bytes(), &[]);
    }

    /// Adds a boolean.
    pub fn boolean(&mut self, name: &str, value: bool) {
        self.entry(if value { TRUE } else { FALSE }, name, [], &[]);
    }

    /// Adds a missing value.
    pub fn null(&mut self, name: &str) {
        self.entry(NULL, name, [], &[]);
    }

    /// Adds a value whose conversion raised an exception of `class`.
    pub fn unreadable(&mut self, name: &str, class: &str) {
        let (class, _) = crate::record::text::cut(class);
        self.entry(UNREADABLE, name, (class.len() as u32).to_le_bytes(), class.as_bytes());
    }

    /// Adds a structured value with its manifest id and its descriptor's canonical JSON.
    pub fn structured(&mut self, name: &str, id: [u8; 16], descriptor: &[u8]) {
        let mut head = [0_u8; 20];
        head[..16].copy_from_slice(&id);
        head[16..].copy_from_slice(&(descriptor.len() as u32).to_le_bytes());
        self.entry(STRUCTURED, name, head, descriptor);
    }

    /// Adds a structured value that stands in the row itself.
    pub fn inline(&mut self, name: &str, payload: &[u8]) {
        self.entry(INLINE, name, (payload.len() as u32).to_le_bytes(), payload);
    }

    /// The step of the call.
    #[must_use]
    pub fn step(&self) -> Option<i64> {
        self.step
    }

    /// Rows added since [`begin`](Self::begin).
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows_before + u64::from(self.rows)
    }

    /// Completes the last frame. What follows is [`frames`](Self::frames).
    pub fn finish(&mut self) {
        let padded = self.bytes.len().next_multiple_of(8);
        self.bytes.resize(padded, 0);
        let length = (padded - self.start) as u32;
        let start = self.start;
        self.bytes[start + 8..start + 12].copy_from_slice(&length.to_le_bytes());
        self.bytes[start + OFFSET_ROWS..start + OFFSET_ROWS + 4].copy_from_slice(&self.rows.to_le_bytes());
    }

    /// The frames, without sequence numbers and checksums, which [`seal`] adds.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Length of the frames together.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no call was begun.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    #[inline]
    fn entry<const N: usize>(&mut self, kind: u8, name: &str, numbers: [u8; N], rest: &[u8]) {
        let size = 3 + N + name.len() + rest.len();
        let length = self.bytes.len() - self.start + size + 8;
        if self.rows > 0 && (length > self.max_frame_bytes || self.rows == MAX_ROWS) {
            self.next_frame();
        }
        self.bytes.reserve(size);
        let [low, high] = (name.len() as u16).to_le_bytes();
        self.bytes.extend_from_slice(&[kind, low, high]);
        self.bytes.extend_from_slice(&numbers);
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(rest);
        self.rows += 1;
    }

    #[cold]
    fn next_frame(&mut self) {
        self.finish();
        self.rows_before += u64::from(self.rows);
        self.rows = 0;
        let prefix = 0..self.prefix;
        self.start = self.bytes.len();
        self.bytes.extend_from_within(prefix);
    }
}

/// The length of the finished frame at the start of `bytes`, if there is one.
#[must_use]
#[inline]
pub fn first_length(bytes: &[u8]) -> Option<usize> {
    Some(u32::from_le_bytes(*bytes.get(8..)?.first_chunk()?) as usize)
}

/// The lengths of the finished frames that stand one behind the other in `bytes`.
pub fn lengths(mut bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    std::iter::from_fn(move || {
        let length = first_length(bytes)?;
        bytes = &bytes[length..];
        Some(length)
    })
}

/// The number of rows of the frame at the start of `bytes`: only those of metrics have any.
#[must_use]
pub fn rows_of(bytes: &[u8]) -> u64 {
    if bytes.get(13) != Some(&(Kind::Metrics as u8)) {
        return 0;
    }
    bytes.get(OFFSET_ROWS..).and_then(|rest| rest.first_chunk()).map_or(0, |rows| u32::from_le_bytes(*rows).into())
}

/// A frame with one finished line (with its newline) for another file.
#[must_use]
pub fn line_frame(file: LineFile, line: &[u8]) -> Vec<u8> {
    let length = (HEADER_BYTES + 8 + line.len()).next_multiple_of(8);
    let mut bytes = vec![0; length];
    bytes[8..12].copy_from_slice(&(length as u32).to_le_bytes());
    bytes[12] = VERSION;
    bytes[13] = Kind::Line as u8;
    bytes[24..28].copy_from_slice(&(file as u32).to_le_bytes());
    bytes[28..32].copy_from_slice(&(line.len() as u32).to_le_bytes());
    bytes[32..32 + line.len()].copy_from_slice(line);
    bytes
}

/// The header of a frame that fills `length` bytes (a multiple of 8, at least [`HEADER_BYTES`]) with nothing.
#[must_use]
pub fn pad_header(length: usize) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[8..12].copy_from_slice(&(length as u32).to_le_bytes());
    bytes[12] = VERSION;
    bytes[13] = Kind::Pad as u8;
    bytes
}

/// A frame's header, read back and found plausible; the checksum is still to be compared by [`Frame::verify`].
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    bytes: &'a [u8],
    /// What it holds.
    pub kind: Kind,
    flags: u16,
    /// Its sequence number.
    pub sequence: u64,
}

impl<'a> Frame<'a> {
    /// Reads the frame at the start of `bytes`, or `None` if there is none: too short, unknown or of an impossible length.
    /// A pad's bytes end with its header.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let header = bytes.first_chunk::<HEADER_BYTES>()?;
        let length = u32::from_le_bytes(*header[8..].first_chunk()?) as usize;
        let kind = match header[13] {
            1 => Kind::Metrics,
            2 => Kind::Line,
            3 => Kind::Pad,
            _ => return None,
        };
        if header[12] != VERSION || length < HEADER_BYTES || !length.is_multiple_of(8) || length > bytes.len() {
            return None;
        }
        let shown = if kind == Kind::Pad { HEADER_BYTES } else { length };
        let flags = u16::from_le_bytes(*header[14..].first_chunk()?);
        let sequence = u64::from_le_bytes(*header[16..].first_chunk()?);
        Some((Self { bytes: &bytes[..shown], kind, flags, sequence }, length))
    }

    /// Whether the frame carries `sequence` and its checksum is right.
    #[must_use]
    pub fn verify(&self, sequence: u64) -> bool {
        let stored = u64::from_le_bytes(*self.bytes.first_chunk().expect("parse saw a header"));
        self.sequence == sequence && stored == xxh3_64(&self.bytes[8..])
    }

    /// The line of a line frame and its file.
    #[must_use]
    pub fn line(&self) -> Option<(LineFile, &'a [u8])> {
        let mut cursor = Cursor(self.bytes.get(HEADER_BYTES..)?);
        let file = match cursor.u32()? {
            1 => LineFile::Params,
            2 => LineFile::Summary,
            3 => LineFile::Session,
            _ => return None,
        };
        let length = cursor.u32()? as usize;
        Some((file, cursor.take(length)?))
    }

    /// The call of a metrics frame.
    #[must_use]
    pub fn metrics(&self) -> Option<MetricsFrame<'a>> {
        let mut cursor = Cursor(self.bytes.get(HEADER_BYTES..)?);
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

/// Gives `frame` its sequence number and checksum.
#[inline]
pub fn seal(frame: &mut [u8], sequence: u64) {
    frame[16..24].copy_from_slice(&sequence.to_le_bytes());
    let checksum = xxh3_64(&frame[8..]);
    frame[..8].copy_from_slice(&checksum.to_le_bytes());
}
