// SPDX-License-Identifier: GPL-2.0-only

//! A spinlock that may be taken in process context and in softirq.

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};

use kernel::prelude::*;
use kernel::types::Opaque;

use super::bindings;

/// What a lock is for: locks of different kinds may be taken one inside another.
#[derive(Clone, Copy)]
pub(crate) enum LockKind {
    /// Entries of a table of MAC addresses.
    Fdb,
    /// Where the sweep of such a table stands.
    Sweep,
    /// Remotes of a namespace.
    Remotes,
    /// What a vnet has to ask and to announce.
    Varp,
    /// How many floods come from each host.
    Floods,
    /// Forwarded packets of the last moments.
    Recent,
    /// Senders of sealed messages of a vnet.
    Senders,
    /// Which messages of one of them were there.
    Window,
}

/// Data behind a spinlock that is held with softirqs off.
#[pin_data]
pub(crate) struct BhLock<T> {
    #[pin]
    lock: Opaque<bindings::spinlock_t>,
    data: UnsafeCell<T>,
}

// SAFETY: The lock lets one thread at the data at a time.
unsafe impl<T: Send> Send for BhLock<T> {}
// SAFETY: As above.
unsafe impl<T: Send> Sync for BhLock<T> {}

impl<T> BhLock<T> {
    /// An open lock around a value.
    pub(crate) fn new(value: T, kind: LockKind) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: The slot is memory for a lock that does not move.
            lock <- Opaque::ffi_init(move |slot| unsafe {
                match kind {
                    LockKind::Fdb => bindings::vnet_fdb_lock_init(slot),
                    LockKind::Sweep => bindings::vnet_sweep_lock_init(slot),
                    LockKind::Remotes => bindings::vnet_remotes_lock_init(slot),
                    LockKind::Varp => bindings::vnet_varp_lock_init(slot),
                    LockKind::Floods => bindings::vnet_floods_lock_init(slot),
                    LockKind::Recent => bindings::vnet_recent_lock_init(slot),
                    LockKind::Senders => bindings::vnet_senders_lock_init(slot),
                    LockKind::Window => bindings::vnet_window_lock_init(slot),
                }
            }),
            data: UnsafeCell::new(value),
        })
    }

    /// Takes the lock.
    pub(crate) fn lock(&self) -> BhGuard<'_, T> {
        // SAFETY: Initialised by `new`, and pinned since.
        unsafe { bindings::vnet_spin_lock_bh(self.lock.get()) };
        BhGuard(self)
    }
}

/// The data, locked until this is dropped.
pub(crate) struct BhGuard<'a, T>(&'a BhLock<T>);

impl<T> Deref for BhGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: The lock is held.
        unsafe { &*self.0.data.get() }
    }
}

impl<T> DerefMut for BhGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: The lock is held.
        unsafe { &mut *self.0.data.get() }
    }
}

impl<T> Drop for BhGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Taken by `BhLock::lock`.
        unsafe { bindings::vnet_spin_unlock_bh(self.0.lock.get()) };
    }
}
