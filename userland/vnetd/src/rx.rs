// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Receive: from other hosts to a vnet's device. Everything is checked before anything is learned.

mod sealed;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use nix::errno::Errno;
use vnet_core::Setting;
use vnet_core::abi::{HostCounter, NetCounter};
use vnet_core::varp::{Way, digest, is_host, is_of_link};
use vnet_core::wire::{EthernetHeader, Forwarded, MESSAGE_HEADER_LEN, Message, MessageId, Relay};

use crate::inner::{self, Carried, Mark};
use crate::merge::{Complete, Merger};
use crate::post::{Letter, Tally};
use crate::shared::{Net, Underlay, World, locked};
use crate::sys::Datagram;
use crate::tap;
use crate::udp::Arrival;
use crate::worker::Worker;

/// Where a message came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// Who sent it first.
    pub(crate) source: IpAddr,
    /// By which of our addresses it knows us, if that is known.
    pub(crate) ours: Option<IpAddr>,
    /// Type of service.
    pub(crate) tos: u8,
    /// Whether it was meant for this host alone.
    pub(crate) unicast: bool,
}

/// What is the same for all that is received together.
pub(crate) struct Turn<'a> {
    pub(crate) world: &'a World,
    pub(crate) underlay: &'a Underlay,
    /// Frames that are being put together.
    pub(crate) merger: Merger<'a, Net>,
}

