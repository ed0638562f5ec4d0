// SPDX-License-Identifier: GPL-2.0-only

//! Data that is read under RCU and replaced whole.
//!
//! What a reader may still see is freed a grace period after it was unlinked. Readers show a [`Guard`].

use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;

use kernel::alloc::Flags;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Full, Relaxed};

use super::bindings;

/// Shows that RCU is held, as long as it is borrowed.
pub(crate) struct Guard(PhantomData<*mut ()>);

impl Guard {
    /// For who was called with RCU held.
    ///
    /// # Safety
    ///
    /// RCU must be held as long as the result is there.
    #[inline]
    pub(super) unsafe fn assume() -> Self {
        Self(PhantomData)
    }
}

/// Holds RCU until it is dropped.
pub(crate) struct ReadLock {
    guard: Guard,
    _lock: kernel::sync::rcu::Guard,
}

/// Holds RCU.
#[inline]
pub(crate) fn read_lock() -> ReadLock {
    ReadLock {
        guard: Guard(PhantomData),
        _lock: kernel::sync::rcu::read_lock(),
    }
}

impl Deref for ReadLock {
    type Target = Guard;

    #[inline]
    fn deref(&self) -> &Guard {
        &self.guard
    }
}

/// Waits until every reader that ran when it was called is done. Sleeps.
pub(crate) fn synchronize() {
    // SAFETY: Called in process context, as all its callers hold RTNL.
    unsafe { bindings::synchronize_net() };
}

/// Waits until everything that was handed to RCU for freeing is freed. Sleeps.
pub(crate) fn barrier() {
    // SAFETY: Called in process context, on load and unload of the module.
    unsafe { bindings::rcu_barrier() };
}

/// An object that C's RCU can free.
#[repr(C)]
pub(crate) struct Deferred<T> {
    head: bindings::callback_head,
    value: T,
}

impl<T> Deferred<T> {
    fn new(value: T) -> Self {
        Self {
            head: bindings::callback_head::default(),
            value,
        }
    }
}

/// Frees an object a grace period from now.
///
/// # Safety
///
/// `object` must come from `KBox::into_raw` and no new reader may find it. Its value may be dropped in softirq.
unsafe fn free_deferred<T>(object: NonNull<Deferred<T>>) {
    unsafe extern "C" fn free<T>(head: *mut bindings::callback_head) {
        // SAFETY: `head` is the first field of a `Deferred<T>` that came from `KBox::into_raw`; no reader is left.
        drop(unsafe { KBox::from_raw(head.cast::<Deferred<T>>()) });
    }
    // SAFETY: The head is not in use otherwise, and `free` fits the object it is part of.
    unsafe { bindings::call_rcu(&raw mut (*object.as_ptr()).head, Some(free::<T>)) };
}

/// A counted reference to an object that readers may also see under RCU.
///
/// # Invariants
///
/// Points to an object from `KBox::into_raw` that is kept by a count of which this owns one.
pub(crate) struct RcuArc<T>(NonNull<Deferred<Counted<T>>>);

struct Counted<T> {
    refs: Atomic<i32>,
    value: T,
}

// SAFETY: Like `Arc`.
unsafe impl<T: Send + Sync> Send for RcuArc<T> {}
// SAFETY: Like `Arc`.
unsafe impl<T: Send + Sync> Sync for RcuArc<T> {}

impl<T> RcuArc<T> {
    /// Puts a value on the heap.
    pub(crate) fn new(value: T, flags: Flags) -> Result<Self> {
        let object = KBox::new(
            Deferred::new(Counted {
                refs: Atomic::new(1),
                value,
            }),
            flags,
        )?;
        // INVARIANT: The count of 1 is this reference's.
        Ok(Self(NonNull::from(KBox::leak(object))))
    }

    fn counted(&self) -> &Counted<T> {
        // SAFETY: By the type invariant the object lives.
        unsafe { &self.0.as_ref().value }
    }

    /// How many references there are. Only means something to who keeps others from making and dropping them.
    pub(crate) fn count(&self) -> i32 {
        self.counted().refs.load(Relaxed)
    }
}

impl<T> Clone for RcuArc<T> {
    fn clone(&self) -> Self {
        self.counted().refs.add(1, Relaxed);
        // INVARIANT: The count was just raised for this reference.
        Self(self.0)
    }
}

impl<T> Deref for RcuArc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.counted().value
    }
}

impl<T> Drop for RcuArc<T> {
    fn drop(&mut self) {
        if self.counted().refs.fetch_add(-1, Full) == 1 {
            // SAFETY: It was the last reference; cells give theirs away before they drop it, so no new reader finds it.
            unsafe { free_deferred(self.0) };
        }
    }
}

/// A place for a counted reference that readers follow under RCU.
///
/// # Invariants
///
/// Null, or a pointer from an [`RcuArc`] whose count it took over.
pub(crate) struct RcuArcCell<T>(Atomic<*mut Deferred<Counted<T>>>);

// SAFETY: Like `RcuArc`.
unsafe impl<T: Send + Sync> Send for RcuArcCell<T> {}
// SAFETY: Like `RcuArc`.
unsafe impl<T: Send + Sync> Sync for RcuArcCell<T> {}

