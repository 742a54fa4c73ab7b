//! What a stream has on its way: rows, other lines, artifacts and the end are read, gathered, handed over, noted.

use super::{Context, Delivery, LOOK_AGAIN, Route, Step, settle};
use crate::deliver::destination::{Destination, ROWS_MISSING_TAG};
use crate::error::{Error, Result};
use crate::follow::artifacts;
use crate::follow::follower::Stopped;
use crate::follow::progress::{Missing, Totals};
use crate::follow::reached::Reached;
use crate::limits::RECORD_BATCH;
use crate::paths::FileKind;
use crate::primitives::Instant;
use crate::wait::Wait;

impl Delivery {
    /// Whether rows were handed over that have to be handed over again.
    pub(super) fn has_sealed_rows(&self) -> bool {
        let rows = self.route.as_ref().and_then(|route| route.rows.as_ref());
        rows.is_some_and(|track| track.sealed.is_some())
    }

    /// Sends rows, and says how the run ended once there are no more.
    pub(super) fn send_points(&mut self, destination: &mut dyn Destination, wait: &Wait, flush: bool) -> Result<Step> {
        let Some(Route { rows: Some(track), progress, totals, .. }) = &mut self.route else {
            return self.finish(destination, wait, flush);
        };
        let settings = &self.context.settings;
        let mut stopped = Stopped::Full;
        if track.sealed.is_none() {
            track.rows.most = destination.most_points().max(1);
            let passed = track.follower.passed();
            stopped = track.follower.read(&mut track.rows)?;
            if passed != track.follower.passed() {
                track.since.get_or_insert_with(Instant::now);
            }
        }
        // Only the last group of all may go without a row behind it.
        let is_last = self.is_over && stopped == Stopped::AtEnd;
        let ready = track.sealed.unwrap_or_else(|| track.rows.ready(is_last));
        let due_at = track.since.map(|since| since + settings.flush_interval);
        let due = flush
            || track.sealed.is_some()
            || ready >= settings.flush_points
            || due_at.is_some_and(|due_at| Instant::now() >= due_at);
        if !due {
            return Ok(if stopped == Stopped::AtEnd { Step::Idle(due_at) } else { Step::Worked });
        }
        // What is not ready yet is read again after a restart.
        let before_group = track.follower.before_group().filter(|_| ready < track.rows.points.len()).cloned();
        let (manifest, unshown) = track.rows.noted(before_group.is_some());
        let (cursor, position) =
            before_group.unwrap_or_else(|| (track.follower.cursor().clone(), track.follower.position()));
        let cursor = Some(cursor).filter(|_| track.follower.has_begun());
        if ready == 0 && cursor == progress.cursor {
            track.since = None;
            return if stopped == Stopped::AtEnd { self.finish(destination, wait, flush) } else { Ok(Step::Worked) };
        }
        let mut taken = (0, 0);
        if ready > 0 {
            track.sealed = Some(ready);
            let points = &track.rows.points[..ready];
            let rejected = match settle(destination.deliver(&self.context.stream, points, wait)) {
                Ok(rejected) => rejected.min(ready as u64),
                Err(step) => return Ok(step),
            };
            taken = (ready as u64 - rejected, rejected);
        }
        let reached = Reached { rows: cursor.clone(), records: progress.records.clone() };
        let state = match destination.keep(&self.context.stream, &reached) {
            Ok(state) => state,
            Err(error) => return self.not_kept(error),
        };
        progress.state = state.or(progress.state.take());
        progress.manifest = manifest;
        progress.totals.unshown = totals.unshown.and(unshown);
        (progress.cursor, progress.rows) = (cursor, position);
        track.rows.release(ready);
        (track.sealed, track.since) = (None, (!track.rows.points.is_empty()).then(Instant::now));
        self.context.stats.metrics_exported.add(taken.0);
        self.context.stats.metrics_rejected.add(taken.1);
        self.note_points(taken);
        self.save();
        Ok(Step::Worked)
    }

    /// Everything is delivered: says how the run ended, if that is known.
    fn finish(&mut self, destination: &mut dyn Destination, wait: &Wait, flush: bool) -> Result<Step> {
        let is_told = self.context.leads || destination.ends_each_stream();
        let Some((status, end_micros)) = self.status.filter(|_| flush && is_told) else {
            return Ok(Step::Idle(None));
        };
        if let Some(step) = self.send_artifacts(destination, wait, flush)? {
            return Ok(step);
        }
        let elsewhere = self.missing_elsewhere;
        let Some(route) = self.route.as_mut() else { return Ok(Step::Idle(None)) };
        let missing = route.progress.missing.and(elsewhere);
        if missing.is_some() && route.progress.told_missing != missing {
            let tag = (ROWS_MISSING_TAG.to_owned(), missing.words());
            return Ok(match settle(destination.tags(&self.context.stream, &[tag], wait)) {
                Ok(_) => {
                    route.progress.told_missing = missing;
                    self.save();
                    Step::Worked
                }
                Err(step) => step,
            });
        }
        if route.progress.told == self.status {
            return Ok(Step::Idle(None));
        }
        Ok(match settle(destination.finish(&self.context.stream, status, end_micros, wait)) {
            Ok(_) => {
                route.progress.told = self.status;
                self.save();
                Step::Worked
            }
            Err(step) => step,
        })
    }

    /// What was handed over is not noted: the destination is opened again where it was noted last, so that nothing is there twice.
    fn not_kept(&mut self, error: Error) -> Result<Step> {
        self.open_again();
        Err(error)
    }

