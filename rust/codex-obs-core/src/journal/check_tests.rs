use super::*;
use crate::encode::line::{self, Params, Tracking};
use crate::encode::row::RowEncoder;
use crate::journal::frame::{Call, FrameBuilder, LineFile, lengths, line_frame, seal};
use crate::limits::{MAX_FRAME_EXPANSION, MAX_FRAME_LINES_BYTES};
use crate::record::Tags;

const NESTED: &str = r#"{"a":1,"n":{"\"b":[",",{}]},"z":"}\\"}"#;
const RING_BYTES: u64 = 8 << 20;

fn allowed(frame: &mut [u8]) -> bool {
    seal(frame, 0, 0);
    let (frame, _) = Frame::parse(frame).unwrap();
    assert!(frame.verify(0));
    Rules::new("r\"1", RING_BYTES).allow(&frame)
}

fn call(tags: &Tags, push: impl FnOnce(&mut FrameBuilder)) -> Vec<u8> {
    let mut builder = FrameBuilder::default();
    let call = Call { timestamp: 1, step: Some(2), split: "s\n", dataset: Some("d\u{2028}"), tags };
    builder.begin(&call, usize::MAX);
    push(&mut builder);
    builder.finish();
    builder.bytes_mut().to_vec()
}

fn tags(text: &str, marks: [u32; 3]) -> Tags {
    Tags { text: text.as_bytes().to_vec(), marks }
}

