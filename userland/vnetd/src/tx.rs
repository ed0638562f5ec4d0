// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Transmit: from a vnet's device to other hosts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use vnet_core::Mac;
use vnet_core::abi::{self, HostCounter, NetCounter};
use vnet_core::varp::{Fate, Submitted};
use vnet_core::wire::{
    DATA_HEADER_LEN, DataHeader, EthernetHeader, ForwardHeader, OVERHEAD_V4, OVERHEAD_V6,
};

use crate::inner::{self, Carried};
use crate::offload::{self, Segments, VnetHeader};
use crate::shared::{Event, Net, Underlay, World};
use crate::table::Heard;
use crate::udp::{self, DATAGRAM_MAX, Envelope, Family, SEGMENTS_MAX};
use crate::vnet::Frame;
use crate::worker::Worker;
use crate::{icmp, sys, tap};

/// Datagrams of so many bytes pass every path that has IPv6's smallest MTU: whether they may be fragmented is all the same.
const SMALL: usize = 1200;

/// Everyone that a flood goes to.
pub(crate) struct Everyone<'a> {
    /// Who gets it as it is: the group, or each peer.
    pub(crate) plain: Vec<IpAddr>,
    /// The group, and who gets what goes there wrapped.
    pub(crate) wrapped: Option<(IpAddr, &'a [IpAddr])>,
}

impl Underlay {
    /// Everyone that a flood goes to. Without a group, the peers get it as it is, whatever is set.
    pub(crate) fn everyone(&self) -> Everyone<'_> {
        match self.group {
            Some(group) if !self.flood_peers => Everyone {
                plain: vec![group],
                wrapped: Some((group, &self.peers)),
            },
            _ => Everyone {
                plain: self.peers.clone(),
                wrapped: None,
            },
        }
    }

    /// The envelope of what is not data.
    pub(crate) fn envelope(&self, to: IpAddr) -> Envelope {
        let device = if to.is_multicast() && self.device == 0 {
            self.joined
        } else {
            self.device
        };
        Envelope {
            to,
            port: self.port,
            device,
            source: None,
            tos: self.dscp.unwrap_or_default() << 2,
            ttl: self.ttl.unwrap_or(abi::TTL_DEFAULT),
        }
    }
}

/// The counter of what could not be sent.
pub(crate) fn reason(error: Errno) -> NetCounter {
    match error {
        Errno::EMSGSIZE => NetCounter::TxTooBig,
        Errno::ENOMEM => NetCounter::TxNoMemory,
        // A filter, or a full queue.
        Errno::EPERM | Errno::ENOBUFS | Errno::EAGAIN => NetCounter::TxUnderlay,
        Errno::EAFNOSUPPORT => NetCounter::TxNoSocket,
        _ => NetCounter::TxNoRoute,
    }
}

impl Net {
    /// Takes note of a MAC that was heard from a host, or here; counts, and tells, what comes of it.
    pub(crate) fn hear(&self, worker: &Worker, mac: Mac, from: Option<IpAddr>) -> Heard {
        let now = worker.shared.clock.now();
        let heard = self.vnet.table.hear(mac, from, now, &self.settings);
        match heard {
            Heard::Known | Heard::Damped => {}
            Heard::New => self.vnet.age(&worker.shared, &self.settings),
            Heard::Moved => {
                self.vnet.count(NetCounter::Moves);
                self.vnet.age(&worker.shared, &self.settings);
            }
            Heard::Full => self.vnet.count(NetCounter::TableFull),
            Heard::RemoteFull => self.vnet.count(NetCounter::RemoteFull),
            Heard::Damp(stays) => {
                self.vnet.count(NetCounter::Damped);
                use vnet_core::Setting::{Damp, MoveLimit};
                worker.shared.tell(Event::Damped {
                    id: self.vnet.id,
                    mac,
                    stays,
                    other: from,
                    moves: self.settings.get(MoveLimit),
                    damped: self.settings.get(Damp),
                });
            }
        }
        heard
    }
}

