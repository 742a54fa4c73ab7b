use super::*;
use crate::encode::line::{self, Params, Tracking};
use crate::encode::row::RowEncoder;
use crate::journal::frame::{Call, FrameBuilder, LineFile, lengths, line_frame, seal};
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
