//! The messages that an offline run of Weights & Biases is made of, as far as they are used: `wandb_internal.proto`.

use prost::Message;

/// One record of a file; it has one of these kinds.
#[derive(Clone, PartialEq, Message)]
pub struct Record {
    /// Which one of the file it is, from 1.
    #[prost(int64, tag = "1")]
    pub num: i64,
    /// Values.
    #[prost(message, optional, tag = "2")]
    pub history: Option<History>,
    /// The last value of each metric.
    #[prost(message, optional, tag = "3")]
    pub summary: Option<Update>,
    /// Parameters.
    #[prost(message, optional, tag = "5")]
    pub config: Option<Update>,
    /// Samples of the machine.
    #[prost(message, optional, tag = "7")]
    pub stats: Option<Stats>,
    /// How metrics are drawn.
    #[prost(message, optional, tag = "12")]
    pub metric: Option<Metric>,
    /// The run.
    #[prost(message, optional, tag = "17")]
    pub run: Option<Run>,
    /// How it ended.
    #[prost(message, optional, tag = "18")]
    pub exit: Option<Exit>,
    /// The first one.
    #[prost(message, optional, tag = "21")]
    pub header: Option<Header>,
}

/// Values that were logged together.
#[derive(Clone, PartialEq, Message)]
pub struct History {
    /// The values.
    #[prost(message, repeated, tag = "1")]
    pub item: Vec<Item>,
    /// Their number.
    #[prost(message, optional, tag = "2")]
    pub step: Option<Step>,
}

/// A sample of the machine.
#[derive(Clone, PartialEq, Message)]
pub struct Stats {
    /// When it was taken.
    #[prost(message, optional, tag = "2")]
    pub timestamp: Option<Timestamp>,
    /// Its values. Their names have no parts.
    #[prost(message, repeated, tag = "3")]
    pub item: Vec<Item>,
}

/// The number of a history record.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Step {
    /// From 0.
    #[prost(int64, tag = "1")]
    pub num: i64,
}

/// A value by its name.
#[derive(Clone, PartialEq, Message)]
pub struct Item {
    /// The name, where it has no parts.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The parts of the name.
    #[prost(string, repeated, tag = "2")]
    pub nested_key: Vec<String>,
    /// The value; as JSON, beside which `NaN` and `Infinity` are allowed.
    #[prost(string, tag = "16")]
    pub value_json: String,
}

/// Values that take the place of earlier ones.
#[derive(Clone, PartialEq, Message)]
pub struct Update {
    /// The values.
    #[prost(message, repeated, tag = "1")]
    pub update: Vec<Item>,
}

/// How metrics are drawn.
#[derive(Clone, PartialEq, Message)]
pub struct Metric {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The pattern of their names.
    #[prost(string, tag = "2")]
    pub glob_name: String,
    /// The metric that is their horizontal axis.
    #[prost(string, tag = "4")]
    pub step_metric: String,
    /// More.
    #[prost(message, optional, tag = "6")]
    pub options: Option<MetricOptions>,
}

/// How metrics are drawn.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct MetricOptions {
    /// The horizontal axis is added where it is missing.
    #[prost(bool, tag = "1")]
    pub step_sync: bool,
    /// It was defined by the user.
    #[prost(bool, tag = "3")]
    pub defined: bool,
}

/// A run.
#[derive(Clone, PartialEq, Message)]
pub struct Run {
    /// Its identifier, part of its address.
    #[prost(string, tag = "1")]
    pub run_id: String,
    /// The user or team it belongs to; empty: the default one.
    #[prost(string, tag = "2")]
    pub entity: String,
    /// The project it belongs to; empty: the default one.
    #[prost(string, tag = "3")]
    pub project: String,
    /// The group it belongs to.
    #[prost(string, tag = "6")]
    pub run_group: String,
    /// What kind of job it is.
    #[prost(string, tag = "7")]
    pub job_type: String,
    /// What people call it.
    #[prost(string, tag = "8")]
    pub display_name: String,
    /// Notes.
    #[prost(string, tag = "9")]
    pub notes: String,
    /// Its tags.
    #[prost(string, repeated, tag = "10")]
    pub tags: Vec<String>,
    /// When it started.
    #[prost(message, optional, tag = "17")]
    pub start_time: Option<Timestamp>,
    /// It goes on where an earlier file of the same run ended.
    #[prost(bool, tag = "24")]
    pub resume: bool,
}

/// A time.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Timestamp {
    /// Since the epoch.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// And so many.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Exit {
    /// 0: it finished.
    #[prost(int32, tag = "1")]
    pub exit_code: i32,
    /// Seconds.
    #[prost(int32, tag = "2")]
    pub runtime: i32,
}

/// The first record of a file.
#[derive(Clone, PartialEq, Message)]
pub struct Header {
    /// Who made it.
    #[prost(message, optional, tag = "1")]
    pub version_info: Option<VersionInfo>,
}

/// Who made a file.
#[derive(Clone, PartialEq, Message)]
pub struct VersionInfo {
    /// A version.
    #[prost(string, tag = "1")]
    pub producer: String,
    /// The oldest version that reads it.
    #[prost(string, tag = "2")]
    pub min_consumer: String,
}
