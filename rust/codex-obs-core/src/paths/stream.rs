//! Names of streams.

use std::fmt::{self, Write};

/// A stream's name: `[a-z0-9-]+`. The main stream's files carry no stream in their names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stream(String);

/// Longest part of a machine's name in a stream's.
const HOST_BYTES: usize = 64;

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

    /// Whether a sidecar writes it: then it has no rows.
    #[must_use]
    pub fn is_sidecar(&self) -> bool {
        self.0.starts_with("sidecar-")
    }

    /// The stream of the sidecar on this machine.
    #[must_use]
    pub fn of_sidecar() -> Self {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self::of_host(&rustix::system::uname().nodename().to_string_lossy(), &boot_id)
    }

    /// The stream of the sidecar on the machine `host` in the boot `boot_id`: two machines, or two boots, may have one name.
    fn of_host(host: &str, boot_id: &str) -> Self {
        let plain = |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte.to_ascii_lowercase()) } else { '-' };
        let host: String = host.bytes().take(HOST_BYTES).map(plain).collect();
        let boot: String =
            boot_id.chars().filter(char::is_ascii_hexdigit).take(4).collect::<String>().to_ascii_lowercase();
        Self(format!("sidecar-{host}-{boot:0>4}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_ranks_and_processes() {
        assert_eq!(Stream::of_rank(0).file_name("metrics", "ndjson"), "metrics.ndjson");
        assert_eq!(Stream::of_rank(3).file_name("params", "ndjson"), "params.rank-3.ndjson");
        assert_eq!(Stream::of_process(0, 77, 0).as_str(), "pid-77");
        assert_eq!(Stream::of_process(2, 77, 1).as_str(), "rank-2-pid-77-2");
    }

    #[test]
    fn a_machines_stream_has_a_plain_name_and_tells_boots_apart() {
        let of = |host: &str, boot: &str| Stream::of_host(host, boot).as_str().to_owned();
        assert_eq!(of("Node_1.example", "3fa2-77\n"), "sidecar-node-1-example-3fa2");
        assert_eq!(of("", ""), "sidecar--0000");
        assert!(Stream::parse(&of(&"ü".repeat(200), "abcd")).is_some());
        assert!(Stream::parse(Stream::of_sidecar().as_str()).is_some());
    }
}
