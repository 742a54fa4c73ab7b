//! Bringing back what a writer that died left in its journal: none lost, none twice, no torn line.
//!
//! *The process died, the kernel lived*: files, ring and control words are as they were left. What stands behind the noted
//! lengths of an unfinished append is compared with what was to be written there, the rest of it is appended, and the journal
//! is drained on from its cursor, under intents of its own, so that a recovery that dies is recovered in turn. Whoever follows
//! a file sees it grow only. Where the files are not the ones that the intent names, or go on in another way, they are compared
//! as after a reboot, from the cursor on: they are opened by their names alone, and nothing of them is cut.
//!
//! *The machine went down*: files, ring and control words reached the disk independently of each other. Nothing is cut and
//! no cursor trusted. Every whole frame of the ring is encoded again. The files were written in the order of the frames, so
//! behind the newest frame whose lines are all there, only lines that are missing are appended.

use std::path::Path;
use std::sync::Arc;

use super::replay;
use crate::clock::Clock;
use crate::encode::row::RowEncoder;
use crate::error::Result;
use crate::fs::FileId;
use crate::journal::aside::set_aside;
use crate::journal::distance::Distance;
use crate::journal::identity::Identity;
use crate::journal::ring::Ring;
use crate::limits::DEFAULT_FILE_MODE;
use crate::paths::{Coding, FileKind, Stream, journal_path, pack_note_path, shard_path};
use crate::process::Process;
use crate::recovery::belief::believed;
use crate::recovery::space;
use crate::recovery::unsynced::Unsynced;
use crate::run::identity::{self, Home};
use crate::scan::Snapshot;
use crate::shard::pack::is_due;
use crate::shard::policy::Policy;
use crate::stats::Stats;
use crate::worker::drain::{Drain, Reporting};
use crate::worker::files::Files;
use crate::worker::keeper::KINDS;
use crate::worker::loss::{self, Cause, Loss};
use crate::worker::packer::Rules;
use crate::worker::warnings::Warnings;

/// What a recovery did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Journals that were found.
    pub journals: u64,
    /// Journals of another machine, left as they are.
    pub journals_foreign: u64,
    /// Journals that could not be read, set aside as `.codex_obs/damaged-*`.
    pub journals_damaged: u64,
    /// Journals that a reader may not open. Who recovers hears an error of them.
    pub journals_unreadable: u64,
    /// Rows brought back.
    pub rows_recovered: u64,
    /// Rows that the dead process had dropped for want of room, as it counted them.
    pub rows_dropped: u64,
    /// Rows whose values did not exist yet when the process died, as it counted them.
    pub rows_deferred: u64,
    /// Rows that were in the journal of a dead process and could not be read.
    pub rows_damaged: u64,
    /// Frames that could not be read.
    pub frames_damaged: u64,
    /// Partial lines set aside.
    pub torn_tails: u64,
}

impl Recovered {
    /// Every count by name.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, u64); 9] {
        [
            ("journals", self.journals),
            ("journals_foreign", self.journals_foreign),
            ("journals_damaged", self.journals_damaged),
            ("rows_recovered", self.rows_recovered),
            ("rows_dropped", self.rows_dropped),
            ("rows_deferred", self.rows_deferred),
            ("rows_damaged", self.rows_damaged),
            ("frames_damaged", self.frames_damaged),
            ("torn_tails", self.torn_tails),
        ]
    }

    /// Adds another recovery's counts.
    pub fn add(&mut self, other: &Self) {
        self.journals += other.journals;
        self.journals_foreign += other.journals_foreign;
        self.journals_damaged += other.journals_damaged;
        self.journals_unreadable += other.journals_unreadable;
        self.rows_recovered += other.rows_recovered;
        self.rows_dropped += other.rows_dropped;
        self.rows_deferred += other.rows_deferred;
        self.rows_damaged += other.rows_damaged;
        self.frames_damaged += other.frames_damaged;
        self.torn_tails += other.torn_tails;
    }
}

