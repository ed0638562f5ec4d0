// SPDX-License-Identifier: GPL-2.0-only

//! Transmit: from a vnet's device to other hosts.
//!
//! Runs in softirq or with softirqs off, under RCU, on many CPUs at once. Takes no lock unless a MAC address is new, has
//! moved, or is unknown; allocates nothing but room for headers, writes no line that other CPUs write.

mod sealed;

use core::cell::Cell;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vnet_core::abi::{self, HostCounter, NetCounter};
use vnet_core::varp::Fate;
use vnet_core::wire::{
    DataHeader, EthernetHeader, ForwardHeader, Relay, VarpMessage, VarpOpcode, ETHERNET_HEADER_LEN,
    GROUP_DEFAULT, OVERHEAD_V4, OVERHEAD_V6,
};
use vnet_core::Mac;

use crate::device::Vnet;
use crate::fdb::Heard;
use crate::namespace::{Namespace, Underlay};
use crate::remote::Remote;
use crate::seal::Keys;
use crate::sys::netdev::OwnDevice;
use crate::sys::rcu::Guard;
use crate::sys::route::{Flow, NoRoute, Route};
use crate::sys::skb::{Inner, SkBuff};
use crate::sys::udp::{Envelope, UdpSocket};
use crate::varp::Unknown;

/// The congestion mark in a type of service; all of it set says that there was congestion.
pub(crate) const ECN_MASK: u8 = 3;

/// What is the same for all packets that a frame, or a message, makes.
pub(crate) struct Sender<'a> {
    vnet: &'a Vnet,
    device: &'a OwnDevice<Vnet>,
    underlay: &'a Underlay,
    /// There if everything is to be sealed.
    keys: Option<&'a Keys>,
    /// Outer type of service.
    tos: u8,
    ttl: u8,
    source_port: u16,
    /// Whether the sender of the frame was told already that it is too big.
    told: Cell<bool>,
}

/// Sends a frame to where its destination is, or to everyone.
#[inline]
pub(crate) fn transmit(vnet: &Vnet, device: &OwnDevice<Vnet>, mut skb: SkBuff, guard: &Guard) {
    let header = skb
        .pull(ETHERNET_HEADER_LEN)
        .and_then(|bytes| EthernetHeader::parse(bytes).ok());
    let Some(header) = header else {
        return drop_frame(vnet, device, NetCounter::TxShort);
    };
    let Some(inner) = skb.begin_frame() else {
        return drop_frame(vnet, device, NetCounter::TxShort);
    };
    if header.source.is_valid_source() {
        vnet.hear_here(header.source, guard);
    }
    let Some(underlay) = vnet.namespace().underlay(guard) else {
        return drop_frame(vnet, device, NetCounter::TxNoSocket);
    };
    let sender = Sender::for_frame(vnet, device, underlay, &mut skb, inner, guard);
    if header.destination.is_group() {
        return sender.flood(skb);
    }
    match vnet.fdb().find(header.destination, guard) {
        Some(remote) => sender.send(skb, remote),
        None => sender.unknown(skb, header.destination, guard),
    }
}

fn drop_frame(vnet: &Vnet, device: &OwnDevice<Vnet>, reason: NetCounter) {
    vnet.count(reason);
    device.count_tx_dropped();
}

impl Vnet {
    /// A frame from a MAC address was sent from here.
    #[inline]
    pub(crate) fn hear_here(&self, mac: Mac, guard: &Guard) {
        let heard = self.fdb().hear_here(mac, guard);
        if heard != Heard::Known {
            self.heard(mac, None, heard, guard);
        }
    }
}

