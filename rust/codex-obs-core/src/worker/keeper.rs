//! What becomes of shards that rotation has left behind: the packer hears of them, and what is beyond the limits is deleted,
//! counted, put on record and said.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::drain::Drain;
use super::packer::Packer;
use super::passed::Passed;
use super::warnings::Warnings;
use crate::encode::extra::extra;
use crate::encode::line::{Tracking, session, tracking};
use crate::error::Result;
use crate::fs::FileId;
use crate::limits::ARCHIVES_NOTICE_BYTES;
use crate::paths::{Coding, FileKind, shard_path};
use crate::shard::archive::Archive;
use crate::shard::hold::Hold;
use crate::shard::ordinal::{Gone, RETIRED, Shards};
use crate::shard::retention::{Due, Plan, Retention};
use crate::stats::Stats;
use crate::timeline::Timeline;
use crate::words::{count, was};

/// The kinds of files that are packed, or deleted beyond the count.
pub const KINDS: [FileKind; 4] = [FileKind::Metrics, FileKind::Manifest, FileKind::Summary, FileKind::Telemetry];

/// What destinations need of the logs that they follow.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Of the rows.
    pub metrics: Option<Arc<Hold>>,
    /// Of the spans.
    pub telemetry: Option<Arc<Hold>>,
}

impl Kept {
    fn of(&self, kind: FileKind) -> Option<&Arc<Hold>> {
        match kind {
            FileKind::Metrics => self.metrics.as_ref(),
            FileKind::Telemetry => self.telemetry.as_ref(),
            _ => None,
        }
    }
}

/// Keeps to the limits of a stream's files, on the writer's thread: the only one that writes records.
#[derive(Debug)]
pub struct Keeper {
    /// Rotated shards that stay.
    pub keep: u64,
    /// What happens to the others.
    pub retention: Retention,
    /// What destinations need.
    pub kept: Kept,
    /// What the journal has passed, if that matters after a power cut.
    pub passed: Option<Arc<Passed>>,
    /// Packs, where that is what happens.
    pub packer: Option<Arc<Packer>>,
    /// Identity of the run.
    pub run_id: String,
    /// Time of records.
    pub timeline: Arc<Timeline>,
    /// Counters.
    pub stats: Arc<Stats>,
    /// Words for the user.
    pub warnings: Arc<Warnings>,
    /// What was deleted of each kind, also what could not be put on record yet.
    pub gone: [Option<Gone>; KINDS.len()],
    /// Bytes of the archives when they were last looked at.
    pub archived: u64,
    /// Nothing was looked at yet: an earlier session may have left something to do.
    pub is_first_look: bool,
}

impl Keeper {
    /// Looks after the files that were rotated, and the archives that were made.
    pub fn after_batch(&mut self, drain: &mut Drain) {
        loop {
            let rotated = drain.take_rotated();
            self.look(drain, &rotated);
            // A record of a deletion may have rotated its file.
            if rotated.is_empty() {
                return;
            }
        }
    }

    fn look(&mut self, drain: &mut Drain, rotated: &[FileKind]) {
        let has_rotated = KINDS.iter().any(|kind| rotated.contains(kind));
        if let Some(packer) = self.packer.as_ref().filter(|_| has_rotated) {
            packer.request();
        }
        let is_new = std::mem::take(&mut self.is_first_look);
        let is_new_archive = is_new || self.packer.as_ref().is_some_and(|packer| packer.take_placed());
        if is_new_archive {
            self.weigh(drain, is_new);
        }
        for (index, kind) in KINDS.into_iter().enumerate() {
            let deletes = !self.retention.packs && rotated.contains(&kind);
            let exceeds = self.retention.max_archive_bytes.is_some() && is_new_archive;
            let is_cut_short =
                is_new && Shards::of(drain.files().get(kind).path()).is_ok_and(|found| !found.leaving.is_empty());
            if (deletes || exceeds || is_cut_short)
                && let Err(error) = self.retire(drain, index, kind)
            {
                self.stats.rotation_errors.add(1);
                self.warnings.push("retire", || format!("{error}; old shards are kept until deletion works again"));
            }
        }
    }

    fn retire(&mut self, drain: &mut Drain, index: usize, kind: FileKind) -> Result<()> {
        let base = drain.files().get(kind).path().to_owned();
        let needed = self.kept.of(kind).cloned();
        let plan = Plan::of(&base, self.keep, self.retention, needed.as_deref(), self.gone[index])?;
        let mut gone = plan.gone;
        let (mut rows, mut undelivered) = (0, 0);
        let mut outcome = Ok(());
        for &due in &plan.due {
            let pulse = Arc::clone(drain.files().pulse());
            let secured = self.secure(kind, &base, due);
            let began = secured.and_then(|()| plan.begin(due, needed.as_deref(), &pulse));
            let leaving = match began {
                Ok(Some(leaving)) => leaving,
                Ok(None) => continue,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            };
            gone = leaving.add_to(gone);
            self.gone[index] = Some(gone);
            rows += leaving.rows;
            undelivered += leaving.undelivered;
            let line = self.record(kind, &gone);
            outcome = match drain.write_line(FileKind::Session, &line) {
                Ok(()) => leaving.delete(),
                // Its room may be what the record lacks; its name stays until it is on record.
                Err(error) => leaving.empty().and(Err(error)),
            };
            if outcome.is_err() {
                break;
            }
        }
        self.gone[index] = Some(gone);
        if rows > 0 && kind == FileKind::Metrics {
            let is_needed = plan.is_needed();
            self.say(drain, rows, undelivered, is_needed, matches!(plan.due.last(), Some(Due::Archive(_))));
        } else if undelivered > 0 {
            self.warnings.push("undelivered_lines", || {
                format!(
                    "retention deleted {} of {} that {} not delivered yet: no more shards wait for a destination than \
                     max_unexported_shards",
                    count(undelivered, "line"),
                    base.file_name().unwrap_or_default().display(),
                    was(undelivered)
                )
            });
        }
        outcome
    }

