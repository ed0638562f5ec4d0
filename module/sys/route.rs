// SPDX-License-Identifier: GPL-2.0-only

//! Routes of the underlay.

use core::net::Ipv4Addr;
use core::ptr::NonNull;

use kernel::alloc::Flags;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::types::Opaque;

use super::bindings;
use super::net::Net;
use super::netdev::Device;
use super::skb::SkBuff;

/// The route to one destination, remembered by each CPU.
///
/// # Invariants
///
/// Was initialised by `dst_cache_init`, on the heap.
pub(crate) struct RouteCache {
    cache: KBox<Opaque<bindings::dst_cache>>,
}

// SAFETY: Made of per-CPU entries; C takes care of what CPUs share.
unsafe impl Send for RouteCache {}
// SAFETY: As above.
unsafe impl Sync for RouteCache {}

impl RouteCache {
    /// An empty cache. Does not sleep.
    pub(crate) fn new(flags: Flags) -> Result<Self> {
        let cache = KBox::new(Opaque::<bindings::dst_cache>::zeroed(), flags)?;
        // SAFETY: Zeroed memory for a cache.
        to_result(unsafe { bindings::vnet_dst_cache_init(cache.get()) })?;
        // INVARIANT: Just initialised.
        Ok(Self { cache })
    }

    /// Forgets the routes: they are looked up anew from now on.
    pub(crate) fn reset(&self) {
        // SAFETY: Initialised, by the type invariant; C marks the time only.
        unsafe { bindings::vnet_dst_cache_reset(self.cache.get()) };
    }
}

impl Drop for RouteCache {
    fn drop(&mut self) {
        // SAFETY: Initialised, by the type invariant, and no reader is left.
        unsafe { bindings::dst_cache_destroy(self.cache.get()) };
    }
}

/// A route that was found, and the source address that goes with it.
///
/// # Invariants
///
/// Owns a count of the route.
pub(crate) struct Route {
    rt: NonNull<bindings::rtable>,
    source: Ipv4Addr,
}

/// Why there is no route.
pub(crate) enum NoRoute {
    /// None leads there.
    Unreachable,
    /// It leads back into the device.
    Loop,
}

/// What a route depends on.
pub(crate) struct Flow {
    /// Where it goes.
    pub(crate) destination: Ipv4Addr,
    /// UDP port, source and destination.
    pub(crate) port: u16,
    /// Index of the device that it must leave through, or 0.
    pub(crate) device: u32,
}

impl Route {
    /// Finds the route for a packet that a device has taken.
    #[inline]
    pub(crate) fn find(
        skb: &SkBuff,
        device: &Device,
        net: Net,
        flow: &Flow,
        cache: &RouteCache,
    ) -> Result<Self, NoRoute> {
        let mut key = bindings::ip_tunnel_key::default();
        key.u.ipv4.dst = u32::from_ne_bytes(flow.destination.octets());
        let mut source = 0;
        let port = flow.port.to_be();
        // A mark can lead elsewhere by policy: such a packet neither uses nor fills what others remember.
        let cache = match skb.mark() {
            0 => cache.cache.get(),
            _ => core::ptr::null_mut(),
        };
        // SAFETY: All pointers are to live objects; softirqs are off, as a device transmits.
        let rt = unsafe {
            bindings::udp_tunnel_dst_lookup(
                skb.as_ptr(),
                device.as_ptr(),
                net.as_ptr(),
                flow.device as i32,
                &mut source,
                &key,
                port,
                port,
                0,
                cache,
            )
        };
        if (rt as usize) >= usize::MAX - 4094 {
            return Err(if rt as isize == -(bindings::ELOOP as isize) {
                NoRoute::Loop
            } else {
                NoRoute::Unreachable
            });
        }
        let rt = NonNull::new(rt).ok_or(NoRoute::Unreachable)?;
        // INVARIANT: The lookup counted it for us.
        let route = Self {
            rt,
            source: Ipv4Addr::from(source.to_ne_bytes()),
        };
        // The lookup checks this only when it fills the cache, which several devices share.
        if route.device_ptr() == device.as_ptr() {
            return Err(NoRoute::Loop);
        }
        Ok(route)
    }

    fn device_ptr(&self) -> *mut bindings::net_device {
        // SAFETY: The route lives, by the type invariant.
        unsafe { bindings::vnet_rt_dev(self.rt.as_ptr()) }
    }

    /// MTU of the device that it leaves through.
    #[inline]
    pub(crate) fn link_mtu(&self) -> u32 {
        // SAFETY: The route keeps its device.
        unsafe { (*self.device_ptr()).mtu }
    }

    /// The route as C wants it.
    #[inline]
    pub(super) fn as_ptr(&self) -> *mut bindings::rtable {
        self.rt.as_ptr()
    }

    /// The source address.
    #[inline]
    pub(super) fn source(&self) -> Ipv4Addr {
        self.source
    }

    /// Gives the count away.
    #[inline]
    pub(super) fn into_raw(self) -> *mut bindings::rtable {
        let rt = self.rt.as_ptr();
        core::mem::forget(self);
        rt
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        // SAFETY: Owns a count, by the type invariant.
        unsafe { bindings::vnet_dst_release(self.rt.as_ptr()) };
    }
}

/// Index and MTU of the device through which packets to an address leave, if any does.
pub(crate) fn egress(net: Net, destination: Ipv4Addr, device: u32) -> Option<(u32, u32)> {
    let (mut ifindex, mut mtu) = (0, 0);
    let destination = u32::from_ne_bytes(destination.octets());
    // SAFETY: The namespace lives; the results have a place.
    let found = unsafe {
        bindings::vnet_route_egress(
            net.as_ptr(),
            destination,
            device as i32,
            &mut ifindex,
            &mut mtu,
        )
    };
    (found == 0).then_some((ifindex as u32, mtu))
}

/// Whether an address is one of the namespace's own.
pub(crate) fn is_local(net: Net, address: Ipv4Addr) -> bool {
    // SAFETY: The namespace lives.
    let kind =
        unsafe { bindings::inet_addr_type(net.as_ptr(), u32::from_ne_bytes(address.octets())) };
    kind == bindings::RTN_LOCAL
}
