// SPDX-License-Identifier: GPL-2.0-only

//! Packets.
//!
//! Bytes are read through slices that borrow the [`SkBuff`] and lie in its linear part. Everything that may move the head
//! takes it by `&mut`: no slice outlives such a call.

use core::mem::ManuallyDrop;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::ptr::NonNull;

use kernel::error::to_result;
use kernel::prelude::*;

use super::bindings;
use super::net::Net;
use super::netdev::Device;
use super::route::Route;

/// A packet that is owned; dropping it drops the packet.
///
/// # Invariants
///
/// Points to a packet of which this owns a count.
pub(crate) struct SkBuff(NonNull<bindings::sk_buff>);

// SAFETY: An owned packet belongs to no thread. That it refers to data of other owners is C's to take care of.
unsafe impl Send for SkBuff {}

/// Bytes of the longest UDP datagram in IPv4.
const MESSAGE_MAX: usize = 65_507;

/// Of the outer IP header, what the receiver looks at: the type of service is the one with the congestion marks.
#[derive(Clone, Copy)]
pub(crate) enum Outer {
    /// IPv4.
    V4 {
        /// Source address.
        source: Ipv4Addr,
        /// Destination address.
        destination: Ipv4Addr,
        /// Type of service.
        tos: u8,
        /// Whether the destination is a broadcast address.
        broadcast: bool,
    },
    /// IPv6.
    V6 {
        /// Source address.
        source: Ipv6Addr,
        /// Destination address.
        destination: Ipv6Addr,
        /// Traffic class.
        tos: u8,
    },
}

/// Of the IP header in a frame, what the outer one depends on; zero if the frame is not IP.
#[derive(Clone, Copy)]
pub(crate) struct Inner {
    /// Type of service, or traffic class.
    pub(crate) tos: u8,
    /// Time to live, or hop limit.
    pub(crate) ttl: u8,
}

/// Why a frame cannot be one that came in.
pub(crate) enum NotEntered {
    /// The Ethernet header, or the IP header that should follow it, is cut off.
    Cut,
    /// The outer congestion marks contradict the inner ones.
    Congestion,
    /// There was no memory.
    NoMemory,
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

    /// The outer IP header of a packet that came in through a UDP socket, `offset` bytes behind the beginning of the buffer.
    #[inline]
    pub(super) fn outer(&self, offset: u32, broadcast: bool) -> Option<Outer> {
        let offset = offset as usize;
        let raw = self.raw();
        let len = (raw.tail as usize).checked_sub(offset)?;
        // SAFETY: From `head` to `tail` is the linear part of the buffer, and the header begins before its end.
        let header = unsafe { core::slice::from_raw_parts(raw.head.add(offset), len) };
        let (first, second) = (*header.first()?, *header.get(1)?);
        match first >> 4 {
            4 => {
                let source = *header.get(12..)?.first_chunk::<4>()?;
                let destination = *header.get(16..)?.first_chunk::<4>()?;
                Some(Outer::V4 {
                    source: Ipv4Addr::from(source),
                    destination: Ipv4Addr::from(destination),
                    tos: second,
                    broadcast,
                })
            }
            6 => {
                let source = *header.get(8..)?.first_chunk::<16>()?;
                let destination = *header.get(24..)?.first_chunk::<16>()?;
                Some(Outer::V6 {
                    source: Ipv6Addr::from(source),
                    destination: Ipv6Addr::from(destination),
                    tos: (first << 4) | (second >> 4),
                })
            }
            _ => None,
        }
    }

    /// A packet that holds a message of our own, filled up with zeros to `len` bytes if it is shorter. Does not sleep.
    pub(crate) fn message(parts: &[&[u8]], len: usize) -> Option<Self> {
        let total = parts
            .iter()
            .try_fold(0_usize, |sum, part| sum.checked_add(part.len()))?;
        let total = total.max(len);
        if total > MESSAGE_MAX {
            return None;
        }
        // SAFETY: Makes a new packet.
        let skb = unsafe { bindings::vnet_skb_message(u32::try_from(total).ok()?) };
        // INVARIANT: It is ours.
        let skb = Self(NonNull::new(skb)?);
        // SAFETY: The packet has that many initialised bytes in one piece, which nobody else sees yet.
        let bytes = unsafe { core::slice::from_raw_parts_mut(skb.raw().data, total) };
        let mut rest = bytes;
        for part in parts {
            let (place, after) = rest.split_at_mut_checked(part.len())?;
            place.copy_from_slice(part);
            rest = after;
        }
        Some(skb)
    }