    /// Lets the journal pass a shard on the disk before it goes, or a power cut could bring rows back that are counted as
    /// deleted. Archives were passed when they were made.
    fn secure(&self, kind: FileKind, base: &Path, due: Due) -> Result<()> {
        let (Some(passed), Due::Rotated { number, .. }) = (&self.passed, due) else { return Ok(()) };
        let id = FileId::at(&shard_path(base, number, Coding::Plain))?;
        passed.secure(kind, id, number)
    }

    fn record(&self, kind: FileKind, gone: &Gone) -> Vec<u8> {
        let fields = format!(
            r#"{{"file":"{}","ordinal":{},"rows":{},"rows_undelivered":{},"largest_step":{}}}"#,
            kind.base(),
            gone.ordinal,
            gone.rows,
            gone.undelivered,
            gone.largest_step.map_or_else(|| "null".to_owned(), |step| step.to_string()),
        );
        session(self.timeline.now_micros(), &self.run_id, RETIRED, fields.as_bytes())
    }

    #[cold]
    fn say(&self, drain: &mut Drain, rows: u64, undelivered: u64, is_needed: bool, is_archive: bool) {
        let is_first = self.stats.rows_retired.get() == 0;
        let is_first_undelivered = undelivered > 0 && self.stats.rows_retired_undelivered.get() == 0;
        self.stats.rows_retired.add(rows);
        self.stats.rows_retired_undelivered.add(undelivered);
        let (setting, remedy) = if is_archive {
            ("archive_max_bytes", "raise archive_max_bytes (CODEX_OBS_ARCHIVE_MAX_BYTES) to keep more".to_owned())
        } else {
            let keep = self.keep;
            let remedy = format!(
                "{} kept; archive=\"zstd\" (CODEX_OBS_ARCHIVE) packs the others instead",
                count(keep, "rotated shard") + if keep == 1 { " is" } else { " are" }
            );
            ("archive=\"none\"", remedy)
        };
        if undelivered > 0 {
            self.warnings.push("undelivered", || {
                format!(
                    "retention ({setting}) deleted {}, of which {undelivered} {} not delivered yet: no more \
                     shards wait for a destination than max_unexported_shards (rows_retired, rows_retired_undelivered)",
                    count(rows, "row"),
                    was(undelivered)
                )
            });
        } else if is_first {
            let delivered = if is_needed { "; all of them were delivered" } else { "" };
            self.warnings.push("retired", || {
                format!(
                    "retention ({setting}) has begun to delete the oldest rows, {rows} so far: {remedy} \
                     (rows_retired, rows_retired_undelivered){delivered}"
                )
            });
        }
        if is_first || is_first_undelivered {
            let reason = format!("ndjson:{} {} deleted by retention ({setting})", count(rows, "row"), was(rows));
            let retired = self.stats.rows_retired.get();
            let totals =
                json!({"rows_retired": retired, "rows_retired_undelivered": self.stats.rows_retired_undelivered.get()});
            let extra = extra(json!({"cause": "retired", "count": rows, "undelivered": undelivered}), &totals);
            self.degrade(drain, &reason.replace('"', "'"), &extra);
        }
    }

    fn degrade(&self, drain: &mut Drain, reason: &str, extra: &[u8]) {
        let pieces = Tracking { component: "ndjson", status: "degraded", reason: Some(reason), extra };
        let line = tracking(self.timeline.now_micros(), &pieces);
        if let Err(error) = drain.write_line(FileKind::Summary, &line) {
            drain.note_error(&error);
        }
    }

    /// Says once that the archives have become large.
    fn weigh(&mut self, drain: &mut Drain, is_new: bool) {
        let bytes = KINDS.into_iter().map(|kind| archived_bytes(drain.files().get(kind).path())).sum();
        let before = std::mem::replace(&mut self.archived, bytes);
        // Those of earlier sessions passed it in an earlier session.
        if !is_new && bytes > ARCHIVES_NOTICE_BYTES && before <= ARCHIVES_NOTICE_BYTES {
            self.warnings.push("large", || {
                "its archives have passed 10 GiB; archive_max_bytes (CODEX_OBS_ARCHIVE_MAX_BYTES) limits them by deleting the \
                 oldest"
                    .to_owned()
            });
        }
    }
}

/// Bytes that the archives of the log `base` take.
#[must_use]
pub fn archived_bytes(base: &Path) -> u64 {
    let archives = Shards::of(base).map(|shards| shards.archives).unwrap_or_default();
    let length = |ordinal| Archive::Packed.path(base, ordinal).symlink_metadata().map_or(0, |found| found.len());
    archives.into_iter().map(length).sum()
}
