use super::*;

/// Something of each line, by its number.
type ByLine<T> = Vec<(u64, T)>;

/// What is read of a file's text, and what is refused, each with its line.
fn read(text: &str) -> (ByLine<String>, ByLine<Refusal>) {
    let mut reader = PayloadReader::default();
    let (mut rows, mut refused) = (Vec::new(), Vec::new());
    let mut lines = Lines::default();
    let (whole, rest) = text.split_at(text.rfind('\n').map_or(0, |at| at + 1));
    for piece in [Piece::Lines(whole.as_bytes()), Piece::Unfinished(rest.as_bytes())] {
        if matches!(piece, Piece::Unfinished(b"") | Piece::Lines(b"")) {
            continue;
        }
        reader.read(
            piece,
            &mut lines,
            |row, names, line| {
                let told = format!(
                    "{} {} {:?} {:?} {:?} {:?} {:?} {}",
                    row.manifest_id,
                    names.text(row.metric),
                    row.step,
                    row.payload,
                    row.shape,
                    row.path,
                    row.truncated_bytes,
                    names.text(row.class)
                );
                rows.push((line, told));
            },
            |refusal, line| refused.push((line, refusal)),
        );
    }
    (rows, refused)
}

#[test]
fn the_payload_is_the_text_that_stands_in_the_file() {
    let (rows, refused) = read(concat!(
        r#"{"manifest_id":"manifest-1","metric":"h","step":3,"descriptor":{"payload":{"a":[1, 2.50],"\u00e9":"}"},"shape":[2,3],"type":"nd\u0061rray"}}"#,
        "\n",
        r#" { "descriptor" : {"payload":null,"truncated_bytes":12,"path":"a\/b"} , "step":"4", "manifest_id":"x", "metric":"y"} "#,
        "\n",
    ));
    assert_eq!(
        rows,
        [
            (
                0,
                r#"manifest-1 h Some(3) Some("{\"a\":[1, 2.50],\"\\u00e9\":\"}\"}") Some("[2,3]") None None ndarray"#
                    .to_owned()
            ),
            (1, r#"x y Some(4) None None Some("a/b") Some(12) "#.to_owned()),
        ]
    );
    assert_eq!(refused, []);
}

#[test]
fn other_lines_are_refused_with_the_reason() {
    let good = r#"{"manifest_id":"m","metric":"h","descriptor":{}}"#;
    let text = [
        good,
        "",
        "[1]",
        "{\"manifest_id\":1,\"descriptor\":{}}",
        "{\"manifest_id\":\"m\",\"descriptor\":[]}",
        "{\"metric\":\"loss\",\"value\":1}",
        "nonsense",
        "{} {}",
        &good[..20],
    ];
    let (rows, refused) = read(&text.join("\n"));
    assert_eq!(rows.len(), 1);
    assert_eq!(
        refused,
        [
            (2, Refusal::Kind),
            (3, Refusal::ManifestId),
            (4, Refusal::Descriptor),
            (5, Refusal::ManifestId),
            (6, Refusal::Syntax),
            (7, Refusal::Syntax),
            (8, Refusal::Torn),
        ]
    );
}
