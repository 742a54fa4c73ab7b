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
//! | 24 | u64 | row number: rows published before this frame |
//! | 32 | | body |
//!
//! Frames of version 1 have no row number, and their body begins where it stands.
//!
//! The body of a metrics frame: i64 timestamp (µs), i64 step, u32 rows, u16 length of the split, u16 length of the dataset
//! (0xFFFF: null), u32 length of the tags, three u32 marks; then split, dataset, tags; then for each row u8 kind, u16 length
//! of the name, numbers that the kind asks for, the name, and text that the kind asks for. The body of a line frame: u32 file, u32 length, the line.

pub mod expansion;
mod read;
mod settle;
mod template;

use xxhash_rust::xxh3::xxh3_64;

use crate::paths::FileKind;
use crate::record::Tags;

use expansion::most_rows;
pub use read::{Frame, MetricsFrame};
pub use template::Template;

/// Version of the frame layout.
pub const VERSION: u8 = 2;
/// Bytes before the body.
pub const HEADER_BYTES: usize = 32;
/// The layout before it, which is still read.
pub const FIRST_VERSION: u8 = 1;
/// Bytes before the body of its frames.
pub const FIRST_HEADER_BYTES: usize = 24;
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
    /// The end of what was published, behind the newest frame of a ring that is written by system calls; the next one takes its
    /// place.
    End = 4,
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
    /// `telemetry.ndjson`
    Telemetry = 4,
}

impl From<LineFile> for FileKind {
    fn from(file: LineFile) -> Self {
        match file {
            LineFile::Params => Self::Params,
            LineFile::Summary => Self::Summary,
            LineFile::Session => Self::Session,
            LineFile::Telemetry => Self::Telemetry,
        }
    }
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

impl Value<'_> {
    /// Bytes that a row with this value and `name` takes of a frame.
    #[must_use]
    pub fn entry_bytes(&self, name: &str) -> usize {
        let rest = match self {
            Self::Float(_) => 8,
            Self::Bool(_) | Self::Null => 0,
            Self::Unreadable(class) => 4 + class.len(),
            Self::Structured { descriptor, .. } => 16 + 4 + descriptor.len(),
            Self::Inline(payload) => 4 + payload.len(),
        };
        3 + name.len() + rest
    }
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
    /// Most rows of a frame of this call.
    max_rows: u32,
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
        let body = &mut fixed[HEADER_BYTES..];
        body[..8].copy_from_slice(&call.timestamp.to_le_bytes());
        body[8..16].copy_from_slice(&call.step.unwrap_or(0).to_le_bytes());
        body[20..22].copy_from_slice(&(call.split.len() as u16).to_le_bytes());
        body[22..24].copy_from_slice(&dataset.to_le_bytes());
        body[24..28].copy_from_slice(&(call.tags.text.len() as u32).to_le_bytes());
        for (index, mark) in call.tags.marks.iter().enumerate() {
            body[28 + 4 * index..32 + 4 * index].copy_from_slice(&mark.to_le_bytes());
        }
        self.bytes.extend_from_slice(&fixed);
        self.bytes.extend_from_slice(call.split.as_bytes());
        self.bytes.extend_from_slice(call.dataset.unwrap_or("").as_bytes());
        self.bytes.extend_from_slice(&call.tags.text);
        self.prefix = self.bytes.len();
        let tags = call.tags.text.len();
        self.max_rows = most_rows(tags, self.prefix - fixed.len() - tags);
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

    /// The frames, without their numbers and checksums, which [`seal`] adds.
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
        if self.rows > 0 && (length > self.max_frame_bytes || self.rows == self.max_rows) {
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
    let body = &mut bytes[HEADER_BYTES..];
    body[..4].copy_from_slice(&(file as u32).to_le_bytes());
    body[4..8].copy_from_slice(&(line.len() as u32).to_le_bytes());
    body[8..8 + line.len()].copy_from_slice(line);
    bytes
}

/// The header of a frame that fills `length` bytes (a multiple of 8, at least [`HEADER_BYTES`]) with nothing.
#[must_use]
pub fn pad_header(length: usize) -> [u8; HEADER_BYTES] {
    bare(Kind::Pad, length)
}

/// The mark that nothing was published behind.
#[must_use]
pub fn end_mark() -> [u8; HEADER_BYTES] {
    bare(Kind::End, HEADER_BYTES)
}

fn bare(kind: Kind, length: usize) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[8..12].copy_from_slice(&(length as u32).to_le_bytes());
    bytes[12] = VERSION;
    bytes[13] = kind as u8;
    bytes
}

/// Gives `frame` its sequence number, the number of rows before it, and its checksum.
#[inline]
pub fn seal(frame: &mut [u8], sequence: u64, row: u64) {
    frame[16..24].copy_from_slice(&sequence.to_le_bytes());
    frame[24..32].copy_from_slice(&row.to_le_bytes());
    let checksum = xxh3_64(&frame[8..]);
    frame[..8].copy_from_slice(&checksum.to_le_bytes());
}