/// Recovers the journal of `stream`, if there is one. The caller holds the stream's lock.
///
/// # Errors
/// If a file cannot be written: then the journal is kept and the recovery can be repeated.
pub fn recover(
    directory: &Path,
    stream: &Stream,
    observer: &Process,
    clock: &Clock,
    foreign: bool,
) -> Result<Recovered> {
    let (recovered, unsynced) = bring_back(directory, stream, observer, clock, foreign)?;
    if let Some(unsynced) = unsynced {
        Unsynced::settle(directory, &[unsynced])?;
    }
    Ok(recovered)
}

/// As [`recover`], with what is still to be [settled](Unsynced::settle) while the lock is held.
///
/// # Errors
/// As [`recover`].
pub fn bring_back(
    directory: &Path,
    stream: &Stream,
    observer: &Process,
    clock: &Clock,
    foreign: bool,
) -> Result<(Recovered, Option<Unsynced>)> {
    let path = journal_path(directory, stream);
    let file = match crate::fs::open_existing(&path) {
        Ok(file) => file,
        Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => return Ok((Recovered::default(), None)),
        Err(error) => return Err(error),
    };
    // What a process left that died while it made its journal anew.
    #[cfg(not(loom))]
    crate::fs::remove_if_there(&crate::journal::ring::fresh_path(&path))?;
    let mut recovered = Recovered { journals: 1, ..Recovered::default() };
    let (ring, identity) = match Ring::attach(file, &path) {
        Ok(Some(journal)) => journal,
        Ok(None) => {
            recovered.torn_tails = mend_all(directory, stream, clock)?;
            crate::fs::remove(&path)?;
            return Ok((recovered, None));
        }
        Err(error) if error.io_kind().is_none() => {
            recovered.torn_tails = mend_all(directory, stream, clock)?;
            recovered.rows_damaged = Ring::rows_waiting(crate::fs::open_existing(&path)?, &path)?;
            recovered.journals_damaged = 1;
            let mut files = Files::new(directory, stream, Policy::OFF, DEFAULT_FILE_MODE, clock);
            let loss = Loss { rows: recovered.rows_damaged, ..Loss::default() };
            let line = loss::record(clock.now_micros(), Cause::Damaged, &loss);
            replay::append(&mut files, FileKind::Summary, &line, &Stats::default())?;
            set_aside(&path)?;
            return Ok((recovered, None));
        }
        Err(error) => return Err(error),
    };
    if !belongs(&identity, directory, stream) {
        recovered.torn_tails = mend_all(directory, stream, clock)?;
        set_aside(&path)?;
        recovered.journals_damaged = 1;
        return Ok((recovered, None));
    }
    let distance = Distance::of(&identity.process, observer);
    if distance == Distance::Foreign && !foreign {
        recovered.journals_foreign = 1;
        return Ok((recovered, None));
    }
    let ring = Arc::new(ring);
    let from = believed(&ring, &identity, distance, directory, stream)?;
    let bytes =
        from.map_or_else(|| replay::bytes(&ring, &identity), |from| space::behind(&ring, from, &identity.run_id));
    if from.is_some() {
        space::require(directory, &path, bytes)?;
    }
    // What is packed or deleted beyond the count is the next writer's business.
    let files = Files::new(directory, stream, space::policy(&identity, bytes), identity.file_mode, clock);
    let stats = Arc::new(Stats::default());
    (recovered.rows_dropped, recovered.rows_deferred) = (ring.dropped(), ring.deferred());
    let encoder = RowEncoder::new(&identity.run_id, identity.legacy);
    let warnings = Arc::new(Warnings::default());
    let reporting =
        Reporting { stats: Arc::clone(&stats), warnings, syncer: None, feeds: Vec::new(), passed: None, packer: None };
    let is_boot = distance == Distance::Boot;
    let mut drain = Drain::new(Arc::clone(&ring), files, encoder, reporting);
    if from.is_some() && drain.take_on(directory, stream)? {
        loop {
            while drain.batch()? {}
            // The record and the step over the gap are one append: it is counted once, whenever this dies.
            let Some(gap) = ring.gap(&drain.cursor()) else { break };
            drain.pass_gap(gap, &loss::damaged(clock.now_micros(), gap))?;
            stats.rows_damaged.add(gap.rows());
            stats.frames_damaged.add(gap.frames());
        }
    } else {
        if ring.is_copy() && Snapshot::is_doubled(directory, stream)? {
            // What is appended stands behind rows that are left out of one of two files with the same rows.
            let writer = drain.files().get(FileKind::Metrics);
            writer.open()?;
            writer.rotate()?;
        }
        if from.is_some() {
            drain.distrust()?;
        }
        replay::replay(directory, stream, &ring, &identity, from.unwrap_or_default(), drain.files(), &stats, clock)?;
        drain.pass_all()?;
    }
    if is_boot && recovered.rows_dropped > 0 {
        let loss = Loss { rows: recovered.rows_dropped, ..Loss::default() };
        drain.write_line(FileKind::Summary, &loss::record(clock.now_micros(), Cause::Died, &loss))?;
        // Finishes the line if it was not written at once.
        drain.batch()?;
        drain.keep_unreported(0);
    }
    if is_boot && recovered.rows_deferred > 0 {
        let loss = Loss { rows: recovered.rows_deferred, ..Loss::default() };
        drain.write_line(FileKind::Summary, &loss::record(clock.now_micros(), Cause::Deferred, &loss))?;
        drain.batch()?;
        // A failure costs no more than a second record, should this die before the journal is gone.
        let _ = ring.store_deferred(0);
    }
    mend_rest(directory, stream, drain.files(), &stats)?;
    note_packing(directory, stream, &identity);
    recovered.rows_recovered = stats.rows_written.get();
    recovered.rows_damaged = stats.rows_damaged.get();
    recovered.frames_damaged = stats.frames_damaged.get();
    recovered.torn_tails = stats.torn_tails.get();
    Ok((recovered, Some(Unsynced::of(drain.files(), &path))))
}

