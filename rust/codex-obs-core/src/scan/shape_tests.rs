use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::scan::names::Name;
use crate::scan::row::{Scratch, parse};

/// Everything that a row says as text, so that rows read in two ways can be compared.
fn shown(row: &Row<'_>, names: &Names) -> String {
    let texts = [row.run_id, row.split, row.metric, row.dataset]
        .map(|name| if name == Name::NONE { None } else { Some(names.text(name).to_owned()) });
    format!("{:?} {:?} {:?} {:?} {texts:?}", row.timestamp, row.step, row.value, row.tags)
}

/// Reads lines by their shapes where that is possible, and checks each against the general way. Gives how many were.
fn check(lines: &[String]) -> Result<usize, TestCaseError> {
    let (mut shapes, mut names, mut members) = (Shapes::default(), Names::default(), Vec::new());
    let mut by_shape = 0;
    for line in lines {
        let (mut other_names, mut scratch) = (Names::default(), Scratch::default());
        let parsed = parse(line, &mut other_names, &mut scratch, &mut members);
        let expected = parsed.as_ref().ok().map(|row| shown(row, &other_names));
        if let Some(found) = shapes.read(line, &mut names) {
            by_shape += 1;
            prop_assert_eq!(Some(shown(&found, &names)), expected, "{}", line);
        } else if parsed.is_ok() {
            let mut scratch = Scratch::default();
            let row = parse(line, &mut names, &mut scratch, &mut members).unwrap();
            shapes.learn(line, &members, &row);
        }
    }
    Ok(by_shape)
}

const VALUES: [&str; 38] = [
    "0",
    "-0",
    "1",
    "12",
    "-3",
    "01",
    "1.",
    "1.0",
    "1.5",
    "0.25",
    "2e3",
    "2E+3",
    "1e",
    "1e999",
    "NaN",
    "Infinity",
    "-Infinity",
    "null",
    "true",
    "nul",
    "\"\"",
    "\"a\"",
    "\"ab\"",
    "\"a b\"",
    "\"\\u0061\"",
    "\"\\\"\"",
    "\"\\\"",
    "\"é\"",
    "\"2026-11-20T08:15:30.000125Z\"",
    "\"2026-11-20T08:15:30.5Z\"",
    "{}",
    r#"{"phase":"eval"}"#,
    r#"{"phase" : "train","nonfinite":"NaN"}"#,
    "[]",
    "[1, {}]",
    "[1,]",
    "",
    "\"a\", \"step\": 4",
];

const SHAPES_OF_LINES: [&[&str]; 7] = [
    &["metric", "value", "step"],
    &["value", "step", "metric", "tags", "timestamp"],
    &["host", "metric", "key", "value"],
    &["key", "split", "value", "value"],
    &["metric", "run_id", "metric", "dataset"],
    &["metric", "value", "\\u0076alue", "x"],
    &["timestamp", "m\\u0065tric", "tags", "value", "other"],
];

/// A line of a few shapes and spacings, mostly a row.
fn line() -> impl Strategy<Value = String> {
    let value = prop_oneof![4 => select(VALUES[..].to_vec()), 3 => select(vec!["\"loss\"", "\"acc\"", "0.5", "7"])];
    let spacing = select(vec![(":", ",", ""), (": ", ", ", ""), (" :\t", " , ", " \r")]);
    (select(SHAPES_OF_LINES[..].to_vec()), prop::collection::vec(value, 5), spacing).prop_map(
        |(keys, values, (colon, comma, end))| {
            let members: Vec<String> =
                keys.iter().zip(&values).map(|(key, value)| format!("\"{key}\"{colon}{value}")).collect();
            format!("{{{}}}{end}", members.join(comma))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn lines_read_by_their_shape_say_the_same(lines in prop::collection::vec(line(), 1..40)) {
        check(&lines)?;
    }

    #[test]
    fn a_changed_byte_changes_nothing_unnoticed(
        line in line(),
        changes in prop::collection::vec((any::<Index>(), select(b"0123456789.eE+-\"\\{}[]:, aNu\x01".to_vec())), 1..20),
    ) {
        let mut lines = vec![line.clone()];
        for (at, byte) in changes {
            let mut bytes = line.clone().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            lines.extend(String::from_utf8(bytes));
            lines.push(line.clone());
        }
        check(&lines)?;
    }
}

fn owned(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

#[test]
fn only_the_first_of_like_lines_is_read_in_full() {
    let lines = owned(&[
        r#"{"metric": "loss", "host": "a", "value": 1, "note": ["x", {"y": 1}], "tags": {}}"#,
        r#"{"metric": "accuracy", "host": "a", "value": 0.25, "note": null, "tags": {"phase": "eval"}}"#,
        r#"{"metric": "", "host": "\u0062", "value": null, "note": [], "tags": {"phase": "train"}}"#,
        r#"{"metric": "loss", "host": "é", "value": NaN, "note": "\n", "tags": 5}"#,
    ]);
    // Raw strings keep the backslash, so each line is one line.
    assert_eq!(check(&lines).unwrap(), 3);
}

#[test]
fn several_shapes_are_remembered_at_once() {
    let shapes =
        [r#"{"metric":"a","step":NUMBER}"#, r#"{"step":NUMBER,"metric":"a"}"#, r#"{"metric":"a","value":NUMBER}"#];
    let lines: Vec<String> =
        (0..30).map(|number| shapes[number % 3].replace("NUMBER", &(number * number).to_string())).collect();
    assert_eq!(check(&lines).unwrap(), 27);
}

#[test]
fn lines_without_a_shape_are_given_up_and_looked_at_again_later() {
    let odd = |number: usize| format!(r#"{{"metric":"a","field_{number}":1}}"#);
    let mut lines: Vec<String> = (0..1000).map(odd).collect();
    lines.extend((0..1000).map(|number| format!(r#"{{"metric":"a","step":{number}}}"#)));
    let by_shape = check(&lines).unwrap();
    assert!((800..1000).contains(&by_shape), "{by_shape}");
}

#[test]
fn texts_are_compared_to_their_first_difference() {
    let long: Vec<u8> = (0..200).map(|number| b'a' + number % 26).collect();
    for length in 0..long.len() {
        let mut other = long.clone();
        other[length] = b'#';
        assert_eq!(common_length(&long, &other), length);
        assert_eq!(common_length(&long[..length], &other), length);
        assert_eq!(common_length(&long, &long[..length]), length);
    }
}
