// SPDX-License-Identifier: GPL-2.0-only

//! What each CPU has of its own: nothing here writes a line that another CPU writes.

use core::marker::PhantomData;
use core::net::IpAddr;

use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};

use super::bindings;
use super::once::Once;

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

/// How many notes a CPU keeps; a power of two.
const NOTES: usize = 512;

/// Notes of what was found to be so a moment ago, so that it need not be looked up again.
///
/// A note is one word: a hash, keyed by chance, of all that it is about, the time among it. It takes the place of another one,
/// and is gone when that comes back; one that was never made is found once in 2^64 times.
///
/// # Invariants
///
/// Points to `NOTES` words a CPU, made by `vnet_counters_alloc`.
pub(crate) struct Notes {
    base: *mut u64,
    keys: [u64; 3],
    editions: Atomic<u64>,
}

// SAFETY: Every CPU has its own, and each is one word.
unsafe impl Send for Notes {}
// SAFETY: As above.
unsafe impl Sync for Notes {}

/// A place for a note.
///
/// # Invariants
///
/// Points to a word of a CPU.
pub(crate) struct Note<'a> {
    place: *const Once<u64>,
    hash: u64,
    notes: PhantomData<&'a Notes>,
}

/// Both halves of the product: what changes one bit of a factor changes about half of the bits.
#[inline]
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a).wrapping_mul(u128::from(b));
    (product as u64) ^ ((product >> 64) as u64)
}

impl Notes {
    /// No notes. Sleeps.
    pub(crate) fn new() -> Result<Self> {
        let mut keys = [0_u64; 3];
        for key in &mut keys {
            // SAFETY: A function without requirements.
            *key = unsafe { bindings::get_random_u64() } | 1;
        }
        // SAFETY: Called in process context.
        let base = unsafe { bindings::vnet_counters_alloc(NOTES as u32) };
        if base.is_null() {
            return Err(ENOMEM);
        }
        // INVARIANT: Just made.
        Ok(Self {
            base,
            keys,
            editions: Atomic::new(0),
        })
    }

    /// A number that nobody had before.
    pub(crate) fn next_edition(&self) -> u64 {
        self.editions.fetch_add(1, Relaxed).wrapping_add(1)
    }

    /// The note about three numbers and a host. The last number says which table, in what edition, and when.
    #[inline]
    pub(crate) fn about(&self, [a, b, edition]: [u64; 3], host: Option<IpAddr>) -> Note<'_> {
        let [k0, k1, k2] = self.keys;
        let host = match host {
            None => 0,
            Some(IpAddr::V4(address)) => (1 << 32) | u64::from(address.to_bits()),
            Some(IpAddr::V6(address)) => {
                let bits = address.to_bits();
                mix((bits >> 64) as u64 ^ k1, bits as u64 ^ k2) | (1 << 33)
            }
        };
        let hash = mix(mix(a ^ k0, b ^ k1) ^ host ^ k2, edition ^ k0) | 1;
        let index = (hash >> 32) as usize % NOTES;
        // SAFETY: By the type invariant there are so many words on each CPU. Whether this is still the CPU when the word is read or
        // written does not matter.
        let place = unsafe { bindings::vnet_raw_cpu_ptr(self.base).add(index) };
        // INVARIANT: As just said.
        Note {
            place: place.cast_const().cast(),
            hash,
            notes: PhantomData,
        }
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; nobody else has it.
        unsafe { bindings::vnet_counters_free(self.base) };
    }
}

impl Note<'_> {
    #[inline]
    fn place(&self) -> &Once<u64> {
        // SAFETY: By the type invariant, which is there as long as the notes.
        unsafe { &*self.place }
    }

    /// Whether it was made, and is there still.
    #[inline]
    pub(crate) fn is_there(&self) -> bool {
        self.place().load() == self.hash
    }

    /// Makes it.
    #[inline]
    pub(crate) fn make(&self) {
        self.place().store(self.hash);
    }
}
