//! The bytes of requests. The same input gives the same bytes, so that a retry is the same request.

use crate::encode::number::{push_f64, push_i64};
use crate::mlflow::NEW_RUN_TAG;
use crate::record::json_string::push_json_string;

/// Microseconds in a millisecond.
const MICROS: i64 = 1000;
/// What closes a list and the document.
const END: &[u8] = b"]}";

/// A `log-batch` document under construction that never grows beyond its limit.
#[derive(Debug)]
pub struct LogBatch {
    bytes: Vec<u8>,
    most_bytes: usize,
    is_first: bool,
}

impl LogBatch {
    /// A document with the list `kind`: `metrics`, `params` or `tags`.
    #[must_use]
    pub fn new(run_id: &str, kind: &str, most_bytes: usize) -> Self {
        let mut bytes = Vec::with_capacity(4096);
        bytes.extend_from_slice(b"{\"run_id\":");
        push_json_string(&mut bytes, run_id);
        bytes.extend_from_slice(b",\"");
        bytes.extend_from_slice(kind.as_bytes());
        bytes.extend_from_slice(b"\":[");
        Self { bytes, most_bytes, is_first: true }
    }

    /// Adds a metric, or gives `false` if there is no room for it. The first one is always added.
    pub fn metric(&mut self, key: &str, value: f64, timestamp_micros: i64, step: i64) -> bool {
        self.member(|bytes| {
            bytes.extend_from_slice(b"{\"key\":");
            push_json_string(bytes, key);
            bytes.extend_from_slice(b",\"value\":");
            push_value(bytes, value);
            bytes.extend_from_slice(b",\"timestamp\":");
            push_i64(bytes, timestamp_micros.div_euclid(MICROS));
            bytes.extend_from_slice(b",\"step\":");
            push_i64(bytes, step);
            bytes.push(b'}');
        })
    }

    /// Adds a parameter or tag, or gives `false` if there is no room for it. The first one is always added.
    pub fn text(&mut self, key: &str, value: &str) -> bool {
        self.member(|bytes| {
            bytes.extend_from_slice(b"{\"key\":");
            push_json_string(bytes, key);
            bytes.extend_from_slice(b",\"value\":");
            push_json_string(bytes, value);
            bytes.push(b'}');
        })
    }

    /// The document.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(END);
        self.bytes
    }

    fn member(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let length = self.bytes.len();
        if !self.is_first {
            self.bytes.push(b',');
        }
        write(&mut self.bytes);
        if !self.is_first && self.bytes.len() + END.len() > self.most_bytes {
            self.bytes.truncate(length);
            return false;
        }
        self.is_first = false;
        true
    }
}

/// A number, or the text by which MLflow knows what is none: a bare `NaN` is stored as 0.0, null sinks the batch.
fn push_value(bytes: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        push_f64(bytes, value);
        return;
    }
    bytes.extend_from_slice(match value {
        value if value.is_nan() => b"\"NaN\"",
        value if value > 0.0 => b"\"Infinity\"",
        _ => b"\"-Infinity\"",
    });
}

/// The document of `runs/search` that finds the run with some tags.
#[must_use]
pub fn search(experiment_id: &str, tags: &[(&str, &str)]) -> Vec<u8> {
    let terms: Vec<String> = tags.iter().map(|(tag, value)| format!("tags.`{tag}` = '{value}'")).collect();
    let mut bytes = b"{\"experiment_ids\":[".to_vec();
    push_json_string(&mut bytes, experiment_id);
    bytes.extend_from_slice(b"],\"filter\":");
    push_json_string(&mut bytes, &terms.join(" and "));
    // Should there be several: the newest that was asked for although there was one, since they all start when the log did,
    // and where none was asked for the one that started first.
    bytes.extend_from_slice(b",\"run_view_type\":\"ACTIVE_ONLY\",\"max_results\":1,\"order_by\":[\"tags.`");
    bytes.extend_from_slice(NEW_RUN_TAG.as_bytes());
    bytes.extend_from_slice(b"` DESC\",\"attributes.start_time ASC\"]}");
    bytes
}

/// The document of `runs/create`.
#[must_use]
pub fn create(experiment_id: &str, name: &str, start_micros: i64, tags: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = b"{\"experiment_id\":".to_vec();
    push_json_string(&mut bytes, experiment_id);
    bytes.extend_from_slice(b",\"run_name\":");
    push_json_string(&mut bytes, name);
    bytes.extend_from_slice(b",\"start_time\":");
    push_i64(&mut bytes, start_micros.div_euclid(MICROS).max(0));
    bytes.extend_from_slice(b",\"tags\":[");
    for (index, (tag, value)) in tags.iter().enumerate() {
        bytes.extend_from_slice(if index == 0 { b"{\"key\":" } else { b",{\"key\":" });
        push_json_string(&mut bytes, tag);
        bytes.extend_from_slice(b",\"value\":");
        push_json_string(&mut bytes, value);
        bytes.push(b'}');
    }
    bytes.extend_from_slice(END);
    bytes
}

