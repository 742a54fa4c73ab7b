//! Whole lines of the files beside the metrics. What callers passed arrives as canonical JSON text.

use super::number::push_f64;
use crate::record::json_string::push_json_string;
use crate::record::{nonfinite, timestamp};

/// The pieces of a `params.ndjson` line, each a JSON object.
#[derive(Clone, Copy, Debug)]
pub struct Params<'a> {
    /// `{"argv":[…]}`
    pub cli: &'a [u8],
    /// The configuration that the caller passed.
    pub config: &'a [u8],
    /// Seed and effective batch size where known.
    pub derived: &'a [u8],
    /// Name and tags; left out if `{}` or empty.
    pub metadata: &'a [u8],
}

/// The pieces of a `tracking_summary.ndjson` line.
#[derive(Clone, Copy, Debug)]
pub struct Tracking<'a> {
    /// The destination.
    pub component: &'a str,
    /// `enabled`, `disabled` or `degraded`.
    pub status: &'a str,
    /// Why, if there is something to say.
    pub reason: Option<&'a str>,
    /// A JSON object.
    pub extra: &'a [u8],
}

/// The pieces of a `telemetry.ndjson` line.
#[derive(Clone, Copy, Debug)]
pub struct Telemetry<'a> {
    /// What happened.
    pub event: &'a str,
    /// Of which span, if of any.
    pub span: Option<Ids<'a>>,
    /// A JSON object.
    pub measurements: &'a [u8],
    /// A JSON object.
    pub metadata: &'a [u8],
}

/// Who a span is.
#[derive(Clone, Copy, Debug)]
pub struct Ids<'a> {
    /// Joins the lines of a span.
    pub token: &'a str,
    /// 32 hex digits.
    pub trace: &'a str,
    /// 16 hex digits.
    pub span: &'a str,
    /// The parent's 16 hex digits.
    pub parent: Option<&'a str>,
}

/// What every line of `export_rejected.ndjson` says.
#[derive(Clone, Copy, Debug)]
pub struct Rejected<'a> {
    /// Kind and address of the destination.
    pub destination: &'a str,
    /// The remote run; empty where the destination has no such thing.
    pub remote_run: &'a str,
    /// The name under which it was sent.
    pub name: &'a str,
    /// The status of the answer; 0 where there is none.
    pub status: u16,
    /// The server's words.
    pub reason: &'a str,
}

/// A metric that was refused.
#[derive(Clone, Copy, Debug)]
pub struct RejectedMetric<'a> {
    /// What stands before the split for streams of other ranks.
    pub stream_prefix: &'a str,
    /// Part of the data.
    pub split: &'a str,
    /// Name of the metric.
    pub metric: &'a str,
    /// The value, perhaps not finite.
    pub value: f64,
    /// Time of its row, in microseconds since the epoch.
    pub logged_micros: i64,
    /// Training step.
    pub step: i64,
}

/// The line of `params.ndjson`.
#[must_use]
pub fn params(micros: i64, run_id: &str, pieces: &Params<'_>) -> Vec<u8> {
    let mut line = Line::new("run_params");
    line.timestamp("timestamp", micros);
    line.text("run_id", run_id);
    line.json("cli", pieces.cli);
    line.json("config", pieces.config);
    line.json("derived", pieces.derived);
    if pieces.metadata.len() > b"{}".len() {
        line.json("metadata", pieces.metadata);
    }
    line.finish()
}

/// A line of `tracking_summary.ndjson`.
#[must_use]
pub fn tracking(micros: i64, pieces: &Tracking<'_>) -> Vec<u8> {
    let mut line = Line::new("tracking_component");
    line.timestamp("timestamp", micros);
    line.text("component", pieces.component);
    line.text("status", pieces.status);
    line.text_or_null("reason", pieces.reason);
    line.json("extra", pieces.extra);
    line.finish()
}

/// A line of `run.ndjson`; `fields` is a JSON object whose members follow the line's own.
#[must_use]
pub fn session(micros: i64, run_id: &str, record: &str, fields: &[u8]) -> Vec<u8> {
    let mut line = Line::new("run_session");
    line.timestamp("timestamp", micros);
    line.text("run_id", run_id);
    line.text("record", record);
    line.members(fields);
    line.finish()
}

