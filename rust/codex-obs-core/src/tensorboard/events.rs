//! What is logged as events.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;

use prost::Message;
use serde_json::value::RawValue;

use super::frame;
use super::message::{
    DataClass, DataType, Dim, Event, HparamsData, Kind, Metadata, Parameter, PluginData, SessionEnd, SessionStart,
    Shape, SourceMetadata, Status, Summary, Tensor, Value,
};
use crate::file_destination::Records;
use crate::structured::{Histogram, Structured};

/// What the first record of every event file says.
const FILE_VERSION: &str = "brain.Event:2";
/// Who we are there; the run's id stands behind it.
const WRITER: &str = "codex_obs ";
/// The series in whose metadata the plugin of hyperparameters looks.
const SESSION_START: &str = "_hparams_/session_start_info";
const SESSION_END: &str = "_hparams_/session_end_info";
/// The series of parameters and tags as text.
const PARAMETERS: &str = "parameters";

/// Where and when something was logged.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// Part of the data.
    pub split: &'a str,
    /// Name of the metric.
    pub metric: &'a str,
    /// Training step.
    pub step: i64,
    /// Microseconds since the epoch.
    pub micros: i64,
}

/// Events on their way to a file.
#[derive(Debug)]
pub struct Events {
    /// As records.
    pub records: Records,
    /// The event of a number, which is used again and again.
    scalar: Event,
}

impl Default for Events {
    fn default() -> Self {
        let value = Value { simple_value: Some(0.0), ..Value::default() };
        let scalar = Event { summary: Some(Summary { value: vec![value] }), ..Event::default() };
        Self { records: Records::default(), scalar }
    }
}

impl Events {
    /// Begins a file of the run `run_id`.
    pub fn head(&mut self, run_id: &str, micros: i64) {
        self.push(&Event {
            wall_time: seconds(micros),
            file_version: Some(FILE_VERSION.to_owned()),
            source_metadata: Some(SourceMetadata { writer: format!("{WRITER}{run_id}") }),
            ..Event::default()
        });
    }

    /// Adds a number. TensorBoard keeps single floats.
    pub fn scalar(&mut self, at: Moment<'_>, number: f64) {
        self.scalar.wall_time = seconds(at.micros);
        self.scalar.step = at.step;
        if let Some(value) = self.scalar.summary.as_mut().and_then(|summary| summary.value.first_mut()) {
            value.tag.clear();
            value.tag.extend([at.split, "/", at.metric]);
            value.simple_value = Some(number as f32);
        }
        frame::push(self.records.begin(), &self.scalar);
    }

    /// Adds a histogram or a text.
    pub fn structured(&mut self, at: Moment<'_>, form: &Structured) {
        let (plugin, tensor) = match form {
            Structured::Histogram(histogram) => ("histograms", histogram_tensor(histogram)),
            Structured::Text(text) => ("text", text_tensor(text)),
        };
        let plugin_data = PluginData { plugin_name: plugin.to_owned(), content: Vec::new() };
        let metadata = Metadata { plugin_data: Some(plugin_data), data_class: DataClass::Tensor.into() };
        let tag = [at.split, "/", at.metric].concat();
        self.value(
            at.step,
            at.micros,
            Value { tag, tensor: Some(tensor), metadata: Some(metadata), ..Value::default() },
        );
    }

    /// Adds the parameters of the run, which the plugin of hyperparameters shows in its table. It knows the first that it
    /// gets and no others.
    pub fn hyperparameters(&mut self, parameters: &[(String, Box<RawValue>)], micros: i64) {
        let hparams: BTreeMap<_, _> =
            parameters.iter().map(|(key, json)| (key.clone(), Parameter { kind: Some(kind(json)) })).collect();
        let start = SessionStart { hparams, start_time_secs: seconds(micros) };
        self.session(SESSION_START, micros, &HparamsData { session_start_info: Some(start), session_end_info: None });
    }

    /// Says in the same table that the run finished.
    pub fn finished(&mut self, micros: i64) {
        let end = SessionEnd { status: Status::Success.into(), end_time_secs: seconds(micros) };
        self.session(SESSION_END, micros, &HparamsData { session_start_info: None, session_end_info: Some(end) });
    }

