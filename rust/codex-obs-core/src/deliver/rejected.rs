//! `export_rejected.ndjson`: what a destination refused for good, with its words.

use std::path::{Path, PathBuf};

use crate::clock::Clock;
use crate::deliver::settings::RunFolder;
use crate::encode::line;
use crate::error::{Error, Result};
use crate::follow::point::Point;
use crate::fs::require_usable;
use crate::http::attempts::Complaint;
use crate::paths::Stream;
use crate::shard::policy::Policy;
use crate::shard::writer::ShardWriter;

/// The file of a stream. It is created with the first refusal.
#[derive(Debug)]
pub struct RejectedLog {
    writer: ShardWriter,
    clock: Clock,
    run_id: String,
    destination: String,
}

/// Where the log of a stream is.
///
/// # Errors
/// If something lies there that must not be written to.
pub fn require_place(directory: &Path, stream: &Stream) -> Result<PathBuf> {
    let path = directory.join(stream.file_name("export_rejected", "ndjson"));
    require_usable(&path)?;
    Ok(path)
}

/// Something that was refused.
#[derive(Clone, Copy, Debug)]
pub enum Refused<'a> {
    /// A metric.
    Metric(&'a Point),
    /// A parameter, with its value.
    Param(&'a str),
    /// A tag, with its value.
    Tag(&'a str),
    /// A span, with its trace and itself in hex digits.
    Span(&'a str),
    /// An artifact, with its bytes.
    Artifact(u64),
}

impl RejectedLog {
    /// The log for what `destination` refuses.
    ///
    /// # Errors
    /// If something lies in the file's place that must not be written to.
    pub fn new(folder: &RunFolder<'_>, stream: &Stream, clock: Clock, destination: String) -> Result<Self> {
        let path = require_place(folder.directory, stream)?;
        let writer = ShardWriter::new(path, Policy::OFF, folder.file_mode, clock.clone());
        Ok(Self { writer, clock, run_id: String::new(), destination })
    }

    /// Learns which run it is.
    pub fn set_run(&mut self, run_id: &str) {
        run_id.clone_into(&mut self.run_id);
    }

    /// Appends one refusal; `name` is what it was called in the request.
    pub fn append(&mut self, refused: Refused<'_>, name: &str, remote_run: &str, complaint: &Complaint) -> Result<()> {
        self.writer.look()?;
        let now = self.clock.now_micros();
        let pieces = line::Rejected {
            destination: &self.destination,
            remote_run,
            name,
            status: complaint.status,
            reason: &complaint.words,
        };
        let bytes = match refused {
            Refused::Metric(point) => line::rejected_metric(
                now,
                &self.run_id,
                &pieces,
                &line::RejectedMetric {
                    stream_prefix: &point.stream_prefix,
                    split: &point.split,
                    metric: &point.metric,
                    value: point.number(),
                    logged_micros: point.timestamp_micros,
                    step: point.step,
                },
            ),
            Refused::Param(value) => line::rejected_text(now, &self.run_id, "param", &pieces, value),
            Refused::Tag(value) => line::rejected_text(now, &self.run_id, "tag", &pieces, value),
            Refused::Span(ids) => line::rejected_text(now, &self.run_id, "span", &pieces, ids),
            Refused::Artifact(bytes) => line::rejected_text(now, &self.run_id, "artifact", &pieces, &bytes.to_string()),
        };
        self.writer.append(&bytes)
    }

    /// Makes what was appended durable, since the cursor is about to move past it.
    pub fn sync(&self) -> Result<()> {
        let Some(file) = self.writer.file() else { return Ok(()) };
        file.sync_data().map_err(|source| Error::io("sync", self.writer.path(), source))
    }
}
