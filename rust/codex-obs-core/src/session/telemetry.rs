//! Lines of telemetry on their way into the ring: counted, and dropped where rows would be.

use std::sync::atomic::Ordering;

use super::{Overflow, Session};
use crate::journal::frame::{LineFile, line_frame};
use crate::journal::ring::Appended;

impl Session {
    /// Writes a line of telemetry, in order with the rows, if that needs no waiting; `None` asks for
    /// [`write_telemetry`](Self::write_telemetry). Gives whether it was accepted; one that was not is counted.
    pub fn try_write_telemetry(&self, line: &[u8]) -> Option<bool> {
        let mut frame = line_frame(LineFile::Telemetry, line);
        if frame.len() as u64 > self.ring.largest_size() / 2 || self.is_closed() {
            return Some(self.drop_telemetry());
        }
        self.ensure_writer();
        let mut producer = self.ring.lock();
        if producer.closed {
            drop(producer);
            return Some(self.drop_telemetry());
        }
        if producer.reserved.is_some() {
            return None;
        }
        let appended = self.append(&mut producer, &mut frame);
        drop(producer);
        match appended {
            Appended::Done { backlog } => {
                self.stats.telemetry_logged.add(1);
                if backlog {
                    self.control.kick_if_parked();
                }
                Some(true)
            }
            Appended::Full => {
                self.control.kick_if_parked();
                let stalled = self.stalled_at.load(Ordering::Relaxed) == self.progress();
                (stalled || self.settings.overflow == Overflow::Drop).then(|| self.drop_telemetry())
            }
        }
    }

    /// As [`try_write_telemetry`](Self::try_write_telemetry), waiting for room as rows do.
    pub fn write_telemetry(&self, line: &[u8]) -> bool {
        let mut patience = self.patience();
        loop {
            if let Some(taken) = self.try_write_telemetry(line) {
                return taken;
            }
            if !self.wait_for_room(&mut patience) {
                return self.drop_telemetry();
            }
        }
    }

    #[cold]
    fn drop_telemetry(&self) -> bool {
        self.stats.telemetry_dropped.add(1);
        self.warnings.push("telemetry", || {
            let directory = self.directory.display();
            format!("telemetry is dropped: the journal of {directory} is full or closed, or a line is too long for it")
        });
        false
    }
}