    /// Adds parameters or tags as a table in a text, the `number`th.
    pub fn parameter_text(&mut self, rows: &[(String, Box<RawValue>)], number: i64, micros: i64) {
        let mut table = String::from("| | |\n|---|---|\n");
        for (key, json) in rows {
            // Writing to a String cannot fail.
            let _ = writeln!(table, "| {} | {} |", cell(key), cell(&text(json)));
        }
        let plugin_data = PluginData { plugin_name: "text".to_owned(), content: Vec::new() };
        let metadata = Metadata { plugin_data: Some(plugin_data), data_class: DataClass::Tensor.into() };
        let tag = PARAMETERS.to_owned();
        let tensor = Some(text_tensor(&table));
        self.value(number, micros, Value { tag, tensor, metadata: Some(metadata), ..Value::default() });
    }

    fn session(&mut self, tag: &str, micros: i64, data: &HparamsData) {
        let plugin_data = PluginData { plugin_name: "hparams".to_owned(), content: data.encode_to_vec() };
        // With a class of data the plugin does not find it.
        let metadata = Metadata { plugin_data: Some(plugin_data), data_class: DataClass::Unknown.into() };
        let nothing = Tensor { dtype: DataType::Float.into(), shape: Some(Shape::default()), ..Tensor::default() };
        let tensor = Some(Tensor { float_val: vec![0.0], ..nothing });
        self.value(0, micros, Value { tag: tag.to_owned(), tensor, metadata: Some(metadata), ..Value::default() });
    }

    fn value(&mut self, step: i64, micros: i64, value: Value) {
        let summary = Some(Summary { value: vec![value] });
        self.push(&Event { wall_time: seconds(micros), step, summary, ..Event::default() });
    }

    fn push(&mut self, event: &Event) {
        frame::push(self.records.begin(), event);
    }
}

/// The run whose file begins with `bytes`. `None`: none of ours.
#[must_use]
pub fn run_of(bytes: &[u8]) -> Option<String> {
    let (data, _) = frame::split(bytes)?;
    let event = Event::decode(data).ok()?;
    Some(event.source_metadata?.writer.strip_prefix(WRITER)?.to_owned())
}

fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

fn shape(sizes: &[usize]) -> Shape {
    Shape { dim: sizes.iter().map(|&size| Dim { size: size as i64 }).collect() }
}

/// Left end, right end and count of each bin.
fn histogram_tensor(histogram: &Histogram) -> Tensor {
    let bins = histogram.edges.windows(2).zip(&histogram.counts);
    let content = bins.flat_map(|(ends, &count)| [ends[0], ends[1], count]).flat_map(f64::to_le_bytes).collect();
    Tensor {
        dtype: DataType::Double.into(),
        shape: Some(shape(&[histogram.counts.len(), 3])),
        content,
        ..Tensor::default()
    }
}

fn text_tensor(text: &str) -> Tensor {
    let string_val = vec![text.as_bytes().to_vec()];
    Tensor { dtype: DataType::String.into(), shape: Some(shape(&[1])), string_val, ..Tensor::default() }
}

/// A parameter as the plugin of hyperparameters tells it apart.
fn kind(json: &RawValue) -> Kind {
    match json.get() {
        "true" => Kind::Truth(true),
        "false" => Kind::Truth(false),
        other => match other.parse() {
            // Text in quotes is no number, whatever it says.
            Ok(number) => Kind::Number(number),
            Err(_) => Kind::Text(text(json).into_owned()),
        },
    }
}

/// A value for people: text without quotes, JSON for the rest.
fn text(json: &RawValue) -> Cow<'_, str> {
    serde_json::from_str::<String>(json.get()).map_or(Cow::Borrowed(json.get()), Cow::Owned)
}

/// A cell of a table in Markdown, in which nothing is markup.
fn cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' => out.push(' '),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '#' | '!' | '|' => {
                out.extend(['\\', character]);
            }
            character => out.push(character),
        }
    }
    out
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
