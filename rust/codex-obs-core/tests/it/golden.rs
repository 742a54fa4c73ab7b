//! The golden files of `tests/golden`, which the Python tests read too.

use codex_obs_core::encode::{RowEncoder, line, number};
use codex_obs_core::journal::frame::{Call, Frame, FrameBuilder};
use codex_obs_core::record::json_string;
use codex_obs_core::record::{Tags, tags::RESERVED, timestamp};
use serde_json::Value;

const RUN_ID: &str = "r\"é1";
const MANIFEST_ID: u128 = 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210;

fn cases(name: &str) -> Vec<Value> {
    let path = format!("{}/../../tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let cases: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!cases.is_empty());
    cases
}

/// Canonical JSON of what the golden files contain: keys come sorted from `serde_json`, texts and doubles are ours.
fn canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::String(text) => json_string::push_json_string(out, text),
        Value::Number(number) if number.is_f64() => number::push_f64(out, number.as_f64().unwrap()),
        Value::Null | Value::Bool(_) | Value::Number(_) => out.extend_from_slice(value.to_string().as_bytes()),
        Value::Array(elements) => {
            out.push(b'[');
            for (index, element) in elements.iter().enumerate() {
                out.extend_from_slice(if index > 0 { b"," } else { b"" });
                canonical(element, out);
            }
            out.push(b']');
        }
        Value::Object(_) => {
            object(value, out, |_, _| {});
        }
    }
}

/// An object, with a look at each key before it is written.
fn object(value: &Value, out: &mut Vec<u8>, mut seen: impl FnMut(&str, usize)) {
    let start = out.len();
    out.push(b'{');
    for (index, (key, value)) in value.as_object().unwrap().iter().enumerate() {
        out.extend_from_slice(if index > 0 { b"," } else { b"" });
        seen(key, out.len() - start);
        json_string::push_json_string(out, key);
        out.push(b':');
        canonical(value, out);
    }
    out.push(b'}');
}

fn json(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    canonical(value, &mut out);
    out
}

fn tags(value: &Value) -> Tags {
    let mut tags = Tags::default();
    if value.as_object().unwrap().is_empty() {
        return tags;
    }
    let mut marks = [None; 3];
    object(value, &mut tags.text, |key, at| {
        for (mark, reserved) in marks.iter_mut().zip(RESERVED) {
            if mark.is_none() && key > reserved {
                *mark = Some(at as u32);
            }
        }
    });
    tags.marks = marks.map(|mark| mark.unwrap_or(tags.text.len() as u32 - 1));
    tags
}

