//! The session's deliveries: made with the session, started with its threads.

use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::{Session, Settings};
use crate::deliver::context::Context;
use crate::deliver::destination::Destination;
use crate::deliver::rejected::require_place;
use crate::deliver::settings::{DeliverySettings, RunFolder};
use crate::deliver::thread::DeliveryThread;
use crate::error::Result;
use crate::follow::backlog::Backlog;
use crate::follow::holds::{Holds, promise};
use crate::follow::progress::Progress;
use crate::paths::{FileKind, Stream};
use crate::shard::hold::{Claims, Hold, Part};
use crate::stats::Stats;
use crate::worker::feed::{Batch, Feed};
use crate::worker::keeper::Kept;
use crate::worker::notes::Notes;
use crate::worker::warnings::Warnings;

/// What comes of it if it is not known, or not noted, what is still to be delivered.
const UNPROMISED: &str = "retention may delete rows before they are delivered";

/// What a delivery and the writer share, before either exists.
pub(super) struct Exporting {
    settings: DeliverySettings,
    destination: Box<dyn Destination>,
    pub(super) feed: Arc<Feed>,
    receiver: Receiver<Batch>,
    hold: Part,
    telemetry_hold: Option<Part>,
}

/// What retention has to keep of the logs: for the deliveries of this session, and for those of earlier ones that did not finish.
pub(super) fn keep(
    directory: &Path,
    stream: &Stream,
    settings: &Settings,
    warnings: &Arc<Warnings>,
    is_new: bool,
) -> Kept {
    let [metrics, telemetry] =
        [FileKind::Metrics, FileKind::Telemetry].map(|log| keep_of(log, directory, stream, settings, warnings, is_new));
    Kept { metrics, telemetry }
}

fn keep_of(
    log: FileKind,
    directory: &Path,
    stream: &Stream,
    settings: &Settings,
    warnings: &Arc<Warnings>,
    is_new: bool,
) -> Option<Arc<Hold>> {
    let others = Holds::find(log, directory, stream, warnings, is_new)
        .inspect_err(|error| warnings.push("promises", || format!("{error}: {UNPROMISED}")));
    let others = others.ok().map(|promises| Box::new(promises) as Box<dyn Claims>);
    let is_exported = settings.exports.iter().any(|export| export.includes(stream));
    if !is_exported && others.is_none() {
        return None;
    }
    Some(Arc::new(Hold::new(settings.max_unexported_shards).and_for(others)))
}

impl Exporting {
    /// For each destination of the stream.
    ///
    /// # Errors
    /// If the set-up of a destination cannot work.
    pub(super) fn prepare(directory: &Path, stream: &Stream, settings: &Settings, kept: &Kept) -> Result<Vec<Self>> {
        let mut exporting = Vec::new();
        let Some(hold) = &kept.metrics else { return Ok(exporting) };
        for export in settings.exports.iter().filter(|export| export.includes(stream)) {
            require_place(directory, stream)?;
            let destination = export.connector.connect(&RunFolder { directory, file_mode: settings.file_mode })?;
            let (feed, receiver) = Feed::new();
            let hold = hold.part();
            if !destination.follows().holds {
                hold.let_go();
            }
            let telemetry_hold = kept.telemetry.as_ref().filter(|_| destination.follows().spans).map(Hold::part);
            let settings = export.clone();
            exporting.push(Self { settings, destination, feed: Arc::new(feed), receiver, hold, telemetry_hold });
        }
        Ok(exporting)
    }

    /// The delivery, which has not begun.
    pub(super) fn begin(
        self,
        directory: &Path,
        stream: &Stream,
        settings: &Settings,
        stats: &Arc<Stats>,
        warnings: &Arc<Warnings>,
        notes: &Arc<Notes>,
    ) -> DeliveryThread {
        let context = Context {
            directory: directory.to_owned(),
            stream: stream.clone(),
            settings: self.settings,
            file_mode: settings.file_mode,
            clock: settings.clock.clone(),
            stats: Arc::clone(stats),
            warnings: Arc::clone(warnings),
            notes: Arc::clone(notes),
            hold: Some(self.hold),
            telemetry_hold: self.telemetry_hold,
            live: Some((self.feed, self.receiver)),
            is_live: true,
            ended: None,
            leads: stream.is_main(),
            lock: Arc::default(),
        };
        let follows = self.destination.follows();
        let promised = Progress {
            address: Some(self.destination.address()),
            is_without_rows: follows.points.is_none(),
            follows: follows.logs(),
            ..Progress::default()
        };
        if (follows.holds || follows.spans)
            && let Err(error) = promise(directory, stream, &promised, self.destination.meant_run())
        {
            context.warnings.push("promises", || format!("{error}: {UNPROMISED}"));
        }
        DeliveryThread::new(context, self.destination)
    }
}

impl Session {
    /// What was still to be delivered to each destination when the session was closed.
    #[must_use]
    pub fn exports_left(&self) -> Vec<Backlog> {
        self.closing.left()
    }
}
