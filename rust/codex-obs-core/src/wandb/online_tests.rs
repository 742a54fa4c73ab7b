use std::path::Path;
use std::sync::{Arc, Mutex};

use super::*;
use crate::deliver::destination::States;
use crate::follow::cursor::Cursor;
use crate::follow::point::Value;
use crate::run::origin::Origin;

/// What a server has of one run, and what its client has accepted and not sent.
#[derive(Debug, Default)]
struct Server {
    sent: BTreeMap<i64, String>,
    waiting: Vec<(i64, String)>,
    exit_code: Option<i32>,
    /// Further calls that fail.
    failures: usize,
    opened: usize,
    config: Vec<(String, String)>,
}

#[derive(Clone, Debug, Default)]
struct Client(Arc<Mutex<BTreeMap<String, Server>>>);

impl Client {
    fn at<T>(&self, stream: &Stream, work: impl FnOnce(&mut Server) -> T) -> T {
        work(self.0.lock().unwrap().entry(stream.to_string()).or_default())
    }

    fn call(&self, stream: &Stream, work: impl FnOnce(&mut Server)) -> Outcome<()> {
        self.at(stream, |server| {
            if server.failures > 0 {
                server.failures -= 1;
                return Err(later("it failed".to_owned()));
            }
            work(server);
            Ok(())
        })
    }

    fn main<T>(&self, work: impl FnOnce(&mut Server) -> T) -> T {
        self.at(&Stream::main(), work)
    }
}

impl Server {
    fn send(&mut self, most: usize) {
        let count = most.min(self.waiting.len());
        for (number, record) in self.waiting.drain(..count) {
            // The real one keeps the first, and drops what leaves a gap.
            assert!(number <= self.sent.len() as i64, "a gap");
            self.sent.entry(number).or_insert(record);
        }
    }
}

impl Sink for Client {
    fn prepare(&mut self) -> Outcome<()> {
        Ok(())
    }

    fn open(&mut self, stream: &Stream, _run: &Run) -> Outcome<i64> {
        self.call(stream, |server| {
            server.waiting.clear();
            server.opened += 1;
        })?;
        Ok(self.at(stream, |server| server.sent.len() as i64))
    }

    fn history(&mut self, stream: &Stream, records: &[(i64, String)]) -> Outcome<()> {
        self.call(stream, |server| server.waiting.extend_from_slice(records))
    }

    fn config(&mut self, stream: &Stream, params: &[(String, String)]) -> Outcome<()> {
        self.call(stream, |server| server.config.extend_from_slice(params))
    }

    fn tags(&mut self, _stream: &Stream, _tags: &[String]) -> Outcome<()> {
        Ok(())
    }

    fn finish(&mut self, stream: &Stream, exit_code: i32) -> Outcome<()> {
        self.call(stream, |server| {
            server.send(usize::MAX);
            server.exit_code = Some(exit_code);
        })
    }

    fn leave(&mut self, _exit_code: i32) {}

    fn page(&self) -> Option<String> {
        None
    }
}

/// A delivery by hand: the destination, and what is noted of a stream.
struct Hand {
    online: Online<Client>,
    client: Client,
    wait: Wait,
    cursor: Option<Cursor>,
    state: Option<String>,
    told: Option<RunStatus>,
}

impl Hand {
    fn new(directory: &Path, client: &Client) -> Self {
        let folder = RunFolder { directory, file_mode: 0o600 };
        let online = Online::new(WandbSettings::default(), client.clone(), &folder);
        Self { online, client: client.clone(), wait: Wait::default(), cursor: None, state: None, told: None }
    }

    /// Another process goes on.
    fn restart(self, directory: &Path) -> Self {
        Self { cursor: self.cursor, state: self.state, told: self.told, ..Self::new(directory, &self.client) }
    }

    /// Gives the number of the record with which the delivery begins.
    fn open(&mut self, stream: &Stream) -> u64 {
        let facts = RunFacts {
            run_id: "r".to_owned(),
            name: "run".to_owned(),
            start_micros: 0,
            origin: Origin::default(),
            remote_run: None,
            may_create: stream.is_main(),
            is_live: false,
            sync_command: Vec::new(),
            states: States::default(),
        };
        assert_eq!(self.online.prepare(&facts, &self.wait), Answer::TAKEN);
        let noted = Noted { cursor: self.cursor.as_ref(), state: self.state.as_deref(), told: self.told };
        let place = match self.online.open(stream, &noted) {
            Start::AsNoted => self.cursor.clone(),
            Start::At(reached) => reached.rows,
            Start::Not(answer) => panic!("{answer:?}"),
        };
        self.cursor.clone_from(&place);
        place.map_or(0, |place| place.offset)
    }

    fn deliver(&mut self, stream: &Stream, numbers: std::ops::Range<u64>) -> Answer {
        let points: Vec<_> = numbers.clone().flat_map(|number| ["a", "b"].map(|name| point(name, number))).collect();
        let answer = self.online.deliver(stream, &points, &self.wait);
        if answer == Answer::TAKEN {
            self.cursor = Some(Cursor { offset: numbers.end, ..Cursor::default() });
            self.state =
                self.online.keep(stream, &Reached { rows: self.cursor.clone(), ..Reached::default() }).unwrap();
        }
        answer
    }
}

