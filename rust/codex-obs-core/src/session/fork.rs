//! Hooks around `fork`: the threads pause, and a child turns away from what its parent has open.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak};
use std::time::Duration;

use super::Session;
use crate::deliver::thread::DeliveryThread;
use crate::generation::{self, PerProcess};
use crate::limits::FORK_WAIT_S;
use crate::primitives::Instant;

/// The sessions that this process opened.
type Sessions = Mutex<Vec<Weak<Session>>>;

static SESSIONS: PerProcess<Sessions> = PerProcess::new();
static HOOKS: Once = Once::new();

thread_local! {
    /// Held from before a fork until after it by the thread that forks, so that the list is whole on both sides.
    static HELD: RefCell<Option<MutexGuard<'static, Vec<Weak<Session>>>>> = const { RefCell::new(None) };
}

/// The sessions of this process. In a child that finds its parent's, the parent's locks are let go of.
fn sessions() -> &'static Sessions {
    SESSIONS.get_after(abandon)
}

/// Lets go of the locks of a parent's sessions without freeing them.
fn abandon(inherited: &Sessions) {
    let Ok(sessions) = inherited.try_lock() else { return };
    for session in sessions.iter().filter_map(Weak::upgrade) {
        session.tenure.abandon();
        session.exporters.iter().for_each(DeliveryThread::abandon);
        if let Some(sidecar) = &session.sidecar {
            sidecar.abandon();
        }
    }
}

fn lock() -> MutexGuard<'static, Vec<Weak<Session>>> {
    sessions().lock().unwrap_or_else(PoisonError::into_inner)
}

/// Turns away from what a parent has open, if this process is a child that has not done so yet.
pub(super) fn settle() {
    let _ = sessions();
}

/// After a fork, in the parent: has sessions that export go on without waiting for their next call. Not done by the hooks, for
/// Python warns of every thread that is there when `fork` returns.
pub fn resume_exporters() {
    for session in lock().iter().filter_map(Weak::upgrade) {
        session.resume();
    }
}

/// Whether there is a session for which [`resume_exporters`] does something.
#[must_use]
pub fn has_exporters() -> bool {
    lock().iter().filter_map(Weak::upgrade).any(|session| !session.exporters.is_empty())
}

/// Includes a session in what is done around forks.
pub(super) fn register(session: &Arc<Session>) {
    HOOKS.call_once(|| {
        // SAFETY: the hooks are functions of this module, which is never unloaded, and may be called at any fork.
        unsafe { libc::pthread_atfork(Some(before), Some(after_in_parent), Some(after_in_child)) };
    });
    let mut sessions = lock();
    sessions.retain(|session| session.strong_count() > 0);
    sessions.push(Arc::downgrade(session));
}

extern "C" fn before() {
    let sessions = lock();
    let deadline = Instant::now() + Duration::from_secs_f64(FORK_WAIT_S);
    for session in sessions.iter().filter_map(Weak::upgrade) {
        session.pause(deadline);
    }
    // A thread that forks while it ends has no such place any more; then the list is free again at once.
    let _ = HELD.try_with(|held| *held.borrow_mut() = Some(sessions));
}

extern "C" fn after_in_parent() {
    let held = HELD.try_with(|held| held.borrow_mut().take());
    let sessions = held.ok().flatten().unwrap_or_else(lock);
    for session in sessions.iter().filter_map(Weak::upgrade) {
        session.release();
    }
}

extern "C" fn after_in_child() {
    let _ = HELD.try_with(|held| held.borrow_mut().take());
    generation::advance();
    settle();
}