impl<'a> Sender<'a> {
    /// For a frame, whose headers were set by [`SkBuff::begin_frame`].
    #[inline]
    pub(crate) fn for_frame(
        vnet: &'a Vnet,
        device: &'a OwnDevice<Vnet>,
        underlay: &'a Underlay,
        skb: &mut SkBuff,
        inner: Inner,
        guard: &'a Guard,
    ) -> Self {
        let dscp = match underlay.dscp {
            abi::DSCP_INHERIT => inner.tos & !ECN_MASK,
            dscp => dscp << 2,
        };
        let ttl = match underlay.ttl {
            abi::TTL_INHERIT if inner.ttl == 0 => abi::TTL_DEFAULT,
            abi::TTL_INHERIT => inner.ttl,
            ttl => ttl,
        };
        let keys = vnet.seal().keys(guard);
        // No original is in a sealed vnet.
        let source_port = if keys.is_some() || vnet.flow_port() {
            skb.flow_port(vnet.namespace().net())
        } else {
            underlay.port
        };
        Self {
            vnet,
            device,
            underlay,
            keys,
            // RFC 6040, normal mode: the outer congestion mark is the inner one.
            tos: dscp | (inner.tos & ECN_MASK),
            ttl,
            source_port,
            told: Cell::new(false),
        }
    }

    /// For a frame that has waited.
    pub(crate) fn for_held(
        vnet: &'a Vnet,
        device: &'a OwnDevice<Vnet>,
        underlay: &'a Underlay,
        skb: &mut SkBuff,
        guard: &'a Guard,
    ) -> Self {
        // It was whole before.
        let inner = skb.begin_frame().unwrap_or(Inner { tos: 0, ttl: 0 });
        Self::for_frame(vnet, device, underlay, skb, inner, guard)
    }

    /// For messages of our own.
    pub(crate) fn for_message(
        vnet: &'a Vnet,
        device: &'a OwnDevice<Vnet>,
        underlay: &'a Underlay,
        guard: &'a Guard,
    ) -> Self {
        Self {
            vnet,
            device,
            underlay,
            keys: vnet.seal().keys(guard),
            tos: own_tos(underlay),
            ttl: own_ttl(underlay),
            source_port: underlay.port,
            told: Cell::new(false),
        }
    }

    /// What to do with a frame to an address of which nothing is known.
    fn unknown(&self, skb: SkBuff, mac: Mac, guard: &Guard) {
        let (vnet, device) = (self.vnet, self.device);
        let submitted = match vnet.varp().submit(vnet, mac, skb, guard) {
            Unknown::Submitted(submitted) => submitted,
            // Another CPU has just learned it.
            Unknown::Known(skb) => match vnet.fdb().find(mac, guard) {
                Some(remote) => return self.send(skb, remote),
                None => return self.flood(skb),
            },
        };
        vnet.count(NetCounter::Unknown);
        if submitted.evicted.is_some() {
            drop_frame(vnet, device, NetCounter::HoldDropped);
        }
        if submitted.limited {
            vnet.count(NetCounter::VarpLimited);
        }
        if submitted.ask {
            self.tell_all(VarpOpcode::Request, mac);
        }
        match submitted.fate {
            Fate::Held => vnet.count(NetCounter::Held),
            Fate::Flood(skb) => self.flood(skb),
            Fate::Drop(_) => drop_frame(vnet, device, NetCounter::UnknownDropped),
        }
    }

    /// Sends a frame to everyone.
    pub(crate) fn flood(&self, skb: SkBuff) {
        let forwards = self.underlay.forward_targets();
        let mut targets = self.underlay.flood_targets();
        let mut target = targets.next();
        if target.is_none() && forwards.is_empty() {
            return drop_frame(self.vnet, self.device, NetCounter::TxNoDestination);
        }
        self.vnet.count(NetCounter::Flooded);
        if let Some(keys) = self.keys {
            return self.flood_sealed(skb, keys);
        }
        if !forwards.is_empty() {
            match skb.duplicate() {
                Some(copy) => self.forward_frame(copy),
                None => drop_frame(self.vnet, self.device, NetCounter::TxNoMemory),
            }
        }
        for next in targets {
            if let Some(target) = target {
                match skb.duplicate() {
                    Some(copy) => self.send(copy, target),
                    None => drop_frame(self.vnet, self.device, NetCounter::TxNoMemory),
                }
            }
            target = Some(next);
        }
        if let Some(target) = target {
            self.send(skb, target);
        }
    }

