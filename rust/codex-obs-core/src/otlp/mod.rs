//! Spans over OTLP, to a collector or to MLflow's own server.
//!
//! [`Otlp`] is the destination. It follows `telemetry.ndjson`: [`span`] makes spans of lines, [`lane`] knows which are open,
//! [`request`] packs them, [`classify`] says what a reply means.

pub mod classify;
pub mod lane;
pub mod message;
pub mod request;
pub mod settings;
pub mod span;

mod mlflow;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use xxhash_rust::xxh3::Xxh3;

use self::classify::{Link, Outcome, partial_success};
use self::lane::Lane;
use self::message::{KeyValue, Span};
pub use self::settings::OtlpSettings;
use self::span::text_pair;
use crate::deliver::destination::{Answer, Destination, Follows, Noted, RunFacts, Start};
use crate::deliver::rejected::{Refused, RejectedLog};
use crate::deliver::settings::RunFolder;
use crate::error::Result;
use crate::follow::point::Point;
use crate::follow::reached::Reached;
use crate::http::attempts::{Complaint, Halt};
use crate::http::exchange::{Content, Reply};
use crate::limits::{EXPORT_REPLY_BYTES, EXPORT_SHORTEST_BACKOFF, RECORD_BATCH};
use crate::paths::{FileKind, Stream};
use crate::run::ending::RunStatus;
use crate::wait::Wait;
use crate::words::count;

/// Rounds after which a request at which the collector fails is taken apart.
const FAILED_ROUNDS: u32 = 3;

/// A collector as a destination.
#[derive(Debug)]
pub struct Otlp {
    settings: OtlpSettings,
    link: Link,
    /// What is known of who makes the spans.
    resource: Vec<KeyValue>,
    /// Where they belong at MLflow.
    headers: Vec<(&'static str, String)>,
    lanes: HashMap<Stream, Lane>,
    pending: HashMap<Stream, Pending>,
    rejected: HashMap<Stream, RejectedLog>,
    directory: PathBuf,
    file_mode: u32,
    run_id: String,
    /// Spans that were taken and are not counted yet.
    taken: u64,
    notices: Vec<String>,
    has_told: bool,
}

/// Spans on their way.
#[derive(Debug)]
struct Pending {
    /// Of the lines that they were made of.
    hash: u64,
    /// What is open behind those.
    lane: Lane,
    /// What is still to be sent, in requests.
    requests: Vec<Vec<Span>>,
    rejected: u64,
    /// Rounds in which the collector failed at the first of them.
    failed: u32,
    /// Whether it has taken another one since it failed.
    has_worked: bool,
}

impl Otlp {
    /// A destination that has not connected yet.
    ///
    /// # Errors
    /// If a certificate or a header cannot be used.
    pub fn new(settings: &OtlpSettings, folder: &RunFolder<'_>) -> Result<Self> {
        Ok(Self {
            link: Link::new(&settings.server, settings.timeout, settings.clock.clone())?,
            settings: settings.clone(),
            resource: Vec::new(),
            headers: Vec::new(),
            lanes: HashMap::new(),
            pending: HashMap::new(),
            rejected: HashMap::new(),
            directory: folder.directory.to_owned(),
            file_mode: folder.file_mode,
            run_id: String::new(),
            taken: 0,
            notices: Vec::new(),
            has_told: false,
        })
    }

    /// The resource of a stream's spans.
    fn resource_of(&self, stream: &Stream) -> Vec<KeyValue> {
        let mut resource = self.resource.clone();
        resource.push(text_pair("codex_obs.stream", stream.as_str()));
        resource
    }

