//! What is logged as records.

use std::collections::BTreeMap;
use std::io::{self, Read};

use prost::Message;

use super::group::{Group, STEP, TIME, integer, number, seconds};
use super::log;
use super::message::{
    Exit, Header, History, Item, Metric, MetricOptions, Record, Run, Stats, Step, Timestamp, Update, VersionInfo,
};
use crate::file_destination::Records;

/// The oldest version that reads what is written here.
const MIN_CONSUMER: &str = "0.70.0";
/// Who we are in a file's header; the version stands behind it.
const PRODUCER: &str = concat!("codex_obs ", env!("CARGO_PKG_VERSION"));
/// What it begins with, whatever the version.
pub const PRODUCER_NAME: &str = "codex_obs ";
/// Names of which the last value is kept for the summary. Further ones are in the history only.
const MAX_SUMMARY_NAMES: usize = 100_000;

/// Records on their way to a file.
#[derive(Debug, Default)]
pub struct Writer {
    /// As pieces of the file.
    pub records: Records,
    /// Where in the file they begin.
    position: u64,
    /// Records so far.
    pub count: i64,
    /// History records of the run so far, also in earlier files.
    pub history: i64,
    /// When the file's run started, in microseconds since the epoch.
    start_micros: i64,
    /// The last value of each name.
    summary: BTreeMap<String, String>,
    scratch: Vec<u8>,
}

impl Writer {
    /// A writer of a new file, whose run started then.
    #[must_use]
    pub fn new(start_micros: i64) -> Self {
        Self { start_micros, ..Self::default() }
    }

    /// A writer that goes on behind `position`.
    #[must_use]
    pub fn behind(position: u64, count: i64, history: i64, start_micros: i64) -> Self {
        Self { position, count, history, start_micros, ..Self::default() }
    }

    /// Begins a file.
    pub fn head(&mut self, run: &Run) {
        self.records.begin().extend_from_slice(&log::HEAD);
        let info = VersionInfo { producer: PRODUCER.to_owned(), min_consumer: MIN_CONSUMER.to_owned() };
        self.push(Record { header: Some(Header { version_info: Some(info) }), ..Record::default() });
        self.run(run);
        let defined = MetricOptions { step_sync: false, defined: true };
        let step = Metric { name: STEP.to_owned(), options: Some(defined), ..Metric::default() };
        let others = Metric {
            glob_name: "*".to_owned(),
            step_metric: STEP.to_owned(),
            options: Some(MetricOptions { step_sync: true, ..defined }),
            ..Metric::default()
        };
        for metric in [step, others] {
            self.push(Record { metric: Some(metric), ..Record::default() });
        }
    }

    /// Adds what the run is called, once more if its tags have changed.
    pub fn run(&mut self, run: &Run) {
        self.push(Record { run: Some(run.clone()), ..Record::default() });
    }

    /// Adds parameters.
    pub fn config(&mut self, parameters: impl IntoIterator<Item = (String, String)>) {
        let update =
            parameters.into_iter().map(|(key, value_json)| Item { key, nested_key: Vec::new(), value_json }).collect();
        self.push(Record { config: Some(Update { update }), ..Record::default() });
    }

    /// Adds the values of a group.
    pub fn group(&mut self, group: Group) {
        let item = |key: String, value_json: String| Item { key: String::new(), nested_key: vec![key], value_json };
        let runtime = (group.micros.saturating_sub(self.start_micros)).max(0);
        let own = [
            (STEP, integer(group.step)),
            (TIME, number(seconds(group.micros))),
            ("_runtime", number(seconds(runtime))),
            ("_step", integer(self.history)),
        ];
        let own = own.map(|(key, json)| (key.to_owned(), json));
        let items: Vec<Item> = group.values.into_iter().chain(own).map(|(key, json)| item(key, json)).collect();
        for each in &items {
            self.note(&each.nested_key[0], &each.value_json);
        }
        let history = History { item: items, step: Some(Step { num: self.history }) };
        self.push(Record { history: Some(history), ..Record::default() });
        self.history += 1;
    }

    /// Adds a sample of the machine.
    pub fn stats(&mut self, micros: i64, values: Vec<(String, f64)>) {
        let item = |(key, value)| Item { key, nested_key: Vec::new(), value_json: number(value) };
        let item = values.into_iter().map(item).collect();
        let stats = Stats { timestamp: Some(timestamp(micros)), item };
        self.push(Record { stats: Some(stats), ..Record::default() });
    }

    /// Adds the summary and how the run ended.
    pub fn end(&mut self, exit_code: i32, end_micros: i64) {
        let items = self.summary.iter().map(|(key, json)| Item {
            key: String::new(),
            nested_key: vec![key.clone()],
            value_json: json.clone(),
        });
        let summary = Update { update: items.collect() };
        self.push(Record { summary: Some(summary), ..Record::default() });
        let runtime = end_micros.saturating_sub(self.start_micros).max(0) / 1_000_000;
        let exit = Exit { exit_code, runtime: i32::try_from(runtime).unwrap_or(i32::MAX) };
        self.push(Record { exit: Some(exit), ..Record::default() });
    }

    /// Learns the last values from what stands in the file already.
    pub fn learn(&mut self, file: impl Read) -> io::Result<()> {
        let mut reader = log::Reader::new(file);
        while let Some(data) = reader.read()? {
            let Ok(record) = Record::decode(data) else { continue };
            for item in record.history.into_iter().flat_map(|history| history.item) {
                if let [key] = &item.nested_key[..] {
                    self.note(key, &item.value_json);
                }
            }
        }
        Ok(())
    }

    /// Begins anew behind what was written to the file.
    pub fn written(&mut self) {
        self.position += self.records.bytes().len() as u64;
        self.records.clear();
    }

    fn note(&mut self, key: &str, json: &str) {
        if let Some(known) = self.summary.get_mut(key) {
            json.clone_into(known);
        } else if self.summary.len() < MAX_SUMMARY_NAMES {
            self.summary.insert(key.to_owned(), json.to_owned());
        }
    }

    fn push(&mut self, record: Record) {
        self.count += 1;
        self.scratch.clear();
        Record { num: self.count, ..record }.encode_raw(&mut self.scratch);
        let is_first = self.position == 0 && self.count == 1;
        let position = self.position + self.records.bytes().len() as u64;
        // The head of the file belongs to the first record.
        let out = if is_first { self.records.more() } else { self.records.begin() };
        log::push(out, position, &self.scratch);
    }
}

/// The start of a run as W&B has it.
#[must_use]
pub fn timestamp(micros: i64) -> Timestamp {
    Timestamp { seconds: micros.div_euclid(1_000_000), nanos: micros.rem_euclid(1_000_000) as i32 * 1000 }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
