// SPDX-License-Identifier: GPL-2.0-only

//! Routes of the underlay.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ptr::NonNull;

use kernel::alloc::Flags;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::types::Opaque;

use super::bindings;
use super::net::Net;
use super::netdev::Device;
use super::skb::SkBuff;
use super::udp::UdpSocket;

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
/// Owns a count of the route, which is one to the family of `source`.
pub(crate) struct Route {
    dst: NonNull<bindings::dst_entry>,
    /// The device that it left through when it was found. RCU keeps it, or the route does.
    egress: *mut bindings::net_device,
    source: IpAddr,
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
    pub(crate) destination: IpAddr,
    /// UDP port, source and destination.
    pub(crate) port: u16,
    /// Index of the device that it must leave through, or 0.
    pub(crate) device: u32,
}

/// An IPv6 address as C has it.
pub(super) fn in6(address: Ipv6Addr) -> bindings::in6_addr {
    let mut raw = bindings::in6_addr::default();
    raw.in6_u.u6_addr8 = address.octets();
    raw
}

/// An IPv6 address from C.
fn from_in6(raw: &bindings::in6_addr) -> Ipv6Addr {
    // SAFETY: All members of the union are 16 bytes of numbers.
    Ipv6Addr::from(unsafe { raw.in6_u.u6_addr8 })
}

impl Route {
    /// Finds the route for a packet that a device has taken, to be sent through a socket of the family.
    #[inline]
    pub(crate) fn find(
        skb: &SkBuff,
        device: &Device,
        net: Net,
        socket: &UdpSocket,
        flow: &Flow,
        cache: &RouteCache,
    ) -> Result<Self, NoRoute> {
        let port = flow.port.to_be();
        let cache = cache.cache.get();
        let (dst, source) = match flow.destination {
            IpAddr::V4(destination) => {
                let mut source = 0;
                // SAFETY: All pointers are to live objects; softirqs are off, as a device transmits.
                let dst = unsafe {
                    bindings::vnet_tunnel_route4(
                        skb.as_ptr(),
                        device.as_ptr(),
                        net.as_ptr(),
                        flow.device as i32,
                        &mut source,
                        u32::from_ne_bytes(destination.octets()),
                        port,
                        cache,
                    )
                };
                let source = Ipv4Addr::from(source.to_ne_bytes());
                (dst, IpAddr::V4(source))
            }
            IpAddr::V6(destination) => {
                let mut source = bindings::in6_addr::default();
                // SAFETY: As above.
                let dst = unsafe {
                    bindings::vnet_tunnel_route6(
                        skb.as_ptr(),
                        device.as_ptr(),
                        net.as_ptr(),
                        socket.sock(),
                        flow.device as i32,
                        &mut source,
                        &in6(destination),
                        port,
                        cache,
                    )
                };
                (dst, IpAddr::V6(from_in6(&source)))
            }
        };
        // SAFETY: The lookups count what they return for us, and it is of the family of the source.
        let route = unsafe { Self::from_lookup(dst, source) }?;
        // The lookup checks this only when it fills the cache, which several devices share.
        if route.egress == device.as_ptr() {
            return Err(NoRoute::Loop);
        }
        Ok(route)
    }

    /// Finds the route for who sends nothing on behalf of a device. With a socket, for what is sent through it.
    pub(crate) fn find_own(
        net: Net,
        socket: Option<&UdpSocket>,
        destination: IpAddr,
        device: u32,
    ) -> Result<Self, NoRoute> {
        let (dst, source) = match destination {
            IpAddr::V4(destination) => {
                let destination = u32::from_ne_bytes(destination.octets());
                let mut source = 0;
                // SAFETY: The namespace lives; the result has a place.
                let dst = unsafe {
                    bindings::vnet_route4(net.as_ptr(), destination, device as i32, &mut source)
                };
                (dst, IpAddr::V4(Ipv4Addr::from(source.to_ne_bytes())))
            }
            IpAddr::V6(destination) => {
                let sock = socket.map_or(core::ptr::null_mut(), UdpSocket::sock);
                let mut source = bindings::in6_addr::default();
                // SAFETY: As above; without a socket none is looked at.
                let dst = unsafe {
                    bindings::vnet_route6(
                        net.as_ptr(),
                        sock,
                        &in6(destination),
                        device as i32,
                        &mut source,
                    )
                };
                (dst, IpAddr::V6(from_in6(&source)))
            }
        };
        // SAFETY: The lookups count what they return for us, and it is of the family of the source.
        unsafe { Self::from_lookup(dst, source) }
    }

