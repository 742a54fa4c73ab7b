//! What a collector's reply means: the statuses of the OTLP specification, read for a queue that can wait.
//!
//! The specification tells an exporter without a queue what to try again. Ours has the log: what only a person can cure (no
//! access, another address) waits instead of being thrown away.

use prost::Message;

use super::message::{PartialSuccess, Response};
use crate::http::attempts::{self, Protocol, Verdict};
use crate::http::exchange::Reply;

/// What sends requests to a collector.
pub type Link = attempts::Link<Otlp>;
/// What came of one.
pub type Outcome = attempts::Outcome<()>;

/// OTLP over HTTP.
#[derive(Debug)]
pub struct Otlp;

impl Protocol for Otlp {
    type Part = ();

    const ACCESS: &str = "check CODEX_OTLP_HEADERS and the collector's permissions";
    const TRUST: &str = "CODEX_OTLP_CACERTFILE, CODEX_OTLP_CERTFILE and CODEX_OTLP_KEYFILE";
    const SERVER: &str = "an OTLP collector";

    fn verdict(reply: &Reply) -> Verdict<()> {
        match reply.status {
            // A portal's page stored nothing.
            200..300 if partial_success(reply).is_some() => Verdict::Accepted,
            300..400 => Verdict::Redirected,
            400 | 422 => Verdict::Refused(None),
            401 | 403 | 407 => Verdict::Forbidden,
            413 => Verdict::TooLarge,
            408 | 425 | 429 | 502..505 => Verdict::Busy,
            500.. => Verdict::Failed,
            _ => Verdict::Stranger,
        }
    }

    fn words(reply: &Reply) -> String {
        // Most collectors answer with a `google.rpc.Status`: its message is field 2.
        #[derive(Clone, PartialEq, Message)]
        struct Status {
            #[prost(string, tag = "2")]
            message: String,
        }
        let is_text = std::str::from_utf8(&reply.body).is_ok_and(|text| !text.contains(|c: char| c.is_control()));
        match Status::decode(&reply.body[..]) {
            Ok(status) if !is_text && !status.message.is_empty() => status.message,
            _ => String::from_utf8_lossy(&reply.body).into_owned(),
        }
    }
}

/// What of the request was refused, by an answer that is one of a collector: protobuf, or JSON as some answer to anything.
/// `None` for what is no such answer.
#[must_use]
pub fn partial_success(reply: &Reply) -> Option<PartialSuccess> {
    if reply.is_cut {
        return None;
    }
    if let Ok(response) = Response::decode(&reply.body[..]) {
        return Some(response.partial_success.unwrap_or_default());
    }
    let document: serde_json::Value = serde_json::from_slice(&reply.body).ok()?;
    let partial = document.as_object()?.get("partialSuccess");
    let number = partial.and_then(|partial| partial.get("rejectedSpans"));
    // JSON has 64-bit integers as text.
    let rejected_spans =
        number.and_then(|number| number.as_i64().or_else(|| number.as_str()?.parse().ok())).unwrap_or(0);
    let message = partial.and_then(|partial| partial.get("errorMessage")?.as_str());
    Some(PartialSuccess { rejected_spans, error_message: message.unwrap_or_default().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &[u8]) -> Reply {
        Reply { status, retry_after: None, body: body.to_vec(), is_cut: false }
    }

    #[test]
    fn each_status_has_its_verdict() {
        let verdict = |status| Otlp::verdict(&reply(status, b""));
        assert_eq!([200, 202].map(verdict), [Verdict::Accepted; 2]);
        assert_eq!([301, 302, 307].map(verdict), [Verdict::Redirected; 3]);
        assert_eq!([400, 422].map(verdict), [Verdict::Refused(None); 2]);
        assert_eq!([401, 403, 407].map(verdict), [Verdict::Forbidden; 3]);
        assert_eq!([429, 502, 503, 504].map(verdict), [Verdict::Busy; 4]);
        assert_eq!([500, 501].map(verdict), [Verdict::Failed; 2]);
        assert_eq!([404, 405].map(verdict), [Verdict::Stranger; 2]);
        assert_eq!(verdict(413), Verdict::TooLarge);
    }

    #[test]
    fn a_page_with_status_200_stored_nothing() {
        assert_eq!(Otlp::verdict(&reply(200, b"<html>Sign in</html>")), Verdict::Stranger);
        assert_eq!(Otlp::verdict(&reply(200, b"OK")), Verdict::Stranger);
    }

    #[test]
    fn a_partial_success_is_read_in_both_forms() {
        let partial = PartialSuccess { rejected_spans: 3, error_message: "too old".to_owned() };
        let encoded = Response { partial_success: Some(partial.clone()) }.encode_to_vec();
        assert_eq!(partial_success(&reply(200, &encoded)), Some(partial.clone()));
        let json = br#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too old"}}"#;
        assert_eq!(partial_success(&reply(200, json)), Some(partial));
        assert_eq!(partial_success(&reply(200, b"{}")), Some(PartialSuccess::default()));
    }

    #[test]
    fn a_status_in_protobuf_is_shown_as_its_message() {
        assert_eq!(Otlp::words(&reply(400, b"\x08\x03\x12\x08bad span")), "bad span");
        assert_eq!(Otlp::words(&reply(400, b"bad span")), "bad span");
    }
}
