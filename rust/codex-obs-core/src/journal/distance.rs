//! How far the writer of a journal is from here.

use crate::process::Process;

/// How far the writer of a journal is from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distance {
    /// This boot: everything is as it was left.
    Boot,
    /// This machine, or one that cannot be told from it, before it went down.
    Machine,
    /// Another machine, which may still be writing.
    Foreign,
}

impl Distance {
    /// From `writer` to `observer`.
    #[must_use]
    pub fn of(writer: &Process, observer: &Process) -> Self {
        // The kernel makes its boot id up at random, so the same one means the same kernel, whatever a container's image or
        // lack of `/etc/machine-id` says.
        if writer.boot_id == observer.boot_id && !writer.boot_id.is_empty() {
            Self::Boot
        } else if writer.machine_id == observer.machine_id {
            Self::Machine
        } else {
            Self::Foreign
        }
    }
}