impl<T> RcuArcCell<T> {
    fn into_raw(value: Option<RcuArc<T>>) -> *mut Deferred<Counted<T>> {
        match value {
            Some(arc) => {
                let pointer = arc.0.as_ptr();
                core::mem::forget(arc);
                pointer
            }
            None => core::ptr::null_mut(),
        }
    }

    /// A cell with this content.
    pub(crate) fn new(value: Option<RcuArc<T>>) -> Self {
        // INVARIANT: `into_raw` gives the count away.
        Self(Atomic::new(Self::into_raw(value)))
    }

    /// What is in it now.
    #[inline]
    pub(crate) fn load<'g>(&'g self, _guard: &'g Guard) -> Option<&'g T> {
        // SAFETY: A word that is written whole: what RCU's dereference does.
        let pointer = NonNull::new(unsafe { self.0.as_ptr().read_volatile() })?;
        // SAFETY: By the type invariant it was alive when it was loaded; freeing waits for the guard.
        Some(unsafe { &pointer.as_ref().value.value })
    }

    /// Puts something else in; what was in it is returned.
    pub(crate) fn replace(&self, value: Option<RcuArc<T>>) -> Option<RcuArc<T>> {
        let old = self.0.xchg(Self::into_raw(value), Full);
        // INVARIANT: The cell's count goes over to the reference.
        NonNull::new(old).map(RcuArc)
    }
}

impl<T> Drop for RcuArcCell<T> {
    fn drop(&mut self) {
        drop(self.replace(None));
    }
}

/// A place for a boxed value that readers follow under RCU, and that is replaced in process context.
///
/// # Invariants
///
/// Null, or a pointer from `KBox::into_raw`.
pub(crate) struct RcuBoxCell<T>(Atomic<*mut T>);

// SAFETY: Readers on any CPU get shared references, the writer the value.
unsafe impl<T: Send + Sync> Send for RcuBoxCell<T> {}
// SAFETY: As above.
unsafe impl<T: Send + Sync> Sync for RcuBoxCell<T> {}

impl<T> RcuBoxCell<T> {
    /// An empty cell.
    pub(crate) fn empty() -> Self {
        Self(Atomic::new(core::ptr::null_mut()))
    }

    /// What is in it now.
    #[inline]
    pub(crate) fn load<'g>(&'g self, _guard: &'g Guard) -> Option<&'g T> {
        // SAFETY: A word that is written whole: what RCU's dereference does. By the type invariant it was alive when it was
        // loaded; `replace` waits for the guard.
        unsafe { self.0.as_ptr().read_volatile().as_ref() }
    }

    /// Puts something else in and waits until no reader sees what was in it, which is returned. Sleeps.
    pub(crate) fn replace(&self, value: Option<KBox<T>>) -> Option<KBox<T>> {
        let new = value.map_or(core::ptr::null_mut(), KBox::into_raw);
        let old = self.0.xchg(new, Full);
        if old.is_null() {
            return None;
        }
        synchronize();
        // SAFETY: By the type invariant; it is out of the cell, and all readers are gone.
        Some(unsafe { KBox::from_raw(old) })
    }
}

impl<T> Drop for RcuBoxCell<T> {
    fn drop(&mut self) {
        let value = self.0.xchg(core::ptr::null_mut(), Full);
        if !value.is_null() {
            // SAFETY: By the type invariant. A reader borrows the cell, which is borrowed mutably here: there is none.
            drop(unsafe { KBox::from_raw(value) });
        }
    }
}

/// For objects that C links and RCU frees: boxes one with a head for RCU.
pub(super) fn boxed<T>(value: T, flags: Flags) -> Result<NonNull<Deferred<T>>, Error> {
    Ok(NonNull::from(KBox::leak(KBox::new(
        Deferred::new(value),
        flags,
    )?)))
}

/// The value in a boxed object.
pub(super) fn value_of<T>(object: NonNull<Deferred<T>>) -> *mut T {
    // SAFETY: Only computes an address in an object that lives.
    unsafe { &raw mut (*object.as_ptr()).value }
}

/// The object around a value.
///
/// # Safety
///
/// `value` must be what `value_of` gave.
pub(super) unsafe fn object_of<T>(value: NonNull<T>) -> NonNull<Deferred<T>> {
    let offset = core::mem::offset_of!(Deferred<T>, value);
    // SAFETY: By the caller's promise the value stands at this offset in its object.
    unsafe { value.byte_sub(offset).cast() }
}

/// Frees a boxed object a grace period from now.
///
/// # Safety
///
/// As [`free_deferred`].
pub(super) unsafe fn free<T>(object: NonNull<Deferred<T>>) {
    // SAFETY: By the caller's promise.
    unsafe { free_deferred(object) };
}

/// Frees a boxed object at once.
///
/// # Safety
///
/// `object` must come from `boxed`, and nobody else may have seen it or still see it.
pub(super) unsafe fn free_now<T>(object: NonNull<Deferred<T>>) {
    // SAFETY: By the caller's promise.
    drop(unsafe { KBox::from_raw(object.as_ptr()) });
}
