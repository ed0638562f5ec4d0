// SPDX-License-Identifier: GPL-2.0-only

//! Transmit: from a vnet's device to other hosts.
//!
//! Runs in softirq or with softirqs off, under RCU, on many CPUs at once. Takes no lock unless a MAC address is new or has
//! moved, allocates nothing but room for headers, writes no line that other CPUs write.

use vnet_core::abi::NetCounter;
use vnet_core::wire::{DataHeader, EthernetHeader, ETHERNET_HEADER_LEN};

use crate::device::{Vnet, OVERHEAD};
use crate::fdb::Heard;
use crate::namespace::Underlay;
use crate::remote::Remote;
use crate::sys::netdev::OwnDevice;
use crate::sys::rcu::Guard;
use crate::sys::route::{Flow, NoRoute, Route};
use crate::sys::skb::SkBuff;
use crate::sys::udp::Envelope;

/// What is the same for all copies of a frame.
struct Sender<'a> {
    vnet: &'a Vnet,
    device: &'a OwnDevice<Vnet>,
    underlay: &'a Underlay,
    /// Outer type of service.
    tos: u8,
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
    if !skb.begin_frame() {
        return drop_frame(vnet, device, NetCounter::TxShort);
    }
    if header.source.is_valid_source() {
        match vnet.fdb().hear(header.source, None, guard) {
            Heard::Moved => vnet.count(NetCounter::Moves),
            Heard::Full => vnet.count(NetCounter::TableFull),
            Heard::Known | Heard::New => {}
        }
    }
    let Some(underlay) = vnet.namespace().underlay(guard) else {
        return drop_frame(vnet, device, NetCounter::TxNoSocket);
    };
    let sender = Sender {
        vnet,
        device,
        underlay,
        tos: skb.ecn_encapsulate(),
    };
    if !header.destination.is_group() {
        if let Some(remote) = vnet.fdb().find(header.destination, guard) {
            return sender.send(skb, remote);
        }
        vnet.count(NetCounter::Unknown);
    }
    sender.flood(skb);
}

fn drop_frame(vnet: &Vnet, device: &OwnDevice<Vnet>, reason: NetCounter) {
    vnet.count(reason);
    device.count_tx_dropped();
}

impl Sender<'_> {
    /// Sends a frame to the group and to each peer.
    fn flood(&self, skb: SkBuff) {
        let mut targets = self.underlay.flood_targets();
        let Some(mut target) = targets.next() else {
            return drop_frame(self.vnet, self.device, NetCounter::TxNoDestination);
        };
        self.vnet.count(NetCounter::Flooded);
        for next in targets {
            match skb.duplicate() {
                Some(copy) => self.send(copy, target),
                None => drop_frame(self.vnet, self.device, NetCounter::TxNoMemory),
            }
            target = next;
        }
        self.send(skb, target);
    }

    /// Sends a frame to one host or group.
    #[inline]
    fn send(&self, mut skb: SkBuff, remote: &Remote) {
        let (vnet, device, underlay) = (self.vnet, self.device, self.underlay);
        let flow = Flow {
            destination: remote.address(),
            port: underlay.port,
            device: underlay.device,
        };
        let net = vnet.namespace().net();
        let route = match Route::find(&skb, device, net, &flow, remote.route()) {
            Ok(route) => route,
            Err(NoRoute::Unreachable) => {
                return drop_frame(vnet, device, NetCounter::TxNoRoute);
            }
            Err(NoRoute::Loop) => return drop_frame(vnet, device, NetCounter::TxLoop),
        };
        // Who set an MTU that does not fit the underlay wants fragments. Otherwise the path is narrower than the underlay
        // device, and the sender has to know.
        if device.mtu().saturating_add(OVERHEAD) <= route.link_mtu() {
            match skb.fits_path(&route, OVERHEAD as i32, device.is_bridge_port()) {
                Ok(true) => {}
                Ok(false) => {
                    drop_frame(vnet, device, NetCounter::TxTooBig);
                    return skb.turn_back(device);
                }
                Err(_) => return drop_frame(vnet, device, NetCounter::TxTooBig),
            }
        }
        if skb
            .encapsulate(&route, &DataHeader::emit(*vnet.vnet_id()))
            .is_err()
        {
            return drop_frame(vnet, device, NetCounter::TxNoMemory);
        }
        let envelope = Envelope {
            destination: remote.address(),
            port: underlay.port,
            tos: self.tos,
            ttl: underlay.ttl,
            between_namespaces: device.net() != net,
        };
        underlay.socket().send(skb, route, &envelope);
    }
}