    /// Sends what is pending.
    fn send(&mut self, stream: &Stream, wait: &Wait) -> Answer {
        let Some(mut pending) = self.pending.remove(stream) else { return Answer::TAKEN };
        let resource = self.resource_of(stream);
        while let Some(spans) = pending.requests.pop() {
            let outcome = self.post(&resource, &spans, wait);
            match outcome {
                Outcome::Accepted(body) => {
                    let rejected = self.note_partial(body, spans.len());
                    self.taken += spans.len() as u64 - rejected;
                    pending.rejected += rejected;
                    (pending.failed, pending.has_worked) = (0, true);
                }
                Outcome::Refused { complaint, .. } | Outcome::TooLarge(complaint) => {
                    if let Err(answer) = self.take_apart(stream, &mut pending, spans, &complaint) {
                        self.pending.insert(stream.clone(), pending);
                        return answer;
                    }
                }
                Outcome::Failed { complaint, pause } => {
                    pending.failed += 1;
                    if pending.failed >= FAILED_ROUNDS && (spans.len() > 1 || pending.has_worked) {
                        // It may be one span that it cannot cope with. The others go first, which shows whether it works.
                        let apart = self.take_apart(stream, &mut pending, spans, &complaint);
                        if let Err(answer) = apart {
                            self.pending.insert(stream.clone(), pending);
                            return answer;
                        }
                    } else {
                        pending.requests.push(spans);
                    }
                    self.pending.insert(stream.clone(), pending);
                    let why = format!("{}: status {}: {}", self.settings.url, complaint.status, complaint.words);
                    return Answer::Later { pause, why };
                }
                Outcome::Halted(Halt::Later { pause, why, .. }) => {
                    pending.requests.push(spans);
                    self.pending.insert(stream.clone(), pending);
                    return Answer::Later { pause, why };
                }
                Outcome::Halted(Halt::Gone(why)) => return Answer::Never { why: why.into() },
            }
        }
        self.lanes.insert(stream.clone(), pending.lane);
        Answer::Taken { rejected: pending.rejected }
    }

    fn post(&mut self, resource: &[KeyValue], spans: &[Span], wait: &Wait) -> Outcome {
        let body = request::body(resource, spans);
        let content = Content { kind: "application/x-protobuf", encoding: Some("gzip"), headers: self.headers.clone() };
        self.link.post_content(&self.settings.url, &content, &body, EXPORT_REPLY_BYTES, wait)
    }

    /// Makes two requests of one, or rejects the span that is alone.
    fn take_apart(
        &mut self,
        stream: &Stream,
        pending: &mut Pending,
        mut spans: Vec<Span>,
        complaint: &Complaint,
    ) -> std::result::Result<(), Answer> {
        pending.failed = 0;
        if spans.len() > 1 {
            let rest = spans.split_off(spans.len() / 2);
            pending.requests.extend([rest, spans]);
            return Ok(());
        }
        if let Some(span) = spans.first()
            && let Err(error) = self.put_on_record(stream, span, complaint)
        {
            pending.requests.push(spans);
            return Err(Answer::Later { pause: EXPORT_SHORTEST_BACKOFF, why: error.to_string() });
        }
        pending.rejected += 1;
        self.tell(&format!("a span was refused (status {}): {}", complaint.status, complaint.words));
        Ok(())
    }

    /// Writes a span down that was refused for good.
    fn put_on_record(&mut self, stream: &Stream, span: &Span, complaint: &Complaint) -> Result<()> {
        if !self.rejected.contains_key(stream) {
            let folder = RunFolder { directory: &self.directory, file_mode: self.file_mode };
            let mut log = RejectedLog::new(&folder, stream, self.settings.clock.clone(), self.address())?;
            log.set_run(&self.run_id);
            self.rejected.insert(stream.clone(), log);
        }
        let Some(log) = self.rejected.get_mut(stream) else { return Ok(()) };
        let name = if span.name.is_empty() { "span" } else { &span.name };
        log.append(Refused::Span(&ids(span)), name, "", complaint)?;
        log.sync()
    }

    /// How many spans an answer says were refused.
    fn note_partial(&mut self, body: Vec<u8>, sent: usize) -> u64 {
        let reply = Reply { status: 200, retry_after: None, body, is_cut: false };
        let partial = partial_success(&reply).unwrap_or_default();
        let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0).min(sent as u64);
        if rejected > 0 {
            let words = self.link.clean(&partial.error_message);
            self.tell(&format!("{} refused: {words}", count(rejected, "span")));
        }
        rejected
    }

    /// Says once that spans are refused; they are counted.
    fn tell(&mut self, what: &str) {
        if !std::mem::replace(&mut self.has_told, true) {
            self.notices.push(format!("{}: {what}; spans_rejected in stats() counts them. Said once.", self.address()));
        }
    }

    /// Makes spans of lines with `read`, unless they are pending already, and sends them.
    fn deliver_spans(
        &mut self,
        stream: &Stream,
        hash: u64,
        read: impl FnOnce(&mut Lane, bool, &mut Vec<Span>),
        wait: &Wait,
    ) -> Answer {
        if self.pending.get(stream).is_none_or(|pending| pending.hash != hash) {
            let mut lane = self.lanes.get(stream).cloned().unwrap_or_default();
            let mut spans = Vec::new();
            read(&mut lane, self.settings.mlflow.is_some(), &mut spans);
            let forgotten = std::mem::take(&mut lane.forgotten);
            if forgotten > 0 {
                self.notices.push(format!(
                    "{}: more spans are open than are noted: {} would not be sent if the process died",
                    self.address(),
                    count(forgotten, "span")
                ));
            }
            // The first is sent first.
            let requests = spans.chunks(RECORD_BATCH).rev().map(<[Span]>::to_vec).collect();
            let pending = Pending { hash, lane, requests, rejected: 0, failed: 0, has_worked: false };
            self.pending.insert(stream.clone(), pending);
        }
        self.send(stream, wait)
    }
}