    /// Sends a frame to one host or group.
    #[inline]
    pub(crate) fn send(&self, skb: SkBuff, remote: &Remote) {
        if let Some(keys) = self.keys {
            return self.send_sealed(skb, remote, keys);
        }
        let (vnet, device, underlay) = (self.vnet, self.device, self.underlay);
        let destination = remote.address();
        let (socket, route) = match self.route(&skb, remote) {
            Ok(found) => found,
            Err(reason) => return drop_frame(vnet, device, reason),
        };
        let overhead = overhead(destination);
        let Some((mut skb, fits_link)) = self.check_path(skb, &route, overhead) else {
            return;
        };
        if skb
            .encapsulate(&route, &DataHeader::emit(*vnet.vnet_id()))
            .is_err()
        {
            return drop_frame(vnet, device, NetCounter::TxNoMemory);
        }
        let envelope = Envelope {
            source: None,
            destination,
            source_port: self.source_port,
            port: underlay.port,
            tos: self.tos,
            ttl: self.ttl,
            // A router does not tell where a packet to a group does not fit.
            fragment: !fits_link || destination.is_multicast(),
            between_namespaces: !device.is_in(vnet.namespace().net()),
        };
        socket.send(skb, route, &envelope);
    }

    /// Checks that a frame fits its path with so many bytes more, and whether all that the device takes would fit the underlay's
    /// device. None if it does not fit: it was dropped, and its sender told.
    #[inline(always)]
    fn check_path(&self, mut skb: SkBuff, route: &Route, overhead: u32) -> Option<(SkBuff, bool)> {
        let (vnet, device) = (self.vnet, self.device);
        // Who set an MTU that does not fit the underlay wants fragments. Otherwise the path is narrower than the underlay
        // device, and the sender has to know.
        let fits_link = device.mtu().saturating_add(overhead) <= route.link_mtu();
        if fits_link {
            // One answer will do for a frame that goes to many.
            match skb.fits_path(route, overhead as i32, device, !self.told.get()) {
                Ok(true) => {}
                Ok(false) => {
                    self.told.set(true);
                    drop_frame(vnet, device, NetCounter::TxTooBig);
                    skb.turn_back(device);
                    return None;
                }
                Err(_) => {
                    drop_frame(vnet, device, NetCounter::TxTooBig);
                    return None;
                }
            }
        }
        Some((skb, fits_link))
    }

    /// The socket and the route for a frame to a host or group.
    #[inline(always)]
    fn route(&self, skb: &SkBuff, remote: &Remote) -> Result<(&'a UdpSocket, Route), NetCounter> {
        let (device, underlay) = (self.device, self.underlay);
        let destination = remote.address();
        let socket = underlay.socket(destination).ok_or(NetCounter::TxNoRoute)?;
        let flow = Flow {
            destination,
            port: underlay.port,
            device: underlay.device,
        };
        let net = self.vnet.namespace().net();
        match Route::find(skb, device, net, socket, &flow, remote.route()) {
            Ok(route) => Ok((socket, route)),
            Err(NoRoute::Unreachable) => Err(NetCounter::TxNoRoute),
            Err(NoRoute::Loop) => Err(NetCounter::TxLoop),
        }
    }

    /// Sends a frame wrapped (VFWD) to each peer.
    fn forward_frame(&self, skb: SkBuff) {
        let header = DataHeader::emit(*self.vnet.vnet_id());
        let whole = skb.for_each_segment(|mut segment| {
            let len = segment.len();
            match segment.pull(len) {
                Some(frame) => self.forward(&[&header, frame]),
                None => drop_frame(self.vnet, self.device, NetCounter::TxNoMemory),
            }
        });
        if !whole {
            drop_frame(self.vnet, self.device, NetCounter::TxNoMemory);
        }
    }

