// SPDX-License-Identifier: GPL-2.0-only

//! Counters, one set a CPU: adding writes no line that another CPU writes.

use kernel::prelude::*;

use super::bindings;

/// A set of counters.
///
/// # Invariants
///
/// Points to `count` counters a CPU, made by `vnet_counters_alloc`.
pub(crate) struct Counters {
    base: *mut u64,
    count: u32,
}

// SAFETY: Every CPU has its own, and reading them from elsewhere is what they are for.
unsafe impl Send for Counters {}
// SAFETY: As above.
unsafe impl Sync for Counters {}

impl Counters {
    /// So many counters, all zero. Sleeps.
    pub(crate) fn new(count: usize) -> Result<Self> {
        let count = u32::try_from(count)?;
        // SAFETY: Called in process context.
        let base = unsafe { bindings::vnet_counters_alloc(count) };
        if base.is_null() {
            return Err(ENOMEM);
        }
        // INVARIANT: Just made.
        Ok(Self { base, count })
    }

    /// Adds one.
    #[inline]
    pub(crate) fn inc(&self, index: usize) {
        self.add(index, 1);
    }

    /// Adds to a counter; one that does not exist is left alone.
    #[inline]
    pub(crate) fn add(&self, index: usize, value: u64) {
        let index = index as u32;
        if index < self.count {
            // SAFETY: By the type invariant the counter exists.
            unsafe { bindings::vnet_counter_add(self.base, index, value) };
        }
    }

    /// The sum over all CPUs; 0 if there is no such counter.
    pub(crate) fn sum(&self, index: usize) -> u64 {
        let index = index as u32;
        if index >= self.count {
            return 0;
        }
        // SAFETY: By the type invariant the counter exists.
        unsafe { bindings::vnet_counter_sum(self.base, index) }
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; nobody else has it.
        unsafe { bindings::vnet_counters_free(self.base) };
    }
}