/// Notes that shards are to be packed where the writer would have packed them: those that it left, and those that its rows
/// filled just now.
fn note_packing(directory: &Path, stream: &Stream, identity: &Identity) {
    let note = pack_note_path(directory, stream);
    let is_due = |kind: FileKind| {
        let base = kind.path(directory, stream);
        // Most streams never rotate, and to look at all names for each of thousands takes long.
        let has_rotated = FileId::at(&shard_path(&base, 1, Coding::Plain)).is_ok_and(|id| id.is_some());
        has_rotated && is_due(&base, identity.backup_count).unwrap_or(true)
    };
    if identity.packs && identity.backup_count != u64::MAX && KINDS.into_iter().any(is_due) {
        // Without it they stay plain until somebody writes the stream, which loses nothing.
        let _ = Rules { keep: identity.backup_count, mode: identity.file_mode }.note(&note);
    }
}

/// Whether a journal is of this stream and run, as far as the run says who it is: rows of another are not mixed into its files.
#[must_use]
pub fn belongs(identity: &Identity, directory: &Path, stream: &Stream) -> bool {
    let home = Home::read(&directory.join(identity::FILE_NAME)).ok().flatten();
    identity.stream == stream.as_str() && home.is_none_or(|home| home.run_id == identity.run_id)
}

/// Sets the torn tails of the files aside to which nothing was appended: neither a power cut nor another program
/// spares them.
fn mend_rest(directory: &Path, stream: &Stream, files: &mut Files, stats: &Stats) -> Result<()> {
    for kind in FileKind::ALL {
        let writer = files.get(kind);
        if writer.file().is_none() && FileId::at(&kind.path(directory, stream))?.is_some() {
            let torn = writer.torn_tails();
            writer.open()?;
            stats.torn_tails.add(writer.torn_tails() - torn);
        }
    }
    Ok(())
}

/// As [`mend_rest`], for all files, where the journal says nothing of them. Gives how many tails were torn.
fn mend_all(directory: &Path, stream: &Stream, clock: &Clock) -> Result<u64> {
    let (mut files, stats) = (Files::new(directory, stream, Policy::OFF, DEFAULT_FILE_MODE, clock), Stats::default());
    mend_rest(directory, stream, &mut files, &stats)?;
    Ok(stats.torn_tails.get())
}
