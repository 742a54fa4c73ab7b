//! Where streams stand, for start records.

use std::collections::BTreeMap;

use codex_obs_core::session::Session;

/// Shard and offset by stream.
pub type Ended = BTreeMap<String, (u64, u64)>;

/// The ends of the other streams whose processes have all ended.
pub fn ended(session: Option<&Session>) -> Ended {
    let streams = session.map(Session::ended_streams).unwrap_or_default();
    streams.into_iter().map(|(stream, place)| (stream, place.parts())).collect()
}