/// A line of `telemetry.ndjson`.
#[must_use]
pub fn telemetry(micros: i64, run_id: &str, pieces: &Telemetry<'_>) -> Vec<u8> {
    let mut line = Line::new("telemetry");
    line.timestamp("timestamp", micros);
    line.text("run_id", run_id);
    line.text("event", pieces.event);
    line.text_or_null("span_token", pieces.span.map(|span| span.token));
    line.text_or_null("trace_id", pieces.span.map(|span| span.trace));
    line.text_or_null("span_id", pieces.span.map(|span| span.span));
    line.text_or_null("parent_span_id", pieces.span.and_then(|span| span.parent));
    line.json("measurements", pieces.measurements);
    line.json("metadata", pieces.metadata);
    line.finish()
}

/// A line of `export_rejected.ndjson` for a metric.
#[must_use]
pub fn rejected_metric(micros: i64, run_id: &str, pieces: &Rejected<'_>, metric: &RejectedMetric<'_>) -> Vec<u8> {
    let mut line = Line::rejected(micros, run_id, "metric", pieces);
    line.text("stream_prefix", metric.stream_prefix);
    line.text("split", metric.split);
    line.text("metric", metric.metric);
    let value = metric.value;
    let mut json = Vec::new();
    if value.is_finite() {
        push_f64(&mut json, value);
    } else {
        push_json_string(&mut json, nonfinite::word(value));
    }
    line.json("value", &json);
    line.timestamp("logged", metric.logged_micros);
    line.json("step", metric.step.to_string().as_bytes());
    line.finish()
}

/// A line of `export_rejected.ndjson` for a parameter or tag.
#[must_use]
pub fn rejected_text(micros: i64, run_id: &str, kind: &str, pieces: &Rejected<'_>, value: &str) -> Vec<u8> {
    let mut line = Line::rejected(micros, run_id, kind, pieces);
    line.text("value", value);
    line.finish()
}

/// A line of `export_names.ndjson`.
#[must_use]
pub fn renamed(micros: i64, run_id: &str, destination: &str, name: &str, remote_name: &str) -> Vec<u8> {
    let mut line = Line::new("export_names");
    line.timestamp("timestamp", micros);
    line.text("run_id", run_id);
    line.text("destination", destination);
    line.text("name", name);
    line.text("remote_name", remote_name);
    line.finish()
}

/// The document `run.json`; `destinations` is a JSON object from destination to remote run.
#[must_use]
pub fn identity(run_id: &str, name: &str, created_micros: i64, destinations: &[u8]) -> Vec<u8> {
    let mut line = Line::new("run");
    line.text("run_id", run_id);
    line.text("name", name);
    line.timestamp("created", created_micros);
    line.json("destinations", destinations);
    line.finish()
}

/// A JSON object under construction.
struct Line(Vec<u8>);

