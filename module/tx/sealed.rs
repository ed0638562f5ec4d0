// SPDX-License-Identifier: GPL-2.0-only

//! Transmit of a sealed vnet.
//!
//! The route, and whether it fits, are looked for with the frame whole. Then it is cut into segments, each is sealed once, and that
//! goes to all its destinations. On the CPU that the frame is sent on, so that a flow stays in order.

use core::net::IpAddr;

use vnet_core::abi::{HostCounter, NetCounter};
use vnet_core::wire::{
    Hello, FRAME, SEALED_HEADER_LEN, SEALED_KIND_LEN, SEALED_OVERHEAD_V4, SEALED_OVERHEAD_V6,
    SEALED_TAG_LEN,
};

use super::{drop_frame, forward_group, send_wrapped, Sender};
use crate::remote::Remote;
use crate::seal::Keys;
use crate::sys::route::Route;
use crate::sys::skb::SkBuff;
use crate::sys::udp::{Envelope, UdpSocket};

/// Bytes in front of a frame, its kind among them.
const FRONT_LEN: usize = SEALED_HEADER_LEN + SEALED_KIND_LEN;

/// Bytes around an inner IP packet that is sealed.
fn sealed_overhead(destination: IpAddr) -> u32 {
    match destination {
        IpAddr::V4(_) => SEALED_OVERHEAD_V4 as u32,
        IpAddr::V6(_) => SEALED_OVERHEAD_V6 as u32,
    }
}

