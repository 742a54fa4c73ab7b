//! What a session does with the shards of its stream: it adopts, packs and deletes them.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::Settings;
use crate::error::Result;
use crate::fs::FileId;
use crate::lock::{Attempt, Owner, Purpose};
use crate::paths::{INTERNALS, Stream, journal_path, lock_path, pack_note_path, stream_of_pack_note};
use crate::process::Process;
use crate::run::identity::Home;
use crate::shard::adopt::adopt;
use crate::shard::pack::pack_all;
use crate::shard::writer::last_bytes;
use crate::stats::Stats;
use crate::timeline::Timeline;
use crate::worker::files::Files;
use crate::worker::keeper::{KINDS, Keeper, Kept};
use crate::worker::packer::{Log, Packer, Rules};
use crate::worker::passed::Passed;
use crate::worker::syncer::SyncPolicy;
use crate::worker::warnings::Warnings;

/// Longest note read; ours have some twenty bytes.
const MAX_NOTE_BYTES: usize = 64;

/// Makes shards of current files that somebody packed while nobody wrote the stream.
pub(super) fn adopt_packed(directory: &Path, stream: &Stream, warnings: &Warnings) -> Result<()> {
    for kind in KINDS {
        for unread in adopt(&kind.path(directory, stream))? {
            warnings.say(format!(
                "{} is not read: a plain file of that name stands beside it; rename it to the next free rotated number, or \
                 move it elsewhere",
                unread.display()
            ));
        }
    }
    Ok(())
}

/// Packs what writers that are gone left to be packed in `directory`, as far as it `goes_on`.
pub(super) fn pack_left(directory: &Path, process: &Process, goes_on: &dyn Fn() -> bool) -> Result<()> {
    let folder = directory.join(INTERNALS);
    let names = match crate::fs::list(&folder) {
        Ok(names) => names,
        Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => return Ok(()),
        Err(error) => return Err(error),
    };
    for name in names {
        let Some(stream) = name.to_str().and_then(stream_of_pack_note) else { continue };
        if !goes_on() {
            break;
        }
        let Attempt::Taken(_held) = Owner::acquire(&lock_path(directory, &stream), process, Purpose::Recover)? else {
            continue;
        };
        // What is left of a writer, also of another machine, may have rows of these shards until it is recovered.
        if FileId::at(&journal_path(directory, &stream))?.is_some() {
            continue;
        }
        // So that a power cut does not bring back one that was.
        crate::fs::sync_folder(&folder)?;
        let path = pack_note_path(directory, &stream);
        let text = last_bytes(&path, MAX_NOTE_BYTES)?;
        if let Some(rules) = std::str::from_utf8(&text).ok().and_then(Rules::parse) {
            for kind in KINDS {
                pack_all(&kind.path(directory, &stream), rules.keep, rules.mode, goes_on)?;
            }
        }
        if goes_on() {
            crate::fs::remove(&path)?;
        }
    }
    Ok(())
}

/// Whether a shard is to be put behind the journal on the disk before it goes: what follows a power cut might bring its rows
/// back, beside the archive that has them or after they were counted as deleted. Without syncs nothing is promised of that.
pub(super) fn needs_floors(settings: &Settings) -> bool {
    settings.policy.backup_count.is_some() && (settings.retention.packs || settings.sync != SyncPolicy::Never)
}

/// What a session is surrounded by.
pub(super) struct Around<'a> {
    pub(super) directory: &'a Path,
    pub(super) stream: &'a Stream,
    pub(super) home: &'a Home,
    pub(super) settings: &'a Settings,
    pub(super) timeline: &'a Arc<Timeline>,
    pub(super) stats: &'a Arc<Stats>,
    pub(super) warnings: &'a Arc<Warnings>,
}

/// What looks after the shards of the stream that `files` writes. Of a new stream nothing was left to do.
pub(super) fn keeper(
    around: &Around<'_>,
    files: &mut Files,
    kept: Kept,
    passed: Option<Arc<Passed>>,
    is_new: bool,
) -> Keeper {
    let settings = around.settings;
    let keep = settings.policy.backup_count.unwrap_or(u64::MAX);
    let packer = passed.clone().filter(|_| settings.retention.packs).map(|passed| {
        let logs = KINDS.map(|kind| {
            let writer = files.get(kind);
            Log { kind, base: writer.path().to_owned(), names: writer.names() }
        });
        let note = pack_note_path(around.directory, around.stream);
        let (stats, warnings) = (Arc::clone(around.stats), Arc::clone(around.warnings));
        let packer = Packer::new(logs.into(), keep, settings.file_mode, note, passed, stats, warnings);
        if !is_new {
            packer.look();
        }
        Arc::new(packer)
    });
    Keeper {
        keep,
        retention: settings.retention,
        kept,
        passed,
        packer,
        run_id: around.home.run_id.clone(),
        timeline: Arc::clone(around.timeline),
        stats: Arc::clone(around.stats),
        warnings: Arc::clone(around.warnings),
        gone: [None; KINDS.len()],
        archived: 0,
        is_first_look: !is_new,
    }
}
