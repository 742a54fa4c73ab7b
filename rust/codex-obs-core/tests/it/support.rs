//! What the tests share.

use std::path::Path;
use std::sync::Arc;

use codex_obs_core::journal::frame::{Call, FrameBuilder};
use codex_obs_core::record::Tags;
use codex_obs_core::session::{Session, Settings, Step, Time};
use codex_obs_core::shard::retention::Retention;

/// Shards beyond the count are deleted, not packed.
pub const DELETES: Retention = Retention { packs: false, max_archive_bytes: None };

/// A session on a ring of 256 KiB.
pub fn open(directory: &Path) -> Arc<Session> {
    Session::open(directory, Some("r1"), None, Settings { ring_bytes: 256 << 10, ..Settings::default() }).unwrap()
}

/// A call with `metrics` numbers, finished.
pub fn call(builder: &mut FrameBuilder, timestamp: i64, step: i64, metrics: u32, max_frame_bytes: usize) {
    let call = Call { timestamp, step: Some(step), split: "train", dataset: None, tags: &Tags::default() };
    builder.begin(&call, max_frame_bytes);
    for metric in 0..metrics {
        builder.float(&format!("m{metric}"), f64::from(metric) + 0.5);
    }
    builder.finish();
}

/// Logs one call, waiting if need be.
pub fn log(session: &Session, step: i64, metrics: u32) {
    let mut builder = FrameBuilder::default();
    call(&mut builder, step, step, metrics, session.max_frame_bytes());
    if !session.try_log(&mut builder, Step::Given, Time::Given) {
        session.log_slowly(&mut builder, Step::Given, Time::Given);
    }
}

/// The line that `call` gives for one of its metrics.
pub fn line(timestamp: i64, step: i64, metric: u32) -> String {
    let time = String::from_utf8(codex_obs_core::record::timestamp::format(timestamp).to_vec()).unwrap();
    format!(
        "{{\"$schema\":\"https://codexml.ai/schemas/run_metrics.schema.json\",\"schema_version\":\"v1\",\
         \"timestamp\":\"{time}\",\"run_id\":\"r1\",\"step\":{step},\"split\":\"train\",\"metric\":\"m{metric}\",\
         \"value\":{metric}.5,\"dataset\":null,\"tags\":{{}}}}\n"
    )
}

/// The lines of the calls `steps` with `metrics` numbers each.
pub fn lines(steps: impl IntoIterator<Item = i64>, metrics: u32) -> String {
    steps.into_iter().flat_map(|step| (0..metrics).map(move |metric| line(step, step, metric))).collect()
}

/// The text of a file in `directory`.
pub fn text(directory: &Path, name: &str) -> String {
    std::fs::read_to_string(directory.join(name)).unwrap()
}

/// The value of one counter.
pub fn count(session: &Session, name: &str) -> u64 {
    session.stats().snapshot().into_iter().find(|counter| counter.0 == name).unwrap().1
}
