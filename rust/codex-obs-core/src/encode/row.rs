//! Metric rows and manifest lines, with their keys in canonical order.

use super::name_cache::NameCache;
use super::number::{push_f64, push_i64};
use crate::journal::frame::{MetricsFrame, Value};
use crate::record::json_string::{push_escaped, push_json_string};
use crate::record::{nonfinite, tags, timestamp};

const ROW_START: &str = r#"{"$schema":"https://codexml.ai/schemas/run_metrics.schema.json","schema_version":"v1","#;
const MANIFEST_START: &str =
    r#"{"$schema":"https://codexml.ai/schemas/run_metrics_manifest.schema.json","schema_version":"v1","timestamp":""#;
/// Room for the head of a row beside its run id.
const HEAD_BYTES: usize = 512;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Turns the entries of metrics frames into lines.
///
/// Usage: [`call`](Self::call) once a frame, then [`row`](Self::row) for each of its rows. What the rows of a call share is
/// put together once; names are escaped once a run.
#[derive(Debug)]
pub struct RowEncoder {
    /// From the brace to the quote before the metric's name. The part before `fixed` is the same for all calls.
    head: Vec<u8>,
    fixed: usize,
    /// From the value to the end of the line, for rows that add nothing to the tags.
    tail: Vec<u8>,
    /// Length of the part of `tail` before the tags.
    tail_tags: usize,
    marks: [u32; 3],
    timestamp: [u8; timestamp::TEXT_BYTES],
    step: Option<i64>,
    split: Cached,
    dataset: Cached,
    run_id: Box<[u8]>,
    legacy: bool,
    names: NameCache,
}

/// The JSON text of what the last call had in a place: most calls have the same there.
#[derive(Debug, Default)]
struct Cached {
    text: String,
    json: Vec<u8>,
}

impl Cached {
    #[inline]
    fn get(&mut self, text: &str) -> &[u8] {
        if self.text != text || self.json.is_empty() {
            text.clone_into(&mut self.text);
            self.json.clear();
            push_json_string(&mut self.json, text);
        }
        &self.json
    }
}

