//! Who a process is, and whether it lives.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::block::{opened, put_text, sealed, take_number, take_text};

/// A process, told apart from every other that ever ran: PIDs are used again, start times in one boot are not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// The kernel's random id of this boot.
    pub boot_id: String,
    /// `/etc/machine-id`, empty where there is none.
    pub machine_id: String,
    /// Inode of the PID namespace.
    pub pid_namespace: u64,
    /// Process id in that namespace.
    pub pid: u32,
    /// Clock ticks from boot to its start.
    pub start_time: u64,
}

impl Process {
    /// This process.
    #[must_use]
    pub fn current() -> Self {
        let pid = std::process::id();
        let text = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        Self {
            boot_id: text("/proc/sys/kernel/random/boot_id"),
            machine_id: text("/etc/machine-id"),
            pid_namespace: fs::metadata("/proc/self/ns/pid").map(|metadata| metadata.ino()).unwrap_or_default(),
            pid,
            start_time: start_time(pid).unwrap_or_default(),
        }
    }

    /// Whether it is sure that this process is gone. Of a process in another PID namespace or on another boot that is
    /// never known from here.
    #[must_use]
    pub fn is_surely_gone(&self, observer: &Self) -> bool {
        if self.boot_id.is_empty() || self.boot_id != observer.boot_id || self.pid_namespace != observer.pid_namespace {
            return false;
        }
        match start_time(self.pid) {
            Some(start_time) => start_time != self.start_time,
            // Only a readable /proc proves that a PID is missing from it.
            None => start_time(observer.pid).is_some(),
        }
    }

    /// As bytes, without a checksum of its own.
    pub fn write(&self, out: &mut Vec<u8>) {
        put_text(out, &self.boot_id);
        put_text(out, &self.machine_id);
        for number in [self.pid_namespace, self.pid.into(), self.start_time] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// Back from [`write`](Self::write).
    pub fn read(input: &mut &[u8]) -> Option<Self> {
        Some(Self {
            boot_id: take_text(input)?,
            machine_id: take_text(input)?,
            pid_namespace: take_number(input)?,
            pid: u32::try_from(take_number(input)?).ok()?,
            start_time: take_number(input)?,
        })
    }

    /// As bytes, for a lock file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        sealed(&out)
    }

    /// Back from [`to_bytes`](Self::to_bytes); `None` for a record that is missing or half written.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::read(&mut opened(bytes)?)
    }
}

/// Field 22 of `/proc/<pid>/stat`; a zombie counts as gone.
fn start_time(pid: u32) -> Option<u64> {
    let (is_over, start_time) = stat(&format!("/proc/{pid}/stat"))?;
    // A process whose first thread has ended looks like a zombie while its other threads run on.
    (!is_over || has_threads(pid)).then_some(start_time)
}

/// Whether the process or thread has ended, and when it began.
fn stat(path: &str) -> Option<(bool, u64)> {
    let stat = fs::read_to_string(path).ok()?;
    // The second field is the command in parentheses and may itself contain any character.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    Some((matches!(fields.first(), Some(&"Z" | &"X")), fields.get(19)?.parse().ok()?))
}

/// Whether a thread of the process runs.
fn has_threads(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads
        .flatten()
        .any(|thread| stat(&format!("{}/stat", thread.path().display())).is_some_and(|(is_over, _)| !is_over))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_whose_first_thread_ended_lives_as_long_as_its_others() {
        let script = "import ctypes, sys, threading\n\
            threading.Thread(target=sys.stdin.read).start()\n\
            print(flush=True)\n\
            ctypes.CDLL(None).pthread_exit(None)\n";
        let spawned = std::process::Command::new("python3")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn();
        let Ok(mut child) = spawned else { return };
        let pid = child.id();
        let (began, mut byte) = (start_time(pid).unwrap(), [0]);
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut byte).unwrap();
        while stat(&format!("/proc/{pid}/stat")).is_some_and(|(is_over, _)| !is_over) {
            std::thread::yield_now();
        }
        assert_eq!(start_time(pid), Some(began), "its other thread runs");
        drop(child.stdin.take());
        while has_threads(pid) {
            std::thread::yield_now();
        }
        assert_eq!(start_time(pid), None, "a zombie that nobody waited for");
        child.wait().unwrap();
    }

    #[test]
    fn this_process_is_not_gone_but_an_ended_child_is() {
        let observer = Process::current();
        assert!(!observer.is_surely_gone(&observer));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let gone = Process { pid: child.id(), start_time: 1, ..observer.clone() };
        child.wait().unwrap();
        assert!(gone.is_surely_gone(&observer));
        assert!(!Process { boot_id: "other".into(), ..gone.clone() }.is_surely_gone(&observer));
        assert!(!Process { pid_namespace: 1, ..gone }.is_surely_gone(&observer));
    }
}
