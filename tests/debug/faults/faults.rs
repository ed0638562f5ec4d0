// SPDX-License-Identifier: GPL-2.0-only
#![crate_name = "vnet_faults"]

//! A module with faults, made on purpose: does the debug kernel see what Rust does, as it is compiled here? It is built for
//! that kernel only and loaded once, as the last thing that a guest does.

use core::hint::black_box;
use core::slice;

use kernel::prelude::*;
use kernel::sync::{new_spinlock, SpinLock};
use vnet_core::wire::VarpMessage;

module! {
    type: Faults,
    name: "vnet_faults",
    authors: ["The vnet authors"],
    description: "Faults that the debug kernel must report",
    license: "GPL v2",
    params: {
        leak: u8 {
            default: 0,
            description: "Forget memory",
        },
        locks: u8 {
            default: 0,
            description: "Take two locks in both orders",
        },
        use_after_free: u8 {
            default: 0,
            description: "Read a message out of memory that was freed",
        },
    },
}

/// Bytes of what is allocated here, so that it is known again.
const SIZE: usize = 120;

struct Faults;

#[inline(never)]
fn leak() -> Result {
    for _ in 0..8 {
        let memory = KBox::new([0x5au8; SIZE], GFP_KERNEL)?;
        black_box(KBox::into_raw(memory));
    }
    Ok(())
}

#[inline(never)]
fn locks() -> Result {
    let a: Pin<KBox<SpinLock<u32>>> =
        KBox::pin_init(new_spinlock!(0u32, "vnet_faults_a"), GFP_KERNEL)?;
    let b: Pin<KBox<SpinLock<u32>>> =
        KBox::pin_init(new_spinlock!(0u32, "vnet_faults_b"), GFP_KERNEL)?;
    {
        let first = a.lock();
        *b.lock() += *first;
    }
    // One task alone: nothing blocks, only the order is wrong.
    let first = b.lock();
    *a.lock() += *first;
    Ok(())
}

/// The read itself is in the protocol core, the code that packets go through.
#[inline(never)]
fn use_after_free() -> Result {
    let memory = KBox::new([0u8; SIZE], GFP_KERNEL)?;
    let freed: *const u8 = black_box(KBox::into_raw(memory)).cast();
    // SAFETY: `freed` comes from `into_raw` of such a box.
    drop(unsafe { KBox::from_raw(freed.cast::<[u8; SIZE]>().cast_mut()) });
    // SAFETY: There is no argument for this one: the memory is gone, that is the fault.
    let bytes = unsafe { slice::from_raw_parts(black_box(freed), SIZE) };
    let _ = black_box(VarpMessage::parse(bytes));
    Ok(())
}

impl kernel::Module for Faults {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        if module_parameters::leak.value() != 0 {
            leak()?;
        }
        if module_parameters::locks.value() != 0 {
            locks()?;
        }
        if module_parameters::use_after_free.value() != 0 {
            use_after_free()?;
        }
        Ok(Self)
    }
}