/// The document of `experiments/create`.
#[must_use]
pub fn experiment(name: &str) -> Vec<u8> {
    let mut bytes = b"{\"name\":".to_vec();
    push_json_string(&mut bytes, name);
    bytes.push(b'}');
    bytes
}

/// The document of `runs/update`; a run that goes on has no end.
#[must_use]
pub fn update(run_id: &str, status: &str, end_micros: i64) -> Vec<u8> {
    let mut bytes = b"{\"run_id\":".to_vec();
    push_json_string(&mut bytes, run_id);
    bytes.extend_from_slice(b",\"status\":");
    push_json_string(&mut bytes, status);
    bytes.extend_from_slice(b",\"end_time\":");
    push_i64(&mut bytes, end_micros.div_euclid(MICROS).max(0));
    bytes.push(b'}');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: Vec<u8>) -> String {
        let parsed: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert!(parsed.is_object());
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn metrics_to_the_byte() {
        let mut batch = LogBatch::new("r\"1", "metrics", 1000);
        assert!(batch.metric("a/é", 0.1, 1_999, 7));
        assert!(batch.metric("b", f64::NAN, -1, i64::MIN));
        assert!(batch.metric("c", f64::INFINITY, i64::MAX, i64::MAX));
        assert!(batch.metric("d", f64::NEG_INFINITY, 0, -1));
        assert!(batch.metric("e", 1e16, 0, 0));
        assert!(batch.metric("f", -0.0, 0, 0));
        assert_eq!(
            text(batch.finish()),
            "{\"run_id\":\"r\\\"1\",\"metrics\":[\
             {\"key\":\"a/\\u00e9\",\"value\":0.1,\"timestamp\":1,\"step\":7},\
             {\"key\":\"b\",\"value\":\"NaN\",\"timestamp\":-1,\"step\":-9223372036854775808},\
             {\"key\":\"c\",\"value\":\"Infinity\",\"timestamp\":9223372036854775,\"step\":9223372036854775807},\
             {\"key\":\"d\",\"value\":\"-Infinity\",\"timestamp\":0,\"step\":-1},\
             {\"key\":\"e\",\"value\":1e+16,\"timestamp\":0,\"step\":0},\
             {\"key\":\"f\",\"value\":-0.0,\"timestamp\":0,\"step\":0}]}"
        );
    }

    #[test]
    fn a_document_keeps_its_limit_but_holds_at_least_one() {
        let mut batch = LogBatch::new("r", "params", 60);
        let mut added = 0;
        while batch.text("k", "v") {
            added += 1;
        }
        let bytes = batch.finish();
        assert!(bytes.len() <= 60 && added == 1, "{added}");
        assert_eq!(text(bytes), "{\"run_id\":\"r\",\"params\":[{\"key\":\"k\",\"value\":\"v\"}]}");
        let mut batch = LogBatch::new("r", "tags", 10);
        assert!(batch.text("k", "v") && !batch.text("k", "v"));
        assert_eq!(text(LogBatch::new("r", "tags", 10).finish()), "{\"run_id\":\"r\",\"tags\":[]}");
    }

    #[test]
    fn runs_to_the_byte() {
        assert_eq!(
            text(search("0", &[("codex_obs.run_id", "r1")])),
            "{\"experiment_ids\":[\"0\"],\"filter\":\"tags.`codex_obs.run_id` = 'r1'\",\"run_view_type\":\"ACTIVE_ONLY\",\
             \"max_results\":1,\"order_by\":[\"tags.`codex_obs.new_run` DESC\",\"attributes.start_time ASC\"]}"
        );
        assert_eq!(
            text(create("0", "n", 1_500, &[("t", "v"), ("u", "w")])),
            "{\"experiment_id\":\"0\",\"run_name\":\"n\",\"start_time\":1,\"tags\":[{\"key\":\"t\",\"value\":\"v\"},\
             {\"key\":\"u\",\"value\":\"w\"}]}"
        );
        assert_eq!(text(experiment("a \"b\"")), "{\"name\":\"a \\\"b\\\"\"}");
        assert_eq!(text(update("r", "FINISHED", 2_000)), "{\"run_id\":\"r\",\"status\":\"FINISHED\",\"end_time\":2}");
        assert_eq!(text(update("r", "RUNNING", 0)), "{\"run_id\":\"r\",\"status\":\"RUNNING\",\"end_time\":0}");
    }
}
