//! Names of archives: `<log>.archive-<ordinal, at least six digits>.zst`, and of what is on its way to become or to leave one.

use std::path::{Path, PathBuf};

const INFIX: &str = ".archive-";
const DIGITS: usize = 6;

/// What a name beside a log stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Archive {
    /// A packed shard.
    Packed,
    /// A shard or archive that is being deleted: it counts as gone.
    Leaving,
}

impl Archive {
    fn suffix(self) -> &'static str {
        match self {
            Self::Packed => ".zst",
            Self::Leaving => ".gone",
        }
    }

    /// The ordinal in `file_name`, if it is such a name of the log `base_name`.
    #[must_use]
    pub fn parse(file_name: &str, base_name: &str) -> Option<(Self, u64)> {
        let rest = file_name.strip_prefix(base_name)?.strip_prefix(INFIX)?;
        let (digits, kind) = [Self::Packed, Self::Leaving]
            .into_iter()
            .find_map(|kind| Some((rest.strip_suffix(kind.suffix())?, kind)))?;
        let is_canonical = digits.bytes().all(|byte| byte.is_ascii_digit())
            && (digits.len() == DIGITS || (digits.len() > DIGITS && !digits.starts_with('0')));
        let ordinal = if is_canonical { digits.parse().ok()? } else { return None };
        (ordinal > 0).then_some((kind, ordinal))
    }

    /// The path of `ordinal` beside the log `base`.
    #[must_use]
    pub fn path(self, base: &Path, ordinal: u64) -> PathBuf {
        beside(base, &format!("{INFIX}{ordinal:06}{}", self.suffix()))
    }
}

/// The name under which a shard of the log `base` is packed. Nobody reads it, and there is one packer a log.
#[must_use]
pub fn draft_path(base: &Path) -> PathBuf {
    beside(base, ".archive-new")
}

/// Whether `file_name` is one that a file has for a moment, while it is packed or while another one with its number moves.
#[must_use]
pub fn is_passing(file_name: &str) -> bool {
    file_name.ends_with(".archive-new") || file_name.ends_with(super::rotate::MOVING)
}

/// The log's name in the name of an archive of it, whatever log that is: what stands before `.archive-`.
#[must_use]
pub fn log_name(file_name: &str) -> Option<&str> {
    let (log, _) = file_name.split_once(INFIX)?;
    Archive::parse(file_name, log).is_some().then_some(log)
}

fn beside(base: &Path, suffix: &str) -> PathBuf {
    let mut name = base.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_strangers_are_not() {
        let base = Path::new("metrics.rank-1.ndjson");
        for ordinal in [1, 999_999, 1_000_000, u64::MAX] {
            for kind in [Archive::Packed, Archive::Leaving] {
                let path = kind.path(base, ordinal);
                let name = path.to_str().unwrap();
                assert_eq!(Archive::parse(name, "metrics.rank-1.ndjson"), Some((kind, ordinal)), "{name}");
                assert_eq!(log_name(name), Some("metrics.rank-1.ndjson"));
            }
        }
        assert_eq!(Archive::Packed.path(base, 7).to_str(), Some("metrics.rank-1.ndjson.archive-000007.zst"));
        for stranger in [
            "metrics.ndjson.archive-000001.zst",
            "metrics.rank-1.ndjson.archive-000000.zst",
            "metrics.rank-1.ndjson.archive-1.zst",
            "metrics.rank-1.ndjson.archive-0000001.zst",
            "metrics.rank-1.ndjson.archive-00000x.zst",
            "metrics.rank-1.ndjson.archive-+00001.zst",
            "metrics.rank-1.ndjson.archive-000001.gz",
            "metrics.rank-1.ndjson.archive-000001",
            "metrics.rank-1.ndjson.archive-99999999999999999999.zst",
            "metrics.rank-1.ndjson.1.zst",
            draft_path(base).to_str().unwrap(),
        ] {
            assert_eq!(Archive::parse(stranger, "metrics.rank-1.ndjson"), None, "{stranger}");
        }
    }
}