impl RowEncoder {
    /// An encoder for the rows of the run `run_id`; `legacy` rows have neither timestamp nor run id.
    #[must_use]
    pub fn new(run_id: &str, legacy: bool) -> Self {
        let mut escaped = Vec::new();
        push_json_string(&mut escaped, run_id);
        // Large enough for what most calls add: see `NameCache::new`.
        let mut head = Vec::with_capacity(HEAD_BYTES + escaped.len());
        head.extend_from_slice(ROW_START.as_bytes());
        if !legacy {
            head.extend_from_slice(br#""timestamp":""#);
        }
        Self {
            fixed: head.len(),
            head,
            tail: Vec::new(),
            tail_tags: 0,
            marks: [1; 3],
            timestamp: timestamp::format(0),
            step: None,
            split: Cached::default(),
            dataset: Cached::default(),
            run_id: escaped.into(),
            legacy,
            names: NameCache::new(),
        }
    }

    /// Prepares for the rows of `frame`.
    pub fn call(&mut self, frame: &MetricsFrame<'_>) {
        self.timestamp = timestamp::format(frame.timestamp);
        self.step = frame.step;
        self.head.truncate(self.fixed);
        if !self.legacy {
            self.head.extend_from_slice(&self.timestamp);
            self.head.extend_from_slice(br#"","run_id":"#);
            self.head.extend_from_slice(&self.run_id);
            self.head.push(b',');
        }
        self.head.extend_from_slice(br#""step":"#);
        push_step(&mut self.head, frame.step);
        self.head.extend_from_slice(br#","split":"#);
        self.head.extend_from_slice(self.split.get(frame.split));
        self.head.extend_from_slice(br#","metric":""#);

        self.tail.clear();
        self.tail.extend_from_slice(br#","dataset":"#);
        self.tail.extend_from_slice(frame.dataset.map_or(b"null", |text| self.dataset.get(text)));
        self.tail.extend_from_slice(br#","tags":"#);
        self.tail_tags = self.tail.len();
        if frame.tags.len() < 2 {
            self.tail.extend_from_slice(b"{}");
            self.marks = [1; 3];
        } else {
            self.tail.extend_from_slice(frame.tags);
            self.marks = frame.marks;
        }
        self.tail.extend_from_slice(b"}\n");
    }

    /// Adds the line of one row of the call to `metrics` and, if its value is structured, one line to `manifest`.
    #[inline]
    pub fn row(&mut self, name: &str, value: &Value<'_>, metrics: &mut Vec<u8>, manifest: &mut Vec<u8>) {
        metrics.extend_from_slice(&self.head);
        metrics.extend_from_slice(self.names.get(name));
        match *value {
            Value::Float(number) if number.is_finite() => push_f64(metrics, number),
            Value::Bool(flag) => metrics.push(b'0' + u8::from(flag)),
            _ => return self.rare(name, value, metrics, manifest),
        }
        metrics.extend_from_slice(&self.tail);
    }

    /// The value and what follows it, for all that is no finite number.
    #[cold]
    fn rare(&self, name: &str, value: &Value<'_>, metrics: &mut Vec<u8>, manifest: &mut Vec<u8>) {
        match *value {
            Value::Inline(payload) => {
                metrics.extend_from_slice(payload);
                metrics.extend_from_slice(&self.tail);
                return;
            }
            _ => metrics.extend_from_slice(b"null"),
        }
        match *value {
            Value::Float(number) => {
                self.tail_with(1, metrics, |out| push_json_string(out, nonfinite::word(number)));
            }
            Value::Unreadable(class) => self.tail_with(2, metrics, |out| push_json_string(out, class)),
            Value::Structured { id, descriptor } => {
                self.tail_with(0, metrics, |out| push_manifest_id(out, &id));
                self.manifest_line(name, &id, descriptor, manifest);
            }
            Value::Bool(_) | Value::Null | Value::Inline(_) => metrics.extend_from_slice(&self.tail),
        }
    }

    /// The end of a line with one of the reserved tags at its place.
    fn tail_with(&self, reserved: usize, out: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) {
        let end = self.tail.len() - 3;
        let at = (self.tail_tags + self.marks[reserved] as usize).clamp(self.tail_tags + 1, end);
        let (before, after) = self.tail.split_at(at);
        out.extend_from_slice(before);
        if at == end && before.last() != Some(&b'{') {
            out.push(b',');
        }
        push_json_string(out, tags::RESERVED[reserved]);
        out.push(b':');
        value(out);
        if at < end {
            out.push(b',');
        }
        out.extend_from_slice(after);
    }

    fn manifest_line(&self, name: &str, id: &[u8; 16], descriptor: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(MANIFEST_START.as_bytes());
        out.extend_from_slice(&self.timestamp);
        out.extend_from_slice(br#"","run_id":"#);
        out.extend_from_slice(&self.run_id);
        out.extend_from_slice(br#","manifest_id":"#);
        push_manifest_id(out, id);
        out.extend_from_slice(br#","metric":""#);
        push_escaped(out, name);
        out.extend_from_slice(br#"","step":"#);
        push_step(out, self.step);
        out.extend_from_slice(br#","split":"#);
        out.extend_from_slice(&self.split.json);
        // The dataset stands at the start of the tail: `,"dataset":…,"tags":`.
        out.extend_from_slice(&self.tail[..self.tail_tags - br#","tags":"#.len()]);
        out.extend_from_slice(br#","descriptor":"#);
        out.extend_from_slice(descriptor);
        out.extend_from_slice(b"}\n");
    }
}

fn push_step(out: &mut Vec<u8>, step: Option<i64>) {
    match step {
        Some(step) => push_i64(out, step),
        None => out.extend_from_slice(b"null"),
    }
}

/// Adds `"manifest-<32 hex>"`.
fn push_manifest_id(out: &mut Vec<u8>, id: &[u8; 16]) {
    out.extend_from_slice(b"\"manifest-");
    for byte in id {
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::frame::{Call, Frame, FrameBuilder};
    use crate::record::Tags;

    const SHARED: &str = r#"{"$schema":"https://codexml.ai/schemas/run_metrics.schema.json","schema_version":"v1","timestamp":"1970-01-01T00:00:00.000125Z","run_id":"r1","step":-2,"split":"ev\"al","metric":"#;

    /// The lines of metrics and of the manifest for one call.
    fn lines(legacy: bool, call: &Call<'_>, push: impl FnOnce(&mut FrameBuilder)) -> (Vec<String>, Vec<String>) {
        let mut builder = FrameBuilder::default();
        builder.begin(call, 1 << 20);
        push(&mut builder);
        builder.finish();
        let mut encoder = RowEncoder::new("r1", legacy);
        let (mut metrics, mut manifest) = (Vec::new(), Vec::new());
        let mut rest: &[u8] = builder.bytes_mut();
        while let Some((frame, length)) = Frame::parse(rest) {
            rest = &rest[length..];
            let frame = frame.metrics().unwrap();
            encoder.call(&frame);
            for (name, value) in frame.rows() {
                encoder.row(name, &value, &mut metrics, &mut manifest);
            }
        }
        let split = |bytes| String::from_utf8(bytes).unwrap().split_inclusive('\n').map(str::to_owned).collect();
        (split(metrics), split(manifest))
    }

    fn call(tags: &Tags) -> Call<'_> {
        Call { timestamp: 125, step: Some(-2), split: "ev\"al", dataset: None, tags }
    }

    #[test]
    fn numbers_booleans_and_none_stand_in_the_row() {
        let tags = Tags::default();
        let (rows, manifest) = lines(false, &call(&tags), |builder| {
            builder.float("loss", 0.5);
            builder.boolean("b\n", true);
            builder.boolean("b\n", false);
            builder.null("");
            builder.float("loss", -0.0);
        });
        let tail = r#","dataset":null,"tags":{}}"#;
        let expected = [
            r#""loss","value":0.5"#,
            r#""b\n","value":1"#,
            r#""b\n","value":0"#,
            r#""","value":null"#,
            r#""loss","value":-0.0"#,
        ];
        assert_eq!(rows, expected.map(|row| format!("{SHARED}{row}{tail}\n")));
        assert!(manifest.is_empty());
    }

    #[test]
    fn reserved_tags_stand_at_their_sorted_place() {
        // Keys of the caller before, between and after the reserved ones.
        let cases: [(&str, [u32; 3], [&str; 3]); 5] = [
            ("", [0; 3], ["{@}", "{@}", "{@}"]),
            (r#"{"a":1}"#, [6, 6, 6], [r#"{"a":1,@}"#; 3]),
            (r#"{"z":1}"#, [1, 1, 1], [r#"{@,"z":1}"#; 3]),
            (r#"{"n":1}"#, [1, 6, 6], [r#"{@,"n":1}"#, r#"{"n":1,@}"#, r#"{"n":1,@}"#]),
            (
                r#"{"a":1,"o":2,"v":3}"#,
                [7, 7, 13],
                [r#"{"a":1,@,"o":2,"v":3}"#, r#"{"a":1,@,"o":2,"v":3}"#, r#"{"a":1,"o":2,@,"v":3}"#],
            ),
        ];
        let added = [
            r#""manifest_id":"manifest-0102030405060708090a0b0c0d0e0fff""#,
            r#""nonfinite":"-Infinity""#,
            r#""unreadable":"E\"rror""#,
        ];
        let mut id = std::array::from_fn(|index| index as u8 + 1);
        id[15] = 255;
        for (text, marks, places) in cases {
            let tags = Tags { text: text.into(), marks };
            let (rows, manifest) = lines(false, &call(&tags), |builder| {
                builder.structured("m", id, b"{}");
                builder.float("m", f64::NEG_INFINITY);
                builder.unreadable("m", "E\"rror");
            });
            for ((row, place), added) in rows.iter().zip(places).zip(added) {
                let tags = place.replace('@', added);
                assert_eq!(*row, format!("{SHARED}\"m\",\"value\":null,\"dataset\":null,\"tags\":{tags}}}\n"));
            }
            assert_eq!((rows.len(), manifest.len()), (3, 1));
        }
    }

    #[test]
    fn a_structured_value_has_a_manifest_line() {
        let tags = Tags::default();
        let call = Call { dataset: Some("d/é"), step: None, split: "train", ..call(&tags) };
        let (_, manifest) = lines(false, &call, |builder| builder.structured("h\t", [0; 16], br#"{"payload":[1]}"#));
        assert_eq!(
            manifest,
            [concat!(
                r#"{"$schema":"https://codexml.ai/schemas/run_metrics_manifest.schema.json","schema_version":"v1","#,
                r#""timestamp":"1970-01-01T00:00:00.000125Z","run_id":"r1","#,
                r#""manifest_id":"manifest-00000000000000000000000000000000","metric":"h\t","step":null,"split":"train","#,
                r#""dataset":"d/\u00e9","descriptor":{"payload":[1]}}"#,
                "\n"
            )]
        );
    }

    #[test]
    fn legacy_rows_have_neither_time_nor_run_and_their_payload_inline() {
        let tags = Tags::default();
        let (rows, manifest) = lines(true, &call(&tags), |builder| {
            builder.inline("h", br#"{"a":[1]}"#);
            builder.float("n", f64::NAN);
        });
        let shared = r#"{"$schema":"https://codexml.ai/schemas/run_metrics.schema.json","schema_version":"v1","step":-2,"split":"ev\"al","metric":"#;
        assert_eq!(
            rows,
            [
                format!("{shared}\"h\",\"value\":{{\"a\":[1]}},\"dataset\":null,\"tags\":{{}}}}\n"),
                format!("{shared}\"n\",\"value\":null,\"dataset\":null,\"tags\":{{\"nonfinite\":\"NaN\"}}}}\n")
            ]
        );
        assert!(manifest.is_empty());
    }

    #[test]
    fn a_call_leaves_nothing_behind_for_the_next() {
        let tags = Tags { text: br#"{"a":1}"#.to_vec(), marks: [6; 3] };
        let none = Tags::default();
        let calls = [
            call(&tags),
            call(&none),
            Call { split: "", dataset: Some(""), ..call(&none) },
            Call { timestamp: i64::MAX, ..call(&none) },
            call(&tags),
        ];
        let mut encoder = RowEncoder::new("r1", false);
        let mut builder = FrameBuilder::default();
        for call in &calls {
            builder.begin(call, 1 << 20);
            builder.float("x", 1.0);
            builder.finish();
            let (frame, _) = Frame::parse(builder.bytes_mut()).unwrap();
            let frame = frame.metrics().unwrap();
            let mut out = Vec::new();
            encoder.call(&frame);
            for (name, value) in frame.rows() {
                encoder.row(name, &value, &mut out, &mut Vec::new());
            }
            let (fresh, _) = lines(false, call, |builder| builder.float("x", 1.0));
            assert_eq!(String::from_utf8(out).unwrap(), fresh.concat());
        }
    }
}
