// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! A host with the original's module: floods what it does not know, learns from data, answers requests, asks nobody.

use std::collections::BTreeMap;
use std::net::IpAddr;

use vnet_core::settings::Settings;
use vnet_core::wire::{
    EthernetHeader, Forwarded, Message, VarpAddr, VarpMessage, VarpOpcode, PORT_DEFAULT,
};
use vnet_core::{Instant, Mac};

use super::host::wrapped;
use super::node::{data, vnet, Node, Output, Packet, To};

/// How old an entry must be for the sweep, and how often that is.
const TTL: u64 = 60_000;

pub(crate) struct Original {
    address: IpAddr,
    peers: Vec<IpAddr>,
    /// Behind which host an address is, and when it was heard.
    remote: BTreeMap<Mac, (IpAddr, Instant)>,
    /// The addresses that have sent from here.
    local: BTreeMap<Mac, Instant>,
    sweep: Instant,
}

impl Original {
    pub(crate) fn new(address: IpAddr, peers: Vec<IpAddr>, now: Instant) -> Self {
        Self {
            address,
            peers,
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

impl Original {
    /// To the group, and wrapped to each peer.
    fn flood(&self, bytes: Vec<u8>, out: &mut Output) {
        self.forward(self.address, &bytes, out);
        self.send(To::Group, bytes, out);
    }

    fn forward(&self, source: IpAddr, bytes: &[u8], out: &mut Output) {
        for peer in &self.peers {
            let packet = wrapped(source, bytes, 64);
            self.send(To::Host(*peer), packet, out);
        }
    }

    fn message(&mut self, now: Instant, from: IpAddr, bytes: &[u8], out: &mut Output) {
        match Message::parse(bytes) {
            Ok(Message::Data(header, frame)) if header.id == vnet() => {
                if let Ok(ethernet) = EthernetHeader::parse(frame) {
                    self.remote.insert(ethernet.source, (from, now));
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
                        self.send(To::Host(from), answer.emit().to_vec(), out);
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

    /// What a peer has wrapped is for this host, and for its group: there without a mark, as nobody knew of marks.
    fn forwarded(&mut self, now: Instant, peer: IpAddr, bytes: &[u8], out: &mut Output) {
        let Ok(packet) = Forwarded::parse(bytes, PORT_DEFAULT) else {
            return;
        };
        let source = match packet.source {
            source if source.is_unspecified() => peer,
            source => source,
        };
        // What somebody has sent in its name is not sent again in its name.
        if source == self.address {
            return;
        }
        self.message(now, source, packet.payload, out);
        out.packets.push(Packet {
            from: source,
            to: To::Group,
            bytes: packet.payload.to_vec(),
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
        match self.remote.get(&ethernet.destination) {
            Some((host, _)) => self.send(To::Host(*host), data(frame), out),
            None => self.flood(data(frame), out),
        }
    }

    fn packet(&mut self, now: Instant, packet: &Packet, out: &mut Output) {
        if packet.from == self.address {
            return;
        }
        let wrapped = matches!(Message::parse(&packet.bytes), Ok(Message::Forward(_)));
        match packet.to {
            To::Host(_) if wrapped => {
                if self.peers.contains(&packet.from) {
                    self.forwarded(now, packet.from, &packet.bytes, out);
                }
            }
            To::Host(_) => self.message(now, packet.from, &packet.bytes, out),
            To::Group => {
                self.message(now, packet.from, &packet.bytes, out);
                self.forward(packet.from, &packet.bytes, out);
            }
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
        self.peers.len()
    }

    fn place(&self, mac: Mac) -> Option<IpAddr> {
        self.remote.get(&mac).map(|(host, _)| *host)
    }

    fn moves(&self) -> u32 {
        0
    }

    fn check(&self, _: &Settings) {}
}