impl Worker {
    /// Sends a frame from the device to where its destination is, or to everyone.
    pub(crate) fn transmit(
        &mut self,
        world: &World,
        net: &Net,
        header: &VnetHeader,
        frame: &mut [u8],
    ) {
        let Ok(ethernet) = EthernetHeader::parse(frame) else {
            return net.vnet.count(NetCounter::TxShort);
        };
        if inner::carried(frame) == Carried::Cut {
            return net.vnet.count(NetCounter::TxShort);
        }
        if ethernet.source.is_valid_source() {
            let heard = net.hear(self, ethernet.source, None);
            if matches!(heard, Heard::New | Heard::Moved) {
                self.appeared(world, net, ethernet.source);
            }
        }
        let Some(underlay) = world.underlay.as_deref() else {
            return net.vnet.count(NetCounter::TxNoSocket);
        };
        if is_own_datagram(underlay, net, frame) {
            return net.vnet.count(NetCounter::TxLoop);
        }
        if ethernet.destination.is_group() {
            return self.flood(underlay, net, header, frame);
        }
        match net.vnet.table.find(ethernet.destination) {
            Some(host) => self.send_frame(underlay, net, header, frame, host),
            None => self.submit(underlay, net, header, frame, ethernet.destination),
        }
    }

    /// A frame to an address of which nothing is known.
    fn submit(
        &mut self,
        underlay: &Underlay,
        net: &Net,
        header: &VnetHeader,
        frame: &mut [u8],
        mac: Mac,
    ) {
        let vnet = &net.vnet;
        let now = self.shared.clock.now();
        let submitted = vnet.with_resolver(&self.shared, |resolver| {
            // It may have become known since it was looked for.
            if let Some(host) = vnet.table.find(mac) {
                return Err(host);
            }
            let held = Frame {
                header: *header,
                bytes: frame.to_vec(),
            };
            if vnet.table.is_full(&net.settings) {
                // Whatever the answer is, it cannot be remembered.
                let fate = resolver.flood(held, now, &net.settings);
                let submitted = Submitted {
                    ask: false,
                    fate,
                    evicted: None,
                };
                return Ok((submitted, false));
            }
            let is_new = !resolver.knows(mac);
            let submitted = resolver.submit(mac, held, now, &net.settings);
            let limited = is_new && !submitted.ask && resolver.knows(mac);
            Ok((submitted, limited))
        });
        let (Submitted { ask, fate, evicted }, limited) = match submitted {
            Ok(submitted) => submitted,
            Err(host) => return self.send_frame(underlay, net, header, frame, host),
        };
        if limited {
            vnet.count(NetCounter::VarpLimited);
        }
        if evicted.is_some() {
            vnet.count(NetCounter::HoldDropped);
        }
        if ask {
            self.ask(underlay, net, mac);
        }
        match fate {
            Fate::Held => vnet.count(NetCounter::Held),
            Fate::Flood(mut held) => self.flood_unknown(underlay, net, &mut held),
            Fate::Drop(_) => vnet.count(NetCounter::UnknownDropped),
        }
    }

    /// Sends a frame to an unknown address to everyone.
    pub(crate) fn flood_unknown(&mut self, underlay: &Underlay, net: &Net, held: &mut Frame) {
        net.vnet.count(NetCounter::Unknown);
        self.flood(underlay, net, &held.header, &mut held.bytes);
    }

    /// Sends a frame to everyone.
    fn flood(&mut self, underlay: &Underlay, net: &Net, header: &VnetHeader, frame: &mut [u8]) {
        let everyone = underlay.everyone();
        if everyone.plain.is_empty() {
            return net.vnet.count(NetCounter::TxNoDestination);
        }
        net.vnet.count(NetCounter::Flooded);
        let Some(segments) = self.pack(net, header, frame) else {
            return net.vnet.count(NetCounter::TxShort);
        };
        for target in &everyone.plain {
            self.send_packed(underlay, net, frame, *target, segments);
        }
        if let Some((group, peers)) = everyone.wrapped {
            for peer in peers {
                self.send_wrapped(underlay, net, group, *peer, segments);
            }
        }
    }

    /// Sends a frame to one host.
    pub(crate) fn send_frame(
        &mut self,
        underlay: &Underlay,
        net: &Net,
        header: &VnetHeader,
        frame: &mut [u8],
        host: IpAddr,
    ) {
        match self.pack(net, header, frame) {
            Some(segments) => self.send_packed(underlay, net, frame, host, segments),
            None => net.vnet.count(NetCounter::TxShort),
        }
    }

    /// Makes datagrams of a frame, one after another in `self.packed`.
    fn pack(&mut self, net: &Net, header: &VnetHeader, frame: &mut [u8]) -> Option<Segments> {
        let prefix = DataHeader::emit(net.vnet.id);
        if header.is_large() {
            return offload::segment(frame, header, &prefix, &mut self.packed);
        }
        if !offload::complete(frame, header) {
            return None;
        }
        self.packed.clear();
        self.packed.extend_from_slice(&prefix);
        self.packed.extend_from_slice(frame);
        Some(Segments {
            size: self.packed.len(),
            count: 1,
        })
    }

