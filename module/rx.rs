// SPDX-License-Identifier: GPL-2.0-only

//! Receive: from other hosts to a vnet's device.
//!
//! Runs in softirq under RCU, on many CPUs at once. GRO has put segments together before. Everything is checked before
//! anything is learned: a frame that is dropped teaches nothing.

mod sealed;

use core::net::IpAddr;

use kernel::prelude::*;
use vnet_core::abi::{HostCounter, NetCounter};
use vnet_core::varp::{digest, is_host, is_of_link, judge, Judged, Way};
use vnet_core::wire::{
    DataHeader, EthernetHeader, Forwarded, MessageId, VarpMessage, VarpOpcode, WireError,
    DATA_HEADER_LEN, ETHERNET_HEADER_LEN, MESSAGE_HEADER_LEN, VARP_LEN,
};
use vnet_core::{Mac, VnetId};

use crate::device::Vnet;
use crate::fdb::Heard;
use crate::namespace::{Namespace, Underlay};
use crate::remote::Remote;
use crate::sys::netdev::OwnDevice;
use crate::sys::rcu::Guard;
use crate::sys::skb::{NotEntered, Outer, SkBuff};
use crate::sys::udp::Receiver;
use crate::sys::{self, route};
use crate::tx::{self, Sender, ECN_MASK};
use crate::varp::Event;

const UDP_LEN: usize = 8;
/// Bytes from the message header to the end of the Ethernet header.
const FRAME_HEADERS_LEN: usize = DATA_HEADER_LEN + ETHERNET_HEADER_LEN;

/// Where a message came from, and where it begins in its packet.
struct Origin {
    /// The host that sent it.
    host: IpAddr,
    /// Type of service of the outer packet.
    tos: u8,
    /// Whether it was meant for this host alone.
    unicast: bool,
    /// Bytes in front of the message.
    offset: usize,
}

impl Receiver for Namespace {
    const HEADER_LEN: usize = DATA_HEADER_LEN;

    #[inline]
    fn may_aggregate(header: &[u8]) -> bool {
        DataHeader::parse(header).is_ok()
    }

    #[inline]
    fn receive(&self, skb: SkBuff, outer: Option<Outer>, guard: &Guard) {
        match self.origin(outer, guard) {
            Ok(origin) => self.received(skb, &origin, guard),
            Err(bad) => self.count(bad),
        }
    }
}

impl Namespace {
    /// Where a packet came from, if its outer headers are good.
    #[inline(always)]
    fn origin(&self, outer: Option<Outer>, guard: &Guard) -> Result<Origin, HostCounter> {
        let (host, tos, to_group): (IpAddr, _, _) = match outer {
            Some(Outer::V4 {
                source,
                destination,
                tos,
                broadcast,
            }) => {
                let to_group = destination.is_multicast();
                if source.is_multicast() || source.is_unspecified() {
                    return Err(HostCounter::RxBadOuter);
                }
                // A packet to all is none to us alone, and none to our group.
                if broadcast || to_group && !self.is_our_group(destination.into(), guard) {
                    return Err(HostCounter::RxOtherGroup);
                }
                (source.into(), tos, to_group)
            }
            Some(Outer::V6 {
                source,
                destination,
                tos,
            }) => {
                let to_group = destination.is_multicast();
                // IPv4 drops what comes from outside with an address of our own; IPv6 does not.
                if source.is_multicast()
                    || source.is_unspecified()
                    || route::is_local(self.net(), source.into())
                {
                    return Err(HostCounter::RxBadOuter);
                }
                if to_group && !self.is_our_group(destination.into(), guard) {
                    return Err(HostCounter::RxOtherGroup);
                }
                (source.into(), tos, to_group)
            }
            None => return Err(HostCounter::RxShort),
        };
        Ok(Origin {
            host,
            tos,
            unicast: !to_group,
            offset: UDP_LEN,
        })
    }

