// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Transmit: from a vnet's device to other hosts.

mod sealed;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

use nix::errno::Errno;
use vnet_core::Mac;
use vnet_core::abi::{self, HostCounter, NetCounter};
use vnet_core::varp::{Fate, Submitted};
use vnet_core::wire::{
    DataHeader, EthernetHeader, ForwardHeader, GROUP_DEFAULT, OVERHEAD_V4, OVERHEAD_V6,
    SEALED_OVERHEAD_V4, SEALED_OVERHEAD_V6, SEALED_TAG_LEN,
};

use crate::inner::{self, Carried};
use crate::offload::{self, VnetHeader};
use crate::post::{Letter, Tally};
use crate::rx::Origin;
use crate::sealed::prefix;
use crate::shared::{Event, Net, Underlay, World};
use crate::table::Heard;
use crate::udp::{self, Envelope, Family};
use crate::vnet::Frame;
use crate::worker::Worker;
use crate::{icmp, sys, tap};

/// The datagrams of a frame.
struct Packed {
    /// Where they are in the post.
    range: Range<usize>,
    /// Bytes of each but the last, which may be shorter.
    size: usize,
}

/// Everyone that a flood goes to.
#[derive(Clone, Copy)]
pub(crate) struct Everyone<'a> {
    /// Who gets it as it is: the group, or each peer.
    pub(crate) plain: &'a [IpAddr],
    /// Who gets it wrapped, and the group that stands in the wrapping.
    pub(crate) wrapped: &'a [IpAddr],
    pub(crate) group: IpAddr,
}

