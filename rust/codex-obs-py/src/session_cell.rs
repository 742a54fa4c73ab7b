//! The session behind a recorder, which changes only when a forked child opens its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use codex_obs_core::session::Session;

/// A session that can be replaced while others use it. What was replaced is never freed: it belongs to the parent process.
#[derive(Debug)]
pub struct SessionCell(AtomicPtr<Session>);

impl SessionCell {
    pub fn new(session: Arc<Session>) -> Self {
        Self(AtomicPtr::new(Arc::into_raw(session).cast_mut()))
    }

    /// The session, perhaps a parent's.
    #[inline]
    pub fn get(&self) -> &Session {
        // Acquire: pairs with the release in `replace`.
        // SAFETY: made from an Arc that is given up only when this cell is dropped, or never.
        unsafe { &*self.0.load(Ordering::Acquire) }
    }

    /// Puts `session` in the place of `inherited` unless another thread was faster; then `session` is given back.
    pub fn replace(&self, inherited: &Session, session: Arc<Session>) -> Result<(), Arc<Session>> {
        let (old, new) = (std::ptr::from_ref(inherited).cast_mut(), Arc::into_raw(session).cast_mut());
        match self.0.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            // SAFETY: made from an Arc just above and not given away.
            Err(_) => Err(unsafe { Arc::from_raw(new) }),
        }
    }
}

impl Drop for SessionCell {
    fn drop(&mut self) {
        if !self.get().is_inherited() {
            // SAFETY: made from an Arc, and nobody can get at it any more.
            drop(unsafe { Arc::from_raw(self.0.load(Ordering::Acquire)) });
        }
    }
}