    /// Takes a packet with good outer headers.
    #[inline(always)]
    fn received(&self, skb: SkBuff, origin: &Origin, guard: &Guard) {
        // What nearly all packets are: data for this host alone, its headers in one piece.
        let headers = skb
            .linear()
            .get(UDP_LEN..)
            .and_then(<[u8]>::first_chunk::<FRAME_HEADERS_LEN>)
            .filter(|_| origin.unicast);
        let Some(headers) = headers else {
            return self.any(skb, origin, guard);
        };
        let Ok((id, frame)) = frame_headers(headers) else {
            return self.any(skb, origin, guard);
        };
        if let Err(reason) = self.frame(skb, &id, &frame, origin, guard) {
            self.count(reason);
        }
    }

    /// Takes any other packet with good outer headers.
    #[inline(never)]
    fn any(&self, mut skb: SkBuff, origin: &Origin, guard: &Guard) {
        let message = match kind_of(&mut skb) {
            Ok(message) => message,
            Err(reason) => return self.count(reason),
        };
        if message == MessageId::Vfwd {
            return self.forwarded(skb, origin, guard);
        }
        if !origin.unicast {
            if let Some(underlay) = self.underlay(guard) {
                if !self.heard_in_group(underlay, &mut skb, origin) {
                    return self.count(HostCounter::RxDuplicate);
                }
            }
        }
        self.message(skb, message, origin, guard);
    }

    #[inline]
    fn is_our_group(&self, group: IpAddr, guard: &Guard) -> bool {
        let ours = self.underlay(guard).and_then(Underlay::group);
        ours.map(Remote::address) == Some(group)
    }

    /// Takes a message that begins at the offset.
    fn message(&self, skb: SkBuff, message: MessageId, origin: &Origin, guard: &Guard) {
        let done = match message {
            MessageId::Vudp => self.data(skb, origin, guard),
            MessageId::Varp => self.varp(skb, origin, guard),
            // A wrapped packet in a wrapped packet.
            MessageId::Vfwd => Err(HostCounter::RxForwardRefused),
            MessageId::Sealed => self.sealed(skb, origin, guard),
        };
        if let Err(reason) = done {
            self.count(reason);
        }
    }

    /// Takes a frame.
    #[inline(never)]
    fn data(&self, mut skb: SkBuff, origin: &Origin, guard: &Guard) -> Result<(), HostCounter> {
        let headers = skb
            .pull(origin.offset.saturating_add(FRAME_HEADERS_LEN))
            .and_then(|bytes| bytes.get(origin.offset..))
            .and_then(<[u8]>::first_chunk::<FRAME_HEADERS_LEN>);
        let Some(headers) = headers else {
            return self.cut_off(skb, origin, guard);
        };
        let (id, frame) = frame_headers(headers).map_err(|error| error.counter())?;
        self.frame(skb, &id, &frame, origin, guard)
    }

    /// Takes a frame whose headers were read.
    #[inline(always)]
    fn frame(
        &self,
        skb: SkBuff,
        id: &VnetId,
        header: &EthernetHeader,
        origin: &Origin,
        guard: &Guard,
    ) -> Result<(), HostCounter> {
        let device = self
            .find(id.as_bytes(), guard)
            .ok_or(HostCounter::RxUnknownNet)?;
        let vnet = device.state().ok_or(HostCounter::RxUnknownNet)?;
        let start = origin.offset.saturating_add(DATA_HEADER_LEN);
        let done = deliver(vnet, device, skb, header, origin, Body::Open(start), guard);
        if let Err(reason) = done {
            vnet.count(reason);
            device.count_rx_dropped();
        }
        Ok(())
    }

    /// Takes a frame without an Ethernet header, to count it where it belongs.
    #[cold]
    fn cut_off(&self, mut skb: SkBuff, origin: &Origin, guard: &Guard) -> Result<(), HostCounter> {
        let header = skb
            .pull(origin.offset.saturating_add(DATA_HEADER_LEN))
            .and_then(|bytes| bytes.get(origin.offset..))
            .ok_or(HostCounter::RxShort)?;
        let id = DataHeader::parse(header)
            .map_err(|error| error.counter())?
            .id;
        let device = self
            .find(id.as_bytes(), guard)
            .ok_or(HostCounter::RxUnknownNet)?;
        let vnet = device.state().ok_or(HostCounter::RxUnknownNet)?;
        vnet.count(if !device.is_up() {
            NetCounter::RxDown
        } else if let Err(reason) = vnet.admits(origin.host, guard) {
            reason
        } else {
            NetCounter::RxShort
        });
        device.count_rx_dropped();
        Ok(())
    }

