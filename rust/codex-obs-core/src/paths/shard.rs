//! Names of shards: `<kind>[.<stream>].<extension>[.<number>[.gz|.zst]]`.

use std::path::{Path, PathBuf};

use super::Stream;

/// What stands behind the kind and the stream in the names of its files.
#[must_use]
pub fn extension(kind: &str) -> &'static str {
    if kind == "system_metrics" { "jsonl" } else { "ndjson" }
}

/// How the bytes of a shard are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coding {
    /// As they are.
    Plain,
    /// `.gz`
    Gzip,
    /// `.zst`
    Zstandard,
}

impl Coding {
    /// Every coding, in order of preference.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Gzip, Self::Zstandard];

    /// What stands at the end of the file name.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Gzip => ".gz",
            Self::Zstandard => ".zst",
        }
    }
}

/// One shard's place: the current file is number 0, `.1` the newest rotated one. Nobody but others packs number 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ShardName {
    /// Whose shard it is.
    pub stream: Stream,
    /// 0 for the current file.
    pub number: u64,
    /// How it is stored.
    pub coding: Coding,
}

impl ShardName {
    /// Reads the name of a shard of `kind` (such as `metrics`), or `None` if the name is something else.
    #[must_use]
    pub fn parse(file_name: &str, kind: &str) -> Option<Self> {
        let rest = file_name.strip_prefix(kind)?.strip_prefix('.')?;
        let extension = extension(kind);
        let (stream, rest) = if let Some(rest) = rest.strip_prefix(extension) {
            (Stream::main(), rest)
        } else {
            let (stream, rest) = rest.split_once('.')?;
            (Stream::parse(stream)?, rest.strip_prefix(extension)?)
        };
        let (number, coding) = Self::behind(rest)?;
        Some(Self { stream, number, coding })
    }

    /// Number and coding of a shard, of whatever log, by what stands behind the log's name in the shard's.
    #[must_use]
    pub fn behind(rest: &str) -> Option<(u64, Coding)> {
        if let Some(coding) = Coding::ALL.into_iter().find(|coding| rest == coding.suffix()) {
            return Some((0, coding));
        }
        let rest = rest.strip_prefix('.')?;
        let (digits, coding) = match rest.split_once('.') {
            None => (rest, Coding::Plain),
            Some((digits, "gz")) => (digits, Coding::Gzip),
            Some((digits, "zst")) => (digits, Coding::Zstandard),
            Some(_) => return None,
        };
        // `.0` and `.01` are not names that rotation makes, so they are not ours.
        let canonical = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
        let number = if canonical { digits.parse().ok()? } else { return None };
        Some((number, coding))
    }
}

/// The path of shard `number` of the file `base`.
#[must_use]
pub fn shard_path(base: &Path, number: u64, coding: Coding) -> PathBuf {
    let mut name = base.as_os_str().to_owned();
    match number {
        0 => name.push(coding.suffix()),
        _ => name.push(format!(".{number}{}", coding.suffix())),
    }
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_strangers_are_not() {
        let parse = |name| {
            ShardName::parse(name, "metrics").map(|shard| (shard.stream.to_string(), shard.number, shard.coding))
        };
        assert_eq!(parse("metrics.ndjson"), Some(("main".into(), 0, Coding::Plain)));
        assert_eq!(parse("metrics.rank-1.ndjson.12"), Some(("rank-1".into(), 12, Coding::Plain)));
        assert_eq!(parse("metrics.ndjson.gz"), Some(("main".into(), 0, Coding::Gzip)));
        assert_eq!(parse("metrics.ndjson.3.zst"), Some(("main".into(), 3, Coding::Zstandard)));
        let samples = ShardName::parse("system_metrics.sidecar-a.jsonl.2", "system_metrics").unwrap();
        assert_eq!((samples.stream.as_str(), samples.number), ("sidecar-a", 2));
        for stranger in [
            "metrics_manifest.ndjson",
            "metrics.ndjson.",
            "metrics.ndjson.0",
            "metrics.ndjson.01",
            "metrics.ndjson.x",
            "metrics.Rank.ndjson",
            "metrics..ndjson",
            "metrics.ndjson.1.bz2",
            "metrics.ndjson.1.gz.gz",
            "metrics.ndjson.+1",
            "metrics.ndjson~",
            "metrics.jsonl",
        ] {
            assert_eq!(parse(stranger), None, "{stranger}");
        }
    }
}
