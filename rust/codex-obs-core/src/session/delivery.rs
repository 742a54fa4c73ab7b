//! The session's exporter: made with the session, started with its threads.

use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::{Session, Settings};
use crate::deliver::context::Context;
use crate::deliver::destination::Destination;
use crate::deliver::settings::StreamFolder;
use crate::deliver::thread::DeliveryThread;
use crate::error::Result;
use crate::follow::backlog::Backlog;
use crate::follow::holds::{Holds, promise};
use crate::shard::hold::{Claims, Hold};
use crate::shard::name::Stream;
use crate::stats::Stats;
use crate::worker::feed::{Batch, Feed};
use crate::worker::notes::Notes;
use crate::worker::warnings::Warnings;

/// What comes of it if it is not known, or not noted, what is still to be delivered.
const UNPROMISED: &str = "retention may delete rows before they are delivered";

/// What an exporter and the writer share, before either exists.
pub(super) struct Exporting {
    destination: Box<dyn Destination>,
    pub(super) feed: Arc<Feed>,
    receiver: Receiver<Batch>,
    hold: Arc<Hold>,
}

/// What retention has to keep: for the exporter of this session, and for those of earlier ones that did not finish.
pub(super) fn keep(
    directory: &Path,
    stream: &Stream,
    settings: &Settings,
    warnings: &Arc<Warnings>,
    is_new: bool,
) -> Option<Arc<Hold>> {
    let others = Holds::find(directory, stream, warnings, is_new)
        .inspect_err(|error| warnings.push("promises", || format!("{error}: {UNPROMISED}")));
    let others = others.ok().map(|promises| Box::new(promises) as Box<dyn Claims>);
    let most = settings.max_unexported_shards;
    let hold = if settings.export.as_ref().is_some_and(|export| export.includes(stream)) {
        Hold::new(most).and_for(others)
    } else {
        Hold::for_others(most, others?)
    };
    Some(Arc::new(hold))
}

impl Exporting {
    /// For a stream that is exported.
    ///
    /// # Errors
    /// If the set-up of the destination cannot work.
    pub(super) fn prepare(
        directory: &Path,
        stream: &Stream,
        settings: &Settings,
        hold: Option<&Arc<Hold>>,
    ) -> Result<Option<Self>> {
        let export = settings.export.as_ref().filter(|export| export.includes(stream));
        let Some((export, hold)) = export.zip(hold) else { return Ok(None) };
        let destination =
            export.connector.connect(&StreamFolder { directory, stream, file_mode: settings.file_mode })?;
        let (feed, receiver) = Feed::new();
        Ok(Some(Self { destination, feed: Arc::new(feed), receiver, hold: Arc::clone(hold) }))
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
    ) -> Option<DeliveryThread> {
        let context = Context {
            directory: directory.to_owned(),
            stream: stream.clone(),
            settings: settings.export.clone()?,
            file_mode: settings.file_mode,
            clock: settings.clock.clone(),
            stats: Arc::clone(stats),
            warnings: Arc::clone(warnings),
            notes: Arc::clone(notes),
            hold: Some(self.hold),
            live: Some((self.feed, self.receiver)),
            is_live: true,
            ended: None,
            leads: stream.is_main(),
            lock: Arc::default(),
        };
        if let Err(error) = promise(directory, stream, &self.destination.address(), self.destination.meant_run()) {
            context.warnings.push("promises", || format!("{error}: {UNPROMISED}"));
        }
        Some(DeliveryThread::new(context, self.destination))
    }
}

impl Session {
    /// What was still to be delivered when the session was closed; `None` if nothing was, or nothing is exported.
    #[must_use]
    pub fn export_left(&self) -> Option<Backlog> {
        self.closing.left()
    }
}