    /// The envelope of the datagrams of a frame.
    fn data_envelope(&self, underlay: &Underlay, frame: &[u8], to: IpAddr) -> Envelope {
        let ip = inner::ip(frame);
        let tos = inner::outer_tos(ip.map(|ip| ip.tos(frame)), underlay.dscp);
        let inner_ttl = ip.map(|ip| ip.ttl(frame)).filter(|ttl| *ttl > 0);
        let ttl = underlay
            .ttl
            .unwrap_or(inner_ttl.unwrap_or(abi::TTL_DEFAULT));
        Envelope {
            tos,
            ttl,
            ..underlay.envelope(to)
        }
    }

    /// Sends the datagrams in `self.packed`, made of `frame`, to one host or group.
    fn send_packed(
        &mut self,
        underlay: &Underlay,
        net: &Net,
        frame: &[u8],
        to: IpAddr,
        segments: Segments,
    ) {
        let envelope = self.data_envelope(underlay, frame, to);
        let strict = segments.size > SMALL && !net.fragment && icmp::can_tell(frame);
        let packed = std::mem::take(&mut self.packed);
        let mut told = false;
        let flow = net.settings.flow_port().then(|| inner::flow_hash(frame));
        let most = (DATAGRAM_MAX / segments.size.max(1)).clamp(1, SEGMENTS_MAX);
        for chunk in packed.chunks(segments.size.saturating_mul(most).max(1)) {
            if chunk.len() > segments.size && self.whole {
                let size = u16::try_from(segments.size).ok();
                let sent = self.send(underlay, &envelope, flow, strict, &[chunk], size);
                match sent {
                    Ok(()) => {
                        count_sent(net, chunk, segments.size);
                        continue;
                    }
                    // This kernel, or this device, cannot.
                    Err(Errno::EOPNOTSUPP | Errno::ENOPROTOOPT | Errno::EIO) => self.whole = false,
                    // Too large for the path, each of them: below each is told of, or fragmented.
                    Err(_) => {}
                }
            }
            for piece in chunk.chunks(segments.size.max(1)) {
                let sent = match self.send(underlay, &envelope, flow, strict, &[piece], None) {
                    Err(Errno::EMSGSIZE) if strict => {
                        if !told {
                            told = self.turn_back(underlay, net, frame, to, flow);
                        }
                        if told {
                            Err(Errno::EMSGSIZE)
                        } else {
                            self.send(underlay, &envelope, flow, false, &[piece], None)
                        }
                    }
                    sent => sent,
                };
                match sent {
                    Ok(()) => count_sent(net, piece, piece.len()),
                    Err(error) => net.vnet.count(reason(error)),
                }
            }
        }
        self.packed = packed;
    }

    /// Sends the datagrams in `self.packed` to a peer, wrapped.
    fn send_wrapped(
        &mut self,
        underlay: &Underlay,
        net: &Net,
        group: IpAddr,
        peer: IpAddr,
        segments: Segments,
    ) {
        let packed = std::mem::take(&mut self.packed);
        for piece in packed.chunks(segments.size.max(1)) {
            match self.forward(underlay, unspecified(group), group, peer, piece) {
                Ok(()) => count_sent(net, piece, piece.len()),
                Err(error) => net.vnet.count(reason(error)),
            }
        }
        self.packed = packed;
    }

    /// Sends a message that went to the group to a peer.
    pub(crate) fn forward(
        &mut self,
        underlay: &Underlay,
        source: IpAddr,
        group: IpAddr,
        peer: IpAddr,
        message: &[u8],
    ) -> nix::Result<()> {
        let ttl = underlay.ttl.unwrap_or(abi::TTL_DEFAULT);
        let header = ForwardHeader::emit(source, group, underlay.port, (0, ttl), message.len())
            .ok_or(Errno::EMSGSIZE)?;
        let pieces = [header.as_bytes(), message];
        self.send(
            underlay,
            &underlay.envelope(peer),
            None,
            false,
            &pieces,
            None,
        )?;
        self.shared.count(HostCounter::TxForward);
        Ok(())
    }

