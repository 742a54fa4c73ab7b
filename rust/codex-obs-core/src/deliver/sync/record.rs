//! What a delivery from outside puts on record in the tracking summary.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::encode::line::{Tracking, tracking};
use crate::error::Result;
use crate::limits::DEFAULT_FILE_MODE;
use crate::lock::{Attempt, Owner, Purpose};
use crate::paths::{FileKind, Stream, lock_path};
use crate::process::Process;
use crate::shard::policy::Policy;
use crate::shard::writer::ShardWriter;

/// Another delivery of this process has the file for no longer than this.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time between two attempts.
const LOOK: Duration = Duration::from_millis(5);

/// Appends lines to the tracking summary of `stream`, `shared` by the deliveries of this process or else, while another process
/// writes it, to this process's own.
pub(super) fn append(directory: &Path, stream: &Stream, shared: bool, lines: &[Vec<u8>], clock: &Clock) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let process = Process::current();
    let own = Stream::of_process(0, process.pid, 0);
    for stream in [stream, &own] {
        // Who wants to write the stream waits for what is held to recover it, which takes no longer than this.
        let until = Instant::now() + if shared { PATIENCE } else { Duration::ZERO };
        let attempt = loop {
            let attempt = Owner::acquire(&lock_path(directory, stream), &process, Purpose::Recover)?;
            if matches!(attempt, Attempt::Taken(_)) || Instant::now() >= until {
                break attempt;
            }
            std::thread::sleep(LOOK);
        };
        let Attempt::Taken(_held) = attempt else { continue };
        let path = FileKind::Summary.path(directory, stream);
        let mut writer = ShardWriter::new(path, Policy::OFF, DEFAULT_FILE_MODE, clock.clone());
        writer.look()?;
        return writer.append(&lines.concat());
    }
    Ok(())
}

/// Puts on record, as the sidecar of this machine, how something stands. `extra` is a JSON object.
///
/// # Errors
/// If the record cannot be written.
pub fn note_aside(
    directory: &Path,
    component: &str,
    status: &str,
    reason: Option<&str>,
    extra: &str,
    clock: &Clock,
) -> Result<()> {
    let pieces = Tracking { component, status, reason, extra: extra.as_bytes() };
    let line = tracking(clock.now_micros(), &pieces);
    append(directory, &Stream::of_sidecar(), true, &[line], clock)
}
