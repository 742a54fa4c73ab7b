//! Whether a frame is one that a writer makes. A checksum says that it is whole, not whose it is: a journal can be planted.

use serde::de::IgnoredAny;

use super::frame::expansion::is_within;
use super::frame::{Frame, Kind, LineFile, MAX_ROWS, MetricsFrame, Value};
use crate::limits::{MAX_DESCRIPTOR_BYTES, MAX_PAYLOAD_BYTES, MAX_TEXT_BYTES};
use crate::record::json_string::push_json_string;
use crate::record::timestamp;

/// What frames of one journal must keep to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Half of the ring: a writer drops what is longer.
    pub max_frame_bytes: u64,
    /// The run's id, as it stands in lines.
    run_id: Vec<u8>,
}

impl Rules {
    /// The rules for a journal of the run `run_id` with a ring of `ring_bytes`.
    #[must_use]
    pub fn new(run_id: &str, ring_bytes: u64) -> Self {
        let mut json = Vec::new();
        push_json_string(&mut json, run_id);
        Self { max_frame_bytes: ring_bytes / 2, run_id: json }
    }

    /// Whether `frame`, which is whole, holds nothing or what becomes lines of this run.
    #[must_use]
    pub fn allow(&self, frame: &Frame<'_>) -> bool {
        match frame.kind {
            Kind::Pad | Kind::End => true,
            Kind::Metrics => {
                let (length, run_id) = (frame.length() as u64, self.run_id.len() as u64);
                length <= self.max_frame_bytes
                    && frame.metrics().is_some_and(|call| is_within(&call, length, run_id) && is_call(&call))
            }
            Kind::Line => {
                frame.length() as u64 <= self.max_frame_bytes
                    && frame.line().is_some_and(|(file, line)| self.is_line(file, line))
            }
        }
    }

    /// Whether `line` is one JSON object of the kind that belongs into `file`, and of this run.
    fn is_line(&self, file: LineFile, line: &[u8]) -> bool {
        let Some(body) = line.strip_suffix(b"\n").filter(|body| is_object(body)) else { return false };
        let Some(rest) = body.strip_prefix(br#"{"$schema":"https://codexml.ai/schemas/"#) else { return false };
        let schema: &[u8] = match file {
            LineFile::Params => b"run_params",
            LineFile::Summary => b"tracking_component",
            LineFile::Session => b"run_session",
            LineFile::Telemetry => b"telemetry",
        };
        let Some(rest) = rest.strip_prefix(schema).and_then(|rest| rest.strip_prefix(br#".schema.json","#)) else {
            return false;
        };
        let before = br#""schema_version":"v1","timestamp":""#;
        let dated = rest.strip_prefix(before).and_then(|rest| rest.split_at_checked(timestamp::TEXT_BYTES));
        let named = dated.and_then(|(_, rest)| rest.strip_prefix(br#"","run_id":"#));
        // Lines of the legacy form, and those of the summary, do not name the run.
        named.is_none_or(|rest| rest.strip_prefix(&self.run_id[..]).is_some_and(|rest| rest.first() == Some(&b',')))
    }
}

/// Whether the rows of `call` are what `log` accepts, and so become whole lines.
fn is_call(call: &MetricsFrame<'_>) -> bool {
    let is_text = |text: &str| text.len() <= MAX_TEXT_BYTES;
    let (mut rows, mut left) = (0, call.entry_bytes());
    let are_rows = call.rows().all(|(name, value)| {
        rows += 1;
        left = left.saturating_sub(value.entry_bytes(name));
        is_text(name)
            && match value {
                Value::Float(_) | Value::Bool(_) | Value::Null => true,
                Value::Unreadable(class) => is_text(class),
                Value::Structured { descriptor, .. } => is_value(descriptor) && is_object(descriptor),
                Value::Inline(payload) => is_value(payload) && is_json(payload),
            }
    });
    // What is behind the last row pads the frame.
    are_rows
        && rows == call.rows
        && left < 8
        && call.rows <= MAX_ROWS
        && is_text(call.split)
        && call.dataset.is_none_or(is_text)
        && are_tags(call.tags, call.marks)
}

fn is_value(text: &[u8]) -> bool {
    text.len() <= MAX_DESCRIPTOR_BYTES
}

/// Whether `text` is an object of tags, and each mark in it a place where a key can be added.
fn are_tags(text: &[u8], marks: [u32; 3]) -> bool {
    if text.is_empty() {
        return true;
    }
    text.len() <= MAX_PAYLOAD_BYTES && is_object(text) && {
        let places = key_places(text);
        marks.into_iter().all(|mark| places.binary_search(&(mark as usize)).is_ok())
    }
}

/// Where the keys of the object `text` begin, and where its brace closes.
fn key_places(text: &[u8]) -> Vec<usize> {
    let (mut places, mut depth, mut is_string, mut is_escaped) = (Vec::new(), 0_usize, false, false);
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_string,
            b'"' => {
                if !is_string && depth == 1 && matches!(text[..at].last(), Some(b'{' | b',')) {
                    places.push(at);
                }
                is_string = !is_string;
            }
            _ if is_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    places.push(text.len() - 1);
    places
}

fn is_object(text: &[u8]) -> bool {
    text.first() == Some(&b'{') && text.last() == Some(&b'}') && is_json(text)
}

/// Whether `text` is one JSON value as we write them: ASCII, and no character that ends a line.
fn is_json(text: &[u8]) -> bool {
    text.iter().all(|byte| (b' '..=0x7F).contains(byte)) && serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

#[cfg(all(test, not(loom)))]
#[path = "check_tests.rs"]
mod tests;