    /// Sends a message of our own wrapped (VFWD) to each peer.
    fn forward(&self, message: &[&[u8]; 2]) {
        let namespace = self.vnet.namespace();
        forward(namespace, self.underlay, None, self.tos, message);
    }

    /// Tells everyone something about a MAC address.
    pub(crate) fn tell_all(&self, opcode: VarpOpcode, mac: Mac) {
        for target in self.underlay.flood_targets() {
            // Counted, if it could not be sent.
            let _ = self.tell(opcode, mac, target.address(), 0);
        }
        for target in self.underlay.forward_targets() {
            self.tell_wrapped(opcode, mac, target.address());
        }
    }

    /// Tells one host or group something about a MAC address, in a packet with a payload of at least `size` bytes.
    ///
    /// # Errors
    ///
    /// The reason why it could not be sent, which has been counted.
    pub(crate) fn tell(
        &self,
        opcode: VarpOpcode,
        mac: Mac,
        to: IpAddr,
        size: usize,
    ) -> Result<(), NetCounter> {
        let told = self.try_tell(opcode, mac, to, size);
        if let Err(reason) = told {
            self.vnet.count(reason);
        }
        told
    }

    fn try_tell(
        &self,
        opcode: VarpOpcode,
        mac: Mac,
        to: IpAddr,
        size: usize,
    ) -> Result<(), NetCounter> {
        let (message, route) = self.message(opcode, mac, to).ok_or(NetCounter::TxNoRoute)?;
        let socket = self.underlay.socket(to).ok_or(NetCounter::TxNoRoute)?;
        let skb = self.pack(&message.emit(), size)?;
        self.count_told(opcode);
        let envelope = Envelope {
            source: None,
            destination: to,
            source_port: self.underlay.port,
            port: self.underlay.port,
            tos: self.tos,
            ttl: self.ttl,
            // Who asks for a size wants to know whether it gets through.
            fragment: size == 0,
            between_namespaces: false,
        };
        socket.send(skb, route, &envelope);
        Ok(())
    }

    fn tell_wrapped(&self, opcode: VarpOpcode, mac: Mac, to: IpAddr) {
        match self.message(opcode, mac, to) {
            Some((message, route)) => {
                let group = forward_group(self.underlay);
                let packet = match self.pack(&message.emit(), 0) {
                    Ok(packet) => packet,
                    Err(reason) => return self.vnet.count(reason),
                };
                let parts = [packet.linear(), &[]];
                if send_wrapped(self.underlay, route, to, None, group, self.tos, &parts) {
                    self.count_told(opcode);
                    self.vnet.namespace().count(HostCounter::TxForward);
                } else {
                    self.vnet.count(NetCounter::TxNoMemory);
                }
            }
            None => self.vnet.count(NetCounter::TxNoRoute),
        }
    }

    /// A message for a host or group, with the address at which that can reach us.
    fn message(&self, opcode: VarpOpcode, mac: Mac, to: IpAddr) -> Option<(VarpMessage, Route)> {
        let net = self.vnet.namespace().net();
        let socket = self.underlay.socket(to)?;
        let route = Route::find_own(net, Some(socket), to, self.underlay.device).ok()?;
        let message = VarpMessage {
            opcode,
            id: *self.vnet.vnet_id(),
            mac,
            addr: route.source().into(),
        };
        Some((message, route))
    }

    fn count_told(&self, opcode: VarpOpcode) {
        match opcode {
            VarpOpcode::Request => self.vnet.count(NetCounter::TxRequest),
            VarpOpcode::Announce => self.vnet.count(NetCounter::TxAnnounce),
            VarpOpcode::Withdraw => self.vnet.count(NetCounter::TxWithdraw),
            VarpOpcode::Unknown(_) => {}
        }
    }
}

/// Bytes around an inner IP packet that is not sealed.
#[inline]
fn overhead(destination: IpAddr) -> u32 {
    match destination {
        IpAddr::V4(_) => OVERHEAD_V4 as u32,
        IpAddr::V6(_) => OVERHEAD_V6 as u32,
    }
}

