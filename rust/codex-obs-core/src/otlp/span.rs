//! Lines of telemetry as spans.

use serde_json::{Map, Value};

use super::message::{Any, AnyValue, ArrayValue, Event, KeyValue, Link, Span, Status};

const INTERNAL: i32 = 1;
const CLIENT: i32 = 3;
const OK: i32 = 1;
const ERROR: i32 = 2;
/// Flags of a sampled span whose parent is known to be of this or of another process.
const LOCAL_PARENT: u32 = 0x101;
const REMOTE_PARENT: u32 = 0x301;
/// What a span that was open when its process died is said to have.
const UNFINISHED: &str = "the process ended before the span";
/// Where a content is kept in a line, and what MLflow calls it.
const CONTENT: [(&str, &str); 3] =
    [("input", "mlflow.spanInputs"), ("arguments", "mlflow.spanInputs"), ("output", "mlflow.spanOutputs")];

/// What a line is of.
#[derive(Clone, Debug)]
pub enum Line {
    /// The first of a span.
    Begins(Record),
    /// The last of a span, which has all of it.
    Ends(Record),
    /// An event.
    Happens(Record),
}

/// A line that was read.
#[derive(Clone, Debug)]
pub struct Record {
    /// Joins the lines of a span; empty of an event outside of any.
    pub token: String,
    /// The line.
    document: Map<String, Value>,
}

impl Line {
    /// Reads a line; `None` if it is none of telemetry.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let Ok(Value::Object(document)) = serde_json::from_str(text) else { return None };
        let event = document.get("event")?.as_str()?;
        let token = document.get("span_token").and_then(Value::as_str).unwrap_or_default().to_owned();
        let has = |key| document.get("metadata").is_some_and(|metadata| metadata.get(key).is_some());
        let (ends, begins) = (has("status"), has("name") && is_start(event));
        let record = Record { token, document };
        Some(if record.ids().is_none() {
            Self::Happens(record)
        } else if ends {
            Self::Ends(record)
        } else if begins {
            Self::Begins(record)
        } else {
            Self::Happens(record)
        })
    }
}

/// Whether an event is the first of a span.
fn is_start(event: &str) -> bool {
    event.rsplit_once('.').is_some_and(|(_, moment)| matches!(moment, "start" | "requested"))
}

impl Record {
    /// The line again, for those that are kept.
    #[must_use]
    pub fn to_text(&self) -> String {
        Value::Object(self.document.clone()).to_string()
    }