    /// Takes a VARP message.
    #[cold]
    fn varp(&self, mut skb: SkBuff, origin: &Origin, guard: &Guard) -> Result<(), HostCounter> {
        self.count(HostCounter::RxVarp);
        let bytes = skb
            .pull(origin.offset.saturating_add(VARP_LEN))
            .and_then(|bytes| bytes.get(origin.offset..))
            .ok_or(HostCounter::RxShort)?;
        let message = match VarpMessage::parse(bytes) {
            Ok(message) => message,
            Err(error) => return Err(error.counter()),
        };
        let device = self
            .find(message.id.as_bytes(), guard)
            .ok_or(HostCounter::RxUnknownNet)?;
        let vnet = device.state().ok_or(HostCounter::RxUnknownNet)?;
        if vnet.seal().keys(guard).is_some() {
            vnet.count(NetCounter::RxNotSealed);
            return Ok(());
        }
        self.varp_message(vnet, device, &message, origin, guard);
        Ok(())
    }

    /// Takes a VARP message for a vnet.
    fn varp_message(
        &self,
        vnet: &Vnet,
        device: &OwnDevice<Vnet>,
        message: &VarpMessage,
        origin: &Origin,
        guard: &Guard,
    ) {
        let Some(underlay) = self.underlay(guard) else {
            return;
        };
        vnet.count(match message.opcode {
            VarpOpcode::Request => NetCounter::RxRequest,
            VarpOpcode::Announce => NetCounter::RxAnnounce,
            VarpOpcode::Withdraw => NetCounter::RxWithdraw,
            VarpOpcode::Unknown(_) => {
                // Refused, whoever sent it: counted once.
                vnet.count(NetCounter::RxVarpRefused);
                return;
            }
        });
        if !vnet.accepts(origin.host, guard) {
            vnet.count(NetCounter::RxVarpRefused);
            return;
        }
        let ours = |address| route::is_local(self.net(), address);
        let sender = Sender::for_message(vnet, device, underlay, guard);
        match judge(message, origin.host, ours) {
            Judged::Asked(mac) => {
                let here = vnet.fdb().get(mac, guard);
                if here.is_some_and(|entry| entry.remote(guard).is_none())
                    && vnet.varp().may_answer(vnet)
                {
                    // Counted, if it could not be sent.
                    let _ = sender.tell(VarpOpcode::Announce, mac, origin.host, 0);
                }
            }
            Judged::AskedPresence => {
                if vnet.varp().may_answer(vnet) {
                    let nobody = Mac::from_bytes([0; 6]);
                    let _ = sender.tell(VarpOpcode::Announce, nobody, origin.host, 0);
                }
            }
            Judged::Announced(mac, host) => {
                let acceptable = mac != device.address()
                    && vnet.accepts(host, guard)
                    && underlay.socket(host).is_some()
                    && (underlay.device != 0 || !is_of_link(host))
                    && !route::is_broadcast(self.net(), host);
                if !acceptable {
                    vnet.count(NetCounter::RxVarpRefused);
                    return;
                }
                let heard = vnet.fdb().hear(mac, Some(host), guard);
                vnet.heard(mac, Some(host), heard, guard);
                watched(vnet, mac, origin.host, host);
            }
            Judged::Present(host) => {
                watched(vnet, Mac::from_bytes([0; 6]), origin.host, host);
            }
            Judged::Withdrawn(mac) => {
                vnet.fdb().withdrawn(mac, origin.host);
            }
            Judged::Refused => vnet.count(NetCounter::RxVarpRefused),
        }
    }

    /// Looks at a packet that came to the group, and passes it on to the peers. False if it came by another way just now.
    fn heard_in_group(&self, underlay: &Underlay, skb: &mut SkBuff, origin: &Origin) -> bool {
        let forwards = !underlay.forward_targets().is_empty();
        let Some(recent) = underlay.recent() else {
            return true;
        };
        // Who does not forward hears of a packet more than once only from several who do.
        if !forwards && !is_relayed(skb, origin) {
            return true;
        }
        let Some(payload) = skb.whole().and_then(|bytes| bytes.get(origin.offset..)) else {
            return true;
        };
        let (digest, way) = (digest(origin.host, payload), Way::from_group(payload));
        if !recent.lock().is_new(digest, way, sys::now()) {
            return false;
        }
        if way != Way::Sender {
            // What was forwarded is never forwarded again.
            return true;
        }
        tx::forward(
            self,
            underlay,
            Some(origin.host),
            origin.tos,
            &[payload, &[]],
        );
        true
    }

