//! Samples of the machine as destinations name them: one table a tracker, from the same lines.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::follow::point::{Point, Value};
use crate::paths::Stream;

/// What stands before the names of MLflow's system metrics.
const SPLIT: &str = "system";
const MEGA: f64 = 1e6;
/// Megabytes and gigabytes as W&B counts them.
const MEBI: f64 = 1_048_576.0;
const GIBI: f64 = 1_073_741_824.0;

/// A line of the samples' log, as far as it is used. What is not known is null there.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    ts: Option<f64>,
    host: Option<String>,
    cpu_percent: Option<f64>,
    cpu_count: Option<f64>,
    memory: Option<Memory>,
    disk: Option<Disk>,
    network: Option<Network>,
    processes: Option<Vec<Process>>,
    cgroup: Option<Cgroup>,
    gpus: Option<Vec<Gpu>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Memory {
    total: Option<f64>,
    available: Option<f64>,
    percent: Option<f64>,
    used: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Disk {
    used: Option<f64>,
    free: Option<f64>,
    percent: Option<f64>,
    read_bytes: Option<f64>,
    write_bytes: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Network {
    bytes_recv: Option<f64>,
    bytes_sent: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Process {
    cpu_percent: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cgroup {
    cpu_limit: Option<f64>,
    memory_limit: Option<f64>,
    memory_used: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Gpu {
    index: Option<u64>,
    util: Option<f64>,
    mem_used: Option<f64>,
    mem_total: Option<f64>,
    temp_c: Option<f64>,
    power_w: Option<f64>,
}

/// One sample.
#[derive(Debug)]
pub struct Sample {
    /// Which one it is over the life of the file, from 0.
    pub number: u64,
    /// Microseconds since the epoch.
    pub micros: i64,
    line: Line,
    counters: Counters,
}

/// What the counters of the machine have counted, or had at the first sample: received, sent, read and written bytes.
type Counters = [Option<f64>; 4];

/// What is to be known of the samples before one, as a destination keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// How many there were.
    pub samples: u64,
    /// Where the counters stood at the first: trackers show what came since.
    first: Counters,
}

impl Tally {
    /// Reads the next line. `None`: it is no sample.
    pub fn next(&mut self, text: &str) -> Option<Sample> {
        let line: Line = serde_json::from_str(text).ok()?;
        let ts = line.ts.filter(|ts| ts.is_finite())?;
        let (network, disk) = (line.network.as_ref(), line.disk.as_ref());
        let now: Counters = [
            network.and_then(|network| network.bytes_recv),
            network.and_then(|network| network.bytes_sent),
            disk.and_then(|disk| disk.read_bytes),
            disk.and_then(|disk| disk.write_bytes),
        ];
        let mut counters = Counters::default();
        for ((first, now), since) in self.first.iter_mut().zip(now).zip(&mut counters) {
            // A machine that was started again counts from 0.
            if first.is_none_or(|first| now.is_some_and(|now| now < first)) {
                *first = now;
            }
            *since = now.zip(*first).map(|(now, first)| now - first);
        }
        let number = self.samples;
        self.samples += 1;
        Some(Sample { number, micros: (ts * 1e6).round() as i64, line, counters })
    }
}

impl Sample {
    /// Its values under the names of MLflow's own client
    /// (<https://mlflow.org/docs/latest/ml/tracking/system-metrics/>), each a point whose step is the sample's number. Those of
    /// another machine than the main stream's are told apart by its name.
    #[must_use]
    pub fn points(&self, stream: &Stream) -> Vec<Point> {
        let host = self.line.host.as_deref().filter(|_| !stream.is_main()).unwrap_or_default();
        let prefix = if host.is_empty() { String::new() } else { format!("{}/", host.replace('/', "_")) };
        let (none, split): (Arc<str>, Arc<str>) = ("".into(), SPLIT.into());
        let named = self.for_mlflow().into_iter().filter_map(|(name, value)| Some((name, value?)));
        let point = |(name, value): (String, f64)| Point {
            stream_prefix: Arc::clone(&none),
            split: Arc::clone(&split),
            metric: format!("{prefix}{name}").into(),
            value: Value::Number(value),
            timestamp_micros: self.micros,
            step: i64::try_from(self.number).unwrap_or(i64::MAX),
            dataset: None,
            tags: None,
            begins_group: false,
        };
        named.filter(|(_, value)| value.is_finite()).map(point).collect()
    }

    fn for_mlflow(&self) -> Vec<(String, Option<f64>)> {
        let Self { line, counters: [received, sent, ..], .. } = self;
        let (used, percent) = self.memory();
        let disk = |of: fn(&Disk) -> Option<f64>| line.disk.as_ref().and_then(of);
        let mut named = vec![
            ("cpu_utilization_percentage", self.cpu_percent()),
            ("system_memory_usage_megabytes", used.map(|bytes| bytes / MEGA)),
            ("system_memory_usage_percentage", percent),
            ("disk_usage_percentage", disk(|disk| disk.percent)),
            ("disk_usage_megabytes", disk(|disk| disk.used).map(|bytes| bytes / MEGA)),
            ("disk_available_megabytes", disk(|disk| disk.free).map(|bytes| bytes / MEGA)),
            ("network_receive_megabytes", received.map(|bytes| bytes / MEGA)),
            ("network_transmit_megabytes", sent.map(|bytes| bytes / MEGA)),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect::<Vec<_>>();
        for (place, gpu) in line.gpus.iter().flatten().enumerate() {
            let index = gpu.index.unwrap_or(place as u64);
            named.extend(
                [
                    ("memory_usage_percentage", gpu.memory_percent()),
                    ("memory_usage_megabytes", gpu.mem_used.map(|bytes| bytes / MEGA)),
                    ("utilization_percentage", gpu.util),
                    ("power_usage_watts", gpu.power_w),
                ]
                .map(|(name, value)| (format!("gpu_{index}_{name}"), value)),
            );
        }
        named
    }

    /// Its values under the names of W&B's own client (<https://docs.wandb.ai/models/ref/python/experiments/system-metrics>).
    #[must_use]
    pub fn for_wandb(&self) -> Vec<(String, f64)> {
        let Self { line, counters: [received, sent, read, written], .. } = self;
        let memory = line.memory.as_ref();
        let disk = line.disk.as_ref();
        let mut named = vec![
            ("cpu".to_owned(), self.cpu_percent()),
            ("memory_percent".to_owned(), self.memory().1),
            (
                "proc.memory.availableMB".to_owned(),
                memory.and_then(|memory| memory.available).map(|bytes| bytes / MEBI),
            ),
            ("disk./.usagePercent".to_owned(), disk.and_then(|disk| disk.percent)),
            ("disk./.usageGB".to_owned(), disk.and_then(|disk| disk.used).map(|bytes| bytes / GIBI)),
            ("disk.in".to_owned(), read.map(|bytes| bytes / MEBI)),
            ("disk.out".to_owned(), written.map(|bytes| bytes / MEBI)),
            ("network.recv".to_owned(), *received),
            ("network.sent".to_owned(), *sent),
        ];
        for (place, gpu) in line.gpus.iter().flatten().enumerate() {
            let index = gpu.index.unwrap_or(place as u64);
            named.extend(
                [
                    ("gpu", gpu.util),
                    ("memoryAllocated", gpu.memory_percent()),
                    ("memoryAllocatedBytes", gpu.mem_used),
                    ("temp", gpu.temp_c),
                    ("powerWatts", gpu.power_w),
                ]
                .map(|(name, value)| (format!("gpu.{index}.{name}"), value)),
            );
        }
        let known = named.into_iter().filter_map(|(name, value)| Some((name, value?)));
        known.filter(|(_, value)| value.is_finite()).collect()
    }

    /// Processor time in percent of what the run may use: of the machine, or of its own limit where that is tighter.
    fn cpu_percent(&self) -> Option<f64> {
        let line = &self.line;
        let limit = line.cgroup.as_ref().and_then(|cgroup| cgroup.cpu_limit).filter(|&limit| limit > 0.0);
        match limit {
            Some(limit) if line.cpu_count.is_none_or(|count| limit < count) => {
                // The machine's figure has others in it; the run's processes count percent of one core.
                let own = line.processes.iter().flatten().filter_map(|process| process.cpu_percent);
                own.reduce(|one, other| one + other).map(|percent| (percent / limit).min(100.0))
            }
            _ => line.cpu_percent,
        }
    }

    /// Bytes of memory that are used, and their percentage: of the machine, or of the run's limit where that is tighter.
    fn memory(&self) -> (Option<f64>, Option<f64>) {
        let memory = self.line.memory.as_ref();
        let cgroup = self.line.cgroup.as_ref();
        let limit = cgroup.and_then(|cgroup| cgroup.memory_limit).filter(|&limit| limit > 0.0);
        let total = memory.and_then(|memory| memory.total);
        match limit {
            Some(limit) if total.is_none_or(|total| limit < total) => {
                let used = cgroup.and_then(|cgroup| cgroup.memory_used);
                (used, used.map(|used| 100.0 * used / limit))
            }
            _ => (memory.and_then(|memory| memory.used), memory.and_then(|memory| memory.percent)),
        }
    }
}

impl Gpu {
    fn memory_percent(&self) -> Option<f64> {
        let total = self.mem_total.filter(|&total| total > 0.0)?;
        Some(100.0 * self.mem_used? / total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"ts":12.5,"run_id":"r","host":"a/b","cpu_percent":40.0,"cpu_count":8,
        "memory":{"total":16000000,"available":9000000,"percent":43.75,"used":7000000,"free":null},"swap":null,"load_avg":[1,2,3],
        "disk":{"total":10,"used":4000000,"free":6000000,"percent":40.0,"read_bytes":5,"write_bytes":7},
        "network":{"bytes_recv":3000000,"bytes_sent":null},"processes":[{"pid":1,"cpu_percent":150.0},{"pid":2,"cpu_percent":null}],
        "cgroup":{"cpu_limit":null,"memory_limit":null,"memory_used":null},"gpu_count":1,
        "gpus":[{"index":3,"uuid":"u","name":"n","util":90,"mem_used":2000000,"mem_total":8000000,"temp_c":60,"power_w":null}],
        "gpu_util_mean":90,"errors":[]}"#;

    fn named(points: &[Point]) -> Vec<(&str, f64)> {
        points.iter().map(|point| (&*point.metric, point.number())).collect()
    }

    #[test]
    fn a_sample_has_mlflow_s_names_and_what_is_not_known_is_left_out() {
        let mut tally = Tally::default();
        let first = tally.next(LINE).unwrap();
        assert_eq!((first.number, first.micros), (0, 12_500_000));
        let points = first.points(&Stream::main());
        assert!(points.iter().all(|point| &*point.split == "system" && point.step == 0));
        assert_eq!(
            named(&points),
            [
                ("cpu_utilization_percentage", 40.0),
                ("system_memory_usage_megabytes", 7.0),
                ("system_memory_usage_percentage", 43.75),
                ("disk_usage_percentage", 40.0),
                ("disk_usage_megabytes", 4.0),
                ("disk_available_megabytes", 6.0),
                ("network_receive_megabytes", 0.0),
                ("gpu_3_memory_usage_percentage", 25.0),
                ("gpu_3_memory_usage_megabytes", 2.0),
                ("gpu_3_utilization_percentage", 90.0),
            ]
        );
        let later = tally.next(&LINE.replace("3000000", "9000000")).unwrap();
        assert_eq!(later.number, 1);
        assert_eq!(named(&later.points(&Stream::main()))[6], ("network_receive_megabytes", 6.0), "since the first");
        let restarted = tally.next(&LINE.replace("3000000", "1000000")).unwrap();
        assert_eq!(named(&restarted.points(&Stream::main()))[6], ("network_receive_megabytes", 0.0));
        assert_eq!(restarted.line.host.as_deref(), Some("a/b"));
        let elsewhere = Stream::parse("sidecar-a").unwrap();
        assert_eq!(&*restarted.points(&elsewhere)[0].metric, "a_b/cpu_utilization_percentage");
    }

    #[test]
    fn percentages_are_of_the_tighter_limit() {
        let limits = r#""cpu_limit":2.0,"memory_limit":8000000,"memory_used":2000000"#;
        let narrow = LINE.replace(r#""cpu_limit":null,"memory_limit":null,"memory_used":null"#, limits);
        let points = Tally::default().next(&narrow).unwrap().points(&Stream::main());
        assert_eq!(named(&points)[..3].iter().map(|(_, value)| *value).collect::<Vec<_>>(), [75.0, 2.0, 25.0]);
        let wide =
            narrow.replace("\"cpu_limit\":2.0,\"memory_limit\":8000000", "\"cpu_limit\":64,\"memory_limit\":99000000");
        let points = Tally::default().next(&wide).unwrap().points(&Stream::main());
        assert_eq!(named(&points)[..3].iter().map(|(_, value)| *value).collect::<Vec<_>>(), [40.0, 7.0, 43.75]);
    }

    #[test]
    fn what_is_no_sample_is_none_and_not_numbered() {
        let mut tally = Tally::default();
        for line in ["{}", "[]", r#"{"ts":null}"#, r#"{"ts":"x"}"#, "no JSON"] {
            assert!(tally.next(line).is_none(), "{line}");
        }
        let bare = tally.next(r#"{"ts":1}"#).unwrap();
        assert_eq!((bare.number, bare.points(&Stream::main()), bare.for_wandb()), (0, vec![], vec![]));
    }
}
