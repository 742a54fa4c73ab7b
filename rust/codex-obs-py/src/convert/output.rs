//! JSON text of bounded size under construction.

use codex_obs_core::limits::MAX_PAYLOAD_BYTES;
use codex_obs_core::record::json_string::push_escaped;

/// Text counted beyond what is kept. What is longer than this is not made: its size is given from below.
pub(super) const MAX_COUNTED_BYTES: u64 = 16 << 20;
/// Text is escaped in pieces of this size, so that a long one needs little memory beside itself.
const PIECE_BYTES: usize = 64 << 10;
/// What an ample output keeps: what it is for is cut to a few MiB afterwards, value by value.
const AMPLE_BYTES: usize = 64 << 20;
/// What a text or list in an ample output needs to be cut in any case.
pub(super) const ENOUGH_BYTES: usize = 2 * MAX_PAYLOAD_BYTES;

/// Adds to a buffer, but keeps at most a given number of bytes: beyond it only counts them.
pub(super) struct Output<'a> {
    bytes: &'a mut Vec<u8>,
    start: usize,
    keep: usize,
    /// Bytes counted but not kept.
    spilled: u64,
    /// Whether everything is kept and only ends early.
    ample: bool,
}

/// A place in the output.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    pub(super) length: usize,
    spilled: u64,
}

impl<'a> Output<'a> {
    /// An output that keeps at most `keep` bytes behind what is in `bytes` already.
    pub(super) fn new(bytes: &'a mut Vec<u8>, keep: usize) -> Self {
        Self { start: bytes.len(), bytes, keep, spilled: 0, ample: false }
    }

    /// An output that keeps as much as one structured value may have.
    pub(super) fn of_payload(bytes: &'a mut Vec<u8>) -> Self {
        Self::new(bytes, MAX_PAYLOAD_BYTES)
    }

    /// An output that keeps all there is, as far as memory goes: it is for whoever ends containers early once it is full.
    pub(super) fn ample(bytes: &'a mut Vec<u8>) -> Self {
        Self { ample: true, ..Self::new(bytes, AMPLE_BYTES) }
    }

    /// Whether a container that began at `mark` needs no more elements, because it is cut in any case.
    pub(super) fn has_enough(&self, mark: Mark) -> bool {
        self.ample && self.bytes.len() - mark.length > ENOUGH_BYTES
    }

    /// As much of `text` as is worth writing.
    pub(super) fn worth<'t>(&self, text: &'t str) -> &'t str {
        if self.ample { &text[..text.floor_char_boundary(ENOUGH_BYTES)] } else { text }
    }

    /// As much of `bytes` as is worth writing.
    pub(super) fn worth_of_bytes<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        if self.ample { &bytes[..bytes.len().min(ENOUGH_BYTES)] } else { bytes }
    }

    /// The buffer, for small additions.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        self.bytes
    }

    /// Bytes added, kept or not.
    pub(super) fn total(&self) -> u64 {
        self.spilled + (self.bytes.len() - self.start) as u64
    }

    /// Whether no more needs to be added: it is lost already, and its size is not counted further.
    pub(super) fn is_full(&self) -> bool {
        self.total() > MAX_COUNTED_BYTES.max(self.keep as u64)
    }

    /// Counts `bytes` without having them, if they are certainly too many, and tells whether it did.
    pub(super) fn skip(&mut self, bytes: u64) -> bool {
        let too_many = !self.ample && self.total().saturating_add(bytes) > MAX_COUNTED_BYTES.max(self.keep as u64);
        if too_many {
            self.spilled = self.total().saturating_add(bytes);
            self.bytes.truncate(self.start);
        }
        too_many
    }

    /// Lets go of what exceeds the limit. Called after each addition of more than a few bytes.
    #[inline]
    pub(super) fn settle(&mut self) {
        if self.bytes.len() - self.start > self.keep && !self.ample {
            self.spilled = self.total();
            self.bytes.truncate(self.start);
        }
    }

    /// Adds `text` as a JSON string.
    pub(super) fn string(&mut self, text: &str) {
        self.bytes.push(b'"');
        let mut rest = text;
        while rest.len() > PIECE_BYTES {
            if self.skip(rest.len() as u64) {
                rest = "";
                break;
            }
            let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES));
            push_escaped(self.bytes, piece);
            self.settle();
            rest = after;
        }
        push_escaped(self.bytes, rest);
        self.bytes.push(b'"');
    }

    /// Where the next byte goes.
    pub(super) fn mark(&self) -> Mark {
        Mark { length: self.bytes.len(), spilled: self.spilled }
    }

    /// Whether everything since `mark` is still there.
    pub(super) fn holds(&self, mark: Mark) -> bool {
        self.spilled == mark.spilled
    }

    /// Takes back what was added since `mark`, as far as it was kept.
    pub(super) fn take_back(&mut self, mark: Mark) {
        if self.holds(mark) {
            self.bytes.truncate(mark.length);
        }
    }

    /// What was added since `mark`, if it is still there.
    pub(super) fn since(&mut self, mark: Mark) -> &mut [u8] {
        let length = if self.holds(mark) { mark.length } else { self.bytes.len() };
        &mut self.bytes[length..]
    }

    /// Ends it. If more came together than is kept nothing stays, and the number of bytes is given.
    pub(super) fn finish(mut self) -> Option<u64> {
        self.settle();
        let total = self.total();
        (self.spilled > 0).then(|| {
            self.bytes.truncate(self.start);
            total
        })
    }
}
