//! The reader of lines: what is a row and what it says, by another parser's judgement, however a file is divided.

use std::cell::RefCell;
use std::sync::Mutex;

use codex_obs_core::record::text::cut;
use codex_obs_core::record::timestamp;
use codex_obs_core::scan::lines::{Range, read};
use codex_obs_core::scan::parser::Parser;
use codex_obs_core::scan::reader::Lines;
use codex_obs_core::scan::row::Refusal;
use codex_obs_core::scan::{Name, Names, Row, Value};
use serde_json::Value as Json;

/// What one line that is not blank became.
type Read = Result<Shown, Refusal>;

/// A row without its thread's numbers for texts.
#[derive(Debug)]
struct Shown {
    timestamp: Option<i64>,
    step: Option<i64>,
    value: Value,
    /// Run id, split, metric, dataset, `nonfinite`, `manifest_id`, `phase`.
    texts: [Option<String>; 7],
    tags: String,
}

impl Shown {
    fn new(row: &Row<'_>, names: &Names) -> Self {
        let name = |name: Name| (name != Name::NONE).then(|| names.text(name).to_owned());
        let [run_id, split, metric, dataset] = [row.run_id, row.split, row.metric, row.dataset].map(name);
        let tag = |text: Option<&str>| text.map(str::to_owned);
        let [nonfinite, manifest_id, phase] = [row.tags.nonfinite, row.tags.manifest_id, row.tags.phase].map(tag);
        Self {
            timestamp: row.timestamp,
            step: row.step,
            value: row.value,
            texts: [run_id, split, metric, dataset, nonfinite, manifest_id, phase],
            tags: row.tags.json.to_owned(),
        }
    }
}

