//! Lines that are no rows: parameters, sessions, destinations. They are one frame of the journal each, so what is too long in
//! them is cut.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use codex_obs_core::encode::line;
use codex_obs_core::encode::trim::Cuts;
use codex_obs_core::journal::frame::LineFile;
use codex_obs_core::limits::{MAX_PAYLOAD_BYTES, MAX_TEXT_BYTES};
use codex_obs_core::problem::Problem;
use codex_obs_core::record::{Damage, text::cut};
use codex_obs_core::session::Session;
use codex_obs_core::worker::loss::Loss;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::convert::json::{object, push_json};
use crate::convert::{Unread, take_unread};
use crate::recorder::Recorder;
use crate::spare::Buffers;

/// Room for what a line holds beside its objects.
const FRAME_BYTES: usize = 8 << 10;
/// Most metrics that are said not to be readable: a run that makes new names for ever says no more than that.
const MOST_UNREAD: usize = 100;

/// What was said once.
#[derive(Debug, Default)]
pub struct Said {
    cut: AtomicBool,
    collided: AtomicBool,
    /// Metrics that could not be read, with the class of the error.
    unread: Mutex<HashSet<(String, String)>>,
}

/// Writes a line of parameters. `false` if there is no room for it.
pub fn params(
    slf: &Bound<'_, Recorder>,
    config: &Bound<'_, PyAny>,
    argv: Vec<String>,
    derived: &Bound<'_, PyAny>,
    metadata: &Bound<'_, PyAny>,
) -> PyResult<bool> {
    let mut damage = Damage::default();
    let (mut cuts, mut tag_cuts) = (Cuts::default(), Cuts::default());
    let room = room(slf);
    let cli = cli(slf.py(), argv, room / 8, &mut damage)?;
    let config = object(config, (room / 2).min(MAX_PAYLOAD_BYTES), &mut damage, &mut cuts);
    let derived = object(derived, room / 8, &mut damage, &mut Cuts::default());
    let metadata = object(metadata, (room / 4).min(MAX_PAYLOAD_BYTES), &mut damage, &mut tag_cuts);
    let pieces = line::Params { cli: &cli, config: &config, derived: &derived, metadata: &metadata };
    let written =
        Recorder::write(slf, LineFile::Params, &damage, |micros, run_id| line::params(micros, run_id, &pieces))?;
    if let Some(session) = Recorder::session(slf, Loss::default) {
        for (what, cuts) in [("parameter", &cuts), ("tag", &tag_cuts)] {
            if cuts.count > 0 {
                session.warnings().say(words(what, cuts));
            }
        }
    }
    Ok(written)
}

/// Writes a record of a session. `false` if there is no room for it.
pub fn session(slf: &Bound<'_, Recorder>, record: &str, fields: &Bound<'_, PyAny>) -> PyResult<bool> {
    let mut damage = Damage::default();
    let fields = object(fields, room(slf), &mut damage, &mut Cuts::default());
    Recorder::write(slf, LineFile::Session, &damage, |micros, run_id| line::session(micros, run_id, record, &fields))
}

/// Writes a record of a destination. `false` if there is no room for it.
pub fn summary(
    slf: &Bound<'_, Recorder>,
    component: &str,
    status: &str,
    reason: Option<&str>,
    extra: &Bound<'_, PyAny>,
) -> PyResult<bool> {
    let mut damage = Damage::default();
    let extra = object(extra, room(slf), &mut damage, &mut Cuts::default());
    let pieces = line::Tracking { component, status, reason, extra: &extra };
    Recorder::write(slf, LineFile::Summary, &damage, |micros, _| line::tracking(micros, &pieces))
}

/// Tells, once each, that tags of a row were cut, that metrics got the same name, or that one could not be read.
#[cold]
pub fn say_what_changed(run: &Recorder, session: &Session, buffers: &Buffers) {
    if let Some(path) = buffers.tags.first_cut()
        && !run.said.cut.swap(true, Ordering::Relaxed)
    {
        session.warnings().say(format!(
            "tags of a row were cut to {} in all, the longest first, such as {}; payloads_cut in stats() counts them. Said once.",
            mebibytes(MAX_PAYLOAD_BYTES),
            shown(path),
        ));
    }
    if let Some(name) = &buffers.collided
        && !run.said.collided.swap(true, Ordering::Relaxed)
    {
        session.warnings().say(format!(
            "with flatten, several metrics of one call are called {}: only the last one is logged. Rename one; metrics_collided in \
             stats() counts the others. Said once.",
            shown(name),
        ));
    }
    for Unread { name, class, words } in take_unread() {
        let mut said = run.said.unread.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() < MOST_UNREAD && said.insert((name.clone(), class.clone())) {
            let why = if words.is_empty() { class.clone() } else { format!("{class}: {words}") };
            let what = format!("the metric {} could not be read and is null ({why})", shown(&name));
            session.warnings().say(Problem::new("value_unreadable", what, vec![("class", class), ("words", words)]));
        }
    }
}

fn words(what: &str, cuts: &Cuts) -> String {
    let paths: Vec<_> = cuts
        .paths
        .iter()
        .map(|path| shown(path.strip_prefix("tags.").filter(|_| what == "tag").unwrap_or(path)))
        .collect();
    let more = cuts.count - paths.len() as u64;
    let others = if more > 0 { format!(" and {more} more") } else { String::new() };
    let (noun, verb) = if cuts.count == 1 { (what.to_owned(), "is") } else { (format!("{what}s"), "are") };
    format!(
        "the {noun} {}{others} {verb} too long and cut in params.ndjson: save long values as a file, and log its path",
        paths.join(", ")
    )
}

/// A path for people; what stands at the top has none.
fn shown(path: &str) -> String {
    if path.is_empty() { "(all together)".to_owned() } else { format!("`{path}`") }
}

fn mebibytes(bytes: usize) -> String {
    format!("{} MiB", bytes >> 20)
}

/// The arguments of the process; of very many or long ones the first, cut at 4 KiB.
fn cli(py: Python<'_>, argv: Vec<String>, most: usize, damage: &mut Damage) -> PyResult<Vec<u8>> {
    let mut room = most;
    let mut kept = Vec::new();
    for argument in argv {
        let (short, was_cut) = cut(&argument);
        damage.texts_cut += u64::from(was_cut);
        // Each byte may need six when it is escaped.
        let Some(rest) = room.checked_sub(6 * short.len() + 3) else {
            damage.payloads_cut += 1;
            break;
        };
        room = rest;
        kept.push(short.to_owned());
    }
    let cli = PyDict::new(py);
    cli.set_item("argv", kept)?;
    let mut bytes = Vec::new();
    push_json(&cli, &mut bytes, damage);
    Ok(bytes)
}

/// Bytes that the objects of a line may have together.
fn room(slf: &Bound<'_, Recorder>) -> usize {
    let most = Recorder::session(slf, Loss::default).map_or(0, Session::max_line_bytes);
    most.saturating_sub(FRAME_BYTES).max(MAX_TEXT_BYTES)
}