impl Destination for Otlp {
    fn address(&self) -> String {
        format!("otlp {}", self.settings.server.endpoint.base)
    }

    fn follows(&self) -> Follows {
        Follows { points: None, params: false, spans: true, holds: false, ..Follows::NUMBERS }
    }

    fn prepare(&mut self, run: &RunFacts, wait: &Wait) -> Answer {
        run.run_id.clone_into(&mut self.run_id);
        let mut resource = vec![("telemetry.sdk.name".to_owned(), "codex_obs".to_owned())];
        resource.push(("telemetry.sdk.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()));
        resource.push(("codex_obs.run_id".to_owned(), run.run_id.clone()));
        resource.push(("codex_obs.run_name".to_owned(), run.name.clone()));
        resource.extend(run.origin.host.iter().map(|host| ("host.name".to_owned(), host.clone())));
        // What the environment says wins.
        resource.retain(|(key, _)| self.settings.resource.iter().all(|(other, _)| other != key));
        resource.extend(self.settings.resource.iter().cloned());
        self.resource = resource.iter().map(|(key, value)| text_pair(key, value)).collect();
        if let Some(mlflow) = &self.settings.mlflow {
            match mlflow::headers(&mut self.link, &self.settings, mlflow, run, wait) {
                Ok(headers) => self.headers = headers,
                Err(answer) => return answer,
            }
        }
        Answer::TAKEN
    }

    fn open(&mut self, stream: &Stream, noted: &Noted<'_>) -> Start {
        self.lanes.insert(stream.clone(), noted.state.map(Lane::of).unwrap_or_default());
        Start::AsNoted
    }

    fn params(&mut self, _stream: &Stream, _params: &[(String, String)], _wait: &Wait) -> Answer {
        Answer::TAKEN
    }

    fn tags(&mut self, _stream: &Stream, _tags: &[(String, String)], _wait: &Wait) -> Answer {
        Answer::TAKEN
    }

    fn deliver(&mut self, _stream: &Stream, _points: &[Point], _wait: &Wait) -> Answer {
        Answer::TAKEN
    }

    fn records(&mut self, stream: &Stream, _log: FileKind, lines: &[Box<str>], wait: &Wait) -> Answer {
        let mut hasher = Xxh3::new();
        hasher.update(stream.as_str().as_bytes());
        for line in lines {
            hasher.update(line.as_bytes());
        }
        let read = |lane: &mut Lane, for_mlflow: bool, spans: &mut Vec<Span>| {
            for line in lines {
                lane.take(line, for_mlflow, spans);
            }
        };
        self.deliver_spans(stream, hasher.digest(), read, wait)
    }

    fn over(&mut self, stream: &Stream, _log: FileKind, wait: &Wait) -> Option<Answer> {
        if !self.lanes.get(stream).is_some_and(Lane::is_open) {
            return None;
        }
        let mut hasher = Xxh3::new();
        hasher.update(stream.as_str().as_bytes());
        hasher.update(b"\0over");
        Some(self.deliver_spans(stream, hasher.digest(), Lane::cut_off, wait))
    }

    fn keep(&mut self, stream: &Stream, _reached: &Reached) -> Result<Option<String>> {
        Ok(self.lanes.get(stream).map(Lane::state))
    }

    fn count_spans(&self, state: &mut Option<String>, lines: &[Box<str>], is_over: bool) -> u64 {
        let mut lane = state.as_deref().map(Lane::of).unwrap_or_default();
        let mut spans = Vec::new();
        for line in lines {
            lane.take(line, false, &mut spans);
        }
        if is_over {
            lane.cut_off(false, &mut spans);
        }
        *state = Some(lane.state());
        spans.len() as u64
    }

    fn take_spans(&mut self) -> u64 {
        std::mem::take(&mut self.taken)
    }

    fn finish(&mut self, _stream: &Stream, _status: RunStatus, _end_micros: i64, _wait: &Wait) -> Answer {
        Answer::TAKEN
    }

    fn notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }
}

/// Trace and span in hex digits.
fn ids(span: &Span) -> String {
    let mut text = String::new();
    for byte in &span.trace_id {
        let _ = write!(text, "{byte:02x}");
    }
    text.push('/');
    for byte in &span.span_id {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