impl Worker {
    /// Takes what was received as one.
    pub(crate) fn receive<'a>(&mut self, turn: &mut Turn<'a>, datagram: Datagram<'a>) {
        let underlay = turn.underlay;
        let arrival = Arrival::of(&datagram);
        let source = datagram.source.ip();
        if source.is_multicast() || source.is_unspecified() || underlay.own.contains(&source) {
            return self.shared.count(HostCounter::RxBadOuter);
        }
        let to_group = arrival.destination.filter(IpAddr::is_multicast);
        // A packet to all is none to us alone, and none to our group.
        if arrival.broadcast || to_group.is_some() && to_group != underlay.group {
            return self.shared.count(HostCounter::RxOtherGroup);
        }
        let origin = Origin {
            source,
            ours: match to_group {
                Some(group) => underlay.sources.get(&group).copied(),
                None => arrival.destination,
            },
            tos: arrival.tos,
            unicast: to_group.is_none(),
        };
        let bytes = datagram.into_bytes();
        if bytes.is_empty() {
            return self.shared.count(HostCounter::RxShort);
        }
        let size = if arrival.segment > 0 {
            arrival.segment
        } else {
            bytes.len()
        };
        for message in bytes.chunks_mut(size) {
            match to_group {
                Some(group) => self.group_message(turn, message, &origin, group),
                None => self.message(turn, message, &origin),
            }
        }
    }

    /// A message that came to the group: the peers get it, too.
    fn group_message<'a>(
        &mut self,
        turn: &mut Turn<'a>,
        message: &'a mut [u8],
        origin: &Origin,
        group: IpAddr,
    ) {
        let underlay = turn.underlay;
        let way = Way::from_group(message);
        let forwards = underlay.forwards();
        // Who does not forward hears of a packet more than once only from several who do.
        if (forwards || way != Way::Sender) && !self.is_new(origin.source, message, way) {
            return self.shared.count(HostCounter::RxDuplicate);
        }
        // What was forwarded is never forwarded again.
        if forwards && way == Way::Sender {
            self.pass_on(underlay, origin, group, message);
        }
        self.message(turn, message, origin);
    }

    fn is_new(&self, source: IpAddr, message: &[u8], way: Way) -> bool {
        let now = self.shared.clock.now();
        locked(&self.shared.recent).is_new(digest(source, message), way, now)
    }

    fn message<'a>(&mut self, turn: &mut Turn<'a>, message: &'a mut [u8], origin: &Origin) {
        let (world, underlay) = (turn.world, turn.underlay);
        // These are opened where they are.
        match Message::parse(message) {
            Ok(Message::Sealed(header, _)) => return self.sealed(turn, &header, message, origin),
            Ok(Message::Forward(_)) => {
                let packet = message.get_mut(MESSAGE_HEADER_LEN..).unwrap_or_default();
                if let Err(reason) = self.unwrap(turn, packet, origin) {
                    self.shared.count(reason);
                }
                return;
            }
            _ => {}
        }
        let message: &'a [u8] = message;
        match Message::parse(message) {
            Err(error) => self.shared.count(error.counter()),
            Ok(Message::Data(header, frame)) => match world.nets.get(&header.id) {
                Some(net) if net.sealed.is_some() => net.vnet.count(NetCounter::RxNotSealed),
                Some(net) => {
                    if let Err(reason) = self.deliver(turn, net, frame, origin) {
                        net.vnet.count(reason);
                    }
                }
                None => self.shared.count(HostCounter::RxUnknownNet),
            },
            Ok(Message::Varp(varp)) => {
                self.shared.count(HostCounter::RxVarp);
                match world.nets.get(&varp.id) {
                    Some(net) if net.sealed.is_some() => net.vnet.count(NetCounter::RxNotSealed),
                    Some(net) => self.varp(world, underlay, net, &varp, origin),
                    None => self.shared.count(HostCounter::RxUnknownNet),
                }
            }
            // Taken above.
            Ok(Message::Sealed(..) | Message::Forward(_)) => {}
        }
    }

    /// A packet that a peer forwarded: it is handled as if it had come from its first sender, and sent to the group here.
    fn unwrap<'a>(
        &mut self,
        turn: &mut Turn<'a>,
        packet: &'a mut [u8],
        origin: &Origin,
    ) -> Result<(), HostCounter> {
        let underlay = turn.underlay;
        let peer = origin.source;
        if !origin.unicast || !underlay.peers.contains(&peer) {
            return Err(HostCounter::RxForwardRefused);
        }
        self.shared.count(HostCounter::RxForward);
        let forwarded = Forwarded::parse_packet(packet, underlay.port)
            .map_err(|_| HostCounter::RxForwardRefused)?;
        let source = if forwarded.source.is_unspecified() {
            peer
        } else {
            forwarded.source
        };
        if !is_host(source) {
            return Err(HostCounter::RxForwardRefused);
        }
        if underlay.own.contains(&source)
            || !self.is_new(source, forwarded.payload, Way::Peer(peer))
        {
            return Err(HostCounter::RxDuplicate);
        }
        match MessageId::parse(forwarded.payload) {
            Ok(MessageId::Vfwd) => return Err(HostCounter::RxForwardRefused),
            Ok(_) => {}
            Err(error) => return Err(error.counter()),
        }
        // Who wraps does not ask for marks on the way, but one may come all the same.
        let tos = inner::congested(forwarded.tos, origin.tos);
        if forwarded.ttl > 1 {
            let kind = (tos, forwarded.ttl - 1);
            self.relay(underlay, source, kind, forwarded.payload);
        }
        let inner = Origin {
            source,
            tos,
            unicast: false,
            ..*origin
        };
        // Where it is in the packet.
        let length = forwarded.payload.len();
        let start = forwarded.payload.as_ptr().addr();
        let start = start.saturating_sub(packet.as_ptr().addr());
        let payload = packet.get_mut(start..start.saturating_add(length));
        self.message(turn, payload.unwrap_or_default(), &inner);
        Ok(())
    }

    /// Sends a packet of a peer to the group, on behalf of who sent it first, with the mark of who relays it.
    fn relay(&mut self, underlay: &Underlay, source: IpAddr, (tos, ttl): (u8, u8), message: &[u8]) {
        let Some(group) = underlay
            .group
            .filter(|group| group.is_ipv4() == source.is_ipv4())
        else {
            return;
        };
        let mut envelope = underlay.envelope(group);
        envelope.source = Some(source);
        envelope.tos = inner::outer_tos(Some(tos), Some(envelope.tos >> 2));
        envelope.ttl = ttl;
        let ours = underlay.sources.get(&group);
        let relayed = ours.and_then(|ours| Relay::of(*ours).mark(message));
        // With an address that is not ours, the kernel must be told the device.
        let Some(relayed) = relayed.filter(|_| envelope.device != 0) else {
            return;
        };
        let range = self.post_bytes(underlay, &[relayed.head(), relayed.rest()]);
        self.post.put(Letter {
            envelope,
            flow: None,
            strict: false,
            wrap: None,
            size: range.len(),
            range,
            tally: Tally::Relayed,
        });
    }

    /// Hands a frame to the vnet's device. The reason, if it was dropped.
    fn deliver<'a>(
        &mut self,
        turn: &mut Turn<'a>,
        net: &Arc<Net>,
        frame: &'a [u8],
        origin: &Origin,
    ) -> Result<(), NetCounter> {
        let (world, underlay) = (turn.world, turn.underlay);
        let vnet = &net.vnet;
        if !net.up {
            return Err(NetCounter::RxDown);
        }
        if !net.accepts(origin.source) {
            return Err(NetCounter::RxNotListed);
        }
        let header = EthernetHeader::parse(frame).map_err(|_| NetCounter::RxShort)?;
        if !header.source.is_valid_source() {
            return Err(NetCounter::RxBadSource);
        }
        if header.source == net.address {
            return Err(NetCounter::RxOwnSource);
        }
        if inner::carried(frame) == Carried::Cut {
            return Err(NetCounter::RxShort);
        }
        let now = self.shared.clock.now();
        let floods = net.settings.get(Setting::RemoteFloods);
        if header.destination.is_group() && !vnet.table.allow_flood(origin.source, now, floods) {
            return Err(NetCounter::RxFloodLimit);
        }
        let mark = inner::decapsulate_ecn(frame, origin.tos);
        if mark == Mark::Drop {
            return Err(NetCounter::RxEcn);
        }
        // Without the device, nothing could be sent to such an address.
        if underlay.device != 0 || !is_of_link(origin.source) {
            self.learn(world, net, header.source, origin.source);
        }
        let misled = origin.unicast
            && !header.destination.is_group()
            && vnet.table.find(header.destination).is_some();
        if misled {
            self.correct(underlay, net, header.destination, origin);
        }
        let index = self.index;
        let mut out = out(index);
        if let Mark::Taken(ip, tos) = mark {
            self.marked.clear();
            self.marked.extend_from_slice(frame);
            ip.set_tos(&mut self.marked, tos);
            turn.merger.pass(net, &self.marked, &mut out);
        } else {
            let datagrams = vnet.tap.takes_datagrams();
            turn.merger.offer(net, frame, datagrams, &mut out);
        }
        Ok(())
    }
}

