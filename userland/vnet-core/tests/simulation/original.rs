// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! A host with the original's module: floods what it does not know, learns from data, answers requests, asks nobody.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use vnet_core::settings::Settings;
use vnet_core::wire::{EthernetHeader, Message, VarpAddr, VarpMessage, VarpOpcode};
use vnet_core::{Instant, Mac};

use super::node::{data, vnet, Node, Output, Packet, To};

/// How old an entry must be for the sweep, and how often that is.
const TTL: u64 = 60_000;

pub(crate) struct Original {
    address: IpAddr,
    /// Behind which host an address is, and when it was heard.
    remote: BTreeMap<Mac, (IpAddr, Instant)>,
    /// The addresses that have sent from here.
    local: BTreeMap<Mac, Instant>,
    sweep: Instant,
}

impl Original {
    pub(crate) fn new(address: Ipv4Addr, now: Instant) -> Self {
        Self {
            address: address.into(),
            remote: BTreeMap::new(),
            local: BTreeMap::new(),
            sweep: now.plus(TTL),
        }
    }

    fn send(&self, to: To, bytes: Vec<u8>, out: &mut Output) {
        out.packets.push(Packet {
            from: self.address,
            to,
            bytes,
        });
    }
}

impl Node for Original {
    fn address(&self) -> IpAddr {
        self.address
    }

    fn is_original(&self) -> bool {
        true
    }

    fn frame(&mut self, now: Instant, frame: &[u8], out: &mut Output) {
        let ethernet = EthernetHeader::parse(frame).expect("a frame");
        self.local.insert(ethernet.source, now);
        let known = self.remote.get(&ethernet.destination);
        let to = known.map_or(To::Group, |(host, _)| To::Host(*host));
        self.send(to, data(frame), out);
    }

    fn packet(&mut self, now: Instant, packet: &Packet, out: &mut Output) {
        if packet.from == self.address {
            return;
        }
        match Message::parse(&packet.bytes) {
            Ok(Message::Data(header, frame)) if header.id == vnet() => {
                if let Ok(ethernet) = EthernetHeader::parse(frame) {
                    self.remote.insert(ethernet.source, (packet.from, now));
                    out.delivered.push(frame.to_vec());
                }
            }
            Ok(Message::Varp(message)) if message.id == vnet() => {
                match (message.opcode, message.addr) {
                    (VarpOpcode::Request, _) if self.local.contains_key(&message.mac) => {
                        let answer = VarpMessage {
                            opcode: VarpOpcode::Announce,
                            addr: self.address.into(),
                            ..message
                        };
                        self.send(To::Host(packet.from), answer.emit().to_vec(), out);
                    }
                    (VarpOpcode::Announce, VarpAddr::V4(host)) => {
                        self.remote.insert(message.mac, (host.into(), now));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn gone(&mut self, _: Instant, _: Mac, _: &mut Output) {}

    fn poll(&mut self, now: Instant, _: &mut Output) {
        if self.sweep <= now {
            self.sweep = now.plus(TTL);
            self.remote.retain(|_, (_, seen)| now.since(*seen) <= TTL);
            self.local.retain(|_, seen| now.since(*seen) <= TTL);
        }
    }

    fn next_due(&self) -> Option<Instant> {
        Some(self.sweep)
    }

    fn held(&self) -> usize {
        0
    }

    fn peers(&self) -> usize {
        0
    }

    fn place(&self, mac: Mac) -> Option<IpAddr> {
        self.remote.get(&mac).map(|(host, _)| *host)
    }

    fn moves(&self) -> u32 {
        0
    }

    fn check(&self, _: &Settings) {}
}