    /// The source port that the flow of an inner frame gives. Needs [`SkBuff::begin_frame`] first.
    #[inline]
    pub(crate) fn flow_port(&mut self, net: Net) -> u16 {
        // SAFETY: The packet is ours, the namespace lives.
        u16::from_be(unsafe { bindings::vnet_skb_flow_port(net.as_ptr(), self.as_ptr()) })
    }

    /// Another packet with the same bytes.
    pub(crate) fn duplicate(&self) -> Option<Self> {
        // SAFETY: The packet is alive.
        let copy = unsafe { bindings::vnet_skb_clone(self.as_ptr()) };
        // INVARIANT: A clone has a count of its own.
        NonNull::new(copy).map(Self)
    }

    /// A packet of its own with the same bytes, in one piece.
    pub(crate) fn copy(&self) -> Option<Self> {
        // SAFETY: The packet is alive.
        let copy = unsafe { bindings::vnet_skb_copy(self.as_ptr()) };
        // INVARIANT: Just made.
        NonNull::new(copy).map(Self)
    }

    /// A packet with the bytes of a frame, its checksum filled in, behind `front`, and `after` zeros behind that.
    #[inline]
    pub(crate) fn around<const N: usize>(&self, front: &[u8; N], after: usize) -> Option<Self> {
        let (before, after) = (u32::try_from(N).ok()?, u32::try_from(after).ok()?);
        // SAFETY: The packet is alive.
        let skb = unsafe { bindings::vnet_skb_around(self.as_ptr(), before, after) };
        // INVARIANT: Just made.
        let skb = Self(NonNull::new(skb)?);
        // SAFETY: It begins with N bytes, in one piece, that nobody else sees yet.
        unsafe { skb.raw().data.cast::<[u8; N]>().write(*front) };
        Some(skb)
    }

