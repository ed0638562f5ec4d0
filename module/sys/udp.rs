// SPDX-License-Identifier: GPL-2.0-only

//! The UDP socket of a tunnel.

use core::net::IpAddr;
use core::ptr::NonNull;

use kernel::error::to_result;
use kernel::ffi;
use kernel::prelude::*;
use kernel::sync::Arc;

use super::bindings;
use super::net::Net;
use super::rcu::{self, Guard};
use super::route::{in6, Route};
use super::rtnl::Rtnl;
use super::skb::{Outer, SkBuff};

/// Who receives what comes in through a tunnel's socket.
pub(crate) trait Receiver: Sync + 'static {
    /// Bytes that follow the UDP header and that packets must have in common to be put together.
    const HEADER_LEN: usize;

    /// Whether packets with this header may be put together at all.
    fn may_aggregate(header: &[u8]) -> bool;
    /// Takes a packet, which begins with the UDP header, and what its IP header says, if that is whole. Softirq, under RCU.
    fn receive(&self, skb: SkBuff, outer: Option<Outer>, guard: &Guard);
}

/// A family of underlay addresses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum IpFamily {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl IpFamily {
    /// The family of an address.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    fn number(self) -> u32 {
        match self {
            Self::V4 => bindings::AF_INET,
            Self::V6 => bindings::AF_INET6,
        }
    }
}

/// A UDP socket of the kernel's, bound to a port on all addresses of a family.
///
/// # Invariants
///
/// The socket is open and ours; its user data is null or the receiver.
pub(crate) struct UdpSocket(NonNull<bindings::socket>);

// SAFETY: The socket layer locks.
unsafe impl Send for UdpSocket {}
// SAFETY: As above.
unsafe impl Sync for UdpSocket {}

impl UdpSocket {
    /// Opens a socket for a receiver. Sleeps.
    ///
    /// # Errors
    ///
    /// EADDRINUSE if the port is taken, EAFNOSUPPORT if the kernel does not have the family.
    pub(crate) fn open<R: Receiver>(
        net: Net,
        family: IpFamily,
        port: u16,
        receiver: &'static R,
    ) -> Result<Arc<Self>> {
        let socket = Self::create(net, family, port)?;
        let mut config = bindings::udp_tunnel_sock_cfg {
            sk_user_data: core::ptr::from_ref(receiver).cast_mut().cast(),
            encap_type: 1,
            encap_rcv: Some(encap_rcv::<R>),
            encap_err_lookup: Some(encap_err_lookup),
            gro_receive: Some(gro_receive::<R>),
            gro_complete: Some(gro_complete::<R>),
            ..Default::default()
        };
        // SAFETY: The socket is open; C copies the configuration. The receiver is there for ever as far as Rust is
        // concerned: a namespace closes its sockets before its state goes.
        unsafe {
            bindings::vnet_setup_udp_tunnel_sock(
                net.as_ptr(),
                socket.sock(),
                (&raw mut config).cast(),
            )
        };
        Ok(Arc::new(socket, GFP_KERNEL)?)
    }

    fn create(net: Net, family: IpFamily, port: u16) -> Result<Self> {
        let mut config = bindings::udp_port_cfg {
            family: family.number() as u8,
            local_udp_port: port.to_be(),
            ..Default::default()
        };
        let mut socket = core::ptr::null_mut();
        match family {
            IpFamily::V4 => {
                config.set_use_udp_checksums(1);
                // SAFETY: The namespace lives; C only reads the configuration.
                to_result(unsafe {
                    bindings::udp_sock_create4(net.as_ptr(), &mut config, &mut socket)
                })?;
            }
            IpFamily::V6 => {
                config.set_ipv6_v6only(1);
                config.set_use_udp6_tx_checksums(1);
                config.set_use_udp6_rx_checksums(1);
                // SAFETY: As above.
                to_result(unsafe {
                    bindings::vnet_udp_sock_create6(net.as_ptr(), &mut config, &mut socket)
                })?;
            }
        }
        // INVARIANT: Just opened.
        NonNull::new(socket).map(Self).ok_or(ENOMEM)
    }

    /// The socket as C wants it.
    #[inline]
    pub(super) fn sock(&self) -> *mut bindings::sock {
        // SAFETY: Open, by the type invariant.
        unsafe { (*self.0.as_ptr()).sk }
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        // SAFETY: Open, by the type invariant. After the release no new packet reaches the receiver; those under way are
        // waited for, so that the receiver may go.
        unsafe { bindings::vnet_udp_tunnel_sock_release(self.0.as_ptr()) };
        rcu::synchronize();
    }
}

