use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::names::RULE;
use super::*;
use crate::follow::point::Value;

/// How the model server treats what it does not like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// 400, and says which one.
    Named,
    /// 400 without a word about which.
    Unnamed,
    /// 500
    Fails,
    /// 413 for bodies beyond so many bytes.
    Small(usize),
}

/// A server of ten lines: stores all of a request or nothing.
struct Model {
    manner: Manner,
    poison: BTreeSet<String>,
    /// Whether it refuses whatever it gets.
    refuses_all: bool,
    witness: bool,
    stored: BTreeMap<String, u32>,
    kept: Vec<String>,
    requests: u32,
    largest: usize,
    is_disk_full: bool,
    /// Requests after which it refuses everything, and how many of them.
    outage: (u32, u32),
}

fn complaint(status: u16) -> Complaint {
    Complaint { status, words: "no".to_owned() }
}

impl Model {
    fn new(manner: Manner, poison: impl IntoIterator<Item = usize>) -> Self {
        Self {
            manner,
            poison: poison.into_iter().map(|index| format!("train/m{index}")).collect(),
            refuses_all: false,
            witness: true,
            stored: BTreeMap::new(),
            kept: Vec::new(),
            requests: 0,
            largest: 0,
            is_disk_full: false,
            outage: (u32::MAX, 0),
        }
    }

    fn refuses_all(&self) -> bool {
        let (start, length) = self.outage;
        self.refuses_all || self.requests.checked_sub(start).is_some_and(|since| since < length)
    }

    fn refusal(&self, part: Option<usize>) -> Outcome {
        match self.manner {
            Manner::Named => Outcome::Refused { part: part.map(classify::Part::Metric), complaint: complaint(400) },
            Manner::Unnamed => Outcome::Refused { part: None, complaint: complaint(400) },
            Manner::Fails => Outcome::Failed { complaint: complaint(500), pause: Duration::from_secs(1) },
            Manner::Small(_) => Outcome::TooLarge(complaint(413)),
        }
    }
}

impl Carrier for Model {
    fn send(&mut self, body: &[u8], attempts: u32) -> Outcome {
        let body_text: serde_json::Value = serde_json::from_slice(body).unwrap();
        let keys: Vec<String> = body_text["metrics"]
            .as_array()
            .unwrap()
            .iter()
            .map(|metric| metric["key"].as_str().unwrap().to_owned())
            .collect();
        assert!(!keys.is_empty(), "an empty request");
        self.largest = self.largest.max(keys.len());
        let bad = keys.iter().position(|key| self.poison.contains(key));
        let too_large = matches!(self.manner, Manner::Small(most) if body.len() > most);
        let bad = bad.filter(|_| !self.refuses_all());
        let is_refused = self.refuses_all() || bad.is_some() || too_large;
        // A failure is tried again, a refusal is not.
        self.requests += if is_refused && self.manner == Manner::Fails { attempts } else { 1 };
        if is_refused {
            return self.refusal(bad);
        }
        for key in keys {
            *self.stored.entry(key).or_default() += 1;
        }
        Outcome::Accepted(b"{}".to_vec())
    }

    fn probe(&mut self) -> Outcome {
        let refuses_all = self.refuses_all();
        self.requests += 1;
        if refuses_all { self.refusal(None) } else { Outcome::Accepted(b"{}".to_vec()) }
    }

    fn has_witness(&self) -> bool {
        self.witness
    }

    fn keep(&mut self, refused: Refused<'_>, key: &str, complaint: &Complaint) -> Result<()> {
        assert!(matches!(refused, Refused::Metric(_)) && complaint.words == "no");
        if self.is_disk_full {
            return Err(crate::error::Error::no_log("the disk is full"));
        }
        self.kept.push(key.to_owned());
        Ok(())
    }
}

fn points(count: usize) -> Vec<Point> {
    (0..count)
        .map(|index| Point {
            stream_prefix: "".into(),
            split: "train".into(),
            metric: format!("m{index}").into(),
            value: Value::Number(0.5),
            timestamp_micros: 0,
            step: 0,
            dataset: None,
            tags: None,
            begins_group: false,
        })
        .collect()
}

const REACH: RequestSize = RequestSize::new(1000, 1_000_000);

/// Delivers to the end; gives the batch and how often it had to wait.
fn deliver(count: usize, model: &mut Model) -> (Batch, u32) {
    let mut batch = Batch::of_metrics(&points(count), "r", &mut Names::new(&RULE));
    let mut size = REACH;
    let mut pauses = 0;
    while let Err(halt) = batch.deliver(model, &mut size) {
        assert!(matches!(halt, Halt::Later { .. }), "{halt:?}");
        pauses += 1;
        assert!(pauses < 20, "no end: {halt:?}");
    }
    (batch, pauses)
}

fn check(count: usize, model: &Model, batch: &Batch) {
    let good: BTreeSet<String> =
        (0..count).map(|index| format!("train/m{index}")).filter(|key| !model.poison.contains(key)).collect();
    let stored: BTreeSet<String> = model.stored.keys().cloned().collect();
    let lost: Vec<&String> = good.symmetric_difference(&stored).collect();
    assert_eq!(lost, [""; 0]);
    let kept: BTreeSet<String> = model.kept.iter().cloned().collect();
    assert_eq!(kept, model.poison);
    assert_eq!((model.kept.len(), batch.rejected()), (kept.len(), kept.len() as u64), "each is kept once");
}

