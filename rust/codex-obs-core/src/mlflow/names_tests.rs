use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::deliver::names::{Names, Renamed};
use crate::follow::point::{Point, Value};
use crate::limits::EXPORT_REPORTED_NAMES;
use std::collections::HashSet;

fn point(prefix: &str, split: &str, metric: &str) -> Point {
    Point {
        stream_prefix: prefix.into(),
        split: split.into(),
        metric: metric.into(),
        value: Value::Number(0.0),
        timestamp_micros: 0,
        step: 0,
        dataset: None,
        tags: None,
        begins_group: false,
    }
}

fn key(prefix: &str, split: &str, metric: &str) -> String {
    Names::new(&RULE).metric(&point(prefix, split, metric))
}

/// MLflow's rule, written down a second time from its `validation.py`.
fn mlflow_takes(name: &str) -> bool {
    let normal = {
        let mut steps: Vec<&str> = Vec::new();
        for step in name.split('/') {
            match step {
                "" | "." => {}
                ".." if steps.last().is_some_and(|last| *last != "..") => {
                    steps.pop();
                }
                step => steps.push(step),
            }
        }
        let root = if name.starts_with('/') { "/" } else { "" };
        let joined = format!("{root}{}", steps.join("/"));
        if joined.is_empty() { ".".to_owned() } else { joined }
    };
    let word = |character: char| {
        let group = character.general_category_group();
        matches!(group, GeneralCategoryGroup::Letter | GeneralCategoryGroup::Number) || "/_.- :".contains(character)
    };
    name.chars().all(word)
        && normal == name
        && normal != "."
        && !normal.starts_with("..")
        && !normal.starts_with('/')
        && name.chars().count() <= 250
}

#[test]
fn valid_names_stay() {
    for (prefix, split, metric, expected) in [
        ("", "train", "loss", "train/loss"),
        ("rank-1/", "train", "loss", "rank-1/train/loss"),
        ("", "eval", "a/b:c d-e.f_9", "eval/a/b:c d-e.f_9"),
        ("", "трен", "ошибка", "трен/ошибка"),
        ("", "train", "損失²Ⅳ", "train/損失²Ⅳ"),
        ("", "train", ".hidden", "train/.hidden"),
        ("", "train", "..x", "train/..x"),
        ("", "rank-x", "loss", "rank-x/loss"),
        ("rank-1/", "rank-2", "loss", "rank-1/rank-2/loss"),
    ] {
        assert_eq!(key(prefix, split, metric), expected);
        assert!(mlflow_takes(expected), "{expected}");
    }
}

#[test]
fn what_is_not_allowed_is_replaced_and_marked() {
    for (split, metric, stem) in [
        ("train", "acc@5", "train/acc_5-"),
        ("train", "%", "train/_-"),
        ("train", "", "train/_-"),
        ("", "loss", "_/loss-"),
        ("train", "a//b", "train/a/_/b-"),
        ("train", "a/./b/../c/", "train/a/_/b/_/c/_-"),
        ("..", "x", "_/x-"),
        ("..up", "x", "_.up/x-"),
        ("a/b", "c", "a_b/c-"),
        ("rank-1", "train/loss", "rank-1/train/loss-"),
        ("train", "का", "train/क_-"),
        ("train", "Ⓐ\0\n\u{200d}", "train/____-"),
    ] {
        let name = key("", split, metric);
        assert!(name.starts_with(stem) && name.len() == stem.len() + 8, "{split:?} {metric:?} {name:?}");
        assert!(mlflow_takes(&name), "{name:?}");
    }
    let long = key("", "train", &"損".repeat(300));
    assert_eq!(long.chars().count(), 250);
    assert_ne!(long, key("", "train", &"損".repeat(301)));
}

#[test]
fn the_same_key_from_other_parts_is_another_name() {
    let keys = [
        key("", "a/b", "c"),
        key("", "a", "b/c"),
        key("rank-1/", "train", "loss"),
        key("", "rank-1", "train/loss"),
        key("", "rank-1/train", "loss"),
        key("", "train", "a@b"),
        key("", "train", "a#b"),
        key("", "train", "a_b"),
    ];
    let distinct: HashSet<&String> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len(), "{keys:?}");
}

#[test]
fn a_changed_name_is_reported_once() {
    let mut names = Names::new(&RULE);
    assert_eq!(names.plain("model/lr"), "model/lr");
    assert_eq!(names.take_renamed(), []);
    let first = names.metric(&point("", "train", "acc@5"));
    assert_eq!(names.metric(&point("", "train", "acc@5")), first);
    let second = names.plain("a@b").into_owned();
    assert_eq!(second, Names::new(&RULE).plain("a@b"));
    let renamed = |name: &str, remote_name| Renamed { name: name.to_owned(), remote_name };
    assert_eq!(names.take_renamed(), [renamed("train/acc@5", first), renamed("a@b", second)]);
    assert_eq!(names.take_renamed(), []);
    for number in 0..2 * EXPORT_REPORTED_NAMES {
        names.metric(&point("", "train", &format!("@{number}")));
    }
    assert_eq!(names.take_renamed().len(), EXPORT_REPORTED_NAMES - 2);
}

fn part() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c/.@_ ]{0,6}", "\\PC{0,8}", "[a/]{240,260}", "(rank|pid)-[0-9a]", Just("\u{0}\n".to_owned())]
}

proptest! {
    #[test]
    fn every_name_is_taken_and_no_two_collide(parts in prop::collection::vec((part(), part()), 1..40)) {
        let mut seen: HashMap<String, (String, String)> = HashMap::new();
        let mut names = Names::new(&RULE);
        for (split, metric) in parts {
            let name = names.metric(&point("", &split, &metric));
            prop_assert!(mlflow_takes(&name), "{name:?}");
            let owner = seen.entry(name).or_insert_with(|| (split.clone(), metric.clone()));
            prop_assert_eq!(&*owner, &(split, metric));
        }
    }
}
