// SPDX-License-Identifier: GPL-2.0-only

//! Packets.
//!
//! Bytes are read through slices that borrow the [`SkBuff`] and lie in its linear part. Everything that may move the head
//! takes it by `&mut`: no slice outlives such a call.

use core::mem::ManuallyDrop;
use core::net::Ipv4Addr;
use core::ptr::NonNull;

use kernel::error::to_result;
use kernel::prelude::*;

use super::bindings;
use super::netdev::Device;
use super::route::Route;

/// A packet that is owned; dropping it drops the packet.
///
/// # Invariants
///
/// Points to a packet of which this owns a count.
pub(crate) struct SkBuff(NonNull<bindings::sk_buff>);

/// Of the outer IPv4 header, what the receiver looks at.
#[derive(Clone, Copy)]
pub(crate) struct Outer {
    /// Source address.
    pub(crate) source: Ipv4Addr,
    /// Destination address.
    pub(crate) destination: Ipv4Addr,
    /// Type of service, with the congestion marks.
    pub(crate) tos: u8,
}

impl SkBuff {
    /// Takes over a packet from C.
    ///
    /// # Safety
    ///
    /// The caller must own a count of the packet and give it away.
    #[inline]
    pub(super) unsafe fn from_raw(skb: NonNull<bindings::sk_buff>) -> Self {
        // INVARIANT: By the caller's promise.
        Self(skb)
    }

    /// The packet as C wants it.
    #[inline]
    pub(super) fn as_ptr(&self) -> *mut bindings::sk_buff {
        self.0.as_ptr()
    }

    /// Gives the packet away.
    #[inline]
    pub(super) fn into_raw(self) -> *mut bindings::sk_buff {
        ManuallyDrop::new(self).as_ptr()
    }

    #[inline]
    fn raw(&self) -> &bindings::sk_buff {
        // SAFETY: Alive, by the type invariant. It is not changed while it is borrowed, as it is owned.
        unsafe { self.0.as_ref() }
    }