/// What hands frames over to the devices of a worker.
pub(crate) fn out(worker: usize) -> impl FnMut(Complete<'_, Net>) {
    move |complete| hand_over(worker, &complete)
}

/// Writes a frame to the device.
fn hand_over(worker: usize, complete: &Complete<'_, Net>) {
    let Complete {
        owner: net,
        header,
        first,
        rest,
        count,
    } = complete;
    let Some(queue) = net.vnet.tap.queue(worker) else {
        return;
    };
    let reason = match tap::write(queue, header, first, rest) {
        Ok(()) => {
            let traffic = &net.vnet.traffic;
            let bytes = rest.iter().map(|piece| piece.len()).sum::<usize>() + first.len();
            traffic.rx_packets.fetch_add(*count as u64, Relaxed);
            traffic.rx_bytes.fetch_add(bytes as u64, Relaxed);
            return;
        }
        // Down, or gone.
        Err(Errno::EIO | Errno::EBADFD) => NetCounter::RxDown,
        Err(Errno::ENOMEM) => NetCounter::RxNoMemory,
        Err(Errno::EAGAIN | Errno::ENOBUFS) => NetCounter::RxBacklog,
        Err(_) => NetCounter::RxShort,
    };
    for _ in 0..*count {
        net.vnet.count(reason);
    }
}
