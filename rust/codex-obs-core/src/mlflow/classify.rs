//! What a reply means: a pure table of status and body.

use serde::Deserialize;

use crate::http::attempts::{self, Protocol, Verdict};
use crate::http::exchange::Reply;

/// What of a request a server's complaint is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `metrics[i]`
    Metric(usize),
    /// `params[i]`
    Param(usize),
    /// `tags[i]`
    Tag(usize),
}

/// What sends requests to a server.
pub type Link = attempts::Link<Rest>;
/// What came of one.
pub type Outcome = attempts::Outcome<Part>;

/// MLflow's REST interface.
#[derive(Debug)]
pub struct Rest;

impl Protocol for Rest {
    type Part = Part;

    const ACCESS: &str = "check MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, and the server's \
        permissions and allowed hosts";
    const TRUST: &str = "MLFLOW_TRACKING_SERVER_CERT_PATH and MLFLOW_TRACKING_CLIENT_CERT_PATH";
    const SERVER: &str = "an MLflow server";

    fn verdict(reply: &Reply) -> Verdict<Part> {
        verdict(reply)
    }

    fn words(reply: &Reply) -> String {
        words(reply)
    }
}

/// What MLflow says where something went wrong.
#[derive(Debug, Default, Deserialize)]
struct Complaint {
    #[serde(default)]
    error_code: serde_json::Value,
    #[serde(default)]
    message: serde_json::Value,
}

/// The verdict on a reply.
#[must_use]
pub fn verdict(reply: &Reply) -> Verdict<Part> {
    let complaint = complaint(reply);
    let is_mlflow = complaint.as_ref().is_some_and(|complaint| complaint.error_code.is_string());
    let message = complaint.as_ref().and_then(|complaint| complaint.message.as_str()).unwrap_or_default();
    let code = complaint.as_ref().and_then(|complaint| complaint.error_code.as_str()).unwrap_or_default();
    match reply.status {
        // Every reply of MLflow is a JSON object; a portal's page or an empty answer stored nothing.
        200 if is_object(reply) && !is_mlflow => Verdict::Accepted,
        300..400 => Verdict::Redirected,
        400 | 422 if is_about_run(message) => Verdict::Gone,
        400 | 422 => Verdict::Refused(named_part(message)),
        401 | 403 | 407 => Verdict::Forbidden,
        404 if matches!(code, "RESOURCE_DOES_NOT_EXIST" | "NOT_FOUND") => Verdict::Gone,
        413 => Verdict::TooLarge,
        500 => Verdict::Failed,
        408 | 409 | 425 | 429 | 499 | 501.. => Verdict::Busy,
        _ => Verdict::Stranger,
    }
}

/// What the server said: its message, else what it sent, or nothing that can be shown.
#[must_use]
pub fn words(reply: &Reply) -> String {
    if let Some(message) = complaint(reply).as_ref().and_then(|complaint| complaint.message.as_str()) {
        return message.to_owned();
    }
    let text = String::from_utf8_lossy(&reply.body);
    // Of a page, what a reader would see.
    let mut shown = String::new();
    let mut is_tag = false;
    for character in text.chars() {
        match character {
            '<' => is_tag = true,
            '>' if is_tag => {
                is_tag = false;
                shown.push(' ');
            }
            character if !is_tag => shown.push(character),
            _ => {}
        }
    }
    shown
}

fn complaint(reply: &Reply) -> Option<Complaint> {
    if reply.is_cut || !reply.body.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    serde_json::from_slice(&reply.body).ok()
}

fn is_object(reply: &Reply) -> bool {
    !reply.is_cut
        && reply.body.trim_ascii_start().starts_with(b"{")
        && serde_json::from_slice::<serde::de::IgnoredAny>(&reply.body).is_ok()
}

/// Whether a 400 is about the run as a whole. The sentences are MLflow's; what callers named never stands before them.
fn is_about_run(message: &str) -> bool {
    let inactive = ["The run ", "The experiment "].iter().any(|start| message.starts_with(start))
        && message.contains("must be in the 'active' state");
    let unknown = message.starts_with("Invalid value ") && message.contains("for parameter 'run_id' supplied");
    inactive || unknown || message.starts_with("Invalid experiment ID ")
}

/// The part that MLflow names, such as `for parameter 'metrics[3].name'`.
fn named_part(message: &str) -> Option<Part> {
    let quoted = message.find("parameter '").map(|start| &message[start + "parameter '".len()..]);
    quoted.and_then(first_part).or_else(|| first_part(message))
}

fn first_part(text: &str) -> Option<Part> {
    let position = |kind: &str| {
        let start = text.find(kind)?;
        let digits = text[start + kind.len()..].split_once(']')?.0;
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        Some((start, plain.then(|| digits.parse().ok())??))
    };
    let metric = position("metrics[").map(|(start, index)| (start, Part::Metric(index)));
    let param = position("params[").map(|(start, index)| (start, Part::Param(index)));
    let tag = position("tags[").map(|(start, index)| (start, Part::Tag(index)));
    [metric, param, tag].into_iter().flatten().min_by_key(|(start, _)| *start).map(|(_, part)| part)
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