/// Membership of a namespace in a multicast group, on one device.
///
/// It has a socket of its own, which is bound to nothing: group packets go to every socket that has the port, if only
/// somebody joined. So it can come and go without touching the data socket.
///
/// Closing a socket that is still a member takes RTNL, so membership ends first, under the RTNL that its owner holds.
///
/// # Invariants
///
/// The socket is open and ours.
pub(crate) struct Membership {
    socket: NonNull<bindings::socket>,
    group: IpAddr,
    device: u32,
}

impl Membership {
    /// Joins a group. Sleeps.
    ///
    /// # Errors
    ///
    /// ENODEV if the device is not there or cannot do multicast.
    pub(crate) fn join(net: Net, group: IpAddr, device: u32, _rtnl: &Rtnl) -> Result<Self> {
        let mut socket = core::ptr::null_mut();
        // SAFETY: The namespace lives; the result has a place.
        to_result(unsafe {
            let family = IpFamily::of(group).number() as ffi::c_int;
            bindings::vnet_group_sock_create(net.as_ptr(), family, &mut socket)
        })?;
        // INVARIANT: Just opened.
        let membership = Self {
            socket: NonNull::new(socket).ok_or(ENOMEM)?,
            group,
            device,
        };
        let device = device as ffi::c_int;
        // SAFETY: The socket is open, and of the family of the group.
        to_result(unsafe {
            match group {
                IpAddr::V4(group) => {
                    let group = u32::from_ne_bytes(group.octets());
                    bindings::vnet_join_group(membership.sock(), group, device)
                }
                IpAddr::V6(group) => {
                    bindings::vnet_join_group6(membership.sock(), &in6(group), device)
                }
            }
        })?;
        Ok(membership)
    }

    fn sock(&self) -> *mut bindings::sock {
        // SAFETY: Open, by the type invariant.
        unsafe { (*self.socket.as_ptr()).sk }
    }

    /// Leaves the group. Sleeps.
    pub(crate) fn leave(self, _rtnl: &Rtnl) {
        let device = self.device as ffi::c_int;
        // SAFETY: The socket is open, and of the family of the group; RTNL is held.
        unsafe {
            match self.group {
                IpAddr::V4(group) => {
                    let group = u32::from_ne_bytes(group.octets());
                    bindings::vnet_leave_group(self.sock(), group, device);
                }
                IpAddr::V6(group) => {
                    bindings::vnet_leave_group6(self.sock(), &in6(group), device);
                }
            }
        };
    }

    /// Index of the device on which it was joined.
    pub(crate) fn device(&self) -> u32 {
        self.device
    }
}

// SAFETY: The socket layer locks.
unsafe impl Send for Membership {}
// SAFETY: As above.
unsafe impl Sync for Membership {}

impl Drop for Membership {
    fn drop(&mut self) {
        // SAFETY: Open, by the type invariant. It receives nothing, so nobody has to be waited for.
        unsafe { bindings::sock_release(self.socket.as_ptr()) };
    }
}

/// What the outer headers of a packet are made of, beside the route.
pub(crate) struct Envelope {
    /// Source address, unless it is the one that goes with the route. Of the family of `destination`.
    pub(crate) source: Option<IpAddr>,
    /// Destination address, of the family of the route.
    pub(crate) destination: IpAddr,
    /// UDP source port.
    pub(crate) source_port: u16,
    /// UDP destination port.
    pub(crate) port: u16,
    /// Type of service, or traffic class.
    pub(crate) tos: u8,
    /// Time to live, or hop limit.
    pub(crate) ttl: u8,
    /// Whether it may be fragmented, here and on the way.
    pub(crate) fragment: bool,
    /// Whether it leaves the namespace that it was sent in.
    pub(crate) between_namespaces: bool,
}