#[test]
fn one_bad_metric_costs_few_requests_wherever_it_stands() {
    for (manner, most) in [(Manner::Named, 1), (Manner::Unnamed, 16), (Manner::Fails, 20)] {
        for bad in [0, 1, 499, 500, 998, 999] {
            let mut model = Model::new(manner, [bad]);
            let (batch, _) = deliver(1000, &mut model);
            check(1000, &model, &batch);
            assert!(model.requests - 1 <= most, "{manner:?} {bad}: {} requests more", model.requests - 1);
        }
    }
}

#[test]
fn a_batch_of_nothing_but_bad_ones_comes_to_an_end() {
    for manner in [Manner::Named, Manner::Unnamed] {
        let mut model = Model::new(manner, 0..300);
        let (batch, _) = deliver(300, &mut model);
        check(300, &model, &batch);
        assert!(model.requests <= 6 * 300, "{}", model.requests);
    }
}

#[test]
fn a_server_that_refuses_everything_costs_no_metric() {
    for manner in [Manner::Unnamed, Manner::Fails, Manner::Small(1_000_000)] {
        let mut model = Model::new(manner, []);
        model.refuses_all = true;
        let mut batch = Batch::of_metrics(&points(100), "r", &mut Names::new(&RULE));
        for _ in 0..50 {
            let halted = batch.deliver(&mut model, &mut REACH.clone());
            assert!(matches!(halted, Err(Halt::Later { .. })), "{manner:?} {halted:?}");
        }
        assert_eq!(model.kept, [""; 0]);
        model.refuses_all = false;
        model.manner = Manner::Unnamed;
        while batch.deliver(&mut model, &mut REACH.clone()).is_err() {}
        check(100, &model, &batch);
    }
}

#[test]
fn a_failure_is_blamed_on_a_batch_only_after_a_pause_and_a_witness() {
    let mut model = Model::new(Manner::Fails, [3]);
    let (batch, pauses) = deliver(8, &mut model);
    check(8, &model, &batch);
    assert_eq!(pauses, 1);

    let mut model = Model::new(Manner::Fails, [0]);
    model.witness = false;
    let (batch, pauses) = deliver(1, &mut model);
    check(1, &model, &batch);
    assert!(pauses >= UNWITNESSED_ROUNDS - 1, "{pauses}");
}

#[test]
fn what_is_too_large_goes_in_pieces() {
    let mut model = Model::new(Manner::Small(400), []);
    let mut batch = Batch::of_metrics(&points(100), "r", &mut Names::new(&RULE));
    let mut size = REACH;
    batch.deliver(&mut model, &mut size).unwrap();
    check(100, &model, &batch);
    assert!((100..=400).contains(&size.bytes()), "{size:?}");
    assert!(model.stored.values().all(|&times| times == 1));
    let more = model.requests;
    Batch::of_metrics(&points(5), "r", &mut Names::new(&RULE)).deliver(&mut model, &mut size).unwrap();
    assert!(model.requests - more <= 5, "the limit is remembered");

    // Nothing is small enough, although the server works.
    let mut model = Model::new(Manner::Small(10), 0..3);
    let (batch, _) = deliver(3, &mut model);
    check(3, &model, &batch);
}

#[test]
fn what_cannot_be_kept_is_not_dropped() {
    for manner in [Manner::Named, Manner::Unnamed] {
        let mut model = Model::new(manner, [2]);
        model.is_disk_full = true;
        let mut batch = Batch::of_metrics(&points(4), "r", &mut Names::new(&RULE));
        for _ in 0..3 {
            assert!(batch.deliver(&mut model, &mut REACH.clone()).is_err());
        }
        assert_eq!(batch.rejected(), 0);
        model.is_disk_full = false;
        batch.deliver(&mut model, &mut REACH.clone()).unwrap();
        check(4, &model, &batch);
    }
}

#[test]
fn one_row_of_mlflow_is_sent_once_and_counted_as_often_as_it_was_logged() {
    let mut same = points(1);
    for value in [f64::NAN, -f64::NAN, f64::INFINITY, f64::MAX, 0.0, -0.0] {
        same.push(Point { value: Value::Number(value), ..same[0].clone() });
        same.push(Point { value: Value::Number(value), timestamp_micros: 999, ..same[0].clone() });
    }
    let mut model = Model::new(Manner::Named, []);
    let batch = Batch::of_metrics(&same, "r", &mut Names::new(&RULE));
    let mut batch = batch;
    batch.deliver(&mut model, &mut REACH.clone()).unwrap();
    assert_eq!(model.stored["train/m0"], 4, "0.5, NaN, the largest number, zero");

    let mut model = Model::new(Manner::Named, [0]);
    let mut batch = Batch::of_metrics(&same, "r", &mut Names::new(&RULE));
    batch.deliver(&mut model, &mut REACH.clone()).unwrap();
    assert_eq!((batch.rejected(), model.kept.len()), (13, 13));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_good_arrive_and_the_bad_are_kept_also_when_everything_is_refused_for_a_while(
        count in 1_usize..200,
        picks in prop::collection::btree_set(0_usize..200, 0..12),
        manner in prop_oneof![Just(Manner::Named), Just(Manner::Unnamed), Just(Manner::Fails)],
        members in 1_usize..250,
        outage in (0_u32..40, 0_u32..12),
    ) {
        let poison: BTreeSet<usize> = picks.into_iter().filter(|index| *index < count).collect();
        let mut model = Model::new(manner, poison);
        model.outage = outage;
        let mut batch = Batch::of_metrics(&points(count), "r", &mut Names::new(&RULE));
        let mut size = RequestSize::new(members, 1_000_000);
        let mut pauses = 0;
        while batch.deliver(&mut model, &mut size).is_err() {
            pauses += 1;
            prop_assert!(pauses < 40);
        }
        check(count, &model, &batch);
        prop_assert!(model.largest <= members.max(size.members()));
    }
}