    /// Takes a packet that a peer has passed on.
    #[cold]
    fn forwarded(&self, mut skb: SkBuff, origin: &Origin, guard: &Guard) {
        match self.unwrap(&mut skb, origin, guard) {
            Ok((message, inner)) => self.message(skb, message, &inner, guard),
            Err(reason) => self.count(reason),
        }
    }

    /// Checks a packet that a peer has passed on, sends it to the group, and finds the message in it.
    fn unwrap(
        &self,
        skb: &mut SkBuff,
        origin: &Origin,
        guard: &Guard,
    ) -> Result<(MessageId, Origin), HostCounter> {
        let underlay = self
            .underlay(guard)
            .filter(|underlay| origin.unicast && underlay.is_peer(origin.host))
            .ok_or(HostCounter::RxForwardRefused)?;
        self.count(HostCounter::RxForward);
        let whole = skb.whole().ok_or(HostCounter::RxShort)?;
        let datagram = whole.get(origin.offset..).ok_or(HostCounter::RxShort)?;
        let packet = match Forwarded::parse(datagram, underlay.port) {
            Ok(packet) => packet,
            Err(_) => return Err(HostCounter::RxForwardRefused),
        };
        let source = if packet.source.is_unspecified() {
            origin.host
        } else {
            packet.source
        };
        if !is_host(source) {
            return Err(HostCounter::RxForwardRefused);
        }
        if route::is_local(self.net(), source) {
            // We have sent it ourselves: it went in a circle.
            return Err(HostCounter::RxDuplicate);
        }
        if let Some(recent) = underlay.recent() {
            let digest = digest(source, packet.payload);
            if !recent
                .lock()
                .is_new(digest, Way::Peer(origin.host), sys::now())
            {
                return Err(HostCounter::RxDuplicate);
            }
        }
        let message = match MessageId::parse(packet.payload) {
            Ok(message) => message,
            Err(error) => return Err(error.counter()),
        };
        // Who wraps does not ask for marks on the way, but one may come all the same.
        let congested = origin.tos & ECN_MASK == ECN_MASK;
        let tos = packet.tos | if congested { ECN_MASK } else { 0 };
        if packet.ttl > 1 && message != MessageId::Vfwd {
            tx::relay(
                self,
                underlay,
                source,
                (tos, packet.ttl.saturating_sub(1)),
                packet.payload,
            );
        }
        // The payload lies in the packet: how far from its beginning, and where it ends.
        let offset = (packet.payload.as_ptr() as usize)
            .checked_sub(whole.as_ptr() as usize)
            .ok_or(HostCounter::RxShort)?;
        let end = offset.saturating_add(packet.payload.len());
        if skb.truncate(end).is_err() {
            return Err(HostCounter::RxShort);
        }
        let inner = Origin {
            host: source,
            tos,
            unicast: false,
            offset,
        };
        Ok((message, inner))
    }
}

/// Reads the headers of a frame.
#[inline]
fn frame_headers(headers: &[u8; FRAME_HEADERS_LEN]) -> Result<(VnetId, EthernetHeader), WireError> {
    let (header, frame) = headers.split_first_chunk().ok_or(WireError::Short)?;
    let id = DataHeader::parse_fixed(header)?.id;
    Ok((id, EthernetHeader::parse(frame)?))
}

/// What kind of message follows the UDP header.
#[inline]
fn kind_of(skb: &mut SkBuff) -> Result<MessageId, HostCounter> {
    let bytes = skb
        .pull(UDP_LEN + MESSAGE_HEADER_LEN)
        .and_then(|bytes| bytes.get(UDP_LEN..))
        .ok_or(HostCounter::RxShort)?;
    MessageId::parse(bytes).map_err(|error| error.counter())
}