impl Line {
    fn new(schema: &str) -> Self {
        let mut line = Self(Vec::with_capacity(256));
        line.0.extend_from_slice(br#"{"$schema":"https://codexml.ai/schemas/"#);
        line.0.extend_from_slice(schema.as_bytes());
        line.0.extend_from_slice(br#".schema.json","schema_version":"v1""#);
        line
    }

    fn rejected(micros: i64, run_id: &str, kind: &str, pieces: &Rejected<'_>) -> Self {
        let mut line = Self::new("export_rejected");
        line.timestamp("timestamp", micros);
        line.text("run_id", run_id);
        line.text("destination", pieces.destination);
        match pieces.remote_run {
            "" => line.json("remote_run", b"null"),
            run => line.text("remote_run", run),
        }
        line.text("kind", kind);
        line.text("name", pieces.name);
        match pieces.status {
            0 => line.json("status", b"null"),
            status => line.json("status", status.to_string().as_bytes()),
        }
        line.text("reason", pieces.reason);
        line
    }

    fn key(&mut self, key: &str) {
        self.0.push(b',');
        push_json_string(&mut self.0, key);
        self.0.push(b':');
    }

    fn timestamp(&mut self, key: &str, micros: i64) {
        self.key(key);
        self.0.push(b'"');
        self.0.extend_from_slice(&timestamp::format(micros));
        self.0.push(b'"');
    }

    fn text(&mut self, key: &str, text: &str) {
        self.key(key);
        push_json_string(&mut self.0, text);
    }

    fn text_or_null(&mut self, key: &str, text: Option<&str>) {
        match text {
            Some(text) => self.text(key, text),
            None => self.json(key, b"null"),
        }
    }

    fn json(&mut self, key: &str, json: &[u8]) {
        self.key(key);
        self.0.extend_from_slice(json);
    }

    /// Adds the members of a JSON object.
    fn members(&mut self, object: &[u8]) {
        let inside = object.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}")).unwrap_or_default();
        if !inside.is_empty() {
            self.0.push(b',');
            self.0.extend_from_slice(inside);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"}\n");
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: Vec<u8>) -> String {
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn params_have_metadata_only_if_there_is_some() {
        let mut pieces = Params { cli: br#"{"argv":[]}"#, config: b"{}", derived: br#"{"seed":1}"#, metadata: b"{}" };
        let start = r#"{"$schema":"https://codexml.ai/schemas/run_params.schema.json","schema_version":"v1","timestamp":"1970-01-01T00:00:00.000000Z","run_id":"r\"1","cli":{"argv":[]},"config":{},"derived":{"seed":1}"#;
        assert_eq!(text(params(0, "r\"1", &pieces)), format!("{start}}}\n"));
        pieces.metadata = br#"{"name":"n"}"#;
        assert_eq!(text(params(0, "r\"1", &pieces)), format!("{start},\"metadata\":{{\"name\":\"n\"}}}}\n"));
    }

    #[test]
    fn tracking_has_a_null_reason_if_there_is_none() {
        let mut pieces = Tracking { component: "ndjson", status: "degraded", reason: Some("disk full"), extra: b"{}" };
        let start = r#"{"$schema":"https://codexml.ai/schemas/tracking_component.schema.json","schema_version":"v1","timestamp":"1970-01-01T00:00:00.000001Z","component":"ndjson","status":"degraded","reason":"#;
        assert_eq!(text(tracking(1, &pieces)), format!("{start}\"disk full\",\"extra\":{{}}}}\n"));
        pieces.reason = None;
        assert_eq!(text(tracking(1, &pieces)), format!("{start}null,\"extra\":{{}}}}\n"));
    }

    #[test]
    fn session_fields_follow_the_record() {
        let start = r#"{"$schema":"https://codexml.ai/schemas/run_session.schema.json","schema_version":"v1","timestamp":"1970-01-01T00:00:00.000000Z","run_id":"r","record":"start""#;
        assert_eq!(text(session(0, "r", "start", b"{}")), format!("{start}}}\n"));
        assert_eq!(
            text(session(0, "r", "start", br#"{"host":"h","pid":1}"#)),
            format!("{start},\"host\":\"h\",\"pid\":1}}\n")
        );
    }

    #[test]
    fn telemetry_of_no_span_has_null_for_its_ids() {
        let ids = Ids { token: "t", trace: "a1", span: "b2", parent: None };
        let mut pieces = Telemetry { event: "x.y", span: Some(ids), measurements: b"{}", metadata: br#"{"a":1}"# };
        let start = r#"{"$schema":"https://codexml.ai/schemas/telemetry.schema.json","schema_version":"v1","timestamp":"1970-01-01T00:00:00.000002Z","run_id":"r","event":"x.y","span_token":"#;
        assert_eq!(
            text(telemetry(2, "r", &pieces)),
            format!(
                r#"{start}"t","trace_id":"a1","span_id":"b2","parent_span_id":null,"measurements":{{}},"metadata":{{"a":1}}}}"#
            ) + "\n"
        );
        pieces.span = None;
        assert_eq!(
            text(telemetry(2, "r", &pieces)),
            format!(
                r#"{start}null,"trace_id":null,"span_id":null,"parent_span_id":null,"measurements":{{}},"metadata":{{"a":1}}}}"#
            ) + "\n"
        );
    }

    #[test]
    fn identity_is_one_object() {
        assert_eq!(
            text(identity("r", "n", 0, b"{}")),
            "{\"$schema\":\"https://codexml.ai/schemas/run.schema.json\",\"schema_version\":\"v1\",\"run_id\":\"r\",\
             \"name\":\"n\",\"created\":\"1970-01-01T00:00:00.000000Z\",\"destinations\":{}}\n"
        );
    }
}
