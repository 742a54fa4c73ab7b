use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::scan::row::{Scratch, parse};

/// Names and everything else of a row as text, so that rows read in two ways can be compared.
fn shown(row: &Row<'_>, names: &Names) -> String {
    let texts = [row.run_id, row.split, row.metric, row.dataset]
        .map(|name| if name == Name::NONE { None } else { Some(names.text(name).to_owned()) });
    format!("{:?} {:?} {:?} {:?} {:?} {texts:?}", row.timestamp, row.step, row.value, row.tags, row.faults)
}

fn by_general_way(line: &[u8]) -> Option<String> {
    let (mut names, mut scratch) = (Names::default(), Scratch::default());
    parse(std::str::from_utf8(line).ok()?, &mut names, &mut scratch, &mut Vec::new())
        .ok()
        .map(|row| shown(&row, &names))
}

#[derive(Clone, Debug)]
struct Line {
    text: String,
    canonical: bool,
}

/// Lines of ours, and some that are nearly like ours.
fn line() -> impl Strategy<Value = Line> {
    // The last of each list is nothing that our encoder writes.
    let times = ["2026-11-20T08:15:30.000125Z", "2026-11-20T08:15:31.000125Z", "2026-11-20T08:15:30.125Z"];
    let runs = ["r1", "r2", "", "r\\u00e9"];
    let steps = ["0", "7", "-3", "null", "123456789012345678", "01"];
    let splits = ["train", "eval", "é"];
    let metrics = ["loss", "acc", "a", "", "lo", "loss2", "lo\\nss"];
    let values = ["0.5", "1e-05", "-0.0", "0", "null", "123456.789", "-1e+16", "5e-324", "1e999", "1.", "+1", "NaN"];
    let datasets = ["null", "\"d\"", "\"\\u00e9\"", "5"];
    let tags = ["{}", r#"{"phase":"eval"}"#, r#"{"manifest_id":"m","nonfinite":"NaN","z":[1,{}]}"#, "{\"a\":1", "[]"];
    (
        select(times.to_vec()),
        select(runs.to_vec()),
        select(steps.to_vec()),
        select(splits.to_vec()),
        select(metrics.to_vec()),
        select(values.to_vec()),
        select(datasets.to_vec()),
        select(tags.to_vec()),
    )
        .prop_map(|(time, run, step, split, metric, value, dataset, tag)| {
            let start = std::str::from_utf8(START).unwrap();
            let text = format!(
                "{start}{time}\",\"run_id\":\"{run}\",\"step\":{step},\"split\":\"{split}\",\"metric\":\"{metric}\",\
                 \"value\":{value},\"dataset\":{dataset},\"tags\":{tag}}}"
            );
            let canonical = time.len() == 27
                && !run.contains('\\')
                && step != "01"
                && split != "é"
                && !metric.contains('\\')
                && !["1.", "+1", "NaN"].contains(&value)
                && dataset != "5"
                && !["{\"a\":1", "[]"].contains(&tag);
            Line { text, canonical }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn both_ways_read_the_same(lines in prop::collection::vec(line(), 1..20)) {
        let (mut canonical, mut names) = (Canonical::default(), Names::default());
        for Line { text, canonical: ours } in &lines {
            let bytes = format!("{text}\nnext line");
            let found = canonical.parse(bytes.as_bytes(), &mut names);
            prop_assert_eq!(found.is_some(), *ours, "{}", text);
            if let Some((row, length)) = found {
                prop_assert_eq!(length, text.len() + 1);
                prop_assert_eq!(Some(shown(&row, &names)), by_general_way(text.as_bytes()), "{}", text);
            }
        }
    }

    #[test]
    fn a_changed_byte_changes_nothing_unnoticed(line in line(), at in any::<prop::sample::Index>(), byte in 1_u8..255) {
        let (mut canonical, mut names) = (Canonical::default(), Names::default());
        let whole = format!("{}\n", line.text);
        canonical.parse(whole.as_bytes(), &mut names);
        let mut bytes = whole.into_bytes();
        let at = at.index(bytes.len() - 1);
        bytes[at] = byte;
        prop_assume!(byte != b'\n');
        if let Some((row, _)) = canonical.parse(&bytes, &mut names) {
            let expected = by_general_way(&bytes[..bytes.len() - 1]);
            prop_assert_eq!(Some(shown(&row, &names)), expected);
        }
    }
}
