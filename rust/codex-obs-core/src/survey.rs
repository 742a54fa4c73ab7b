//! How well a run is: its sessions and their rows, its journals, and how far behind its destinations are.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::follow::backlog::Backlog;
use crate::follow::progress::{Missing, Progress, Totals, progress_path, progress_paths};
use crate::journal::ring::Ring;
use crate::limits::{MAX_LISTED_SESSIONS, MAX_LISTED_SESSIONS_OF_ALL};
use crate::paths::{FileKind, INTERNALS, Stream, journal_path};
use crate::reading::{has_writer, snapshot_of};
use crate::recovery::pending::is_written_now;
use crate::recovery::run::journals;
use crate::run::ending::RunStatus;
use crate::run::records;
use crate::run::records::Recorded;
use crate::run::records::last_status;
use crate::scan::parser::Parser;
use crate::scan::{self, Names, Part, Position, Report, Row, Sink, Tick};

/// What there is to say of a run.
#[derive(Debug)]
pub struct Survey {
    /// What a reader says of its files.
    pub report: Report,
    /// The streams that have rows or sessions, the main one first.
    pub streams: Vec<StreamState>,
    /// The journals that there were before the rows were read, which recovers those of dead writers.
    pub journals: Vec<Journal>,
    /// Where rows are delivered to.
    pub deliveries: Vec<DeliveryState>,
}

/// A stream of a run.
#[derive(Debug)]
pub struct StreamState {
    /// Its name.
    pub stream: Stream,
    /// Whether a process writes it.
    pub is_live: bool,
    /// Its last sessions with their numbers, in the order in which they began.
    pub sessions: VecDeque<(u64, Recorded)>,
    /// How many began before those.
    pub earlier_sessions: u64,
    /// Rows of each session, without superseded ones; under `None` those of which the session cannot be told.
    pub rows: BTreeMap<Option<u64>, u64>,
}

/// A journal.
#[derive(Debug)]
pub struct Journal {
    /// Its stream.
    pub stream: Stream,
    /// Whether its writer lives.
    pub is_live: bool,
    /// Bytes that it takes on disk.
    pub bytes: u64,
    /// Rows that waited in it to be written, if it says so.
    pub rows: Option<u64>,
}

/// How far a stream's delivery has come.
#[derive(Debug)]
pub struct DeliveryState {
    /// Its stream.
    pub stream: Stream,
    /// Where it is delivered to.
    pub address: String,
    /// The remote run, if `run.json` names it.
    pub remote_run: Option<String>,
    /// What is still to be delivered.
    pub left: Backlog,
    /// What can never be delivered: it was deleted before.
    pub missing: Missing,
    /// What was delivered and what was not.
    pub totals: Totals,
    /// How the run ended, as the destination was told.
    pub told: Option<RunStatus>,
}

/// Looks at the run in `directory`.
///
/// # Errors
/// If it holds no log, or cannot be read, or `tick` says to stop.
pub fn survey(directory: &Path, clock: &Clock, tick: Tick<'_>) -> Result<Survey> {
    let journals = seen_journals(directory);
    let outcome = scan::run(&snapshot_of(directory, clock, tick)?, Counts::default, has_writer, tick)?;
    let mut rows: BTreeMap<Arc<str>, BTreeMap<Option<u64>, u64>> = BTreeMap::new();
    for (counts, _) in outcome.parts {
        for ((stream, session), count) in counts.rows {
            *rows.entry(stream).or_default().entry(session).or_default() += count;
        }
    }
    let mut streams = Vec::new();
    let mut deliveries = Vec::new();
    let mut room_for_sessions = MAX_LISTED_SESSIONS_OF_ALL;
    for stream in streams_of(directory)? {
        let is_live = is_written_now(directory, &stream);
        let room = MAX_LISTED_SESSIONS.min(room_for_sessions);
        let (mut sessions, mut number) = (VecDeque::new(), 0);
        records::each(directory, &stream, |mut session| {
            session.rewound.clear();
            sessions.push_back((number, session));
            number += 1;
            if sessions.len() > room {
                sessions.pop_front();
            }
        })?;
        room_for_sessions -= sessions.len();
        note_deliveries(directory, &stream, is_live, &mut deliveries)?;
        let rows = rows.remove(stream.as_str()).unwrap_or_default();
        let earlier_sessions = number - sessions.len() as u64;
        streams.push(StreamState { stream, is_live, sessions, earlier_sessions, rows });
    }
    Ok(Survey { report: outcome.report, streams, journals, deliveries })
}