    /// Its length in bytes, from where it begins now.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.raw().len as usize
    }

    /// The bytes that lie in one piece, from where the packet begins now.
    #[inline]
    pub(crate) fn linear(&self) -> &[u8] {
        let raw = self.raw();
        let len = raw.len.saturating_sub(raw.data_len) as usize;
        // SAFETY: `data` points to that many bytes that are initialised as far as the stack is concerned.
        unsafe { core::slice::from_raw_parts(raw.data, len) }
    }

    /// The first `len` bytes, brought into one piece. None if there are fewer, or no memory.
    #[inline]
    pub(crate) fn pull(&mut self, len: usize) -> Option<&[u8]> {
        if self.linear().len() < len {
            let wanted = u32::try_from(len).ok()?;
            // SAFETY: The packet is ours.
            if !unsafe { bindings::vnet_skb_may_pull(self.as_ptr(), wanted) } {
                return None;
            }
        }
        self.linear().get(..len)
    }

    /// The outer IPv4 header of a packet that came in through a UDP socket.
    #[inline]
    pub(crate) fn outer_ipv4(&self) -> Option<Outer> {
        const LEN: usize = 20;
        let raw = self.raw();
        // SAFETY: The packet is alive.
        let offset = unsafe { bindings::vnet_skb_network_offset(self.as_ptr()) };
        let offset = usize::try_from(offset).ok()?;
        let end = raw.tail as usize;
        if offset.checked_add(LEN)? > end {
            return None;
        }
        // SAFETY: From `head` to `tail` is the linear part of the buffer, and the header lies before its end.
        let header = unsafe { &*raw.head.add(offset).cast::<[u8; LEN]>() };
        let [version, tos, _, _, _, _, _, _, _, _, _, _, addresses @ ..] = header;
        if version >> 4 != 4 {
            return None;
        }
        let [s0, s1, s2, s3, d0, d1, d2, d3] = *addresses;
        Some(Outer {
            source: Ipv4Addr::new(s0, s1, s2, s3),
            destination: Ipv4Addr::new(d0, d1, d2, d3),
            tos: *tos,
        })
    }

    /// Its mark, by which policy routing may tell it apart.
    #[inline]
    pub(crate) fn mark(&self) -> u32 {
        // SAFETY: The packet is alive.
        unsafe { bindings::vnet_skb_mark(self.as_ptr()) }
    }

    /// Another packet with the same bytes.
    pub(crate) fn duplicate(&self) -> Option<Self> {
        // SAFETY: The packet is alive.
        let copy = unsafe { bindings::vnet_skb_clone(self.as_ptr()) };
        // INVARIANT: A clone has a count of its own.
        NonNull::new(copy).map(Self)
    }

    /// Marks where the Ethernet header of a packet that is to be sent begins, and where the network header, behind any
    /// VLAN tags. That is brought into one piece; false if it is cut off.
    #[inline]
    pub(crate) fn begin_frame(&mut self) -> bool {
        // SAFETY: The packet is ours.
        unsafe {
            bindings::vnet_skb_reset_mac_header(self.as_ptr());
            bindings::vnet_skb_vlan_inet_prepare(self.as_ptr())
        }
    }

    /// Takes `len` bytes of outer headers off and makes what follows a frame from outside.
    ///
    /// # Errors
    ///
    /// ENOMEM, also if no Ethernet header follows.
    #[inline]
    pub(crate) fn decapsulate(&mut self, len: usize, between_namespaces: bool) -> Result {
        let len = i32::try_from(len)?;
        let protocol = (bindings::ETH_P_TEB as u16).to_be();
        // SAFETY: The packet is ours, and begins with the UDP header.
        to_result(unsafe {
            bindings::__iptunnel_pull_header(
                self.as_ptr(),
                len,
                protocol,
                false,
                between_namespaces,
            )
        })
    }

    /// Makes a frame one that came in on a device: takes the Ethernet header off. False if there is none.
    #[inline]
    pub(crate) fn enter(&mut self, device: &Device) -> bool {
        const LEN: usize = vnet_core::wire::ETHERNET_HEADER_LEN;
        let Some(header) = self.pull(LEN) else {
            return false;
        };
        let header = header.as_ptr();
        // SAFETY: The packet is ours and has an Ethernet header in one piece, which stays where it is.
        unsafe {
            let skb = self.as_ptr();
            bindings::vnet_skb_reset_mac_header(skb);
            let protocol = bindings::eth_type_trans(skb, device.as_ptr());
            bindings::vnet_skb_set_protocol(skb, protocol);
            bindings::vnet_skb_postpull_rcsum(skb, header.cast(), LEN as u32);
            bindings::vnet_skb_reset_network_header(skb);
        }
        true
    }

    /// Brings the inner IP header, if there is one, into one piece. False if it is cut off.
    #[inline]
    pub(crate) fn pull_inner_ip(&mut self) -> bool {
        // SAFETY: The packet is ours, and its network header is set.
        unsafe { bindings::vnet_skb_inet_may_pull(self.as_ptr()) }
    }

    /// Takes the outer congestion marks over (RFC 6040). False if they contradict the inner ones.
    ///
    /// Needs [`SkBuff::pull_inner_ip`] first.
    ///
    /// # Errors
    ///
    /// ENOMEM.
    #[inline]
    pub(crate) fn ecn_decapsulate(&mut self, outer_tos: u8) -> Result<bool> {
        // SAFETY: The packet is ours, and its network header is set.
        let wrong = unsafe { bindings::vnet_skb_ecn_decapsulate(self.as_ptr(), outer_tos) };
        to_result(wrong.min(0))?;
        Ok(wrong == 0)
    }

    /// The outer TOS for a frame: the inner congestion marks (RFC 6040). Needs [`SkBuff::begin_frame`] first.
    #[inline]
    pub(crate) fn ecn_encapsulate(&self) -> u8 {
        // SAFETY: The packet is alive, and its network header is set and linear.
        unsafe { bindings::vnet_skb_ecn_encapsulate(self.as_ptr(), 0) }
    }

    /// Checks that it fits the path with `overhead` bytes more. If not, and its sender behind the bridge must be told, it
    /// has been turned into the ICMP message that does so: false.
    ///
    /// # Errors
    ///
    /// If the message could not be made.
    #[inline]
    pub(crate) fn fits_path(
        &mut self,
        route: &Route,
        overhead: i32,
        bridged: bool,
    ) -> Result<bool> {
        // SAFETY: The packet is ours, the route alive; its destination entry is its first field.
        let answered = unsafe {
            bindings::vnet_skb_tunnel_check_pmtu(
                self.as_ptr(),
                route.as_ptr().cast(),
                overhead,
                bridged,
            )
        };
        to_result(answered.min(0))?;
        Ok(answered == 0)
    }

    /// Gives a packet that was to be sent to the stack, as if the device had received it.
    pub(crate) fn turn_back(self, device: &Device) {
        // SAFETY: A packet with an Ethernet header, which is given away.
        unsafe {
            let skb = self.into_raw();
            bindings::vnet_skb_turn_back(skb, device.as_ptr());
        }
    }

    /// Makes room for `header` and the outer headers in front, keeps segments whole, and writes `header`.
    ///
    /// # Errors
    ///
    /// ENOMEM.
    #[inline]
    pub(crate) fn encapsulate<const N: usize>(
        &mut self,
        route: &Route,
        header: &[u8; N],
    ) -> Result {
        // SAFETY: The packet is ours, the route alive; its destination entry is its first field.
        to_result(unsafe {
            bindings::vnet_skb_tunnel_prepare(self.as_ptr(), route.as_ptr().cast(), N as u32)
        })?;
        // SAFETY: There is room for N bytes, just made in a head that nobody shares.
        unsafe {
            let start = bindings::skb_push(self.as_ptr(), N as u32);
            start.cast::<[u8; N]>().write(*header);
        }
        Ok(())
    }
}

impl Drop for SkBuff {
    fn drop(&mut self) {
        // SAFETY: Owns a count, by the type invariant.
        unsafe { bindings::vnet_skb_drop(self.as_ptr()) };
    }
}