impl Sender<'_> {
    /// Sends a frame to one host or group.
    #[inline(never)]
    pub(super) fn send_sealed(&self, skb: SkBuff, remote: &Remote, keys: &Keys) {
        let destination = remote.address();
        let (socket, route) = match self.route(&skb, remote) {
            Ok(found) => found,
            Err(reason) => return drop_frame(self.vnet, self.device, reason),
        };
        let overhead = sealed_overhead(destination);
        let Some((skb, fits_link)) = self.check_path(skb, &route, overhead) else {
            return;
        };
        let whole = skb.for_each_light_segment(|segment| {
            if let Some(sealed) = self.seal_frame(&segment, keys) {
                let route = route.duplicate();
                self.send_message(sealed, (socket, route), destination, fits_link);
            }
        });
        if !whole {
            drop_frame(self.vnet, self.device, NetCounter::TxNoMemory);
        }
    }

    /// Sends a frame to everyone.
    #[inline(never)]
    pub(super) fn flood_sealed(&self, skb: SkBuff, keys: &Keys) {
        for target in self.underlay.flood_targets() {
            self.tell_if_too_big(&skb, target);
        }
        let whole = skb.for_each_light_segment(|segment| {
            let Some(sealed) = self.seal_frame(&segment, keys) else {
                return;
            };
            if !self.underlay.forward_targets().is_empty() {
                self.forward(&[sealed.linear(), &[]]);
            }
            let mut targets = self.underlay.flood_targets();
            let Some(mut target) = targets.next() else {
                return;
            };
            for next in targets {
                match sealed.copy() {
                    Some(copy) => self.send_copy(copy, target),
                    None => drop_frame(self.vnet, self.device, NetCounter::TxNoMemory),
                }
                target = next;
            }
            self.send_copy(sealed, target);
        });
        if !whole {
            drop_frame(self.vnet, self.device, NetCounter::TxNoMemory);
        }
    }

    /// Tells who sent a frame if it does not fit the path to one of those that it goes to. It is not sent there, see `send_copy`.
    fn tell_if_too_big(&self, skb: &SkBuff, target: &Remote) {
        let destination = target.address();
        if self.told.get() || destination.is_multicast() {
            return;
        }
        let Ok((_, route)) = self.route(skb, target) else {
            return;
        };
        let overhead = sealed_overhead(destination);
        let longest = (skb.len() as u32).saturating_add(overhead);
        if longest <= route.mtu() {
            return;
        }
        if let Some(copy) = skb.duplicate() {
            // Of what does not fit it takes the copy.
            let _ = self.check_path(copy, &route, overhead);
        }
    }

    /// Sends a sealed frame to one of several.
    fn send_copy(&self, sealed: SkBuff, target: &Remote) {
        let destination = target.address();
        let (socket, route) = match self.route(&sealed, target) {
            Ok(found) => found,
            Err(reason) => return drop_frame(self.vnet, self.device, reason),
        };
        let around = sealed_overhead(destination);
        let fits_link = self.device.mtu().saturating_add(around) <= route.link_mtu();
        let headers = if destination.is_ipv4() { 28 } else { 48 };
        let len = (sealed.len() as u32).saturating_add(headers);
        if fits_link && !destination.is_multicast() && len > route.mtu() {
            return drop_frame(self.vnet, self.device, NetCounter::TxTooBig);
        }
        self.send_message(sealed, (socket, route), destination, fits_link);
    }

    fn send_message(
        &self,
        sealed: SkBuff,
        (socket, route): (&UdpSocket, Route),
        destination: IpAddr,
        fits_link: bool,
    ) {
        let envelope = Envelope {
            source: None,
            destination,
            source_port: self.source_port,
            port: self.underlay.port,
            tos: self.tos,
            ttl: self.ttl,
            fragment: !fits_link || destination.is_multicast(),
            between_namespaces: !self.device.is_in(self.vnet.namespace().net()),
        };
        socket.send(sealed, route, &envelope);
    }

    /// The sealed message that carries a frame. None if it was dropped, and counted.
    #[inline]
    fn seal_frame(&self, frame: &SkBuff, keys: &Keys) -> Option<SkBuff> {
        let Some(with) = keys.next(self.vnet) else {
            drop_frame(self.vnet, self.device, NetCounter::TxNoKey);
            return None;
        };
        let mut front = [0; FRONT_LEN];
        let (header, kind) = front.split_at_mut(SEALED_HEADER_LEN);
        header.copy_from_slice(&with.header.emit());
        kind.copy_from_slice(&FRAME.to_be_bytes());
        let sealed = frame
            .around(&front, SEALED_TAG_LEN)
            .and_then(|mut message| {
                let bytes = message.bytes_mut()?;
                with.key
                    .seal(with.mode, with.header.counter, bytes)
                    .then_some(message)
            });
        if sealed.is_none() {
            drop_frame(self.vnet, self.device, NetCounter::TxNoMemory);
        }
        sealed
    }

    /// A packet with a message of our own, sealed if it must be, with a payload of at least `size` bytes.
    pub(super) fn pack(&self, message: &[u8], size: usize) -> Result<SkBuff, NetCounter> {
        let Some(keys) = self.keys else {
            return SkBuff::message(&[message], size).ok_or(NetCounter::TxNoMemory);
        };
        let with = keys.next(self.vnet).ok_or(NetCounter::TxNoKey)?;
        let header = with.header.emit();
        let tag = [0; SEALED_TAG_LEN];
        // What fills it up stands between message and tag, and is sealed, too.
        let least = message
            .len()
            .saturating_add(SEALED_HEADER_LEN + SEALED_TAG_LEN);
        let mut packet = SkBuff::message(&[&header, message, &tag], size.max(least))
            .ok_or(NetCounter::TxNoMemory)?;
        let sealed = packet
            .bytes_mut()
            .is_some_and(|bytes| with.key.seal(with.mode, with.header.counter, bytes));
        if sealed {
            Ok(packet)
        } else {
            Err(NetCounter::TxNoMemory)
        }
    }

    /// Says something to a host by which hosts get to know each other; counted if it could not be said.
    pub(crate) fn hello(&self, hello: &Hello, to: IpAddr) {
        if let Err(reason) = self.try_hello(hello, to) {
            self.vnet.count(reason);
        }
    }

    fn try_hello(&self, hello: &Hello, to: IpAddr) -> Result<(), NetCounter> {
        let socket = self.underlay.socket(to).ok_or(NetCounter::TxNoRoute)?;
        let net = self.vnet.namespace().net();
        let route = Route::find_own(net, Some(socket), to, self.underlay.device)
            .map_err(|_| NetCounter::TxNoRoute)?;
        let packet = self.pack(&hello.emit(), 0)?;
        let envelope = Envelope {
            source: None,
            destination: to,
            source_port: self.underlay.port,
            port: self.underlay.port,
            tos: self.tos,
            ttl: self.ttl,
            fragment: true,
            between_namespaces: false,
        };
        socket.send(packet, route, &envelope);
        Ok(())
    }

    /// Tells everyone that we are here, so that they ask us to prove it before the first frame comes.
    pub(crate) fn greet(&self) {
        if self.keys.is_none() {
            return;
        }
        for target in self.underlay.flood_targets() {
            self.hello(&Hello::GREETING, target.address());
        }
        let net = self.vnet.namespace().net();
        for target in self.underlay.forward_targets() {
            let (to, group) = (target.address(), forward_group(self.underlay));
            let socket = self.underlay.socket(to);
            let Ok(route) = Route::find_own(net, socket, to, self.underlay.device) else {
                self.vnet.count(NetCounter::TxNoRoute);
                continue;
            };
            let packet = match self.pack(&Hello::GREETING.emit(), 0) {
                Ok(packet) => packet,
                Err(reason) => {
                    self.vnet.count(reason);
                    continue;
                }
            };
            let parts = [packet.linear(), &[]];
            if send_wrapped(self.underlay, route, to, None, group, self.tos, &parts) {
                self.vnet.namespace().count(HostCounter::TxForward);
            } else {
                self.vnet.count(NetCounter::TxNoMemory);
            }
        }
    }
}
