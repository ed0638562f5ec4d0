// SPDX-License-Identifier: GPL-2.0-only

//! Work that is done later, in process context.

use kernel::prelude::*;
use kernel::types::Opaque;

use super::bindings;

/// What a [`DelayedWork`] does when its time has come.
pub(crate) trait Task: Sync {
    /// Does it. Runs in process context without locks, one at a time. What it returns is the delay, in ticks, after which
    /// it is to be done again.
    fn run(&self) -> Option<usize>;
}

/// Work with a delay, and the task that it does; in one place, so that neither outlives the other.
///
/// It has to be ended with [`Delayed::end`] before it is dropped; dropping does it, too, and sleeps.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(crate) struct Delayed<T: Task> {
    #[pin]
    work: Opaque<bindings::delayed_work>,
    #[pin]
    task: T,
}

// SAFETY: The work queue locks; the task is shared.
unsafe impl<T: Task + Send> Send for Delayed<T> {}
// SAFETY: As above.
unsafe impl<T: Task + Send> Sync for Delayed<T> {}

impl<T: Task> Delayed<T> {
    /// Idle work.
    pub(crate) fn new(task: impl PinInit<T, Error>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // SAFETY: The slot is memory for work that does not move.
            work <- Opaque::ffi_init(|slot| unsafe {
                bindings::vnet_delayed_work_init(slot, Some(Self::run))
            }),
            task <- task,
        }? Error)
    }

    unsafe extern "C" fn run(work: *mut bindings::work_struct) {
        // SAFETY: `work` is the first field of the delayed work, which is the first of a `Delayed`. That one lives:
        // dropping it waits for the work to end.
        let this = unsafe { &*work.cast::<Self>() };
        if let Some(delay) = this.task.run() {
            this.queue(delay);
        }
    }

    /// The task.
    #[inline]
    pub(crate) fn task(&self) -> &T {
        &self.task
    }

    /// Has the task done after so many ticks, unless it is waiting already, or was ended. Does not sleep.
    pub(crate) fn queue(&self, delay: usize) {
        // SAFETY: Initialised and pinned.
        unsafe {
            bindings::vnet_delayed_work_queue(self.work.get(), delay as kernel::ffi::c_ulong)
        };
    }

    /// As `queue`, but sooner if it is waiting already. Does not sleep.
    pub(crate) fn requeue(&self, delay: usize) {
        // SAFETY: Initialised and pinned.
        unsafe {
            bindings::vnet_delayed_work_requeue(self.work.get(), delay as kernel::ffi::c_ulong)
        };
    }

    /// Waits for the task if it is running, and keeps it from ever running again. Sleeps.
    pub(crate) fn end(&self) {
        // SAFETY: Initialised and pinned.
        unsafe { bindings::disable_delayed_work_sync(self.work.get()) };
    }
}

#[pinned_drop]
impl<T: Task> PinnedDrop for Delayed<T> {
    fn drop(self: Pin<&mut Self>) {
        self.end();
    }
}

/// Lets others run, in work that takes long. Sleeps.
pub(crate) fn yield_cpu() {
    // SAFETY: Called in process context, without spinlocks.
    unsafe { bindings::vnet_cond_resched() };
}
