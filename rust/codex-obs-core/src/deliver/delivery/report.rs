//! What a delivery counts, warns of and puts on record.

use serde_json::json;

use super::{Delivery, Step};
use crate::encode::extra::extra;
use crate::encode::line::{Tracking, tracking};
use crate::words::count;

/// What the tracking summary says of the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Unknown,
    Enabled,
    Degraded,
    Disabled,
}

impl Delivery {
    pub(super) fn count_losses(&mut self) {
        let Some(track) = self.route.as_ref().and_then(|route| route.rows.as_ref()) else { return };
        let (losses, unshown) = (track.follower.losses(), track.rows.unshown());
        let new = (losses.refused - self.counted.refused, losses.gaps - self.counted.gaps);
        let missing = losses.missing - self.counted.missing;
        self.context.stats.export_rows_missing.add(missing);
        if missing > 0 {
            self.context.warnings.push_about("export_missing", &self.address, || {
                format!(
                    "run {}: {} deleted before delivery to {}: rows_retired and rows_retired_undelivered count such rows",
                    self.context.directory.display(),
                    count(missing, "row"),
                    self.address
                )
            });
        }
        let more = unshown.since(std::mem::replace(&mut self.counted_unshown, unshown));
        self.context.stats.export_rows_structured.add(more.structured);
        self.context.stats.export_rows_without_step.add(more.without_step);
        self.context.stats.export_rows_without_value.add(more.without_value);
        self.counted = losses;
        self.context.stats.export_lines_skipped.add(new.0);
        self.context.stats.export_gaps.add(new.1);
        if new.1 > 0 {
            self.context.warnings.push_about("export_gap", &self.address, || {
                format!(
                    "rows of {} may be missing at {}: files were deleted or truncated before delivery",
                    self.context.directory.display(),
                    self.address
                )
            });
        }
    }

    /// Puts a change for better or worse on record, and warns.
    pub(super) fn report(&mut self, step: &Step) {
        let is_held = self.is_held_elsewhere();
        // Whoever takes the steps without a session says what came of them.
        let warnings = self.context.live.is_some().then_some(&self.context.warnings);
        match step {
            Step::Worked if self.route.is_some() && self.health != Health::Enabled => {
                let what = if self.health == Health::Unknown { "started" } else { "recovered" };
                self.health = Health::Enabled;
                self.note("enabled", what);
            }
            Step::Later { why, .. } => {
                self.context.stats.export_retries.add(1);
                if !is_held && self.health != Health::Degraded {
                    self.health = Health::Degraded;
                    self.note("degraded", why);
                }
                if let Some(warnings) = warnings {
                    warnings.push_about("export", &self.address, || {
                        format!("{}; rows wait in the files and are sent later", self.about(why))
                    });
                }
            }
            Step::Stopped { why } => {
                self.health = Health::Disabled;
                self.note("disabled", &why.what);
                if let Some(warnings) = warnings {
                    let words = |what: String| format!("{}; rows stay in the files only", self.about(&what));
                    warnings.say(why.clone().in_words(words));
                }
            }
            Step::Worked | Step::Idle(_) => {}
        }
    }

    /// Puts its end on record, unless it never began or that was done.
    pub fn note_end(&mut self) {
        if !matches!(self.health, Health::Unknown | Health::Disabled) {
            self.health = Health::Disabled;
            self.note("disabled", "ended");
        }
    }

    /// The address, once, and what is wrong there.
    fn about(&self, why: &str) -> String {
        let base = self.address.split_once(' ').map_or("", |(_, base)| base);
        match why.strip_prefix(base).filter(|rest| !base.is_empty() && rest.starts_with(' ')) {
            Some(rest) => format!("{}{rest}", self.address),
            None => format!("{}: {why}", self.address),
        }
    }

    fn note(&self, status: &str, what: &str) {
        let (component, base) = self.address.split_once(' ').unwrap_or((&self.address, ""));
        let totals = self.route.as_ref().map(|route| route.progress.totals).unwrap_or_default();
        let totals = json!({
            "params": totals.params,
            "points": totals.points,
            "records": totals.records,
            "rejected": totals.rejected,
        });
        let own = json!({"run": self.remote_run, "stream": self.context.stream.as_str(), "uri": base});
        let extra = extra(own, &totals);
        let reason = Some(format!("{component}:{what}"));
        let pieces = Tracking { component, status, reason: reason.as_deref(), extra: &extra };
        self.context.notes.push(tracking(self.context.clock.now_micros(), &pieces));
    }
}
