//! Lines of telemetry, which are written many at a time: an agent may end thousands of spans a second.

use super::Drain;
use crate::error::Result;
use crate::journal::cursor::Cursor;
use crate::limits::BATCH_BYTES;
use crate::paths::FileKind;

impl Drain {
    /// Adds a line, of the frame at `at`, to the batch. `Some(end)`: the batch must be written up to there first.
    pub(super) fn add_telemetry(&mut self, line: &[u8], at: Cursor, next: Cursor) -> Result<Option<Cursor>> {
        let before = self.telemetry.len() as u64;
        if before == 0 {
            self.look(FileKind::Telemetry)?;
        }
        if self.may_rotate() && self.files.get(FileKind::Telemetry).must_rotate(before, line.len() as u64) {
            if before > 0 {
                return Ok(Some(at));
            }
            self.rotate(FileKind::Telemetry);
        }
        self.telemetry.extend_from_slice(line);
        Ok((self.telemetry.len() >= BATCH_BYTES).then_some(next))
    }

    /// Writes the lines and moves the cursor to `after`.
    pub(super) fn commit_telemetry(&mut self, after: Cursor) -> Result<bool> {
        if self.lost_meanwhile() {
            return Ok(true);
        }
        let lines = std::mem::take(&mut self.telemetry);
        let outcome = self.append(&[(FileKind::Telemetry, &lines)], after, 0);
        self.telemetry = lines;
        outcome.map(|()| true)
    }
}
