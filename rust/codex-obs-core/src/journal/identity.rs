//! Who made a journal, and by which rules its rows are to be written, so that anyone can finish the work.

use crate::block::{opened, put_text, sealed, take_number, take_text};
use crate::process::Process;

/// What is needed to turn the frames of a journal into the lines they stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Who wrote the frames.
    pub process: Process,
    /// The run's id, part of every row.
    pub run_id: String,
    /// The stream, part of every file name.
    pub stream: String,
    /// Whether rows are in the legacy form.
    pub legacy: bool,
    /// Mode of files that have to be created.
    pub file_mode: u32,
    /// See [`crate::shard::policy::Policy`]; `u64::MAX` stands for off.
    pub max_shard_bytes: u64,
    /// In microseconds; `u64::MAX` stands for off.
    pub max_shard_age: u64,
    /// `u64::MAX` stands for off.
    pub backup_count: u64,
    /// Whether shards beyond the count are packed. Journals from before this was noted do not say so.
    pub packs: bool,
}

impl Identity {
    /// As bytes, without a checksum of its own.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        self.process.write(out);
        put_text(out, &self.run_id);
        put_text(out, &self.stream);
        let rules = [self.max_shard_bytes, self.max_shard_age, self.backup_count, self.packs.into()];
        for number in [self.legacy.into(), self.file_mode.into()].into_iter().chain(rules) {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// The block of a journal of the first version.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        sealed(&out)
    }

    /// Back from [`to_bytes`](Self::to_bytes); `None` if the block is damaged.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::read(&mut opened(bytes)?)
    }

    /// Back from [`write`](Self::write).
    pub(super) fn read(input: &mut &[u8]) -> Option<Self> {
        Some(Self {
            process: Process::read(input)?,
            run_id: take_text(input)?,
            stream: take_text(input)?,
            legacy: take_number(input)? != 0,
            file_mode: contained(u32::try_from(take_number(input)?).ok()?),
            max_shard_bytes: take_number(input)?,
            max_shard_age: take_number(input)?,
            backup_count: take_number(input)?,
            packs: take_number(input) == Some(1),
        })
    }
}

/// The part of a mode that is believed of someone else: files that a recovery makes are the owner's to read and write, are
/// no programs, and nobody but the owner and the group may write them.
fn contained(mode: u32) -> u32 {
    mode & 0o664 | 0o600
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_back_and_any_damage_is_noticed() {
        let identity = Identity {
            process: Process::current(),
            run_id: "r\u{e9}1".into(),
            stream: "main".into(),
            legacy: true,
            file_mode: 0o640,
            max_shard_bytes: 1,
            max_shard_age: u64::MAX,
            backup_count: 5,
            packs: true,
        };
        let bytes = identity.to_bytes();
        assert_eq!(Identity::from_bytes(&bytes), Some(identity));
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1;
            assert_eq!(Identity::from_bytes(&damaged), None, "byte {position}");
            assert_eq!(Identity::from_bytes(&bytes[..position]), None, "prefix {position}");
        }
    }

    #[test]
    fn a_mode_that_was_planted_makes_no_program_and_lets_nobody_else_write() {
        for (planted, mode) in [(0o4777, 0o664), (0, 0o600), (0o640, 0o640), (u32::MAX, 0o664), (0o222, 0o620)] {
            let bytes = Identity { file_mode: planted, ..Identity::default() }.to_bytes();
            assert_eq!(Identity::from_bytes(&bytes).unwrap().file_mode, mode);
        }
    }
}