fn point(name: &str, number: u64) -> Point {
    Point {
        stream_prefix: "".into(),
        split: "train".into(),
        metric: name.into(),
        value: Value::Number(number as f64),
        timestamp_micros: number as i64,
        step: number as i64,
        dataset: None,
        tags: None,
        begins_group: name == "a",
    }
}

fn record(number: i64) -> String {
    let group = groups(&[point("a", number as u64), point("b", number as u64)]).next().unwrap();
    group.to_json()
}

#[test]
fn what_was_accepted_and_not_sent_is_sent_by_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let main = Stream::main();
    let client = Client::default();
    let mut hand = Hand::new(folder.path(), &client);
    assert_eq!(hand.open(&main), 0);
    for start in [0, 10, 20] {
        assert_eq!(hand.deliver(&main, start..start + 10), Answer::TAKEN);
    }
    client.main(|server| server.send(13));
    let mut hand = hand.restart(folder.path());
    assert_eq!(hand.open(&main), 10, "the last place that is not beyond the 13 records");
    hand.deliver(&main, 10..25);
    client.main(|server| assert_eq!(server.waiting[0].0, 13, "what the server has is left out"));
    hand.deliver(&main, 25..30);
    assert_eq!(hand.online.finish(&main, RunStatus::Failed, 0, &hand.wait), Answer::TAKEN);
    client.main(|server| {
        assert_eq!(server.sent, (0..30).map(|number| (number, record(number))).collect());
        assert_eq!((server.exit_code, server.opened), (Some(1), 2));
    });
}

#[test]
fn a_run_that_the_server_has_forgotten_is_sent_from_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let main = Stream::main();
    let client = Client::default();
    let mut hand = Hand::new(folder.path(), &client);
    hand.open(&main);
    hand.deliver(&main, 0..10);
    hand.online.finish(&main, RunStatus::Finished, 0, &hand.wait);
    hand.told = Some(RunStatus::Finished);
    client.main(|server| server.sent.clear());
    let mut hand = hand.restart(folder.path());
    assert_eq!(hand.open(&main), 10);
    assert_eq!(client.main(|server| server.opened), 1, "without anything new the run is not opened");
    assert!(matches!(hand.deliver(&main, 10..11), Answer::Later { .. }));
    assert!(hand.online.has_lost(&main));
    assert_eq!(hand.open(&main), 0);
    assert_eq!(hand.deliver(&main, 0..11), Answer::TAKEN);
    assert!(!hand.online.has_lost(&main));
}

#[test]
fn after_a_failure_the_run_is_opened_anew_and_parameters_are_repeated() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("params.ndjson"), "{\"config\":{\"lr\":1e-05}}\n").unwrap();
    let main = Stream::main();
    let client = Client::default();
    let mut hand = Hand::new(folder.path(), &client);
    hand.open(&main);
    hand.deliver(&main, 0..5);
    client.main(|server| server.failures = 1);
    assert!(matches!(hand.deliver(&main, 5..6), Answer::Later { .. }));
    assert!(hand.online.has_lost(&main));
    assert_eq!(hand.open(&main), 0, "nothing had arrived");
    assert_eq!(hand.deliver(&main, 0..6), Answer::TAKEN);
    let lr = ("lr".to_owned(), "1e-05".to_owned());
    client.main(|server| assert_eq!(server.config, [lr.clone(), lr]));
}

#[test]
fn the_end_waits_for_a_stream_whose_run_did_not_finish() {
    let folder = tempfile::tempdir().unwrap();
    let (main, rank) = (Stream::main(), Stream::of_rank(1));
    let client = Client::default();
    let mut hand = Hand::new(folder.path(), &client);
    hand.open(&rank);
    hand.deliver(&rank, 0..7);
    let (cursor, state) = (hand.cursor.take(), hand.state.take());
    hand.open(&main);
    hand.deliver(&main, 0..3);
    client.at(&rank, |server| server.failures = 1);
    let end = |hand: &mut Hand| hand.online.finish(&main, RunStatus::Finished, 0, &Wait::default());
    assert!(matches!(end(&mut hand), Answer::Later { .. }));
    assert!(hand.online.wants_again(&rank) && !hand.online.wants_again(&main));
    assert!(matches!(end(&mut hand), Answer::Later { .. }), "it is not open");
    (hand.cursor, hand.state) = (cursor, state);
    assert_eq!(hand.open(&rank), 0);
    hand.deliver(&rank, 0..6);
    assert!(matches!(end(&mut hand), Answer::Later { .. }), "a record is missing");
    hand.deliver(&rank, 6..7);
    assert_eq!(end(&mut hand), Answer::TAKEN);
    client.at(&rank, |server| assert_eq!((server.sent.len(), server.exit_code), (7, Some(0))));
    client.main(|server| assert_eq!((server.sent.len(), server.exit_code), (3, Some(0))));
}