    /// All of its bytes, to be changed. No checksum of them is known any more. None without memory.
    #[inline]
    pub(crate) fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        // SAFETY: The packet is ours.
        if unsafe { bindings::vnet_skb_writable(self.as_ptr()) } != 0 {
            return None;
        }
        let (data, len) = (self.raw().data, self.len());
        // SAFETY: So many bytes lie in one piece, in a head that nobody shares; the slice borrows the packet mutably.
        Some(unsafe { core::slice::from_raw_parts_mut(data, len) })
    }

    /// Makes it one that can wait, without keeping what it came from. False without memory.
    pub(crate) fn keep(&mut self) -> bool {
        // SAFETY: The packet is ours; under RCU, as all who transmit.
        unsafe { bindings::vnet_skb_keep(self.as_ptr()) }
    }

    /// Hands out its segments, with their checksums, if it is to be cut into segments, or else itself. False if there was no
    /// memory for that, and nothing was handed out.
    pub(crate) fn for_each_segment(self, mut each: impl FnMut(Self)) -> bool {
        // SAFETY: The packet is ours.
        if !unsafe { bindings::vnet_skb_is_gso(self.as_ptr()) } {
            // SAFETY: As above.
            if unsafe { bindings::vnet_skb_checksum_help(self.as_ptr()) } != 0 {
                return false;
            }
            each(self);
            return true;
        }
        // SAFETY: As above. What is returned is a list of packets of ours.
        let list = unsafe { bindings::vnet_skb_segments(self.as_ptr()) };
        // SAFETY: As just said.
        unsafe { Self::for_each_of(list, each) }
    }

    /// Hands out its segments, or else itself, for who reads them with [`SkBuff::around`]: checksums are left to that, and the
    /// bytes to what they are cut from. False if there was no memory, and nothing was handed out.
    #[inline]
    pub(crate) fn for_each_light_segment(self, mut each: impl FnMut(Self)) -> bool {
        // SAFETY: The packet is ours.
        if !unsafe { bindings::vnet_skb_is_gso(self.as_ptr()) } {
            each(self);
            return true;
        }
        // SAFETY: As above. What is returned is a list of packets of ours.
        let list = unsafe { bindings::vnet_skb_light_segments(self.as_ptr()) };
        // SAFETY: As just said.
        unsafe { Self::for_each_of(list, each) }
    }

    /// Hands out the packets of a list. False if there is none.
    ///
    /// # Safety
    ///
    /// It must be null or a list of packets that are given away.
    unsafe fn for_each_of(mut list: *mut bindings::sk_buff, mut each: impl FnMut(Self)) -> bool {
        let some = !list.is_null();
        while let Some(first) = NonNull::new(list) {
            // SAFETY: The first of a list of packets of ours, which is taken off.
            list = unsafe { bindings::vnet_skb_next(first.as_ptr()) };
            // INVARIANT: Ours, as said.
            each(Self(first));
        }
        some
    }

    /// All of it in one piece, with the checksum that was left to a device, if one was. None without memory.
    pub(crate) fn whole(&mut self) -> Option<&[u8]> {
        // SAFETY: The packet is ours.
        if unsafe { bindings::vnet_skb_checksum_help(self.as_ptr()) } != 0 {
            return None;
        }
        let len = self.len();
        self.pull(len)
    }

    /// Cuts it to `len` bytes, from where it begins now.
    ///
    /// # Errors
    ///
    /// ENOMEM.
    pub(crate) fn truncate(&mut self, len: usize) -> Result {
        // SAFETY: The packet is ours.
        to_result(unsafe { bindings::vnet_skb_trim(self.as_ptr(), u32::try_from(len)?) })
    }

    /// Marks where the Ethernet header of a packet that is to be sent begins, and where the network header, behind any
    /// VLAN tags. That is brought into one piece; none if it is cut off.
    #[inline]
    pub(crate) fn begin_frame(&mut self) -> Option<Inner> {
        // SAFETY: The packet is ours.
        let inner = unsafe { bindings::vnet_skb_begin_frame(self.as_ptr()) };
        let [tos, ttl, ..] = u32::try_from(inner).ok()?.to_le_bytes();
        Some(Inner { tos, ttl })
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
        let error = unsafe {
            bindings::__iptunnel_pull_header(
                self.as_ptr(),
                len,
                protocol,
                false,
                between_namespaces,
            )
        };
        if error == 0 {
            Ok(())
        } else {
            Err(ENOMEM)
        }
    }

    /// Makes a frame one that came in on a device: takes the Ethernet header off, and the outer congestion marks over
    /// (RFC 6040).
    #[inline(always)]
    pub(crate) fn enter(&mut self, device: &Device, outer_tos: u8) -> Result<(), NotEntered> {
        if self.linear().len() < vnet_core::wire::ETHERNET_HEADER_LEN {
            return Err(NotEntered::Cut);
        }
        // SAFETY: The packet is ours and has an Ethernet header in one piece.
        match unsafe { bindings::vnet_skb_enter(self.as_ptr(), device.as_ptr(), outer_tos) } {
            0 => Ok(()),
            1.. => Err(NotEntered::Congestion),
            error if error == ENOMEM.to_errno() => Err(NotEntered::NoMemory),
            _ => Err(NotEntered::Cut),
        }
    }

    /// Checks that it fits the path with `overhead` bytes more. If not, and `answers`, and the device is a port of a bridge,
    /// behind which its sender must be told, it has been turned into the ICMP message that does so: false.
    ///
    /// # Errors
    ///
    /// If the message could not be made.
    #[inline]
    pub(crate) fn fits_path(
        &mut self,
        route: &Route,
        overhead: i32,
        device: &Device,
        answers: bool,
    ) -> Result<bool> {
        // SAFETY: The packet is ours, route and device alive.
        let answered = unsafe {
            bindings::vnet_skb_tunnel_check_pmtu(
                self.as_ptr(),
                route.as_ptr(),
                overhead,
                device.as_ptr(),
                answers,
            )
        };
        match answered {
            0 => Ok(true),
            1.. => Ok(false),
            error => Err(Error::from_errno(error)),
        }
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
        let ip_len = if route.source().is_ipv4() { 20 } else { 40 };
        // SAFETY: The packet is ours, the route alive.
        let start = unsafe {
            bindings::vnet_skb_tunnel_push(self.as_ptr(), route.as_ptr(), N as u32, ip_len)
        };
        let start = NonNull::new(start.cast::<[u8; N]>()).ok_or(ENOMEM)?;
        // SAFETY: There is room for N bytes, just made in a head that nobody shares.
        unsafe { start.write(*header) };
        Ok(())
    }
}

impl Drop for SkBuff {
    fn drop(&mut self) {
        // SAFETY: Owns a count, by the type invariant.
        unsafe { bindings::vnet_skb_drop(self.as_ptr()) };
    }
}
