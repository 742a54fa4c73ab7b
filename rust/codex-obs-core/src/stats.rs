//! Counters of one stream. Nothing is dropped, cut or retried without one of these going up.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::record::Damage;

/// A counter. Relaxed throughout: counters publish nothing but themselves.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Takes back `amount` of what was added, to add it again.
    pub fn take_back(&self, amount: u64) {
        self.0.fetch_sub(amount, Ordering::Relaxed);
    }

    /// The count.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! stats {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// The counters of one stream since it was opened by this process.
        #[derive(Debug, Default)]
        pub struct Stats {
            $($(#[doc = $doc])* pub $name: Counter,)*
        }

        impl Stats {
            fn counters(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)*]
            }
        }
    };
}

stats! {
    /// Rows passed to `log`.
    rows_logged,
    /// Rows that are in the files.
    rows_written,
    /// Rows dropped because the ring was full and the writer stood still.
    rows_dropped_full,
    /// Rows dropped because their call was larger than half of the ring.
    rows_dropped_oversize,
    /// Rows dropped because the journal's file was truncated, or its disk failed, before they were written out.
    rows_dropped_journal,
    /// Rows dropped because the run was closed.
    rows_dropped_closed,
    /// Rows dropped because a forked child could not open a stream of its own.
    rows_dropped_unopened,
    /// Rows dropped because the run was closed before their values existed.
    rows_dropped_deferred,
    /// Rows in shards that retention deleted.
    rows_retired,
    /// Those of them that a destination did not have yet.
    rows_retired_undelivered,
    /// Rows brought back from the journal of a process that died.
    rows_recovered,
    /// Lines of telemetry that were taken: spans' first and last lines, and events.
    telemetry_logged,
    /// Lines of telemetry that were dropped: the journal was full, they were too long for it, or the run was closed.
    telemetry_dropped,
    /// Bytes appended to files.
    bytes_written,
    /// Rotations of any file.
    rotations,
    /// Appends that failed and were or will be tried again.
    write_errors,
    /// Shards that were packed into archives.
    shards_packed,
    /// Shards that could not be packed and stay plain until it is tried again.
    pack_errors,
    /// Rotations that failed and will be tried again; the shard grows meanwhile.
    rotation_errors,
    /// Writes to the journal that failed: those rows would not have survived the process.
    journal_errors,
    /// Syncs to the disk that failed.
    sync_errors,
    /// Partial lines set aside when a file was opened.
    torn_tails,
    /// Files that someone else replaced or resized under us.
    files_disturbed,
    /// Rows in the journals of processes that died which could not be read.
    rows_damaged,
    /// Frames of the journal that could not be read.
    frames_damaged,
    /// Calls of `log` that had to wait for room.
    calls_blocked,
    /// Nanoseconds that those calls waited.
    blocked_ns,
    /// Metrics that a destination accepted.
    metrics_exported,
    /// Metrics that a destination refused for good; they are in `export_rejected.ndjson`.
    metrics_rejected,
    /// Spans that a destination accepted.
    spans_exported,
    /// Spans that a destination refused for good.
    spans_rejected,
    /// Parameters that a destination accepted.
    params_exported,
    /// Parameters that got another value when the run went on: destinations keep the first.
    params_changed,
    /// Deliveries that a destination did not take yet, each after several attempts.
    export_retries,
    /// Errors of the exporter's own: its cursor could not be written, or it met a bug.
    export_errors,
    /// Lines of the log that were no rows and not exported.
    export_lines_skipped,
    /// Rows that were deleted before they were delivered.
    export_rows_missing,
    /// Rows with a structured value, for which a destination has no form.
    export_rows_structured,
    /// Rows without a step, for which a destination has no place.
    export_rows_without_step,
    /// Rows without a number, which stay in the log only.
    export_rows_without_value,
    /// Times that shards were gone which a delivery was at, so that rows may be missing at the destination.
    export_gaps,
    /// Lone surrogates that became U+FFFD.
    surrogates_replaced,
    /// Texts cut at 4 KiB.
    texts_cut,
    /// Nested values that became null.
    nodes_nulled,
    /// Structured values that are too long to keep, and parameters and tags that were cut to fit.
    payloads_cut,
    /// Metric values whose conversion raised.
    values_unreadable,
    /// Metrics left out because a later one of the call got the same name by `flatten`.
    metrics_collided,
    /// Timestamps out of range, replaced by the time of the call.
    timestamps_replaced,
    /// Times that the clock was set back; timestamps went on at the rate of the monotonic clock.
    clock_steps_back,
}

impl Stats {
    /// Adds what a conversion had to change.
    #[inline]
    pub fn damage(&self, damage: &Damage) {
        if !damage.is_none() {
            self.add_damage(damage);
        }
    }

    #[cold]
    fn add_damage(&self, damage: &Damage) {
        self.surrogates_replaced.add(damage.surrogates_replaced);
        self.texts_cut.add(damage.texts_cut);
        self.nodes_nulled.add(damage.nodes_nulled);
        self.payloads_cut.add(damage.payloads_cut);
        self.values_unreadable.add(damage.values_unreadable);
        self.metrics_collided.add(damage.metrics_collided);
        self.timestamps_replaced.add(damage.timestamps_replaced);
    }

    /// Rows that are neither in the files nor dropped.
    #[must_use]
    pub fn rows_waiting(&self) -> u64 {
        self.snapshot().iter().find(|counter| counter.0 == "rows_waiting").map_or(0, |counter| counter.1)
    }

    /// Every counter by name, with `rows_dropped` and `rows_waiting` so that `logged == written + waiting + dropped`.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
        let mut counters = self.counters();
        let value = |counters: &[(&str, u64)], name: &str| {
            counters.iter().find(|counter| counter.0 == name).map_or(0, |counter| counter.1)
        };
        let causes = counters.iter().filter(|counter| counter.0.starts_with("rows_dropped_"));
        let dropped = causes.map(|counter| counter.1).sum();
        let written = value(&counters, "rows_written");
        // A row may be in a file before the call that published it has counted it as logged.
        let logged = self.rows_logged.get().max(written + dropped);
        if let Some(counter) = counters.iter_mut().find(|counter| counter.0 == "rows_logged") {
            counter.1 = logged;
        }
        counters.push(("rows_dropped", dropped));
        counters.push(("rows_waiting", logged - written - dropped));
        counters
    }
}
