//! Frames: whatever is read from arbitrary bytes can be written again, and whatever is written is read again.

use codex_obs_core::encode::RowEncoder;
use codex_obs_core::journal::frame::{Call, Frame, FrameBuilder, Kind, LineFile, Value, line_frame, seal};
use codex_obs_core::limits::MAX_TEXT_BYTES;
use codex_obs_core::record::Tags;

use super::input::Input;

/// Reads `bytes` as a frame, and builds a call out of them.
pub fn check(bytes: &[u8]) {
    read(bytes);
    write(Input::new(bytes));
}

/// What a frame says survives being written and read again.
fn read(bytes: &[u8]) {
    let Some((frame, length)) = Frame::parse(bytes) else { return };
    assert!(length <= bytes.len() && length.is_multiple_of(8));
    let _ = frame.verify(frame.sequence);
    if let Some((file, line)) = frame.line() {
        let again = line_frame(file, line);
        assert_eq!(Frame::parse(&again).and_then(|(frame, _)| frame.line()), Some((file, line)));
    }
    let Some(call) = frame.metrics() else { return };
    let rows: Vec<_> = call.rows().collect();
    assert!(rows.len() as u64 <= call.rows.into());
    let mut encoder = RowEncoder::new("r1", false);
    encoder.call(&call);
    let (mut metrics, mut manifest) = (Vec::new(), Vec::new());
    for (name, value) in &rows {
        encoder.row(name, value, &mut metrics, &mut manifest);
    }
    let tags = Tags { text: call.tags.to_vec(), marks: call.marks };
    let mut builder = FrameBuilder::default();
    builder.begin(
        &Call { timestamp: call.timestamp, step: call.step, split: call.split, dataset: call.dataset, tags: &tags },
        usize::MAX,
    );
    push(&mut builder, &rows);
    let again = builder.bytes_mut();
    let (again, _) = Frame::parse(again).expect("what was built is a frame");
    let again = again.metrics().expect("and has a call");
    assert_eq!(
        (again.timestamp, again.step, again.split, again.dataset, again.tags, again.marks),
        (call.timestamp, call.step, call.split, call.dataset, call.tags, call.marks)
    );
    let cut = rows.iter().any(|(_, value)| matches!(value, Value::Unreadable(class) if class.len() > MAX_TEXT_BYTES));
    assert!(cut || shown(again.rows()) == shown(rows.into_iter()));
}

/// Calls of any content, in frames of any size, are read back whole and become whole lines.
fn write(mut input: Input<'_>) {
    let max_frame_bytes = 64 + input.short();
    let (timestamp, step) = (input.long() as i64, Some(input.long() as i64).filter(|step| step % 7 != 0));
    let (split, dataset) = (text(&mut input), text(&mut input));
    let dataset = Some(dataset.as_str()).filter(|text| !text.is_empty());
    let key = text(&mut input).len();
    let tags = match key {
        0 => Tags::default(),
        key => Tags { text: format!("{{\"{}\":1}}", "o".repeat(key)).into_bytes(), marks: [1, 1, 5 + key as u32] },
    };
    let names: Vec<String> = (0..input.byte() % 32).map(|_| text(&mut input)).collect();
    let rows: Vec<_> = names
        .iter()
        .map(|name| {
            let value = match input.byte() % 8 {
                0 | 1 => Value::Float(f64::from_bits(input.long())),
                2 => Value::Bool(false),
                3 => Value::Bool(true),
                4 => Value::Null,
                5 => Value::Unreadable(name),
                6 => Value::Structured { id: [input.byte(); 16], descriptor: br#"{"payload":[1]}"# },
                _ => Value::Inline(b"[{}]"),
            };
            (name.as_str(), value)
        })
        .collect();
    let mut builder = FrameBuilder::default();
    builder.begin(&Call { timestamp, step, split: &split, dataset, tags: &tags }, max_frame_bytes);
    push(&mut builder, &rows);
    assert_eq!(builder.rows(), rows.len() as u64);

    let mut encoder = RowEncoder::new("r\"1", input.byte() % 2 == 1);
    let (mut metrics, mut manifest) = (Vec::new(), Vec::new());
    let (mut rest, mut sequence, mut found) = (builder.bytes_mut(), input.long(), Vec::new());
    while !rest.is_empty() {
        let length = Frame::parse(rest).expect("frames stand one behind the other").1;
        let (bytes, behind) = rest.split_at_mut(length);
        seal(bytes, sequence, 0);
        let (frame, _) = Frame::parse(bytes).expect("a sealed frame is one");
        assert!(frame.verify(sequence) && !frame.verify(sequence.wrapping_add(1)) && frame.kind == Kind::Metrics);
        let call = frame.metrics().expect("a frame of metrics has a call");
        assert_eq!((call.timestamp, call.step, call.split, call.dataset), (timestamp, step, &*split, dataset));
        assert_eq!((call.tags, call.marks), (&*tags.text, tags.marks));
        encoder.call(&call);
        for (name, value) in call.rows() {
            encoder.row(name, &value, &mut metrics, &mut manifest);
        }
        found.extend(shown(call.rows()));
        sequence = sequence.wrapping_add(1);
        rest = behind;
    }
    assert_eq!(found, shown(rows.iter().copied()));
    for (lines, count) in [(&metrics, rows.len()), (&manifest, structured(&rows))] {
        let text = std::str::from_utf8(lines).expect("lines are ASCII");
        assert!(text.is_ascii() && (text.is_empty() || text.ends_with('\n')));
        assert_eq!(text.lines().count(), count);
        for line in text.lines() {
            let row: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
            assert!(row.is_object());
        }
    }
    let line = input.take(256);
    assert_eq!(
        Frame::parse(&line_frame(LineFile::Summary, line)).and_then(|(frame, _)| frame.line()),
        Some((LineFile::Summary, line))
    );
}

fn text(input: &mut Input<'_>) -> String {
    let length = usize::from(input.byte() % 24);
    let text = input.text(length);
    // Replacing what is no UTF-8 makes a text longer, never too long.
    assert!(text.len() <= MAX_TEXT_BYTES);
    text
}

fn structured(rows: &[(&str, Value<'_>)]) -> usize {
    rows.iter().filter(|(_, value)| matches!(value, Value::Structured { .. })).count()
}

fn push(builder: &mut FrameBuilder, rows: &[(&str, Value<'_>)]) {
    for &(name, value) in rows {
        match value {
            Value::Float(number) => builder.float(name, number),
            Value::Bool(flag) => builder.boolean(name, flag),
            Value::Null => builder.null(name),
            Value::Unreadable(class) => builder.unreadable(name, class),
            Value::Structured { id, descriptor } => builder.structured(name, id, descriptor),
            Value::Inline(payload) => builder.inline(name, payload),
        }
    }
    builder.finish();
}

/// Rows so that they can be compared: every NaN with its bits.
fn shown<'a>(rows: impl Iterator<Item = (&'a str, Value<'a>)>) -> Vec<String> {
    rows.map(|(name, value)| match value {
        Value::Float(number) => format!("{name:?} {:016x}", number.to_bits()),
        other => format!("{name:?} {other:?}"),
    })
    .collect()
}
