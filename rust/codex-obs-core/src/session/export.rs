//! The session's exporter: made with the session, started with its threads.

use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::{Session, Settings};
use crate::error::Result;
use crate::export::courier::Context;
use crate::export::{Destination, Exporter, Left, Place};
use crate::shard::kept::Kept;
use crate::shard::name::Stream;
use crate::stats::Stats;
use crate::worker::feed::{Batch, Feed};
use crate::worker::notes::Notes;
use crate::worker::warnings::Warnings;

/// What an exporter and the writer share, before either exists.
pub(super) struct Exporting {
    destination: Box<dyn Destination>,
    pub(super) feed: Arc<Feed>,
    receiver: Receiver<Batch>,
    pub(super) kept: Arc<Kept>,
}

impl Exporting {
    /// For a stream that is exported.
    ///
    /// # Errors
    /// If the set-up of the destination cannot work.
    pub(super) fn prepare(directory: &Path, stream: &Stream, settings: &Settings) -> Result<Option<Self>> {
        let Some(export) = settings.export.as_ref().filter(|export| export.includes(stream)) else { return Ok(None) };
        let destination = export.connector.connect(&Place { directory, stream, file_mode: settings.file_mode })?;
        let (feed, receiver) = Feed::new();
        let kept = Arc::new(Kept::new(settings.max_unexported_shards));
        Ok(Some(Self { destination, feed: Arc::new(feed), receiver, kept }))
    }

    /// The exporter, which has not begun.
    pub(super) fn begin(
        self,
        directory: &Path,
        stream: &Stream,
        settings: &Settings,
        stats: &Arc<Stats>,
        warnings: &Arc<Warnings>,
        notes: &Arc<Notes>,
    ) -> Option<Exporter> {
        let context = Context {
            directory: directory.to_owned(),
            stream: stream.clone(),
            settings: settings.export.clone()?,
            file_mode: settings.file_mode,
            clock: settings.clock.clone(),
            stats: Arc::clone(stats),
            warnings: Arc::clone(warnings),
            notes: Arc::clone(notes),
            kept: Some(self.kept),
            live: Some((self.feed, self.receiver)),
            is_live: true,
            lock: Arc::default(),
        };
        Some(Exporter::new(context, self.destination))
    }
}

impl Session {
    /// What was still to be delivered when the session was closed; `None` if nothing was, or nothing is exported.
    #[must_use]
    pub fn export_left(&self) -> Option<Left> {
        self.closing.left()
    }
}