#[test]
fn what_a_writer_makes_is_allowed() {
    let last = NESTED.rfind("\"z\"").unwrap() as u32;
    let ours =
        [tags("", [0; 3]), tags("{\"a\":\"\u{7f}\"}", [8; 3]), tags("{}", [1; 3]), tags(NESTED, [7, last, last])];
    for tags in &ours {
        let mut frame = call(tags, |builder| {
            builder.float("a name\n\u{0}", f64::NAN);
            builder.boolean("", true);
            builder.null("n");
            builder.unreadable("u", "ValueError\r\n");
            builder.structured("h", [7; 16], br#"{"payload":[1]}"#);
            builder.inline("i", b"[1]");
        });
        assert!(allowed(&mut frame), "{:?}", tags.text);
    }
    let params = Params { cli: b"{}", config: b"{}", derived: b"{}", metadata: b"" };
    let summary = Tracking { component: "ndjson", status: "degraded", reason: Some("\n"), extra: b"{}" };
    for (file, line) in [
        (LineFile::Params, line::params(1, "r\"1", &params)),
        (LineFile::Summary, line::tracking(1, &summary)),
        (LineFile::Session, line::session(1, "r\"1", "start", b"{}")),
    ] {
        assert!(allowed(&mut line_frame(file, &line)));
        assert!(!allowed(&mut line_frame(file, &line[..line.len() - 1])), "no newline");
        assert!(!allowed(&mut line_frame(file, &[&line[..], &line[..]].concat())), "two lines");
        let other = if file == LineFile::Session { LineFile::Params } else { LineFile::Session };
        assert!(!allowed(&mut line_frame(other, &line)), "the line of another file");
    }
    assert!(!allowed(&mut line_frame(LineFile::Session, &line::session(1, "r2", "start", b"{}"))), "another run");
    for line in [
        "",
        "\n",
        "{}\n",
        "[1]\n",
        "text\n",
        "{\"$schema\":\"https://codexml.ai/schemas/run_session.schema.json\",\n}\n",
    ] {
        assert!(!allowed(&mut line_frame(LineFile::Session, line.as_bytes())), "{line:?}");
    }
}

#[test]
fn tags_that_would_break_a_line_are_refused() {
    let broken = [
        ("{\"a\":1\n}", [1, 1, 1]),
        ("{\"a\":\"\u{e9}\"}", [1, 1, 1]),
        ("{\"a\":1}{", [1, 1, 1]),
        ("[1]", [1, 1, 1]),
        ("{\"a\":1", [1, 1, 1]),
        ("{\"a\":1}", [2, 1, 1]),
        ("{\"a\":1}", [1, 8, 1]),
        ("{\"a\":1}", [1, 1, u32::MAX]),
        ("{\"a\":{\"b\":1}}", [6, 1, 1]),
    ];
    for (text, marks) in broken {
        assert!(!allowed(&mut call(&tags(text, marks), |builder| builder.null("n"))), "{text} {marks:?}");
    }
}

#[test]
fn texts_and_values_beyond_what_log_accepts_are_refused() {
    let none = Tags::default();
    let long = "n".repeat(MAX_TEXT_BYTES + 1);
    assert!(!allowed(&mut call(&none, |builder| builder.null(&long))));
    assert!(!allowed(&mut call(&none, |builder| builder.structured("h", [0; 16], b"{} ,"))));
    assert!(!allowed(&mut call(&none, |builder| builder.structured("h", [0; 16], b"[1]"))));
    assert!(!allowed(&mut call(&none, |builder| builder.inline("h", b"1}\n{"))));
    let large = format!("\"{}\"", "x".repeat(MAX_DESCRIPTOR_BYTES));
    assert!(!allowed(&mut call(&none, |builder| builder.inline("h", large.as_bytes()))));
    // A count of rows that is not theirs.
    for count in [0_u32, 2, u32::MAX] {
        let mut frame = call(&none, |builder| builder.null("a name of some length"));
        frame[48..52].copy_from_slice(&count.to_le_bytes());
        assert!(!allowed(&mut frame), "{count}");
    }
}

#[test]
fn a_frame_that_stands_for_far_more_than_it_has_is_refused_and_a_writer_makes_none() {
    let long = tags(&format!(r#"{{"t":"{}"}}"#, "x".repeat(100_000)), [1, 1, 100_007]);
    let rows = 2 * (MAX_FRAME_LINES_BYTES / 100_000) as usize;
    let mut builder = FrameBuilder::default();
    builder.begin(&Call { timestamp: 1, step: None, split: "s", dataset: None, tags: &long }, usize::MAX);
    for _ in 0..rows {
        builder.null("");
    }
    builder.finish();
    let mut rest = builder.bytes_mut();
    let (mut frames, mut found) = (0, 0);
    while !rest.is_empty() {
        let length = lengths(rest).next().unwrap();
        let (frame, behind) = rest.split_at_mut(length);
        assert!(allowed(frame));
        found += Frame::parse(frame).unwrap().0.rows() as usize;
        (rest, frames) = (behind, frames + 1);
    }
    assert!(found == rows && frames > 1, "{found} {frames}");
    // As many rows in one frame: entries without a name are three bytes each.
    let prefix = 72 + "s\nd\u{2028}".len() + long.text.len();
    let mut planted = call(&long, |_| ())[..prefix].to_vec();
    planted.extend([4, 0, 0].repeat(rows));
    let bytes = planted.len().next_multiple_of(8);
    planted.resize(bytes, 0);
    planted[48..52].copy_from_slice(&(rows as u32).to_le_bytes());
    planted[8..12].copy_from_slice(&(bytes as u32).to_le_bytes());
    assert!(!allowed(&mut planted));
}

/// A frame of `rows` nameless rows without a value.
fn of_nulls(split: &str, dataset: Option<&str>, tags: &Tags, rows: usize) -> FrameBuilder {
    let mut builder = FrameBuilder::default();
    builder.begin(&Call { timestamp: 1, step: None, split, dataset, tags }, usize::MAX);
    for _ in 0..rows {
        builder.null("");
    }
    builder.finish();
    builder
}

#[test]
fn whatever_rows_share_a_ring_stands_for_a_limited_multiple_of_its_bytes() {
    let (plain, control) = ("x".repeat(MAX_TEXT_BYTES), "\u{1}".repeat(MAX_TEXT_BYTES));
    for (split, dataset, tag_bytes) in [
        ("train", None, 3_000),
        ("train", None, 30_000),
        ("train", Some("d"), 300_000),
        (&*plain, Some(&*plain), 0),
        (&control, Some(&*control), 0),
        (&control, None, 20_000),
        ("train", Some(&*control), 0),
    ] {
        let text = if tag_bytes == 0 { String::new() } else { format!(r#"{{"t":"{}"}}"#, "x".repeat(tag_bytes)) };
        let end = text.len().saturating_sub(1) as u32;
        let shared = tags(&text, if tag_bytes == 0 { [0; 3] } else { [1, 1, end] });
        let mut builder = of_nulls(split, dataset, &shared, 50_000);
        let (mut rest, mut rows) = (builder.bytes_mut(), 0);
        while !rest.is_empty() {
            let length = lengths(rest).next().unwrap();
            let (frame, behind) = rest.split_at_mut(length);
            seal(frame, 0, 0);
            let (parsed, _) = Frame::parse(frame).unwrap();
            let (count, call) = (parsed.rows() as usize, parsed.metrics().unwrap());
            assert!(Rules::new("r\"1", 8 * length as u64).allow(&parsed), "{count} rows in {length} bytes");
            // The lines that it becomes, measured.
            let mut encoder = RowEncoder::new("r\"1", false);
            encoder.call(&call);
            let (mut line, mut none) = (Vec::new(), Vec::new());
            encoder.row("", &Value::Null, &mut line, &mut none);
            let lines = (line.len() - 256) * count;
            assert!(lines as u64 <= MAX_FRAME_EXPANSION * length as u64, "{lines} bytes of {length}");
            rows += count;
            rest = behind;
        }
        assert_eq!(rows, 50_000);
    }
}

#[test]
fn a_frame_that_only_a_planted_journal_has_is_refused_for_its_expansion_alone() {
    let control = "\u{1}".repeat(MAX_TEXT_BYTES);
    for (split, tag_bytes, run_id) in [("s", 20_000, "r1"), (&*control, 0, "r1"), ("s", 0, &*control)] {
        let text = if tag_bytes == 0 { String::new() } else { format!(r#"{{"t":"{}"}}"#, "x".repeat(tag_bytes)) };
        let end = text.len().saturating_sub(1) as u32;
        let shared = tags(&text, if tag_bytes == 0 { [0; 3] } else { [1, 1, end] });
        for (rows, is_allowed) in [(150_usize, true), (3000, false)] {
            // One frame, however many rows: made of the head of a small one.
            let mut planted = of_nulls(split, None, &shared, 0).bytes_mut()[..72 + split.len() + text.len()].to_vec();
            planted.extend([4, 0, 0].repeat(rows));
            let bytes = planted.len().next_multiple_of(8);
            planted.resize(bytes, 0);
            planted[48..52].copy_from_slice(&(rows as u32).to_le_bytes());
            planted[8..12].copy_from_slice(&(bytes as u32).to_le_bytes());
            seal(&mut planted, 0, 0);
            let (frame, _) = Frame::parse(&planted).unwrap();
            // The id of a run is in all lines and in no frame, so few rows of it are many already.
            let is_allowed = is_allowed && run_id == "r1";
            assert_eq!(Rules::new(run_id, RING_BYTES).allow(&frame), is_allowed, "{rows} {}", split.len());
        }
    }
}

#[test]
fn a_thousand_metrics_with_all_the_tags_that_there_may_be_are_allowed() {
    // As an earlier version left them, in one frame.
    let text = format!(r#"{{"t":"{}"}}"#, "x".repeat(64_000));
    let shared = tags(&text, [1, 1, text.len() as u32 - 1]);
    let mut planted = of_nulls("train", None, &shared, 0).bytes_mut()[..72 + 5 + text.len()].to_vec();
    for layer in 0..1000 {
        let name = format!("layer{layer}/grad_norm");
        planted.extend([1, name.len() as u8, 0]);
        planted.extend(f64::from(layer).to_le_bytes());
        planted.extend(name.as_bytes());
    }
    let bytes = planted.len().next_multiple_of(8);
    planted.resize(bytes, 0);
    planted[48..52].copy_from_slice(&1000_u32.to_le_bytes());
    planted[8..12].copy_from_slice(&(bytes as u32).to_le_bytes());
    assert!(allowed(&mut planted));
}

#[test]
fn lines_of_an_allowed_call_are_whole() {
    let tags = tags(r#"{"a":1,"z":2}"#, [7, 7, 7]);
    let frame = call(&tags, |builder| {
        builder.float("a", f64::INFINITY);
        builder.unreadable("b", "E");
        builder.structured("c", [1; 16], br#"{"payload":null}"#);
    });
    let (frame, _) = Frame::parse(&frame).unwrap();
    let call = frame.metrics().unwrap();
    let (mut encoder, mut metrics, mut manifest) = (RowEncoder::new("r", false), Vec::new(), Vec::new());
    encoder.call(&call);
    for (name, value) in call.rows() {
        encoder.row(name, &value, &mut metrics, &mut manifest);
    }
    for line in metrics.split_inclusive(|&byte| byte == b'\n').chain([&manifest[..]]) {
        assert!(is_object(line.strip_suffix(b"\n").unwrap()));
    }
}
