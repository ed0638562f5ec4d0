// SPDX-License-Identifier: GPL-2.0-only

//! The thin layer between the module and the kernel's C: safe types over what the network stack offers.
//!
//! All `unsafe` of the module is in here. What a type needs of its users beyond what the compiler checks does not exist:
//! contexts (RTNL, RCU) are shown by tokens ([`rtnl::Rtnl`], [`rcu::Guard`]), ownership by values.

pub(crate) mod crypto;
pub(crate) mod genl;
pub(crate) mod net;
pub(crate) mod netdev;
pub(crate) mod once;
pub(crate) mod percpu;
pub(crate) mod rcu;
pub(crate) mod route;
pub(crate) mod rtnl;
pub(crate) mod skb;
pub(crate) mod switchdev;
pub(crate) mod sync;
pub(crate) mod table;
pub(crate) mod udp;
pub(crate) mod work;

/// What the module's own bindgen run made of `bindings.h`.
#[allow(
    unknown_lints,
    unnecessary_transmutes,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    dead_code,
    nonstandard_style,
    improper_ctypes,
    clippy::all,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    reason = "generated; what it needs depends on the kernel and the compiler"
)]
pub(crate) mod bindings {
    use kernel::ffi;

    type __kernel_size_t = usize;
    type __kernel_ssize_t = isize;
    type __kernel_ptrdiff_t = isize;

    include!(env!("VNET_BINDINGS"));
}

use kernel::error::Error;
use kernel::prelude::*;
use kernel::str::CStr;

/// Why something was refused: an errno, and words for the user where there are any.
#[derive(Clone, Copy)]
pub(crate) struct Refusal {
    /// The errno.
    pub(crate) error: Error,
    /// What is wrong, for the extended acknowledgement.
    pub(crate) text: Option<&'static CStr>,
    /// A number that the text is about.
    pub(crate) number: Option<u32>,
}

impl Refusal {
    /// A refusal with a reason in words.
    pub(crate) const fn new(error: Error, text: &'static CStr) -> Self {
        Self {
            error,
            text: Some(text),
            number: None,
        }
    }

    /// The errno.
    pub(crate) const fn error(&self) -> Error {
        self.error
    }

    /// The same, about a number.
    pub(crate) const fn with(self, number: u32) -> Self {
        Self {
            number: Some(number),
            ..self
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self {
            error,
            text: None,
            number: None,
        }
    }
}

impl From<kernel::alloc::AllocError> for Refusal {
    fn from(_: kernel::alloc::AllocError) -> Self {
        ENOMEM.into()
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        refusal.error
    }
}

/// Errnos for which the kernel crate has no name in all versions.
pub(crate) mod errno {
    use super::bindings;
    use kernel::error::Error;

    /// EADDRINUSE.
    pub(crate) fn address_in_use() -> Error {
        Error::from_errno(-(bindings::EADDRINUSE as i32))
    }

    /// EOPNOTSUPP.
    pub(crate) fn not_supported() -> Error {
        Error::from_errno(-(bindings::EOPNOTSUPP as i32))
    }

    /// ENETUNREACH.
    pub(crate) fn network_unreachable() -> Error {
        Error::from_errno(-(bindings::ENETUNREACH as i32))
    }

    /// EAFNOSUPPORT.
    pub(crate) fn family_not_supported() -> Error {
        Error::from_errno(-(bindings::EAFNOSUPPORT as i32))
    }
}

/// Result of what can be refused with a reason.
pub(crate) type Result<T = (), E = Refusal> = core::result::Result<T, E>;

/// A table of function pointers or the like that C keeps a pointer to and writes to.
#[repr(transparent)]
pub(crate) struct CStatic<T>(core::cell::UnsafeCell<T>);

// SAFETY: Rust never makes a reference to the content once it was handed to C, see `get`.
unsafe impl<T> Sync for CStatic<T> {}

impl<T> CStatic<T> {
    /// Wraps a value that is complete but for what C fills in.
    pub(crate) const fn new(value: T) -> Self {
        Self(core::cell::UnsafeCell::new(value))
    }

    /// The pointer that is handed to C.
    pub(crate) const fn get(&self) -> *mut T {
        self.0.get()
    }
}

/// Time since boot in ticks, wrapping.
#[inline]
pub(crate) fn jiffies() -> usize {
    // SAFETY: An aligned word that the kernel writes; a volatile read is READ_ONCE.
    unsafe { core::ptr::read_volatile(&raw const bindings::jiffies) as usize }
}

/// Time since boot, as accurate as a tick.
pub(crate) fn now() -> vnet_core::Instant {
    // SAFETY: A function without requirements.
    vnet_core::Instant::from_millis(unsafe { bindings::vnet_now_ms() })
}

/// Softirqs are off on this CPU until this is dropped, and it stays on this CPU: what uses per-CPU data may run.
pub(crate) struct SoftirqsOff(core::marker::PhantomData<*mut ()>);

impl SoftirqsOff {
    /// Turns them off.
    pub(crate) fn new() -> Self {
        // SAFETY: A function without requirements; the guard ends it.
        unsafe { bindings::vnet_bh_disable() };
        Self(core::marker::PhantomData)
    }
}

impl Drop for SoftirqsOff {
    fn drop(&mut self) {
        // SAFETY: Turned off by `new`, on this CPU.
        unsafe { bindings::vnet_bh_enable() };
    }
}

/// Whether the kernel has IPv6, and it was not disabled at boot.
pub(crate) fn has_ipv6() -> bool {
    // SAFETY: A function without requirements.
    unsafe { bindings::vnet_has_ipv6() }
}

/// Ticks in so many milliseconds, rounded up.
pub(crate) fn msecs_to_jiffies(ms: u32) -> usize {
    // SAFETY: A function without requirements.
    unsafe { bindings::__msecs_to_jiffies(ms) as usize }
}

/// Milliseconds in so many ticks, at most `u32::MAX`.
pub(crate) fn jiffies_to_msecs(ticks: usize) -> u32 {
    // SAFETY: A function without requirements.
    unsafe { bindings::vnet_jiffies_to_msecs(ticks as ffi::c_ulong) }
}

use kernel::ffi;

/// A text parameter of the module.
fn param(text: *const ffi::c_char) -> &'static [u8] {
    if text.is_null() {
        return b"";
    }
    // SAFETY: charp parameters point to a NUL-terminated text; these cannot be written after loading.
    unsafe { core::ffi::CStr::from_ptr(text.cast()) }.to_bytes()
}

/// The parameters that the module was loaded with.
pub(crate) mod params {
    use super::bindings;

    /// Group of new namespaces, as text.
    pub(crate) fn group() -> &'static [u8] {
        // SAFETY: A function without requirements.
        super::param(unsafe { bindings::vnet_param_group() })
    }

    /// Underlay device of the initial namespace, or nothing.
    pub(crate) fn device() -> &'static [u8] {
        // SAFETY: A function without requirements.
        super::param(unsafe { bindings::vnet_param_device() })
    }

    /// UDP port of new namespaces.
    pub(crate) fn port() -> u16 {
        // SAFETY: A function without requirements.
        unsafe { bindings::vnet_param_port() as u16 }
    }

    /// TTL of new namespaces.
    pub(crate) fn ttl() -> u8 {
        // SAFETY: A function without requirements.
        unsafe { bindings::vnet_param_ttl() as u8 }
    }
}
