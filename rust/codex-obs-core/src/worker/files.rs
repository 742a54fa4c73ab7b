//! The files that one stream writes.

use std::path::Path;
use std::sync::Arc;

use crate::clock::Clock;
use crate::paths::{FileKind, Stream};
use crate::pulse::Pulse;
use crate::shard::policy::Policy;
use crate::shard::writer::ShardWriter;

/// A writer for each file of a stream.
#[derive(Debug)]
pub struct Files {
    writers: [ShardWriter; FileKind::ALL.len()],
    pulse: Arc<Pulse>,
}

impl Files {
    /// Writers for the files of `stream` in `directory`; none is touched before it is needed.
    #[must_use]
    pub fn new(directory: &Path, stream: &Stream, policy: Policy, mode: u32, clock: &Clock) -> Self {
        let pulse = Arc::default();
        let writers = FileKind::ALL.map(|kind| {
            let policy = if kind.rotates() { policy } else { Policy::OFF };
            let mut writer = ShardWriter::new(kind.path(directory, stream), policy, mode, clock.clone());
            writer.show_by(&pulse);
            writer
        });
        Self { writers, pulse }
    }

    /// The writer of one file.
    pub fn get(&mut self, kind: FileKind) -> &mut ShardWriter {
        &mut self.writers[kind as usize]
    }

    /// Signs of life of whoever writes them.
    #[must_use]
    pub fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// Partial lines set aside in all files.
    #[must_use]
    pub fn torn_tails(&self) -> u64 {
        self.writers.iter().map(ShardWriter::torn_tails).sum()
    }
}