impl UdpSocket {
    /// Sends an encapsulated packet. The device that it was taken from, if any, counts it.
    #[inline]
    pub(crate) fn send(&self, skb: SkBuff, route: Route, envelope: &Envelope) {
        const DONT_FRAGMENT: u16 = 0x4000;
        let source_port = envelope.source_port.to_be();
        let port = envelope.port.to_be();
        let source = envelope.source.unwrap_or(route.source());
        match (source, envelope.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) if route.source().is_ipv4() => {
                let df = if envelope.fragment { 0 } else { DONT_FRAGMENT };
                // SAFETY: The socket is open; packet and route, which is one to IPv4 and begins with the entry, are
                // given away.
                unsafe {
                    bindings::udp_tunnel_xmit_skb(
                        route.into_raw().cast(),
                        self.sock(),
                        skb.into_raw(),
                        u32::from_ne_bytes(source.octets()),
                        u32::from_ne_bytes(destination.octets()),
                        envelope.tos,
                        envelope.ttl,
                        df.to_be(),
                        source_port,
                        port,
                        envelope.between_namespaces,
                        false,
                        0,
                    )
                };
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) if route.source().is_ipv6() => {
                // SAFETY: The socket is open; packet and route, which is one to IPv6, are given away.
                unsafe {
                    bindings::vnet_tunnel_xmit6(
                        route.into_raw(),
                        self.sock(),
                        skb.into_raw(),
                        &in6(source),
                        &in6(destination),
                        envelope.tos,
                        envelope.ttl,
                        source_port,
                        port,
                        envelope.between_namespaces,
                        envelope.fragment,
                    )
                };
            }
            // Of two families: nobody makes such an envelope.
            _ => {}
        }
    }
}

unsafe extern "C" fn encap_rcv<R: Receiver>(
    sk: *mut bindings::sock,
    skb: *mut bindings::sk_buff,
) -> ffi::c_int {
    // SAFETY: C calls this under RCU.
    let guard = unsafe { Guard::assume() };
    // SAFETY: C gives the packet away, as 0 is returned.
    let Some(skb) = NonNull::new(skb).map(|skb| unsafe { SkBuff::from_raw(skb) }) else {
        return 0;
    };
    let (mut offset, mut broadcast) = (0, false);
    // SAFETY: The socket was opened for an `R`, if it is not being closed, and closing it waits for RCU, which is held. The packet
    // is alive.
    let receiver = unsafe {
        bindings::vnet_encap_begin(sk, skb.as_ptr(), &mut offset, &mut broadcast)
            .cast::<R>()
            .as_ref()
    };
    if let Some(receiver) = receiver {
        let outer = skb.outer(offset, broadcast);
        receiver.receive(skb, outer, &guard);
    }
    0
}

/// Errors from the network below are for us, whatever port they name: the route learns its MTU from them.
unsafe extern "C" fn encap_err_lookup(
    _: *mut bindings::sock,
    _: *mut bindings::sk_buff,
) -> ffi::c_int {
    0
}

unsafe extern "C" fn gro_receive<R: Receiver>(
    _: *mut bindings::sock,
    head: *mut bindings::list_head,
    skb: *mut bindings::sk_buff,
) -> *mut bindings::sk_buff {
    let len = R::HEADER_LEN;
    // SAFETY: C passes a packet under GRO. `header` is null or points to `len` bytes until the packet is changed.
    unsafe {
        let mut offset = 0;
        // What goes to a group may have to be passed on as it came: for that, too, it is null.
        let header = bindings::vnet_gro_begin(skb, len as u32, &mut offset).cast::<u8>();
        if !header.is_null() {
            let bytes = core::slice::from_raw_parts(header, len);
            if R::may_aggregate(bytes) {
                keep_same_flow(head, offset, bytes);
                return bindings::vnet_gro_receive_inner(head, skb, header.cast(), len as u32);
            }
        }
        bindings::vnet_gro_refuse(skb);
    }
    core::ptr::null_mut()
}

/// Of the packets that are held, only those with the same header may be put together with one.
///
/// # Safety
///
/// `head` must be the list of packets that GRO holds, each with its headers in one piece up to `offset` plus the header.
unsafe fn keep_same_flow(head: *mut bindings::list_head, offset: u32, header: &[u8]) {
    // SAFETY: By the caller's promise; a list head is the first field of a packet. A packet of the same flow went through
    // here, so it has a header of ours at the same offset.
    unsafe {
        let mut next = (*head).next;
        while next != head {
            let held = next.cast::<bindings::sk_buff>();
            next = (*next).next;
            if bindings::vnet_gro_same_flow(held) {
                let start = (*held).data.add(offset as usize);
                if core::slice::from_raw_parts(start, header.len()) != header {
                    bindings::vnet_gro_clear_same_flow(held);
                }
            }
        }
    }
}

unsafe extern "C" fn gro_complete<R: Receiver>(
    _: *mut bindings::sock,
    skb: *mut bindings::sk_buff,
    offset: ffi::c_int,
) -> ffi::c_int {
    // SAFETY: C passes a packet that GRO put together; our header was in front of the Ethernet header.
    unsafe { bindings::eth_gro_complete(skb, offset.saturating_add(R::HEADER_LEN as ffi::c_int)) }
}