    /// What a lookup returned: a route, or an error.
    ///
    /// # Safety
    ///
    /// A route must be counted for the caller, and be of the family of `source`.
    #[inline]
    unsafe fn from_lookup(dst: *mut bindings::dst_entry, source: IpAddr) -> Result<Self, NoRoute> {
        if (dst as usize) >= usize::MAX - 4094 {
            return Err(if dst as isize == -(bindings::ELOOP as isize) {
                NoRoute::Loop
            } else {
                NoRoute::Unreachable
            });
        }
        let dst = NonNull::new(dst).ok_or(NoRoute::Unreachable)?;
        // SAFETY: The route lives.
        let egress = unsafe { bindings::vnet_dst_dev(dst.as_ptr()) };
        // INVARIANT: By the caller's promise.
        Ok(Self {
            dst,
            egress,
            source,
        })
    }

    /// MTU of the device that it leaves through.
    #[inline]
    pub(crate) fn link_mtu(&self) -> u32 {
        // SAFETY: The route keeps its device.
        unsafe { core::ptr::read_volatile(&raw const (*self.egress).mtu) }
    }

    /// Bytes that a packet may have on the way there.
    pub(crate) fn mtu(&self) -> u32 {
        // SAFETY: The route lives.
        unsafe { bindings::vnet_dst_mtu(self.dst.as_ptr()) }
    }

    /// The same route once more.
    #[inline]
    pub(crate) fn duplicate(&self) -> Self {
        // SAFETY: The route lives.
        unsafe { bindings::vnet_dst_hold(self.dst.as_ptr()) };
        // INVARIANT: Just counted.
        Self { ..*self }
    }

    /// The route as C wants it.
    #[inline]
    pub(super) fn as_ptr(&self) -> *mut bindings::dst_entry {
        self.dst.as_ptr()
    }

    /// The source address that goes with it.
    #[inline]
    pub(crate) fn source(&self) -> IpAddr {
        self.source
    }

    /// Gives the count away.
    #[inline]
    pub(super) fn into_raw(self) -> *mut bindings::dst_entry {
        let dst = self.dst.as_ptr();
        core::mem::forget(self);
        dst
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        // SAFETY: Owns a count, by the type invariant.
        unsafe { bindings::vnet_dst_release(self.dst.as_ptr()) };
    }
}

/// Index and MTU of the device through which packets to an address leave, if any does.
pub(crate) fn egress(net: Net, destination: IpAddr, device: u32) -> Option<(u32, u32)> {
    let route = Route::find_own(net, None, destination, device).ok()?;
    // SAFETY: The route keeps its device.
    let index = unsafe { (*route.egress).ifindex } as u32;
    Some((index, route.link_mtu()))
}

/// Whether an address means all on a link that the namespace is on.
pub(crate) fn is_broadcast(net: Net, address: IpAddr) -> bool {
    let IpAddr::V4(address) = address else {
        return false;
    };
    // SAFETY: The namespace lives.
    let kind =
        unsafe { bindings::inet_addr_type(net.as_ptr(), u32::from_ne_bytes(address.octets())) };
    kind == bindings::RTN_BROADCAST
}

/// Whether an address is one of the namespace's own.
pub(crate) fn is_local(net: Net, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let address = u32::from_ne_bytes(address.octets());
            // SAFETY: The namespace lives.
            let kind = unsafe { bindings::inet_addr_type(net.as_ptr(), address) };
            kind == bindings::RTN_LOCAL
        }
        // SAFETY: The namespace lives.
        IpAddr::V6(address) => unsafe { bindings::vnet_is_local6(net.as_ptr(), &in6(address)) },
    }
}