    /// Whether it is to stay at home.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.metadata("tracing_disabled").and_then(Value::as_bool).unwrap_or(false)
    }

    /// When it was written, in nanoseconds since the epoch, if it says so.
    #[must_use]
    pub fn written_at(&self) -> Option<u64> {
        self.measured("system_time")
    }

    fn ids(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let trace = bytes(self.document.get("trace_id")?.as_str()?, 16)?;
        Some((trace, bytes(self.document.get("span_id")?.as_str()?, 8)?))
    }

    fn metadata(&self, key: &str) -> Option<&Value> {
        self.document.get("metadata")?.get(key)
    }

    fn measured(&self, key: &str) -> Option<u64> {
        self.document.get("measurements")?.get(key)?.as_u64()
    }

    fn text(&self, key: &str) -> &str {
        self.metadata(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// The span that ended with this line. `for_mlflow`: content under its own names, and a root where the parent is elsewhere.
    #[must_use]
    pub fn ended(&self, for_mlflow: bool) -> Option<Span> {
        let end = self.measured("system_time")?;
        let start = self.measured("start_time").unwrap_or(end);
        let code = match self.text("status") {
            "ok" => OK,
            "error" => ERROR,
            _ => 0,
        };
        let message = if code == ERROR { self.text("status_message").to_owned() } else { String::new() };
        self.span(start, end, Status { message, code }, for_mlflow)
    }

    /// The span that began with this line, as an error, if it ends with the process at `end`.
    #[must_use]
    pub fn cut_off(&self, end: u64, for_mlflow: bool) -> Option<Span> {
        let start = self.measured("system_time")?;
        let status = Status { message: UNFINISHED.to_owned(), code: ERROR };
        self.span(start, end.max(start), status, for_mlflow)
    }

    fn span(&self, start: u64, end: u64, status: Status, for_mlflow: bool) -> Option<Span> {
        let (trace_id, span_id) = self.ids()?;
        let mut parent = self.document.get("parent_span_id").and_then(Value::as_str).and_then(|id| bytes(id, 8));
        let is_remote = self.metadata("parent_is_remote").and_then(Value::as_bool).unwrap_or(false);
        let is_foreign = self.metadata("parent_is_foreign").and_then(Value::as_bool).unwrap_or(false);
        let mut links = Vec::new();
        if for_mlflow
            && is_foreign
            && let Some(span_id) = parent.take()
        {
            // It will never see the parent, and shows no trace without a root.
            links.push(Link { trace_id: trace_id.clone(), span_id });
        }
        let mut attributes = attributes(self.metadata("attributes"));
        if for_mlflow {
            for (key, name) in CONTENT {
                if let Some(content) = self.metadata(key) {
                    attributes.push(text_pair(name, &whole(content)));
                }
            }
        }
        let events = self.metadata("events").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let dropped = self.metadata("events_dropped").and_then(Value::as_u64).unwrap_or(0);
        Some(Span {
            trace_id,
            span_id,
            parent_span_id: parent.unwrap_or_default(),
            name: self.text("name").to_owned(),
            kind: if self.text("kind") == "client" { CLIENT } else { INTERNAL },
            start,
            end,
            attributes,
            events: events.iter().filter_map(event).collect(),
            dropped_events: u32::try_from(dropped).unwrap_or(u32::MAX),
            links,
            status: Some(status),
            flags: if is_remote || is_foreign { REMOTE_PARENT } else { LOCAL_PARENT },
        })
    }
}

fn event(value: &Value) -> Option<Event> {
    Some(Event {
        time: value.get("time")?.as_u64()?,
        name: value.get("name")?.as_str()?.to_owned(),
        attributes: attributes(value.get("attributes")),
    })
}

/// The members of an object. What has no value is left out.
#[must_use]
pub fn attributes(object: Option<&Value>) -> Vec<KeyValue> {
    let pairs = object.and_then(Value::as_object).into_iter().flatten();
    pairs.filter_map(|(key, value)| Some(KeyValue { key: key.clone(), value: Some(any(value)?) })).collect()
}

/// A text as an attribute.
#[must_use]
pub fn text_pair(key: &str, text: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(Any::Text(text.to_owned())) }) }
}

/// A value as collectors take it: what is nested goes as its JSON text.
fn any(value: &Value) -> Option<AnyValue> {
    let any = match value {
        Value::Null => return None,
        Value::String(text) => Any::Text(text.clone()),
        Value::Bool(flag) => Any::Bool(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Any::Int(integer),
            (None, Some(double)) if number.is_f64() => Any::Double(double),
            // Every digit of what is too long for either.
            _ => Any::Text(number.to_string()),
        },
        Value::Array(values) if values.iter().all(|value| kind(value).is_some() && kind(value) == kind(&values[0])) => {
            Any::Array(ArrayValue { values: values.iter().filter_map(any).collect() })
        }
        nested => Any::Text(nested.to_string()),
    };
    Some(AnyValue { value: Some(any) })
}

/// The kind of a plain value; of others none.
fn kind(value: &Value) -> Option<u8> {
    match value {
        Value::String(_) => Some(0),
        Value::Bool(_) => Some(1),
        Value::Number(number) if number.is_f64() => Some(2),
        Value::Number(_) => Some(3),
        _ => None,
    }
}

/// A text as it is, anything else as JSON.
fn whole(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// So many bytes from hex digits; `None` of zeros, which are no id.
fn bytes(hex: &str, count: usize) -> Option<Vec<u8>> {
    if hex.len() != 2 * count || !hex.is_ascii() {
        return None;
    }
    let digits = (0..count).map(|index| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).ok());
    digits.collect::<Option<Vec<u8>>>().filter(|bytes| bytes.iter().any(|byte| *byte != 0))
}
