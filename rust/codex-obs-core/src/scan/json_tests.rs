use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// Whether the whole text is one value.
fn accepts(text: &str) -> bool {
    let mut cursor = Cursor::new(text);
    cursor.skip_space();
    let valid = cursor.value().is_ok();
    cursor.skip_space();
    valid && cursor.peek().is_none()
}

fn decoded(text: &str) -> String {
    let Ok(Token::Text(text)) = Cursor::new(text).value() else { panic!("{text} is a string") };
    let mut out = String::new();
    text.decode_up_to(usize::MAX, &mut out);
    out
}

#[test]
fn escapes_mean_what_they_should_and_lone_surrogates_are_replaced() {
    for (text, expected) in [
        (r#""""#, ""),
        (r#""a\"\\\/\b\f\n\r\tz""#, "a\"\\/\u{8}\u{c}\n\r\tz"),
        (r#""\u00e9\u0000""#, "é\0"),
        (r#""\ud83d\ude00""#, "😀"),
        (r#""\uD83D\uDE00""#, "😀"),
        (r#""\ud83d""#, "\u{fffd}"),
        (r#""\ud83dx""#, "\u{fffd}x"),
        (r#""\ud83d\n""#, "\u{fffd}\n"),
        (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
        (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
        (r#""\ud83d\u0041""#, "\u{fffd}A"),
    ] {
        assert_eq!(decoded(text), expected, "{text}");
    }
}

#[test]
fn levels_of_nesting_are_remembered_beyond_one_word() {
    for depth in [1, 63, 64, 65, 127, 128, 129, 1000] {
        // Objects and arrays in a pattern without a period of 64.
        let is_object = |level: usize| level.is_multiple_of(3) || level % 7 == 2;
        let mut text = String::new();
        (0..depth).for_each(|level| text.push_str(if is_object(level) { r#"{"a":"# } else { "[" }));
        text.push('1');
        (0..depth).rev().for_each(|level| text.push(if is_object(level) { '}' } else { ']' }));
        assert!(accepts(&text), "{depth}");
        let wrong = text.len() - depth / 2 - 1;
        let other = if text.as_bytes()[wrong] == b']' { "}" } else { "]" };
        let broken = format!("{}{other}{}", &text[..wrong], &text[wrong + 1..]);
        assert!(!accepts(&broken), "{depth}");
    }
}

#[test]
fn the_last_of_repeated_keys_comes_last() {
    let mut cursor = Cursor::new(r#"{"a":1,"\u0061" : [2, {}] , "b":null}"#);
    assert!(cursor.take(b'{'));
    let mut seen = Vec::new();
    cursor.members(None, |key, value, _| seen.push((key.equals("a"), value))).unwrap();
    assert_eq!(seen, [(true, Token::Number("1")), (true, Token::Array("[2, {}]")), (false, Token::Null)]);
    assert_eq!(cursor.peek(), None);
}

/// Texts that are JSON or nearly so.
fn nearly_json() -> impl Strategy<Value = String> {
    const PIECES: [&str; 34] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\"a\"",
        "\"\\u00e9\"",
        "\\",
        "\\u12",
        "0",
        "-",
        "1",
        "01",
        "1.5",
        ".",
        "e",
        "E+",
        "1e5",
        "-0",
        "true",
        "false",
        "null",
        "nul",
        "NaN",
        "Infinity",
        " ",
        "\t",
        "\r",
        "\n",
        "\u{1}",
        "é",
        "/",
    ];
    prop::collection::vec(prop::sample::select(&PIECES[..]), 0..12).prop_map(|pieces| pieces.concat())
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn verdicts_are_those_of_serde_json(text in nearly_json()) {
        let theirs = serde_json::from_str::<Value>(&text);
        // Numbers beyond a double are grammar to us and an error to serde_json.
        prop_assume!(!theirs.as_ref().is_err_and(|error| error.to_string().contains("out of range")));
        prop_assert_eq!(accepts(&text), theirs.is_ok(), "{}", text);
    }
}

proptest! {
    #[test]
    fn whatever_is_json_is_accepted(value in json()) {
        prop_assert!(accepts(&value.to_string()));
        prop_assert!(accepts(&serde_json::to_string_pretty(&value).unwrap()));
    }

    #[test]
    fn strings_mean_what_serde_json_says(text in any::<String>()) {
        prop_assert_eq!(decoded(&serde_json::to_string(&text).unwrap()), text);
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        accepts(&text);
    }
}
