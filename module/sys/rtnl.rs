// SPDX-License-Identifier: GPL-2.0-only

//! The network stack's configuration lock, and data that it protects.

use core::cell::UnsafeCell;

use super::bindings;

/// Shows that RTNL is held.
///
/// # Invariants
///
/// RTNL is held as long as the token exists.
pub(crate) struct Rtnl(());

impl Rtnl {
    /// Takes note that C holds RTNL.
    ///
    /// # Safety
    ///
    /// RTNL must be held until the token is gone, and there must be no other token.
    pub(super) unsafe fn assume() -> Self {
        // INVARIANT: By the caller's promise.
        Self(())
    }
}

/// RTNL, held until it is dropped.
pub(crate) struct RtnlGuard(Rtnl);

/// Takes RTNL. Sleeps.
pub(crate) fn lock() -> RtnlGuard {
    // SAFETY: Called in process context, by netlink requests, which do not hold it.
    unsafe { bindings::rtnl_lock() };
    // INVARIANT: Just taken.
    RtnlGuard(Rtnl(()))
}

/// Takes RTNL if it is free. For work that is waited for under RTNL.
pub(crate) fn try_lock() -> Option<RtnlGuard> {
    // SAFETY: A function without requirements but process context, which work has.
    let taken = unsafe { bindings::rtnl_trylock() } != 0;
    // INVARIANT: Just taken.
    taken.then(|| RtnlGuard(Rtnl(())))
}

impl core::ops::Deref for RtnlGuard {
    type Target = Rtnl;

    fn deref(&self) -> &Rtnl {
        &self.0
    }
}

impl core::ops::DerefMut for RtnlGuard {
    fn deref_mut(&mut self) -> &mut Rtnl {
        &mut self.0
    }
}

impl Drop for RtnlGuard {
    fn drop(&mut self) {
        // SAFETY: By the invariant of the token it is held, by `lock`.
        unsafe { bindings::rtnl_unlock() };
    }
}

/// Data that is only touched under RTNL.
pub(crate) struct RtnlCell<T>(UnsafeCell<T>);

// SAFETY: The lock lets one thread at it at a time.
unsafe impl<T: Send> Sync for RtnlCell<T> {}

impl<T> RtnlCell<T> {
    /// Wraps a value.
    pub(crate) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// The value, to read.
    pub(crate) fn get<'a>(&'a self, _rtnl: &'a Rtnl) -> &'a T {
        // SAFETY: There is one token, and it is borrowed: nobody has it mutably.
        unsafe { &*self.0.get() }
    }

    /// The value, to change.
    pub(crate) fn get_mut<'a>(&'a self, _rtnl: &'a mut Rtnl) -> &'a mut T {
        // SAFETY: There is one token, and it is borrowed mutably: nobody else has it.
        unsafe { &mut *self.0.get() }
    }
}
