//! Spans as the bytes of a request.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

use super::message::{KeyValue, Request, Resource, ResourceSpans, Scope, ScopeSpans, Span};

/// The body of a request with `spans`, packed: the same bytes for the same spans.
#[must_use]
pub fn body(resource: &[KeyValue], spans: &[Span]) -> Vec<u8> {
    let scope = Scope { name: "codex_obs".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let request = Request {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource { attributes: resource.to_vec() }),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans: spans.to_vec() }],
        }],
    };
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    let written = packed.write_all(&request.encode_to_vec());
    written.and_then(|()| packed.finish()).expect("a vector takes every byte")
}
