//! The messages of TensorBoard that its event files are made of, as far as they are used: `event.proto`, `summary.proto` and
//! `tensor.proto` of TensorFlow, `plugins/hparams/plugin_data.proto` of TensorBoard, `google/protobuf/struct.proto`.

use std::collections::BTreeMap;

use prost::{Enumeration, Message, Oneof};

/// One record of a file.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Seconds since the epoch.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    /// The training step.
    #[prost(int64, tag = "2")]
    pub step: i64,
    /// In the first record only.
    #[prost(string, optional, tag = "3")]
    pub file_version: Option<String>,
    /// The values.
    #[prost(message, optional, tag = "5")]
    pub summary: Option<Summary>,
    /// In the first record only: who writes the file.
    #[prost(message, optional, tag = "10")]
    pub source_metadata: Option<SourceMetadata>,
}

/// Who writes a file.
#[derive(Clone, PartialEq, Message)]
pub struct SourceMetadata {
    /// A name.
    #[prost(string, tag = "1")]
    pub writer: String,
}

/// Values of one step.
#[derive(Clone, PartialEq, Message)]
pub struct Summary {
    /// The values.
    #[prost(message, repeated, tag = "1")]
    pub value: Vec<Value>,
}

/// One value.
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    /// The name of the series.
    #[prost(string, tag = "1")]
    pub tag: String,
    /// A number.
    #[prost(float, optional, tag = "2")]
    pub simple_value: Option<f32>,
    /// Anything else.
    #[prost(message, optional, tag = "8")]
    pub tensor: Option<Tensor>,
    /// Which plugin shows it.
    #[prost(message, optional, tag = "9")]
    pub metadata: Option<Metadata>,
}

/// What TensorBoard knows of a series.
#[derive(Clone, PartialEq, Message)]
pub struct Metadata {
    /// The plugin that shows it.
    #[prost(message, optional, tag = "1")]
    pub plugin_data: Option<PluginData>,
    /// What kind of values it has.
    #[prost(enumeration = "DataClass", tag = "4")]
    pub data_class: i32,
}

/// A plugin, and its own data.
#[derive(Clone, PartialEq, Message)]
pub struct PluginData {
    /// Its name.
    #[prost(string, tag = "1")]
    pub plugin_name: String,
    /// A message of its own.
    #[prost(bytes = "vec", tag = "2")]
    pub content: Vec<u8>,
}

/// What kind of values a series has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum DataClass {
    /// None: the data are in the plugin's own message.
    Unknown = 0,
    /// Numbers.
    Scalar = 1,
    /// Tensors: texts and histograms.
    Tensor = 2,
}

/// An array.
#[derive(Clone, PartialEq, Message)]
pub struct Tensor {
    /// The type of its elements.
    #[prost(enumeration = "DataType", tag = "1")]
    pub dtype: i32,
    /// Its shape.
    #[prost(message, optional, tag = "2")]
    pub shape: Option<Shape>,
    /// Elements of fixed size, little-endian.
    #[prost(bytes = "vec", tag = "4")]
    pub content: Vec<u8>,
    /// Elements that are single floats.
    #[prost(float, repeated, tag = "5")]
    pub float_val: Vec<f32>,
    /// Elements that are texts.
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub string_val: Vec<Vec<u8>>,
}

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum DataType {
    /// None.
    Invalid = 0,
    /// `float32`
    Float = 1,
    /// `float64`
    Double = 2,
    /// Bytes.
    String = 7,
}

/// The shape of a tensor.
#[derive(Clone, PartialEq, Message)]
pub struct Shape {
    /// Its dimensions; none: one element.
    #[prost(message, repeated, tag = "2")]
    pub dim: Vec<Dim>,
}

/// One dimension.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Dim {
    /// Its size.
    #[prost(int64, tag = "1")]
    pub size: i64,
}

/// What the plugin of hyperparameters keeps of a run, in the metadata of a series of its own.
#[derive(Clone, PartialEq, Message)]
pub struct HparamsData {
    /// Its parameters.
    #[prost(message, optional, tag = "3")]
    pub session_start_info: Option<SessionStart>,
    /// How it ended.
    #[prost(message, optional, tag = "4")]
    pub session_end_info: Option<SessionEnd>,
}

/// The parameters of a run.
#[derive(Clone, PartialEq, Message)]
pub struct SessionStart {
    /// By name.
    #[prost(btree_map = "string, message", tag = "1")]
    pub hparams: BTreeMap<String, Parameter>,
    /// Seconds since the epoch.
    #[prost(double, tag = "5")]
    pub start_time_secs: f64,
}

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct SessionEnd {
    /// Success, failure.
    #[prost(enumeration = "Status", tag = "1")]
    pub status: i32,
    /// Seconds since the epoch.
    #[prost(double, tag = "2")]
    pub end_time_secs: f64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum Status {
    /// Nobody knows.
    Unknown = 0,
    /// It finished.
    Success = 1,
}

/// A value of `google.protobuf.Value`.
#[derive(Clone, PartialEq, Message)]
pub struct Parameter {
    /// The value.
    #[prost(oneof = "Kind", tags = "2, 3, 4")]
    pub kind: Option<Kind>,
}

/// The kinds of parameters that TensorBoard tells apart.
#[derive(Clone, PartialEq, Oneof)]
pub enum Kind {
    /// A number.
    #[prost(double, tag = "2")]
    Number(f64),
    /// A text.
    #[prost(string, tag = "3")]
    Text(String),
    /// A truth value.
    #[prost(bool, tag = "4")]
    Truth(bool),
}
