use super::*;

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
fn only_int64_integers_are_steps() {
    for (text, expected) in [
        ("0", Some(0)),
        ("-0", Some(0)),
        ("-7", Some(-7)),
        ("9223372036854775807", Some(i64::MAX)),
        ("-9223372036854775808", Some(i64::MIN)),
        ("9223372036854775808", None),
        ("1.0", None),
        ("1e3", None),
        ("true", None),
        ("\"1\"", None),
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
        ("253402300799.5", Some(timestamp::MAX - 499_999)),
        ("253402300800", None),
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
        ("\"1\"", Value::None),
        ("{\"a\":1}", Value::None),
    ] {
        let (.., value, _) = read(&format!(r#"{{"metric":"m","value":{text}}}"#)).unwrap();
        assert_eq!(value, expected, "{text}");
    }
    assert!(matches!(read(r#"{"metric":"m","value":NaN}"#), Ok((_, _, Value::NonFinite(value), _)) if value.is_nan()));
}