impl Underlay {
    /// Everyone that a flood goes to.
    pub(crate) fn everyone(&self) -> Everyone<'_> {
        let (plain, wrapped) = if self.flood_peers {
            (&self.peers[..], &[][..])
        } else {
            (self.group.as_slice(), &self.peers[..])
        };
        Everyone {
            plain,
            wrapped,
            // Without one, some group stands there: the receiver sends it to its own.
            group: self.group.unwrap_or(GROUP_DEFAULT.into()),
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
        net: &Arc<Net>,
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
        net: &Arc<Net>,
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
                    limited: false,
                    fate,
                    evicted: None,
                };
                return Ok(submitted);
            }
            Ok(resolver.submit(mac, held, now, &net.settings))
        });
        let submitted = match submitted {
            Ok(submitted) => submitted,
            Err(host) => return self.send_frame(underlay, net, header, frame, host),
        };
        vnet.count(NetCounter::Unknown);
        if submitted.limited {
            vnet.count(NetCounter::VarpLimited);
        }
        if submitted.evicted.is_some() {
            vnet.count(NetCounter::HoldDropped);
        }
        if submitted.ask {
            self.ask(underlay, net, mac);
        }
        match submitted.fate {
            Fate::Held => vnet.count(NetCounter::Held),
            Fate::Flood(mut held) => self.flood_held(underlay, net, &mut held),
            Fate::Drop(_) => vnet.count(NetCounter::UnknownDropped),
        }
    }

    /// Sends a frame to an unknown address to everyone.
    pub(crate) fn flood_held(&mut self, underlay: &Underlay, net: &Arc<Net>, held: &mut Frame) {
        self.flood(underlay, net, &held.header, &mut held.bytes);
    }

    /// Sends a frame to everyone.
    fn flood(
        &mut self,
        underlay: &Underlay,
        net: &Arc<Net>,
        header: &VnetHeader,
        frame: &mut [u8],
    ) {
        let everyone = underlay.everyone();
        if everyone.plain.is_empty() && everyone.wrapped.is_empty() {
            return net.vnet.count(NetCounter::TxNoDestination);
        }
        net.vnet.count(NetCounter::Flooded);
        let packed = match self.pack(underlay, net, header, frame) {
            Ok(packed) => packed,
            Err(reason) => return net.vnet.count(reason),
        };
        for target in everyone.plain {
            self.send_packed(underlay, net, frame, *target, &packed);
        }
        let nobody = unspecified(everyone.group);
        let tos = inner::ip(frame).map_or(0, |ip| ip.tos(frame));
        let wrap = (nobody, everyone.group, tos);
        for at in packed.range.clone().step_by(packed.size.max(1)) {
            let piece = at..packed.range.end.min(at + packed.size);
            let tally = || Tally::Wrapped(Some(net.clone()));
            self.post_wrapped(underlay, wrap, &piece, None, tally);
        }
    }

    /// Sends a frame to one host.
    pub(crate) fn send_frame(
        &mut self,
        underlay: &Underlay,
        net: &Arc<Net>,
        header: &VnetHeader,
        frame: &mut [u8],
        host: IpAddr,
    ) {
        match self.pack(underlay, net, header, frame) {
            Ok(packed) => self.send_packed(underlay, net, frame, host, &packed),
            Err(reason) => net.vnet.count(reason),
        }
    }

    /// Makes datagrams of a frame, one after another in the post.
    fn pack(
        &mut self,
        underlay: &Underlay,
        net: &Net,
        header: &VnetHeader,
        frame: &mut [u8],
    ) -> Result<Packed, NetCounter> {
        self.make_room(underlay);
        let start = self.post.bytes.len();
        let packed = match &net.sealed {
            None => self.pack_frame(header, frame, &DataHeader::emit(net.vnet.id), 0),
            Some(keys) => {
                let packed = self.pack_frame(header, frame, &prefix(), SEALED_TAG_LEN);
                packed.and_then(|packed| {
                    let messages = self.post.bytes.get_mut(packed.range.clone());
                    let messages = messages.unwrap_or_default();
                    net.seal(&self.shared, keys, messages, packed.size)?;
                    Ok(packed)
                })
            }
        };
        if packed.is_err() {
            self.post.bytes.truncate(start);
        }
        packed
    }

    /// Puts the segments of a frame into the post, each behind `prefix` and before room for so many bytes.
    fn pack_frame(
        &mut self,
        header: &VnetHeader,
        frame: &mut [u8],
        prefix: &[u8],
        room: usize,
    ) -> Result<Packed, NetCounter> {
        let bytes = &mut self.post.bytes;
        let start = bytes.len();
        let size = if header.is_large() {
            let segments = offload::segment(frame, header, (prefix, room), bytes);
            segments.ok_or(NetCounter::TxShort)?.size
        } else {
            if !offload::complete(frame, header) {
                return Err(NetCounter::TxShort);
            }
            bytes.extend_from_slice(prefix);
            bytes.extend_from_slice(frame);
            bytes.resize(bytes.len() + room, 0);
            bytes.len() - start
        };
        Ok(Packed {
            range: start..bytes.len(),
            size,
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

    /// Posts the datagrams of a frame to one host or group.
    fn send_packed(
        &mut self,
        underlay: &Underlay,
        net: &Arc<Net>,
        frame: &[u8],
        to: IpAddr,
        packed: &Packed,
    ) {
        let envelope = self.data_envelope(underlay, frame, to);
        let flow = net.flow_port().then(|| inner::flow_hash(frame));
        // The kernel does not cut what it is to fragment besides.
        let most = if net.fragment {
            packed.size
        } else {
            self.post.most(packed.size)
        };
        for start in packed.range.clone().step_by(most.max(1)) {
            self.post.put(Letter {
                envelope,
                flow,
                // A router does not tell where a packet to a group does not fit.
                strict: !net.fragment && !to.is_multicast(),
                wrap: None,
                range: start..packed.range.end.min(start + most),
                size: packed.size,
                tally: Tally::Frames(net.clone()),
            });
        }
    }

    /// Posts a message that went from a host to a group, wrapped, to each peer but one. The congestion mark in the type of
    /// service stands in the wrapping.
    fn post_wrapped(
        &mut self,
        underlay: &Underlay,
        (source, group, tos): (IpAddr, IpAddr, u8),
        range: &Range<usize>,
        but: Option<IpAddr>,
        tally: impl Fn() -> Tally,
    ) {
        let Envelope { tos: own, ttl, .. } = underlay.envelope(group);
        let kind = (inner::outer_tos(Some(tos), Some(own >> 2)), ttl);
        let wrap = ForwardHeader::emit(source, group, underlay.port, kind, range.len());
        let Some(wrap) = wrap else {
            return tally().lost(Errno::EMSGSIZE);
        };
        for peer in underlay.everyone().wrapped {
            if Some(*peer) != but {
                self.post.put(Letter {
                    envelope: underlay.envelope(*peer),
                    flow: None,
                    strict: false,
                    wrap: Some(wrap),
                    range: range.clone(),
                    size: range.len(),
                    tally: tally(),
                });
            }
        }
    }

    /// Passes a message that came to the group on to the peers.
    pub(crate) fn pass_on(
        &mut self,
        underlay: &Underlay,
        origin: &Origin,
        group: IpAddr,
        message: &[u8],
    ) {
        let range = self.post_bytes(underlay, &[message]);
        // What cannot be passed on is lost for that peer only; there is no vnet to count it for.
        let tally = || Tally::Wrapped(None);
        let (source, tos) = (origin.source, origin.tos);
        self.post_wrapped(underlay, (source, group, tos), &range, Some(source), tally);
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
        let Envelope { tos, ttl, .. } = underlay.envelope(group);
        let header = ForwardHeader::emit(source, group, underlay.port, (tos, ttl), message.len())
            .ok_or(Errno::EMSGSIZE)?;
        let pieces = [header.as_bytes(), message];
        self.send(underlay, &underlay.envelope(peer), false, &pieces)?;
        self.shared.count(HostCounter::TxForward);
        Ok(())
    }

    /// The socket for a flow; for what is not data, and without others, the one that has the port.
    pub(crate) fn socket<'a>(
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

    /// Sets whether what a socket sends must not be fragmented.
    pub(crate) fn set_strict(
        &mut self,
        fd: BorrowedFd<'_>,
        family: Family,
        strict: bool,
    ) -> nix::Result<()> {
        let key = fd.as_raw_fd();
        if self.strict.get(&key) != Some(&strict) {
            udp::set_fragment(fd, family, !strict)?;
            self.strict.insert(key, strict);
        }
        Ok(())
    }

    /// Sends a datagram that is no data, at once. `strict`: it must not be fragmented.
    pub(crate) fn send(
        &mut self,
        underlay: &Underlay,
        envelope: &Envelope,
        strict: bool,
        pieces: &[&[u8]],
    ) -> nix::Result<()> {
        let family = Family::of(envelope.to);
        let socket = self.socket(underlay, family, None);
        let fd = socket.ok_or(Errno::EAFNOSUPPORT)?;
        self.set_strict(fd, family, strict)?;
        udp::send(fd, envelope, pieces, None, &mut self.patience)
    }

    /// Tells who sent a frame how large it may be, if there is a way to tell.
    pub(crate) fn turn_back(&mut self, net: &Net, fd: BorrowedFd<'_>, frame: &[u8], to: IpAddr) {
        let mut told = None;
        while let Some(error) = sys::take_error(fd) {
            if error.errno == Errno::EMSGSIZE && error.to == Some(to) {
                told = Some(error.mtu);
            }
        }
        let overhead = overhead(to, net.sealed.is_some());
        let known = self.path_mtu(to, told);
        let answer = known
            .and_then(|mtu| mtu.checked_sub(overhead))
            .and_then(|mtu| icmp::too_big(frame, mtu));
        if let (Some(answer), Some(queue)) = (answer, net.vnet.tap.queue(self.index)) {
            // Who is not told now is told of the next one.
            let _ = tap::write(queue, &VnetHeader::default(), &answer, &[]);
        }
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

/// Bytes around an inner IP packet on the way to a host.
pub(crate) fn overhead(to: IpAddr, sealed: bool) -> u32 {
    let bytes = match (to, sealed) {
        (IpAddr::V4(_), false) => OVERHEAD_V4,
        (IpAddr::V6(_), false) => OVERHEAD_V6,
        (IpAddr::V4(_), true) => SEALED_OVERHEAD_V4,
        (IpAddr::V6(_), true) => SEALED_OVERHEAD_V6,
    };
    // CAST: about a hundred.
    bytes as u32
}

pub(crate) fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
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
    if let Some(keys) = &net.sealed {
        return keys.is_own(message);
    }
    DataHeader::parse(message).is_ok_and(|header| header.id == net.vnet.id)
}

#[cfg(test)]
mod tests;