/// What cannot be looked at is left out: the reader says so.
fn seen_journals(directory: &Path) -> Vec<Journal> {
    let look = |stream: Stream| {
        let found = journal_path(directory, &stream).symlink_metadata().ok()?;
        let is_live = is_written_now(directory, &stream);
        let path = journal_path(directory, &stream);
        let rows = crate::fs::open_read(&path).and_then(|file| Ring::rows_waiting(file, &path)).ok();
        Some(Journal { stream, is_live, bytes: std::os::unix::fs::MetadataExt::blocks(&found) * 512, rows })
    };
    journals(directory).unwrap_or_default().into_iter().filter_map(look).collect()
}

fn streams_of(directory: &Path) -> Result<Vec<Stream>> {
    let listed = std::fs::read_dir(directory).map_err(|source| Error::io("list", directory, source))?;
    let recorded = listed.flatten().filter_map(|entry| FileKind::Session.stream_of(entry.file_name().to_str()?));
    let mut streams: Vec<Stream> = scan::Snapshot::streams(directory)?.into_iter().chain(recorded).collect();
    streams.sort_by_key(|stream| (!stream.is_main(), stream.to_string()));
    streams.dedup();
    Ok(streams)
}

fn note_deliveries(
    directory: &Path,
    stream: &Stream,
    is_live: bool,
    deliveries: &mut Vec<DeliveryState>,
) -> Result<()> {
    if !directory.join(INTERNALS).is_dir() {
        return Ok(());
    }
    let known = crate::run::identity::Home::look_at(&directory.join(crate::run::identity::FILE_NAME))?
        .map(|home| home.destinations);
    let status = if is_live { None } else { last_status(directory, stream)? };
    for path in progress_paths(directory, stream)? {
        let progress = Progress::load(&path)?;
        // Nothing is kept for one that another has taken the place of, and an older version did not say where it goes.
        let Some(address) = progress.address.clone().filter(|_| !progress.is_superseded) else { continue };
        let remote_run = known.as_ref().and_then(|known| known.get(&address).cloned());
        let is_its = |run: &String| progress_path(directory, stream, &address, run) == path;
        let left = Backlog::of(directory, stream, &progress, status.filter(|_| stream.is_main()))?;
        deliveries.push(DeliveryState {
            stream: stream.clone(),
            remote_run: remote_run.filter(is_its),
            address,
            left,
            missing: progress.missing,
            totals: progress.totals,
            told: progress.told.map(|(status, _)| status),
        });
    }
    Ok(())
}

/// Stream and session.
type Writer = (Arc<str>, Option<u64>);

/// Rows of each session that one thread meets, part by part.
#[derive(Debug, Default)]
struct Counts {
    rows: Vec<(Writer, u64)>,
}

impl Sink for Counts {
    type Reader = Parser;

    fn begin(&mut self, part: &Part<'_>) {
        let is_same = |(stream, session): &Writer| stream == part.stream && *session == part.session;
        if !self.rows.last().is_some_and(|(writer, _)| is_same(writer)) {
            self.rows.push(((Arc::clone(part.stream), part.session), 0));
        }
    }

    #[inline]
    fn row(&mut self, _row: &Row<'_>, _names: &Names, _position: Position) {
        if let Some((_, count)) = self.rows.last_mut() {
            *count += 1;
        }
    }

    fn held(&self) -> usize {
        self.rows.len() * size_of::<(Writer, u64)>()
    }
}
