use super::*;
use crate::record::timestamp;

/// Timestamp, step and value of a row, and its texts: run id, split, metric, dataset.
type Shown = (Option<i64>, Option<i64>, Value, [Option<String>; 4]);

fn read(line: &str) -> Result<Shown, Refusal> {
    let (mut names, mut scratch) = (Names::default(), Scratch::default());
    let row = parse(line, &mut names, &mut scratch, &mut Vec::new())?;
    let text = |name: Name| (name != Name::NONE).then(|| names.text(name).to_owned());
    Ok((row.timestamp, row.step, row.value, [row.run_id, row.split, row.metric, row.dataset].map(text)))
}

#[test]
fn a_row_needs_a_text_metric_or_key() {
    let metric = |line| read(line).map(|(.., [_, _, metric, _])| metric.unwrap());
    assert_eq!(metric(r#"{"metric":"m","key":"k"}"#).as_deref(), Ok("m"));
    assert_eq!(metric(r#"{"key":"k"}"#).as_deref(), Ok("k"));
    assert_eq!(metric(r#"{"metric":1,"key":"k"}"#).as_deref(), Ok("k"));
    assert_eq!(metric(r#"{"metric":"","key":"k"}"#).as_deref(), Ok(""));
    assert_eq!(metric(r#"{"metric":"m","metric":null}"#), Err(Refusal::Metric));
    assert_eq!(metric("{}"), Err(Refusal::Metric));
    assert_eq!(metric(r#"["metric"]"#), Err(Refusal::Kind));
    assert_eq!(metric(r#"{"metric":"m"} {}"#), Err(Refusal::Syntax));
}

#[test]
fn every_int64_integer_is_a_step_however_it_is_written() {
    for (text, expected) in [
        ("0", Some(0)),
        ("-0", Some(0)),
        ("-7", Some(-7)),
        ("9223372036854775807", Some(i64::MAX)),
        ("-9223372036854775808", Some(i64::MIN)),
        ("9223372036854775808", None),
        ("1.0", Some(1)),
        ("-6.000", Some(-6)),
        ("1e3", Some(1000)),
        ("0.15e2", Some(15)),
        ("1500E-2", Some(15)),
        ("0e99999999999999999999", Some(0)),
        ("9223372036854775807.0", Some(i64::MAX)),
        ("922337203685477580.8e1", None),
        ("-922337203685477580.8e1", Some(i64::MIN)),
        ("1.5", None),
        ("15e-1", None),
        ("1e19", None),
        ("1e-400", None),
        ("true", None),
        ("\"1\"", Some(1)),
        ("\" 5 \"", Some(5)),
        ("\"-7\"", Some(-7)),
        ("\"6.0\"", Some(6)),
        ("\"\\u0035\"", Some(5)),
        ("\"five\"", None),
        ("\"0einf\"", None),
        ("\"\"", None),
        ("[1]", None),
        ("null", None),
    ] {
        let (_, step, ..) = read(&format!(r#"{{"metric":"m","step":{text}}}"#)).unwrap();
        assert_eq!(step, expected, "{text}");
    }
}

#[test]
fn seconds_are_rounded_to_the_nearest_microsecond_half_to_even() {
    for (text, expected) in [
        ("0", Some(0)),
        ("-0.0", Some(0)),
        ("1795162530", Some(1_795_162_530_000_000)),
        ("1795162530.000125", Some(1_795_162_530_000_125)),
        ("1.79516253e9", Some(1_795_162_530_000_000)),
        ("-1.5", Some(-1_500_000)),
        // Exact in binary, and half a microsecond: 2^-7 s = 7812.5 µs, 3 * 2^-7 s = 23437.5 µs.
        ("0.0078125", Some(7812)),
        ("0.0234375", Some(23_438)),
        ("-0.0078125", Some(-7812)),
        ("5e-324", Some(0)),
        ("-62135596800", Some(timestamp::MIN)),
        ("-62135596800.00001", None),
        // From 1e11 on they are milliseconds.
        ("99999999999", Some(99_999_999_999_000_000)),
        ("100000000000", Some(100_000_000_000_000)),
        ("1795162530123", Some(1_795_162_530_123_000)),
        // The double that it means is a little more than that.
        ("1795162530123.4565", Some(1_795_162_530_123_457)),
        ("1.795162530123e12", Some(1_795_162_530_123_000)),
        ("-100000000000", Some(-100_000_000_000_000)),
        ("-62135596800000", Some(timestamp::MIN)),
        ("-62135596800001", None),
        ("253402300799999", Some(timestamp::MAX - 999)),
        ("253402300800000", None),
        ("1795162530123456", None),
        ("1e300", None),
        ("1e999", None),
        ("true", None),
    ] {
        let (timestamp, ..) = read(&format!(r#"{{"metric":"m","timestamp":{text}}}"#)).unwrap();
        assert_eq!(timestamp, expected, "{text}");
    }
}

#[test]
fn values_are_numbers_booleans_or_nothing() {
    for (text, expected) in [
        ("1", Value::Finite(1.0)),
        ("true", Value::Finite(1.0)),
        ("false", Value::Finite(0.0)),
        ("1e999", Value::NonFinite(f64::INFINITY)),
        ("-1e999", Value::NonFinite(f64::NEG_INFINITY)),
        ("-Infinity", Value::NonFinite(f64::NEG_INFINITY)),
        ("null", Value::None),
        ("\"Infinity\"", Value::NonFinite(f64::INFINITY)),
        ("\"-Infin\\u0069ty\"", Value::NonFinite(f64::NEG_INFINITY)),
        ("\"1\"", Value::None),
        ("\"nan\"", Value::None),
        ("{\"a\":1}", Value::None),
    ] {
        let (.., value, _) = read(&format!(r#"{{"metric":"m","value":{text}}}"#)).unwrap();
        assert_eq!(value, expected, "{text}");
    }
    assert!(matches!(read(r#"{"metric":"m","value":NaN}"#), Ok((_, _, Value::NonFinite(value), _)) if value.is_nan()));
}

fn faults(line: &str) -> Vec<Fault> {
    let (mut names, mut scratch) = (Names::default(), Scratch::default());
    parse(line, &mut names, &mut scratch, &mut Vec::new()).unwrap().faults.iter().collect()
}

#[test]
fn what_cannot_be_read_is_a_fault_and_what_is_null_or_missing_is_none() {
    use Fault::{Cut, NoValue, Unreadable};

    let long = "é".repeat(3000);
    let escaped = "\\u00e9".repeat(3000);
    for (members, expected) in [
        (r#""value":1"#.to_owned(), vec![]),
        (
            r#""value":null,"step":null,"timestamp":null,"split":null,"run_id":null,"dataset":null,"tags":null"#.into(),
            vec![],
        ),
        (r#""value":"NaN","step":"7""#.into(), vec![]),
        (r#""step":1"#.into(), vec![NoValue]),
        (r#""value":"0.5""#.into(), vec![Unreadable(Field::Value)]),
        (r#""value":[1]"#.into(), vec![Unreadable(Field::Value)]),
        (r#""value":1,"step":1.5"#.into(), vec![Unreadable(Field::Step)]),
        (r#""value":1,"step":1.5,"step":1"#.into(), vec![]),
        (
            r#""timestamp":"yesterday","step":true"#.into(),
            vec![Unreadable(Field::Timestamp), Unreadable(Field::Step), NoValue],
        ),
        (
            r#""value":1,"split":7,"run_id":{},"dataset":[],"tags":"x""#.into(),
            vec![
                Unreadable(Field::RunId),
                Unreadable(Field::Split),
                Unreadable(Field::Dataset),
                Unreadable(Field::Tags),
            ],
        ),
        (format!(r#""value":1,"split":"{long}""#), vec![Cut(Field::Split)]),
        (format!(r#""value":1,"split":"{escaped}""#), vec![Cut(Field::Split)]),
        (format!(r#""value":1,"tags":{{"phase":"{long}"}}"#), vec![Cut(Field::Tags)]),
        (format!(r#""value":1,"tags":{{"other":"{long}"}}"#), vec![]),
    ] {
        assert_eq!(faults(&format!(r#"{{"metric":"m",{members}}}"#)), expected, "{members:.60}");
    }
    assert_eq!(faults(r#"{"metric":7,"key":"k","value":1}"#), [Unreadable(Field::Metric)]);
    assert_eq!(faults(&format!(r#"{{"metric":"{long}","value":1}}"#)), [Cut(Field::Metric)]);
}

#[test]
fn structured_values_are_no_fault_in_the_legacy_form() {
    for value in ["{\"a\":1}", "[1]", "\"text\"", "null"] {
        assert_eq!(faults(&format!(r#"{{"$schema":"x","schema_version":"v1","metric":"m","value":{value}}}"#)), []);
        assert_eq!(faults(&format!(r#"{{"key":"m","value":{value}}}"#)), []);
    }
    let ours = r#"{"$schema":"x","timestamp":null,"metric":"m","value":[1]}"#;
    assert_eq!(faults(ours), [Fault::Unreadable(Field::Value)]);
}

#[test]
fn long_names_are_cut_at_a_character() {
    for long in ["é".repeat(3000), "\\u00e9".repeat(3000), format!("\\n{}", "é".repeat(3000))] {
        let (.., [_, split, metric, _]) = read(&format!(r#"{{"metric":"{long}","split":"{long}"}}"#)).unwrap();
        let (split, metric) = (split.unwrap(), metric.unwrap());
        assert_eq!(split, metric);
        assert!(matches!(metric.len(), 4095 | 4096) && metric.ends_with('é'));
    }
}
