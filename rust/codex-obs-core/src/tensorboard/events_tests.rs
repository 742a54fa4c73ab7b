use proptest::prelude::*;

use super::*;

const AT: Moment<'_> = Moment { split: "train", metric: "loss", step: 7, micros: 1_700_000_000_500_000 };

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

fn parameters(pairs: &[(&str, &str)]) -> Vec<(String, Box<RawValue>)> {
    pairs.iter().map(|(key, json)| ((*key).to_owned(), raw(json))).collect()
}

fn decoded(mut bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some((data, rest)) = frame::split(bytes) {
        events.push(Event::decode(data).unwrap());
        bytes = rest;
    }
    assert_eq!(bytes, b"", "nothing is left");
    events
}

fn value(event: &Event) -> &Value {
    &event.summary.as_ref().unwrap().value[0]
}

#[test]
fn a_scalar_has_the_bytes_that_tensorboard_gives_it() {
    let mut events = Events::default();
    events.scalar(AT, 0.5);
    // Written by TensorBoard's own RecordWriter: length, its checksum, the event, its checksum.
    let expected = b"\x20\0\0\0\0\0\0\0\x29\xED\xA9\x50\
        \x09\0\0\x20\x40\xFC\x54\xD9\x41\x10\x07\x2A\x13\x0A\x11\x0A\x0Atrain/loss\x15\0\0\0\x3F\xF7\xEC\x34\xAD";
    let bytes = events.records.bytes();
    assert_eq!(bytes, expected);
    assert_eq!(events.records.last(), bytes);
}

#[test]
fn a_file_says_whose_it_is() {
    let mut events = Events::default();
    events.head("r-1", 5_000_000);
    events.scalar(AT, 0.5);
    let bytes = events.records.bytes().to_vec();
    assert_eq!(run_of(&bytes).as_deref(), Some("r-1"));
    assert_eq!(decoded(&bytes)[0].file_version.as_deref(), Some("brain.Event:2"));
    assert_eq!(run_of(&bytes[1..]), None);
    let mut foreign = Vec::new();
    let source_metadata = Some(SourceMetadata { writer: "tensorboard.summary.writer.event_file_writer".to_owned() });
    frame::push(&mut foreign, &Event { source_metadata, ..Event::default() });
    assert_eq!(run_of(&foreign), None);
    assert_eq!(run_of(b""), None);
}

#[test]
fn histograms_and_texts_are_tensors_of_their_plugins() {
    let mut events = Events::default();
    let histogram = Histogram { counts: vec![1.0, 2.0], edges: vec![0.0, 0.5, 1.0] };
    events.structured(AT, &Structured::Histogram(histogram));
    events.structured(AT, &Structured::Text("words".to_owned()));
    let events = decoded(events.records.bytes());
    let [histogram, text] = [value(&events[0]), value(&events[1])];
    let tensor = histogram.tensor.as_ref().unwrap();
    let numbers: Vec<f64> =
        tensor.content.chunks_exact(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap())).collect();
    assert_eq!(numbers, [0.0, 0.5, 1.0, 0.5, 1.0, 2.0]);
    assert_eq!(tensor.shape, Some(shape(&[2, 3])));
    assert_eq!(text.tensor.as_ref().unwrap().string_val, [b"words"]);
    let plugins = [histogram, text].map(|value| {
        value.metadata.as_ref().and_then(|metadata| metadata.plugin_data.as_ref()).map(|data| &*data.plugin_name)
    });
    assert_eq!(plugins, [Some("histograms"), Some("text")]);
    assert_eq!((events[1].step, events[1].wall_time), (7, 1_700_000_000.5));
}

#[test]
fn parameters_keep_their_kinds() {
    let given = [
        ("lr", "1e-05"),
        ("n", "3"),
        ("on", "true"),
        ("name", r#""a|b <i>""#),
        ("quoted", r#""5""#),
        ("list", "[1, 2]"),
        ("none", "null"),
    ];
    let mut events = Events::default();
    events.hyperparameters(&parameters(&given), 1_000_000);
    events.parameter_text(&parameters(&given), 2, 1_000_000);
    events.finished(3_000_000);
    let events = decoded(events.records.bytes());
    let data = |event: &Event| {
        let metadata = value(event).metadata.clone().unwrap();
        assert_eq!(metadata.data_class, 0);
        HparamsData::decode(&*metadata.plugin_data.unwrap().content).unwrap()
    };
    let start = data(&events[0]).session_start_info.unwrap();
    let kinds: Vec<_> = start.hparams.into_iter().map(|(key, parameter)| (key, parameter.kind.unwrap())).collect();
    let text = |text: &str| Kind::Text(text.to_owned());
    let expected = [
        ("list", text("[1, 2]")),
        ("lr", Kind::Number(1e-5)),
        ("n", Kind::Number(3.0)),
        ("name", text("a|b <i>")),
        ("none", text("null")),
        ("on", Kind::Truth(true)),
        ("quoted", text("5")),
    ];
    assert_eq!(kinds, expected.map(|(key, kind)| (key.to_owned(), kind)));
    let table = String::from_utf8(value(&events[1]).tensor.clone().unwrap().string_val.remove(0)).unwrap();
    assert!(table.contains("| name | a\\|b &lt;i&gt; |\n| quoted | 5 |\n| list | \\[1, 2\\] |"), "{table}");
    assert_eq!(events[1].step, 2);
    let end = data(&events[2]).session_end_info.unwrap();
    assert_eq!((end.status, end.end_time_secs), (1, 3.0));
}

#[test]
fn damage_is_no_record() {
    let mut events = Events::default();
    events.scalar(AT, 0.5);
    let bytes = events.records.bytes().to_vec();
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1;
        assert_eq!(frame::split(&damaged), None, "{place}");
        assert_eq!(frame::split(&bytes[..place]), None, "{place}");
    }
}

proptest! {
    #[test]
    fn any_number_comes_back_as_a_single_float(
        split in ".{0,20}", metric in ".{0,200}", step in any::<i64>(), micros in any::<i64>(), number in any::<f64>(),
    ) {
        let mut events = Events::default();
        events.scalar(Moment { split: "a", metric: "longer than the next", step: 0, micros: 0 }, 1.0);
        events.scalar(Moment { split: &split, metric: &metric, step, micros }, number);
        let event = decoded(events.records.bytes()).remove(1);
        prop_assert_eq!((event.step, event.wall_time), (step, micros as f64 / 1e6));
        prop_assert_eq!(&value(&event).tag, &format!("{split}/{metric}"));
        let single = value(&event).simple_value.unwrap();
        prop_assert!(single.to_bits() == (number as f32).to_bits() || single.is_nan() && number.is_nan());
    }
}
