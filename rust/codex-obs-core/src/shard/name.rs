//! Names of the files in a run directory: `<kind>[.<stream>].<extension>[.<number>[.gz|.zst]]`.

use std::fmt::{self, Write};
use std::path::{Path, PathBuf};

/// A stream's name: `[a-z0-9-]+`. The main stream's files carry no stream in their names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stream(String);

/// What the main stream is called where a name is needed.
pub const MAIN: &str = "main";

impl Stream {
    /// The stream of rank 0, or of a run without ranks.
    #[must_use]
    pub fn main() -> Self {
        Self(MAIN.to_owned())
    }

    /// A stream by name, if the name is one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (!name.is_empty() && name.bytes().all(valid)).then(|| Self(name.to_owned()))
    }

    /// The stream that `rank` asks for first: the main one for rank 0.
    #[must_use]
    pub fn of_rank(rank: u64) -> Self {
        if rank == 0 { Self::main() } else { Self(format!("rank-{rank}")) }
    }

    /// The `attempt`-th stream (from 0) to try when the one of `rank` is held: by process id, then numbered.
    #[must_use]
    pub fn of_process(rank: u64, pid: u32, attempt: u32) -> Self {
        let mut name = if rank == 0 { format!("pid-{pid}") } else { format!("rank-{rank}-pid-{pid}") };
        if attempt > 0 {
            let _ = write!(name, "-{}", attempt + 1);
        }
        Self(name)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the main stream.
    #[must_use]
    pub fn is_main(&self) -> bool {
        self.0 == MAIN
    }

    /// The name of this stream's file of a kind: `metrics`, `ndjson` give `metrics.ndjson` or `metrics.rank-1.ndjson`.
    #[must_use]
    pub fn file_name(&self, kind: &str, extension: &str) -> String {
        if self.is_main() { format!("{kind}.{extension}") } else { format!("{kind}.{}.{extension}", self.0) }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
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
        let (stream, rest) = if let Some(rest) = rest.strip_prefix("ndjson") {
            (Stream::main(), rest)
        } else {
            let (stream, rest) = rest.split_once('.')?;
            (Stream::parse(stream)?, rest.strip_prefix("ndjson")?)
        };
        if let Some(coding) = Coding::ALL.into_iter().find(|coding| rest == coding.suffix()) {
            return Some(Self { stream, number: 0, coding });
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
        Some(Self { stream, number, coding })
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
        ] {
            assert_eq!(parse(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn streams_of_ranks_and_processes() {
        assert_eq!(Stream::of_rank(0).file_name("metrics", "ndjson"), "metrics.ndjson");
        assert_eq!(Stream::of_rank(3).file_name("params", "ndjson"), "params.rank-3.ndjson");
        assert_eq!(Stream::of_process(0, 77, 0).as_str(), "pid-77");
        assert_eq!(Stream::of_process(2, 77, 1).as_str(), "rank-2-pid-77-2");
    }
}
