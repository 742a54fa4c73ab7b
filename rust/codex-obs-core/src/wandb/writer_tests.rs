use std::fs;

use proptest::prelude::*;

use super::*;

const START: i64 = 1_700_000_000_000_000;

fn records(file: &[u8]) -> Vec<Record> {
    let mut reader = log::Reader::new(file);
    let mut records = Vec::new();
    while let Some(data) = reader.read().unwrap() {
        records.push(Record::decode(data).unwrap());
    }
    records
}

fn head(writer: &mut Writer) {
    writer.head(&Run { run_id: "r".to_owned(), start_time: Some(timestamp(START)), ..Run::default() });
}

/// So many groups of two values.
fn log_groups(writer: &mut Writer, groups: std::ops::Range<i64>) {
    for number in groups {
        let values = [
            ("train/loss", crate::wandb::group::number(number as f64)),
            ("train/text", format!("{:?}", "x".repeat(1000))),
        ];
        let values = values.map(|(name, json)| (name.to_owned(), json)).into();
        writer.group(Group { micros: START + number * 500_000, step: -number, values });
    }
}

fn values(record: &Record) -> Vec<(String, String)> {
    let items = &record.history.as_ref().unwrap().item;
    items.iter().map(|item| (item.nested_key[0].clone(), item.value_json.clone())).collect()
}

#[test]
fn a_file_has_a_header_a_run_its_axis_history_a_summary_and_an_end() {
    let mut writer = Writer::new(START);
    head(&mut writer);
    writer.config([("lr".to_owned(), "1e-05".to_owned())]);
    log_groups(&mut writer, 0..3);
    writer.end(1, START + 7_900_000);
    let records = records(writer.records.bytes());
    assert_eq!(records.iter().map(|record| record.num).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    let info = records[0].header.clone().unwrap().version_info.unwrap();
    assert_eq!((&*info.producer, &*info.min_consumer), (PRODUCER, "0.70.0"));
    let run = records[1].run.clone().unwrap();
    assert_eq!((run.run_id, run.start_time.unwrap().seconds), ("r".to_owned(), 1_700_000_000));
    assert_eq!(records[3].metric.as_ref().unwrap().step_metric, STEP);
    assert_eq!(records[4].config.as_ref().unwrap().update[0].value_json, "1e-05");
    let text = format!("{:?}", "x".repeat(1000));
    let expected = [
        ("train/loss", "2.0"),
        ("train/text", &*text),
        ("codex/step", "-2"),
        ("_timestamp", "1700000001.0"),
        ("_runtime", "1.0"),
        ("_step", "2"),
    ];
    assert_eq!(values(&records[7]), expected.map(|(key, json)| (key.to_owned(), json.to_owned())));
    assert_eq!(records[7].history.as_ref().unwrap().step, Some(Step { num: 2 }));
    let summary = &records[8].summary.as_ref().unwrap().update;
    assert_eq!(summary.len(), 6);
    assert!(summary.iter().any(|item| item.nested_key == ["train/loss"] && item.value_json == "2.0"));
    assert_eq!(records[9].exit, Some(Exit { exit_code: 1, runtime: 7 }));
}

#[test]
fn a_file_that_is_truncated_and_continued_has_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.wandb");
    let mut whole = Writer::new(START);
    head(&mut whole);
    log_groups(&mut whole, 0..100);
    whole.end(0, START);

    let mut first = Writer::new(START);
    head(&mut first);
    log_groups(&mut first, 0..37);
    let mut file = first.records.bytes().to_vec();
    first.written();
    log_groups(&mut first, 37..60);
    file.extend_from_slice(first.records.bytes());
    let (count, history) = (first.count, first.history);
    fs::write(&path, &file).unwrap();
    let mut second = Writer::behind(file.len() as u64, count, history, START);
    second.learn(fs::File::open(&path).unwrap()).unwrap();
    log_groups(&mut second, 60..100);
    second.end(0, START);
    file.extend_from_slice(second.records.bytes());
    assert!(file == whole.records.bytes(), "the same bytes");
}

proptest! {
    #[test]
    fn batches_do_not_change_the_bytes(cuts in prop::collection::vec(1..200_i64, 0..5)) {
        let mut cuts = cuts;
        cuts.extend([0, 200]);
        cuts.sort_unstable();
        cuts.dedup();
        let mut whole = Writer::new(START);
        head(&mut whole);
        log_groups(&mut whole, 0..200);
        let mut parts = Writer::new(START);
        head(&mut parts);
        let mut file = Vec::new();
        for pair in cuts.windows(2) {
            log_groups(&mut parts, pair[0]..pair[1]);
            file.extend_from_slice(parts.records.bytes());
            parts.written();
        }
        prop_assert!(file == whole.records.bytes());
    }
}