/// Reads `file` as a log, at once and in two parts, and compares each line with what `serde_json` makes of it.
pub fn check(file: &[u8]) {
    let length = file.len() as u64;
    let whole = read_range(file, Range { start: 0, end: length });
    let text = file.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(file);
    let mut found = whole.iter();
    let mut lines = text.split(|&byte| byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        if line.iter().all(|byte| b" \t\r".contains(byte)) {
            continue;
        }
        compare(line, found.next().expect("every line is read"), lines.peek().is_none());
    }
    assert!(found.next().is_none(), "no line is read that is not there");

    let sum = file.iter().fold(0_u64, |sum, &byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    // No part ends with a byte order mark or within it: parts are megabytes.
    let middle = Some(sum % (length + 1)).filter(|&middle| middle > 3).unwrap_or(0);
    let mut parts = read_range(file, Range { start: 0, end: middle });
    parts.extend(read_range(file, Range { start: middle, end: length }));
    assert_eq!(format!("{parts:?}"), format!("{whole:?}"), "divided at {middle}");
}

fn read_range(file: &[u8], range: Range) -> Vec<Read> {
    if range.start == range.end {
        return Vec::new();
    }
    thread_local! {
        /// Kept, because a new one takes longer than all the rest.
        static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    let (mut parser, mut counts, found) = (Parser::default(), Lines::default(), RefCell::new(Vec::new()));
    let mut buffer = BUFFER.take();
    read(&mut &file[range.read_from() as usize..], range, &mut buffer, &Mutex::new(()), |piece| {
        parser.read(
            piece,
            &mut counts,
            |row, names, _| found.borrow_mut().push(Ok(Shown::new(row, names))),
            |refusal, _| found.borrow_mut().push(Err(refusal)),
        );
        true
    })
    .expect("memory can be read");
    BUFFER.set(buffer);
    let found = found.into_inner();
    assert_eq!(counts.total - counts.blank, found.len() as u64);
    found
}

fn compare(line: &[u8], found: &Read, is_last: bool) {
    let refused = |why: Refusal| {
        let torn = is_last && matches!(why, Refusal::Encoding | Refusal::Syntax);
        let expected = if torn { Refusal::Torn } else { why };
        assert!(matches!(found, Err(refusal) if *refusal == expected), "{expected:?} expected, {found:?} found");
    };
    let Ok(text) = std::str::from_utf8(line) else { return refused(Refusal::Encoding) };
    match serde_json::from_str(text) {
        Ok(Json::Object(object)) => match (object.get("metric"), object.get("key")) {
            (Some(Json::String(metric)), _) | (_, Some(Json::String(metric))) => {
                same(found.as_ref().expect("a row is read"), metric, &object);
            }
            _ => refused(Refusal::Metric),
        },
        Ok(_) => refused(Refusal::Kind),
        Err(error) if is_beyond(text, &error) => {}
        Err(_) => refused(Refusal::Syntax),
    }
}

/// What we take and the other parser does not: numbers beyond a double, lone surrogates, deep nesting, words for numbers.
fn is_beyond(text: &str, error: &serde_json::Error) -> bool {
    let error = error.to_string();
    ["out of range", "hex escape", "recursion limit"].iter().any(|kind| error.contains(kind))
        || text.contains("NaN")
        || text.contains("Infinity")
}

fn same(row: &Shown, metric: &str, object: &serde_json::Map<String, Json>) {
    let text = |key: &str| object.get(key).and_then(Json::as_str).map(str::to_owned);
    let tags = object.get("tags").and_then(Json::as_object);
    let tag = |key: &str| tags.and_then(|tags| tags.get(key)).and_then(Json::as_str).map(str::to_owned);
    let texts = [
        text("run_id"),
        text("split"),
        Some(metric.to_owned()),
        text("dataset"),
        tag("nonfinite"),
        tag("manifest_id"),
        tag("phase"),
    ];
    assert_eq!(row.texts, texts.map(|text| text.map(|text| cut(&text).0.to_owned())));
    let shown: Json = serde_json::from_str(&row.tags).expect("tags are an object");
    assert_eq!(shown.as_object(), Some(tags.unwrap_or(&serde_json::Map::new())));

    match object.get("step") {
        // The other parser makes a double of an integer that is minus zero.
        Some(Json::Number(step)) if step.as_f64() == Some(0.0) && !step.is_i64() => {
            assert!(matches!(row.step, None | Some(0)));
        }
        Some(Json::Number(step)) if !step.is_i64() => {
            let number = step.as_f64().unwrap();
            match row.step {
                Some(step) => assert!(close(step as f64, number)),
                None => assert!(number.fract() != 0.0 || number.abs() >= 2_f64.powi(52)),
            }
        }
        Some(Json::String(step)) => {
            if let Ok(step) = step.trim_ascii().parse() {
                assert_eq!(row.step, Some(step));
            }
        }
        step => assert_eq!(row.step, step.and_then(Json::as_i64)),
    }
    match (object.get("value"), row.value) {
        (Some(Json::Number(number)), Value::Finite(value)) => assert!(close(number.as_f64().unwrap(), value)),
        (Some(Json::Bool(flag)), Value::Finite(value)) => assert_eq!(value.to_bits(), f64::from(*flag).to_bits()),
        (Some(Json::Number(_) | Json::Bool(_)), value) => panic!("{value:?} is not the number of the line"),
        (Some(Json::String(word)), Value::NonFinite(value)) => {
            assert_eq!(word.parse::<f64>().unwrap().to_bits() << 12, value.to_bits() << 12);
        }
        (_, value) => assert_eq!(value, Value::None),
    }
    match object.get("timestamp") {
        Some(Json::String(text)) => {
            if let Some(time) = row.timestamp
                && text.len() == timestamp::TEXT_BYTES
                && text.ends_with('Z')
                && text.contains('T')
            {
                assert_eq!(timestamp::format(time), text.as_bytes());
            }
        }
        Some(Json::Number(number)) => {
            let number = number.as_f64().unwrap();
            let micros = number * if number.abs() < 1e11 { 1e6 } else { 1e3 };
            match row.timestamp {
                Some(time) => assert!((time as f64 - micros).abs() <= 1.0 + micros.abs() * 1e-15),
                None => assert!(micros < timestamp::MIN as f64 + 2e3 || micros > timestamp::MAX as f64 - 2e3),
            }
        }
        _ => assert_eq!(row.timestamp, None),
    }
}

/// Whether two doubles are the same but for the last digits, which the other parser does not always get right.
fn close(left: f64, right: f64) -> bool {
    left.to_bits().abs_diff(right.to_bits()) <= 8 || (left == 0.0 && right == 0.0)
}
