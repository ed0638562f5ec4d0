// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Receive: from other hosts to a vnet's device. Everything is checked before anything is learned.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use nix::errno::Errno;
use vnet_core::Setting;
use vnet_core::abi::{HostCounter, NetCounter};
use vnet_core::varp::{Way, digest, is_host};
use vnet_core::wire::{EthernetHeader, Forwarded, Message, MessageId, Relay};

use crate::inner::{self, Carried};
use crate::offload::VnetHeader;
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

impl Worker {
    /// Takes what was received together.
    pub(crate) fn receive(&mut self, world: &World, underlay: &Underlay, datagram: &Datagram<'_>) {
        let arrival = Arrival::of(datagram);
        let source = datagram.source.ip();
        if source.is_multicast() || source.is_unspecified() || underlay.own.contains(&source) {
            return self.shared.count(HostCounter::RxBadOuter);
        }
        let to_group = arrival.destination.filter(IpAddr::is_multicast);
        if to_group.is_some() && to_group != underlay.group {
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
        if datagram.bytes.is_empty() {
            return self.shared.count(HostCounter::RxShort);
        }
        let size = if arrival.segment > 0 {
            arrival.segment
        } else {
            datagram.bytes.len()
        };
        for message in datagram.bytes.chunks(size) {
            match to_group {
                Some(group) => self.group_message(world, underlay, message, &origin, group),
                None => self.message(world, underlay, message, &origin),
            }
        }
    }

    /// A message that came to the group: the peers get it, too.
    fn group_message(
        &mut self,
        world: &World,
        underlay: &Underlay,
        message: &[u8],
        origin: &Origin,
        group: IpAddr,
    ) {
        let way = Way::from_group(message);
        let forwards = underlay.forwards();
        // Who does not forward hears of a packet more than once only from several who do.
        if (forwards || way != Way::Sender) && !self.is_new(origin.source, message, way) {
            return self.shared.count(HostCounter::RxDuplicate);
        }
        // What was forwarded is never forwarded again.
        if forwards && way == Way::Sender {
            for peer in underlay.peers.iter().filter(|peer| **peer != origin.source) {
                // What cannot be forwarded is lost for that peer only; there is no vnet to count it for.
                let _ = self.forward(underlay, origin.source, group, *peer, message);
            }
        }
        self.message(world, underlay, message, origin);
    }

    fn is_new(&self, source: IpAddr, message: &[u8], way: Way) -> bool {
        let now = self.shared.clock.now();
        locked(&self.shared.recent).is_new(digest(source, message), way, now)
    }

    fn message(&mut self, world: &World, underlay: &Underlay, message: &[u8], origin: &Origin) {
        match Message::parse(message) {
            Err(error) => self.shared.count(error.counter()),
            Ok(Message::Data(header, frame)) => match world.nets.get(&header.id) {
                Some(net) => {
                    if let Err(reason) = self.deliver(world, underlay, net, frame, origin) {
                        net.vnet.count(reason);
                    }
                }
                None => self.shared.count(HostCounter::RxUnknownNet),
            },
            Ok(Message::Varp(varp)) => {
                self.shared.count(HostCounter::RxVarp);
                match world.nets.get(&varp.id) {
                    Some(net) => self.varp(world, underlay, net, &varp, origin),
                    None => self.shared.count(HostCounter::RxUnknownNet),
                }
            }
            Ok(Message::Forward(packet)) => {
                if let Err(reason) = self.unwrap(world, underlay, packet, origin) {
                    self.shared.count(reason);
                }
            }
        }
    }

    /// A packet that a peer forwarded: it is handled as if it had come from its first sender, and sent to the group here.
    fn unwrap(
        &mut self,
        world: &World,
        underlay: &Underlay,
        packet: &[u8],
        origin: &Origin,
    ) -> Result<(), HostCounter> {
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
        if forwarded.ttl > 1 && underlay.forwards() {
            self.relay(underlay, source, forwarded.ttl - 1, forwarded.payload);
        }
        let inner = Origin {
            source,
            unicast: false,
            ..*origin
        };
        self.message(world, underlay, forwarded.payload, &inner);
        Ok(())
    }

    /// Sends a packet of a peer to the group, on behalf of who sent it first, with the mark of who relays it.
    fn relay(&mut self, underlay: &Underlay, source: IpAddr, ttl: u8, message: &[u8]) {
        let Some(group) = underlay
            .group
            .filter(|group| group.is_ipv4() == source.is_ipv4())
        else {
            return;
        };
        let mut envelope = underlay.envelope(group);
        envelope.source = Some(source);
        envelope.tos = 0;
        envelope.ttl = ttl;
        let ours = underlay.sources.get(&group);
        let relayed = ours.and_then(|ours| Relay::of(*ours).mark(message));
        // With an address that is not ours, the kernel must be told the device.
        let Some(relayed) = relayed.filter(|_| envelope.device != 0) else {
            return;
        };
        let pieces = [relayed.head(), relayed.rest()];
        if self
            .send(underlay, &envelope, None, false, &pieces, None)
            .is_ok()
        {
            self.shared.count(HostCounter::Relayed);
        }
    }

    /// Hands a frame to the vnet's device. The reason, if it was dropped.
    fn deliver(
        &mut self,
        world: &World,
        underlay: &Underlay,
        net: &Arc<Net>,
        frame: &[u8],
        origin: &Origin,
    ) -> Result<(), NetCounter> {
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
        let mut marked = std::mem::take(&mut self.marked);
        let frame = if origin.tos & 3 == 0 {
            frame
        } else {
            marked.clear();
            marked.extend_from_slice(frame);
            if !inner::decapsulate_ecn(&mut marked, origin.tos) {
                self.marked = marked;
                return Err(NetCounter::RxEcn);
            }
            &marked
        };
        self.learn(world, net, header.source, origin.source);
        if !header.destination.is_group() && vnet.table.find(header.destination).is_some() {
            self.correct(underlay, net, header.destination, origin);
        }
        let index = self.index;
        self.merger
            .offer(net, frame, &mut |net, header, frame, count| {
                hand_over(index, net, header, frame, count);
            });
        self.marked = marked;
        Ok(())
    }

    /// Hands over what was kept to be put together with more.
    pub(crate) fn flush(&mut self) {
        let index = self.index;
        self.merger.flush(&mut |net, header, frame, count| {
            hand_over(index, net, header, frame, count);
        });
    }
}

/// Writes a frame, which was so many, to the device.
fn hand_over(worker: usize, net: &Arc<Net>, header: &VnetHeader, frame: &[u8], count: u32) {
    let Some(queue) = net.vnet.tap.queue(worker) else {
        return;
    };
    let reason = match tap::write(queue, header, frame) {
        Ok(()) => {
            let traffic = &net.vnet.traffic;
            traffic.rx_packets.fetch_add(u64::from(count), Relaxed);
            traffic.rx_bytes.fetch_add(frame.len() as u64, Relaxed);
            return;
        }
        // Down, or gone.
        Err(Errno::EIO | Errno::EBADFD) => NetCounter::RxDown,
        Err(Errno::ENOMEM) => NetCounter::RxNoMemory,
        Err(Errno::EAGAIN | Errno::ENOBUFS) => NetCounter::RxBacklog,
        Err(_) => NetCounter::RxShort,
    };
    for _ in 0..count {
        net.vnet.count(reason);
    }
}