/// Whether a packet that came to the group is marked as sent there by a host that had it from a peer.
#[inline]
fn is_relayed(skb: &mut SkBuff, origin: &Origin) -> bool {
    let len = skb.len().min(UDP_LEN + VARP_LEN + 2);
    skb.pull(len)
        .and_then(|bytes| bytes.get(origin.offset..))
        .is_some_and(|message| Way::from_group(message) != Way::Sender)
}

/// Tells who has asked of an answer.
fn watched(vnet: &Vnet, mac: Mac, host: IpAddr, care_of: IpAddr) {
    if vnet.varp().is_watched() {
        vnet.varp().tell(Event::Answer { mac, host, care_of });
    }
}

/// Where the frame begins in a packet.
enum Body {
    /// So many bytes from the beginning, as it was sent.
    Open(usize),
    /// The same, opened out of a sealed message of a host that may be heard.
    Sealed(usize),
}

/// Hands the frame in a packet to the vnet's device. The reason, if it was dropped.
#[inline(always)]
fn deliver(
    vnet: &Vnet,
    device: &OwnDevice<Vnet>,
    mut skb: SkBuff,
    header: &EthernetHeader,
    origin: &Origin,
    body: Body,
    guard: &Guard,
) -> Result<(), NetCounter> {
    if !device.is_up() {
        return Err(NetCounter::RxDown);
    }
    let start = match body {
        Body::Open(start) => {
            vnet.admits(origin.host, guard)?;
            start
        }
        Body::Sealed(start) => start,
    };
    if !header.source.is_valid_source() {
        return Err(NetCounter::RxBadSource);
    }
    if header.source == device.address() {
        return Err(NetCounter::RxOwnSource);
    }
    let to_group = header.destination.is_group();
    if to_group && !vnet.accepts_flood(origin.host) {
        return Err(NetCounter::RxFloodLimit);
    }
    let between_namespaces = !device.is_in(vnet.namespace().net());
    skb.decapsulate(start, between_namespaces)
        .map_err(|_| NetCounter::RxNoMemory)?;
    skb.enter(device, origin.tos).map_err(|why| match why {
        NotEntered::Cut => NetCounter::RxShort,
        NotEntered::Congestion => NetCounter::RxEcn,
        NotEntered::NoMemory => NetCounter::RxNoMemory,
    })?;
    let note = vnet
        .fdb()
        .note(header.source, header.destination, origin.host);
    if !note.is_there() {
        let leads_back = !is_of_link(origin.host) || has_device(vnet, guard);
        let heard = if leads_back {
            vnet.fdb().hear(header.source, Some(origin.host), guard)
        } else {
            Heard::Known
        };
        if heard != Heard::Known {
            vnet.heard(header.source, Some(origin.host), heard, guard);
        }
        let misled =
            origin.unicast && !to_group && vnet.fdb().is_elsewhere(header.destination, guard);
        if misled {
            elsewhere(vnet, device, header.destination, origin.host, guard);
        }
        if leads_back && heard == Heard::Known && !misled && origin.unicast {
            note.make();
        }
    }
    if device.deliver(skb, guard) {
        Ok(())
    } else {
        // The device has counted it as dropped already.
        vnet.count(NetCounter::RxBacklog);
        Ok(())
    }
}

/// Whether the underlay device is set: without it, nothing can be sent to an address that is another one on each link.
#[cold]
fn has_device(vnet: &Vnet, guard: &Guard) -> bool {
    let underlay = vnet.namespace().underlay(guard);
    underlay.is_some_and(|underlay| underlay.device != 0)
}

/// A host has sent a frame here for a MAC address that is behind another one: tells it.
#[cold]
fn elsewhere(vnet: &Vnet, device: &OwnDevice<Vnet>, mac: Mac, host: IpAddr, guard: &Guard) {
    vnet.count(NetCounter::RxElsewhere);
    if let Some(underlay) = vnet.namespace().underlay(guard) {
        if vnet.varp().may_correct(vnet) {
            let sender = Sender::for_message(vnet, device, underlay, guard);
            // Counted, if it could not be sent.
            let _ = sender.tell(VarpOpcode::Withdraw, mac, host, 0);
        }
    }
}
