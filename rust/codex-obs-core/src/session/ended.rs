//! The end of a process: sessions that have ended stay open as long as threads may still log.
//!
//! Exit handlers run while daemon threads do, and after ours there may be others that log. So [`Session::end`] writes
//! everything out and lets the journal accept on; [`close_ended`] closes what is left once no thread can log any more. A
//! process that never comes to that leaves a journal, from which the next reader has every row.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Session;
use crate::primitives::Instant;
use crate::run::ending::RunStatus;

/// Longest time that closing them all takes: everything was written out a moment ago.
const LAST_WORK: Duration = Duration::from_secs(1);

/// With whether everything was written out.
static ENDED: Mutex<Vec<(Arc<Session>, bool)>> = Mutex::new(Vec::new());

impl Session {
    /// As [`close_with`](Self::close_with), except that rows are still accepted, which [`close_ended`] writes out. Gives
    /// whether everything logged so far is in the files.
    pub fn end(self: Arc<Self>, status: RunStatus, deadline: Option<Instant>) -> bool {
        let done = self.write_out(self.ring.published(), deadline);
        self.deliver(status, deadline);
        if deadline.is_none_or(|deadline| Instant::now() < deadline) {
            self.recover_siblings(None);
        }
        let mut ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
        if !ended.iter().any(|(other, _)| Arc::ptr_eq(other, &self)) {
            ended.push((self, done));
        }
        done
    }
}

/// Closes the sessions that have ended. To be called when no thread of the process can log any more.
pub fn close_ended() {
    // Held by nobody who is still there, except by a thread that was just ending a session.
    let Ok(mut ended) = ENDED.try_lock() else { return };
    let sessions = std::mem::take(&mut *ended);
    drop(ended);
    let now = Instant::now();
    for (session, done) in sessions {
        if session.is_inherited() {
            // A process that was forked by an exit handler: this one is its parent's.
            std::mem::forget(session);
        } else {
            // What could not be written in all of its time is not waited for once more.
            let _ = session.close(Some(if done { now + LAST_WORK } else { now }));
        }
    }
}