/// Type of service of what is sent on behalf of no frame, without a congestion mark.
fn own_tos(underlay: &Underlay) -> u8 {
    match underlay.dscp {
        abi::DSCP_INHERIT => 0,
        dscp => dscp << 2,
    }
}

/// Time to live of such packets.
fn own_ttl(underlay: &Underlay) -> u8 {
    match underlay.ttl {
        abi::TTL_INHERIT => abi::TTL_DEFAULT,
        ttl => ttl,
    }
}

/// The group that a wrapped packet is addressed to; the receiver sends it to its own.
fn forward_group(underlay: &Underlay) -> IpAddr {
    match underlay.group() {
        Some(group) => group.address(),
        None => GROUP_DEFAULT.into(),
    }
}

/// Sends a message that has or had the congestion mark in `tos` to each peer, wrapped (VFWD), but not to the host that it came
/// from.
pub(crate) fn forward(
    namespace: &Namespace,
    underlay: &Underlay,
    from: Option<IpAddr>,
    tos: u8,
    message: &[&[u8]; 2],
) {
    let group = forward_group(underlay);
    for peer in underlay.forward_targets() {
        let to = peer.address();
        if from == Some(to) {
            continue;
        }
        let socket = underlay.socket(to);
        let sent = Route::find_own(namespace.net(), socket, to, underlay.device)
            .is_ok_and(|route| send_wrapped(underlay, route, to, from, group, tos, message));
        if sent {
            namespace.count(HostCounter::TxForward);
        }
    }
}

fn send_wrapped(
    underlay: &Underlay,
    route: Route,
    to: IpAddr,
    from: Option<IpAddr>,
    group: IpAddr,
    tos: u8,
    [first, second]: &[&[u8]; 2],
) -> bool {
    let unspecified: IpAddr = match group {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let from = from.unwrap_or(unspecified);
    let Some(len) = first.len().checked_add(second.len()) else {
        return false;
    };
    let kind = (own_tos(underlay) | (tos & ECN_MASK), own_ttl(underlay));
    let Some(header) = ForwardHeader::emit(from, group, underlay.port, kind, len) else {
        return false;
    };
    let skb = SkBuff::message(&[header.as_bytes(), first, second], 0);
    let (Some(socket), Some(skb)) = (underlay.socket(to), skb) else {
        return false;
    };
    let envelope = Envelope {
        source: None,
        destination: to,
        source_port: underlay.port,
        port: underlay.port,
        // Not that of the packet inside, which carries its own.
        tos: own_tos(underlay),
        ttl: own_ttl(underlay),
        fragment: true,
        between_namespaces: false,
    };
    socket.send(skb, route, &envelope);
    true
}

/// Sends a packet of a peer to the group, on behalf of who sent it first, with the mark of who relays it.
pub(crate) fn relay(
    namespace: &Namespace,
    underlay: &Underlay,
    source: IpAddr,
    (tos, ttl): (u8, u8),
    payload: &[u8],
) {
    let Some(group) = underlay.group().map(Remote::address) else {
        return;
    };
    if group.is_ipv4() != source.is_ipv4() {
        return;
    }
    let socket = underlay.socket(group);
    let Ok(route) = Route::find_own(namespace.net(), socket, group, underlay.device) else {
        return;
    };
    let Some(relayed) = Relay::of(route.source()).mark(payload) else {
        return;
    };
    let skb = SkBuff::message(&[relayed.head(), relayed.rest()], 0);
    if let (Some(socket), Some(skb)) = (socket, skb) {
        let envelope = Envelope {
            source: Some(source),
            destination: group,
            source_port: underlay.port,
            port: underlay.port,
            tos: own_tos(underlay) | (tos & ECN_MASK),
            ttl,
            fragment: true,
            between_namespaces: false,
        };
        socket.send(skb, route, &envelope);
        namespace.count(HostCounter::Relayed);
    }
}