    /// Counts what was taken and what was refused, and lets retention know the place.
    fn note_points(&mut self, (taken, rejected): (u64, u64)) {
        let Some(route) = &mut self.route else { return };
        let Some(track) = &route.rows else { return };
        let losses = track.follower.losses();
        route.progress.missing = route.missing.and(Missing { rows: losses.missing, gaps: losses.gaps });
        route.totals.points += taken;
        route.totals.rejected += rejected;
        let unshown = route.progress.totals.unshown;
        route.progress.totals = Totals { unshown, ..route.totals };
        let place = route.progress.cursor.as_ref().filter(|cursor| cursor.ordinal > 0);
        if let (Some(hold), Some(place)) = (self.context.hold.as_ref().filter(|_| self.follows.holds), place) {
            hold.note(place.ordinal, place.offset);
        }
    }

    /// Sends lines of another log. Idle if there are none, or they wait for more.
    pub(super) fn send_records(
        &mut self,
        index: usize,
        destination: &mut dyn Destination,
        wait: &Wait,
        flush: bool,
    ) -> Result<Step> {
        let stream = &self.context.stream;
        let Some(route) = &mut self.route else { return Ok(Step::Idle(None)) };
        let track = &mut route.records[index];
        let mut stopped = Stopped::Full;
        // Rows may come every millisecond; looking for a file that is not there takes longer than they do.
        if let Some(next) = track.looked.map(|looked| looked + LOOK_AGAIN).filter(|_| !flush && track.since.is_none())
            && Instant::now() < next
        {
            return Ok(Step::Idle(Some(next)));
        }
        if !track.is_sealed {
            let passed = track.follower.passed();
            stopped = track.follower.read(&mut track.records)?;
            if passed != track.follower.passed() {
                track.since.get_or_insert_with(Instant::now);
            }
        }
        track.looked = (stopped == Stopped::AtEnd).then(Instant::now);
        let Some(since) = track.since else {
            let ends = self.is_over && flush && stopped == Stopped::AtEnd;
            return if ends { self.end_records(index, destination, wait) } else { Ok(Step::Idle(None)) };
        };
        let due_at = since + self.context.settings.flush_interval;
        if !flush && !track.is_sealed && stopped == Stopped::AtEnd && Instant::now() < due_at {
            return Ok(Step::Idle(Some(due_at)));
        }
        if !track.records.lines.is_empty() {
            track.is_sealed = true;
            match settle(destination.records(stream, track.log, &track.records.lines, wait)) {
                Ok(rejected) if track.log == FileKind::Telemetry => self.context.stats.spans_rejected.add(rejected),
                Ok(_) => {}
                Err(step) => return Ok(step),
            }
        }
        let mut reached = Reached { rows: route.progress.cursor.clone(), records: route.progress.records.clone() };
        reached.records.insert(track.log.base().to_owned(), track.follower.cursor().clone());
        let state = match destination.keep(stream, &reached) {
            Ok(state) => state,
            Err(error) => return self.not_kept(error),
        };
        route.progress.state = state.or(route.progress.state.take());
        route.totals.records += track.records.lines.len() as u64;
        route.progress.totals.records = route.totals.records;
        route.progress.records = reached.records;
        let hold = self.context.telemetry_hold.as_ref().filter(|_| track.log == FileKind::Telemetry);
        if let (Some(hold), Some((ordinal, offset))) = (hold, track.follower.place()) {
            hold.note(ordinal, offset);
        }
        track.records.clear();
        (track.is_sealed, track.since) = (false, None);
        self.save();
        Ok(Step::Worked)
    }

    /// Sends artifacts that were copied or replaced meanwhile, if it is time to look. `None`: there are none.
    pub(super) fn send_artifacts(
        &mut self,
        destination: &mut dyn Destination,
        wait: &Wait,
        flush: bool,
    ) -> Result<Option<Step>> {
        let due = flush || self.artifacts_looked.is_none_or(|looked| looked.elapsed() >= LOOK_AGAIN);
        if !self.follows.artifacts || !self.context.leads || !due {
            return Ok(None);
        }
        let Some(route) = &mut self.route else { return Ok(None) };
        let Context { directory, stream, .. } = &*self.context;
        let mut pending = artifacts::pending(directory, &self.address)?;
        if pending.is_empty() {
            self.artifacts_looked = Some(Instant::now());
            return Ok(None);
        }
        pending.truncate(RECORD_BATCH);
        if let Err(step) = settle(destination.artifacts(stream, &pending, wait)) {
            return Ok(Some(step));
        }
        artifacts::note(directory, &self.address, &pending)?;
        let reached = Reached { rows: route.progress.cursor.clone(), records: route.progress.records.clone() };
        let state = match destination.keep(stream, &reached) {
            Ok(state) => state,
            Err(error) => return self.not_kept(error).map(Some),
        };
        route.progress.state = state.or(route.progress.state.take());
        self.save();
        Ok(Some(Step::Worked))
    }

    /// Says that a log is at its end.
    fn end_records(&mut self, index: usize, destination: &mut dyn Destination, wait: &Wait) -> Result<Step> {
        let stream = &self.context.stream;
        let Some(route) = &mut self.route else { return Ok(Step::Idle(None)) };
        let Some(answer) = destination.over(stream, route.records[index].log, wait) else {
            return Ok(Step::Idle(None));
        };
        match settle(answer) {
            Ok(rejected) => self.context.stats.spans_rejected.add(rejected),
            Err(step) => return Ok(step),
        }
        let reached = Reached { rows: route.progress.cursor.clone(), records: route.progress.records.clone() };
        let state = match destination.keep(stream, &reached) {
            Ok(state) => state,
            Err(error) => return self.not_kept(error),
        };
        route.progress.state = state.or(route.progress.state.take());
        self.save();
        Ok(Step::Worked)
    }
}