    /// The socket for a flow; for what is not data, and without others, the one that has the port.
    fn socket<'a>(
        &self,
        underlay: &'a Underlay,
        family: Family,
        flow: Option<u32>,
    ) -> Option<BorrowedFd<'a>> {
        let other = flow
            .zip(underlay.flows.as_ref())
            .and_then(|(flow, flows)| flows.of(family, self.index, flow));
        other.or_else(|| underlay.sockets.of(family, self.index))
    }

    /// Sends a datagram. `strict`: it must not be fragmented.
    pub(crate) fn send(
        &mut self,
        underlay: &Underlay,
        envelope: &Envelope,
        flow: Option<u32>,
        strict: bool,
        pieces: &[&[u8]],
        segment: Option<u16>,
    ) -> nix::Result<()> {
        let family = Family::of(envelope.to);
        let socket = self.socket(underlay, family, flow);
        let fd = socket.ok_or(Errno::EAFNOSUPPORT)?;
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let key = fd.as_raw_fd();
        if (length > SMALL || strict || segment.is_some()) && self.strict.get(&key) != Some(&strict)
        {
            udp::set_fragment(fd, family, !strict)?;
            self.strict.insert(key, strict);
        }
        udp::send(fd, envelope, pieces, segment)
    }

    /// Tells who sent a frame how large it may be. False if there is no way to tell.
    fn turn_back(
        &mut self,
        underlay: &Underlay,
        net: &Net,
        frame: &[u8],
        to: IpAddr,
        flow: Option<u32>,
    ) -> bool {
        let family = Family::of(to);
        let mut mtu = None;
        if let Some(fd) = self.socket(underlay, family, flow) {
            while let Some(error) = sys::take_error(fd) {
                if error.errno == Errno::EMSGSIZE && error.to == Some(to) {
                    mtu = Some(error.mtu);
                }
            }
        }
        let overhead = match family {
            Family::V4 => OVERHEAD_V4,
            Family::V6 => OVERHEAD_V6,
        };
        let known = self.path_mtu(to, mtu);
        let answer = known
            .and_then(|mtu| mtu.checked_sub(overhead as u32))
            .and_then(|mtu| icmp::too_big(frame, mtu));
        let (Some(answer), Some(queue)) = (answer, net.vnet.tap.queue(self.index)) else {
            return false;
        };
        tap::write(queue, &VnetHeader::default(), &answer).is_ok()
    }

    /// Remembers the MTU of a path that the kernel has just told, or says what it told last.
    fn path_mtu(&mut self, to: IpAddr, told: Option<u32>) -> Option<u32> {
        match told {
            Some(mtu) => {
                if self.paths.len() >= 4096 {
                    self.paths.clear();
                }
                self.paths.insert(to, mtu);
                Some(mtu)
            }
            None => self.paths.get(&to).copied(),
        }
    }
}

fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Counts datagrams of so many bytes that were sent.
fn count_sent(net: &Net, datagrams: &[u8], size: usize) {
    use std::sync::atomic::Ordering::Relaxed;
    let count = datagrams.len().div_ceil(size.max(1));
    let bytes = datagrams.len().saturating_sub(count * DATA_HEADER_LEN);
    let traffic = &net.vnet.traffic;
    traffic.tx_packets.fetch_add(count as u64, Relaxed);
    traffic.tx_bytes.fetch_add(bytes as u64, Relaxed);
}

/// Whether a frame holds a datagram that we sent for this vnet: the route to its destination leads into the vnet.
fn is_own_datagram(underlay: &Underlay, net: &Net, frame: &[u8]) -> bool {
    let Some(ip) = inner::ip(frame) else {
        return false;
    };
    let Some((inner::UDP, at)) = ip.transport(frame) else {
        return false;
    };
    let port = frame.get(at + 2..at + 4);
    if port != Some(&underlay.port.to_be_bytes()[..]) {
        return false;
    }
    let source = if ip.v6 {
        let octets = frame.get(ip.at + 8..).and_then(<[u8]>::first_chunk::<16>);
        octets.map(|octets| IpAddr::from(*octets))
    } else {
        let octets = frame.get(ip.at + 12..).and_then(<[u8]>::first_chunk::<4>);
        octets.map(|octets| IpAddr::from(*octets))
    };
    if !source.is_some_and(|source| underlay.own.contains(&source)) {
        return false;
    }
    let message = frame.get(at + 8..).unwrap_or_default();
    DataHeader::parse(message).is_ok_and(|header| header.id == net.vnet.id)
}