fn bits(value: &Value) -> f64 {
    f64::from_bits(u64::from_str_radix(value.as_str().unwrap(), 16).unwrap())
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn numbers_are_written_as_in_the_golden_file() {
    for case in cases("numbers.ndjson") {
        let mut out = Vec::new();
        number::push_f64(&mut out, bits(&case["bits"]));
        assert_eq!(text(out), case["text"], "{case}");
    }
}

#[test]
fn texts_are_written_as_in_the_golden_file() {
    for case in cases("texts.ndjson") {
        let points = case["code_points"].as_array().unwrap();
        let given: String =
            points.iter().map(|point| char::from_u32(point.as_u64().unwrap() as u32).unwrap()).collect();
        let mut out = Vec::new();
        json_string::push_json_string(&mut out, &given);
        assert_eq!(text(out), case["text"], "{case}");
    }
}

#[test]
fn timestamps_are_written_and_read_as_in_the_golden_file() {
    for case in cases("timestamps.ndjson") {
        let micros = case["micros"].as_i64().unwrap();
        assert_eq!(text(timestamp::format(micros).to_vec()), case["text"], "{case}");
        assert_eq!(timestamp::parse(case["text"].as_str().unwrap().as_bytes()), Some(micros), "{case}");
    }
}

#[test]
fn rows_and_manifest_lines_are_written_as_in_the_golden_file() {
    for case in cases("rows.ndjson") {
        let tags = tags(&case["tags"]);
        let legacy = case["legacy"].as_bool().unwrap();
        let metric = case["metric"].as_str().unwrap();
        let mut builder = FrameBuilder::default();
        let call = Call {
            timestamp: case["micros"].as_i64().unwrap(),
            step: case["step"].as_i64(),
            split: case["split"].as_str().unwrap(),
            dataset: case["dataset"].as_str(),
            tags: &tags,
        };
        builder.begin(&call, 1 << 20);
        push(&mut builder, metric, &case["value"], legacy);
        builder.finish();

        let (frame, _) = Frame::parse(builder.bytes_mut()).unwrap();
        let frame = frame.metrics().unwrap();
        let (mut metrics, mut manifest) = (Vec::new(), Vec::new());
        let mut encoder = RowEncoder::new(RUN_ID, legacy);
        encoder.call(&frame);
        for (name, value) in frame.rows() {
            encoder.row(name, &value, &mut metrics, &mut manifest);
        }
        assert_eq!(text(metrics), format!("{}\n", case["line"].as_str().unwrap()));
        assert_eq!(text(manifest), case["manifest"].as_str().map_or_else(String::new, |line| format!("{line}\n")));
    }
}

fn push(builder: &mut FrameBuilder, metric: &str, value: &Value, legacy: bool) {
    if value.is_null() {
        builder.null(metric);
    } else if let Some(flag) = value.get("bool") {
        builder.boolean(metric, flag.as_bool().unwrap());
    } else if let Some(class) = value.get("unreadable") {
        builder.unreadable(metric, class.as_str().unwrap());
    } else if let Some(number) = value.get("float") {
        builder.float(metric, bits(number));
    } else if legacy {
        builder.inline(metric, &json(&value["structured"]));
    } else {
        let mut descriptor = value["descriptor"].clone();
        descriptor["payload"] = value["structured"].clone();
        descriptor["version"] = "v1".into();
        builder.structured(metric, MANIFEST_ID.to_be_bytes(), &json(&descriptor));
    }
}

fn refused(micros: i64, fields: &Value) -> Vec<u8> {
    let field = |name: &str| fields[name].as_str().unwrap();
    let pieces = line::Rejected {
        destination: field("destination"),
        remote_run: field("remote_run"),
        name: field("name"),
        status: fields["status"].as_u64().unwrap() as u16,
        reason: field("reason"),
    };
    if field("kind") != "metric" {
        return line::rejected_text(micros, RUN_ID, field("kind"), &pieces, field("value"));
    }
    let value = fields["value"].as_f64().unwrap_or_else(|| match field("value") {
        "NaN" => f64::NAN,
        "Infinity" => f64::INFINITY,
        _ => f64::NEG_INFINITY,
    });
    let metric = line::RejectedMetric {
        stream_prefix: field("stream_prefix"),
        split: field("split"),
        metric: field("metric"),
        value,
        logged_micros: micros,
        step: fields["step"].as_i64().unwrap(),
    };
    line::rejected_metric(micros, RUN_ID, &pieces, &metric)
}

#[test]
fn the_lines_of_the_other_files_are_written_as_in_the_golden_file() {
    for case in cases("records.ndjson") {
        let micros = case["micros"].as_i64().unwrap();
        let field = |name: &str| case[name].as_str();
        let written = match case["kind"].as_str().unwrap() {
            "params" => {
                let [cli, config, derived, metadata] =
                    ["cli", "config", "derived", "metadata"].map(|name| json(&case[name]));
                let pieces = line::Params { cli: &cli, config: &config, derived: &derived, metadata: &metadata };
                line::params(micros, RUN_ID, &pieces)
            }
            "tracking" => {
                let pieces = line::Tracking {
                    component: field("component").unwrap(),
                    status: field("status").unwrap(),
                    reason: field("reason"),
                    extra: &json(&case["extra"]),
                };
                line::tracking(micros, &pieces)
            }
            "session" => line::session(micros, RUN_ID, field("record").unwrap(), &json(&case["fields"])),
            "identity" => line::identity(RUN_ID, field("name").unwrap(), micros, &json(&case["destinations"])),
            "refused" => refused(micros, &case["fields"]),
            kind => panic!("{kind}"),
        };
        assert_eq!(text(written), format!("{}\n", case["line"].as_str().unwrap()));
    }
}
