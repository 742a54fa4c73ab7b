//! What of a stream's spans is open: the first lines that were read without their last ones.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::message::Span;
use super::span::{Line, Record};
use crate::limits::OPEN_SPANS_BYTES;

/// Hex digits before the dash in a token of ours: they tell the process.
const PROCESS_DIGITS: usize = 8;

/// What is open in a stream.
#[derive(Clone, Debug, Default)]
pub struct Lane {
    /// Tells the process that wrote the newest span.
    process: String,
    /// When the newest line was written, in nanoseconds since the epoch: the last sign of life of who wrote it.
    last: u64,
    /// Number of the next span that begins.
    next: u64,
    /// The first lines, in their order.
    open: BTreeMap<u64, Open>,
    numbers: BTreeMap<String, u64>,
    bytes: usize,
    /// Spans that were not kept for want of room: they are sent when they end, and never as cut off.
    pub forgotten: u64,
}

#[derive(Clone, Debug)]
struct Open {
    record: Record,
    bytes: usize,
}

impl Lane {
    /// What was kept, by [`state`](Self::state).
    #[must_use]
    pub fn of(state: &str) -> Self {
        let Ok(document) = serde_json::from_str::<Value>(state) else { return Self::default() };
        let mut lane = Self {
            process: document.get("process").and_then(Value::as_str).unwrap_or_default().to_owned(),
            last: document.get("last").and_then(Value::as_u64).unwrap_or(0),
            ..Self::default()
        };
        for line in document.get("open").and_then(Value::as_array).into_iter().flatten() {
            if let Some(Line::Begins(record)) = Line::parse(&line.to_string()) {
                lane.begin(record);
            }
        }
        lane
    }

    /// What is to be kept, as JSON.
    #[must_use]
    pub fn state(&self) -> String {
        let open: Vec<Value> =
            self.open.values().filter_map(|open| serde_json::from_str(&open.record.to_text()).ok()).collect();
        json!({"process": self.process, "last": self.last, "open": open}).to_string()
    }

    /// Takes a line on; spans that it ends, itself or since it is of another process, are added to `spans`.
    pub fn take(&mut self, text: &str, for_mlflow: bool, spans: &mut Vec<Span>) {
        let Some(line) = Line::parse(text) else { return };
        let (Line::Begins(record) | Line::Ends(record) | Line::Happens(record)) = &line;
        if let Some(process) = process_of(&record.token)
            && process != self.process
        {
            // One process at a time writes a stream: whoever wrote before is gone.
            self.cut_off(for_mlflow, spans);
            process.clone_into(&mut self.process);
        }
        self.last = self.last.max(record.written_at().unwrap_or(0));
        match line {
            Line::Begins(record) if !record.is_private() => self.begin(record),
            Line::Ends(record) => {
                self.end(&record.token);
                if !record.is_private() {
                    spans.extend(record.ended(for_mlflow));
                }
            }
            Line::Begins(_) | Line::Happens(_) => {}
        }
    }

    /// Whether a span is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Adds every open span to `spans`, as an error: nobody will end them.
    pub fn cut_off(&mut self, for_mlflow: bool, spans: &mut Vec<Span>) {
        let open = std::mem::take(&mut self.open);
        spans.extend(open.values().filter_map(|open| open.record.cut_off(self.last, for_mlflow)));
        self.numbers.clear();
        self.bytes = 0;
    }

    fn begin(&mut self, record: Record) {
        let bytes = record.to_text().len();
        if self.bytes + bytes > OPEN_SPANS_BYTES {
            self.forgotten += 1;
            return;
        }
        self.end(&record.token);
        self.bytes += bytes;
        self.numbers.insert(record.token.clone(), self.next);
        self.open.insert(self.next, Open { record, bytes });
        self.next += 1;
    }

    fn end(&mut self, token: &str) {
        let open = self.numbers.remove(token).and_then(|number| self.open.remove(&number));
        self.bytes -= open.map_or(0, |open| open.bytes);
    }
}

/// The process in a token of ours.
fn process_of(token: &str) -> Option<&str> {
    let (process, number) = token.split_once('-')?;
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (process.len() == PROCESS_DIGITS && !number.is_empty() && is_hex(process) && is_hex(number)).then_some(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(event: &str, token: &str, span: u8, measurements: &str, metadata: &str) -> String {
        format!(
            r#"{{"timestamp":"1970-01-01T00:00:01.000000Z","event":"{event}","span_token":"{token}","trace_id":"{:032x}","span_id":"{span:016x}","parent_span_id":null,"measurements":{measurements},"metadata":{metadata}}}"#,
            7
        )
    }

    fn begin(token: &str, span: u8) -> String {
        line("span.start", token, span, r#"{"system_time":5}"#, r#"{"name":"n"}"#)
    }

    fn end(token: &str, span: u8) -> String {
        line("span.stop", token, span, r#"{"system_time":9,"start_time":5}"#, r#"{"name":"n","status":"ok"}"#)
    }

    fn take(lane: &mut Lane, lines: &[String]) -> Vec<Span> {
        let mut spans = Vec::new();
        for line in lines {
            lane.take(line, false, &mut spans);
        }
        spans
    }

    #[test]
    fn a_span_that_ended_is_sent_once_and_is_not_open() {
        let mut lane = Lane::default();
        let spans = take(&mut lane, &[begin("0000000a-1", 1), end("0000000a-1", 1)]);
        assert_eq!(spans.len(), 1);
        assert_eq!((spans[0].start, spans[0].end, spans[0].status.as_ref().unwrap().code), (5, 9, 1));
        assert!(!lane.is_open());
    }

    #[test]
    fn a_span_of_another_process_is_cut_off_at_the_last_line_of_that() {
        let mut lane = Lane::default();
        let later = begin("0000000a-2", 2).replace(r#""system_time":5"#, r#""system_time":6"#);
        assert_eq!(take(&mut lane, &[begin("0000000a-1", 1), later]), []);
        let mut lane = Lane::of(&lane.state());
        let spans = take(&mut lane, &[begin("0000000b-1", 3)]);
        let ends: Vec<_> =
            spans.iter().map(|span| (span.span_id[7], span.end, span.status.clone().unwrap().code)).collect();
        assert_eq!(ends, [(1, 6, 2), (2, 6, 2)]);
        assert!(lane.is_open());
    }

    #[test]
    fn what_stays_at_home_is_neither_sent_nor_kept() {
        let mut lane = Lane::default();
        let private = |text: String| text.replace(r#""name":"n""#, r#""name":"n","tracing_disabled":true"#);
        assert_eq!(take(&mut lane, &[private(begin("0000000a-1", 1))]), []);
        assert!(!lane.is_open());
        assert_eq!(take(&mut lane, &[private(end("0000000a-1", 1))]), []);
    }

    #[test]
    fn the_state_has_a_bound() {
        let mut lane = Lane::default();
        for number in 0..20_000 {
            lane.take(&begin(&format!("0000000a-{number:x}"), 1), false, &mut Vec::new());
        }
        assert!(lane.state().len() < 2 * OPEN_SPANS_BYTES && lane.forgotten > 0);
    }
}
