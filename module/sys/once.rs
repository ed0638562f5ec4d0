// SPDX-License-Identifier: GPL-2.0-only

//! Words that one writes while others read them.
//!
//! The kernel's `Atomic` calls a function of C for each access of a module: too dear on a path that every packet takes. A
//! volatile access of an aligned word is what READ_ONCE and WRITE_ONCE are; nothing is ordered by it but what follows from
//! the word (RCU: what a pointer points to).

use core::cell::UnsafeCell;

/// A word.
///
/// # Safety
///
/// No larger than a register, aligned to its size, and any bits are a value.
pub(crate) unsafe trait Word: Copy {}

// SAFETY: A word of any kernel.
unsafe impl Word for u32 {}
// SAFETY: As above.
unsafe impl Word for i32 {}
// SAFETY: As above.
unsafe impl Word for usize {}
// SAFETY: On 64-bit kernels; `ONLY_64_BIT` refuses others.
unsafe impl Word for u64 {}

const ONLY_64_BIT: () = assert!(usize::BITS == 64, "vnet wants a 64-bit kernel");

/// A word that is read and written whole.
#[repr(transparent)]
pub(crate) struct Once<T: Word>(UnsafeCell<T>);

// SAFETY: All accesses are of whole words, which the machine does not tear.
unsafe impl<T: Word + Send> Sync for Once<T> {}

impl<T: Word> Once<T> {
    /// A word with this value.
    pub(crate) const fn new(value: T) -> Self {
        let () = ONLY_64_BIT;
        Self(UnsafeCell::new(value))
    }

    /// Its value now.
    #[inline(always)]
    pub(crate) fn load(&self) -> T {
        // SAFETY: Valid and aligned, as it is borrowed; see the type for who writes meanwhile.
        unsafe { self.0.get().read_volatile() }
    }

    /// Gives it a value.
    #[inline(always)]
    pub(crate) fn store(&self, value: T) {
        // SAFETY: As above.
        unsafe { self.0.get().write_volatile(value) };
    }
}

/// What was read before is read before what follows (smp_rmb).
#[inline(always)]
pub(crate) fn reads_in_order() {
    core::sync::atomic::fence(core::sync::atomic::Ordering::Acquire);
}
