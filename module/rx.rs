// SPDX-License-Identifier: GPL-2.0-only

//! Receive: from other hosts to a vnet's device.
//!
//! Runs in softirq under RCU, on many CPUs at once. GRO has put segments together before. Everything is checked before
//! anything is learned: a frame that is dropped teaches nothing.

use core::net::Ipv4Addr;

use kernel::prelude::*;
use vnet_core::abi::{HostCounter, NetCounter};
use vnet_core::wire::{
    DataHeader, EthernetHeader, MessageId, DATA_HEADER_LEN, ETHERNET_HEADER_LEN, MESSAGE_HEADER_LEN,
};
use vnet_core::VnetId;

use crate::device::Vnet;
use crate::fdb::Heard;
use crate::namespace::Namespace;
use crate::sys::netdev::OwnDevice;
use crate::sys::rcu::Guard;
use crate::sys::skb::{Outer, SkBuff};
use crate::sys::udp::Receiver;

const UDP_LEN: usize = 8;

impl Receiver for Namespace {
    const HEADER_LEN: usize = DATA_HEADER_LEN;

    #[inline]
    fn may_aggregate(header: &[u8]) -> bool {
        DataHeader::parse(header).is_ok()
    }

    #[inline]
    fn receive(&self, mut skb: SkBuff, guard: &Guard) {
        let (id, outer) = match self.accept(&mut skb, guard) {
            Ok(accepted) => accepted,
            Err(reason) => return self.count(reason),
        };
        let Some(device) = self.find(&id, guard) else {
            return self.count(HostCounter::RxUnknownNet);
        };
        let Some(vnet) = device.state() else {
            return self.count(HostCounter::RxUnknownNet);
        };
        if let Err(reason) = deliver(vnet, device, skb, &outer, guard) {
            vnet.count(reason);
            device.count_rx_dropped();
        }
    }
}

impl Namespace {
    /// Checks the outer headers and our own. The reason, if the packet is not for a vnet.
    #[inline]
    fn accept(&self, skb: &mut SkBuff, guard: &Guard) -> Result<(VnetId, Outer), HostCounter> {
        let outer = skb.outer_ipv4().ok_or(HostCounter::RxShort)?;
        if outer.source.is_multicast() || outer.source.is_unspecified() {
            return Err(HostCounter::RxBadOuter);
        }
        if outer.destination.is_multicast() && !self.is_our_group(outer.destination, guard) {
            return Err(HostCounter::RxOtherGroup);
        }
        match skb.pull(UDP_LEN + DATA_HEADER_LEN) {
            Some(bytes) => {
                let header = bytes.get(UDP_LEN..).ok_or(HostCounter::RxShort)?;
                match DataHeader::parse(header) {
                    Ok(header) => Ok((header.id, outer)),
                    Err(_) => Err(reason(header)),
                }
            }
            None => {
                let bytes = skb
                    .pull(UDP_LEN + MESSAGE_HEADER_LEN)
                    .and_then(|bytes| bytes.get(UDP_LEN..));
                Err(bytes.map_or(HostCounter::RxShort, reason))
            }
        }
    }

    #[inline]
    fn is_our_group(&self, group: Ipv4Addr, guard: &Guard) -> bool {
        self.underlay(guard).and_then(|underlay| underlay.group()) == Some(group)
    }
}

/// Why what a datagram begins with is not data for a vnet.
fn reason(datagram: &[u8]) -> HostCounter {
    match MessageId::parse(datagram) {
        Ok(MessageId::Varp) => HostCounter::RxVarp,
        Ok(MessageId::Vfwd) => HostCounter::RxForward,
        Ok(MessageId::Vudp) => match DataHeader::parse(datagram) {
            Ok(_) => HostCounter::RxShort,
            Err(error) => error.counter(),
        },
        Err(error) => error.counter(),
    }
}

/// Hands the frame in a packet to the vnet's device. The reason, if it was dropped.
#[inline]
fn deliver(
    vnet: &Vnet,
    device: &OwnDevice<Vnet>,
    mut skb: SkBuff,
    outer: &Outer,
    guard: &Guard,
) -> Result<(), NetCounter> {
    if !device.is_up() {
        return Err(NetCounter::RxDown);
    }
    if skb.len() < UDP_LEN + DATA_HEADER_LEN + ETHERNET_HEADER_LEN {
        return Err(NetCounter::RxShort);
    }
    let between_namespaces = vnet.namespace().net() != device.net();
    skb.decapsulate(UDP_LEN + DATA_HEADER_LEN, between_namespaces)
        .map_err(|_| NetCounter::RxNoMemory)?;
    let header = skb
        .pull(ETHERNET_HEADER_LEN)
        .and_then(|bytes| EthernetHeader::parse(bytes).ok())
        .ok_or(NetCounter::RxShort)?;
    if !header.source.is_valid_source() {
        return Err(NetCounter::RxBadSource);
    }
    if header.source == device.address() {
        return Err(NetCounter::RxOwnSource);
    }
    if !skb.enter(device) || !skb.pull_inner_ip() {
        return Err(NetCounter::RxShort);
    }
    match skb.ecn_decapsulate(outer.tos) {
        Ok(true) => {}
        Ok(false) => return Err(NetCounter::RxEcn),
        Err(_) => return Err(NetCounter::RxNoMemory),
    }
    match vnet.fdb().hear(header.source, Some(outer.source), guard) {
        Heard::Moved => vnet.count(NetCounter::Moves),
        Heard::Full => vnet.count(NetCounter::TableFull),
        Heard::Known | Heard::New => {}
    }
    if device.deliver(skb, guard) {
        Ok(())
    } else {
        // The device has counted it as dropped already.
        vnet.count(NetCounter::RxBacklog);
        Ok(())
    }
}
