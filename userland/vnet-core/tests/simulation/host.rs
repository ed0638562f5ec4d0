// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! A host as `docs/design.md` says: the core, and the least that module and daemon do around it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use vnet_core::settings::{Setting, Settings};
use vnet_core::varp::{
    digest, is_host, judge, Announcer, Appearance, Due, Fate, Held, Judged, Move, Moves, Pending,
    Recent, Resolver, Sighting, Way,
};
use vnet_core::wire::{
    EthernetHeader, ForwardHeader, Forwarded, Message, Relay, VarpMessage, VarpOpcode,
    GROUP_DEFAULT, PORT_DEFAULT,
};
use vnet_core::{Bucket, Instant, Mac};

use super::node::{data, vnet, Node, Output, Packet, To};

struct Entry {
    /// Behind which host; none if here.
    place: Option<IpAddr>,
    seen: Instant,
    moves: Moves,
}

type Frames = Resolver<Vec<u8>, Box<[Pending]>, Box<[Held<Vec<u8>>]>>;

/// What an administrator sets.
pub(crate) struct Config {
    pub(crate) address: IpAddr,
    pub(crate) peers: Vec<IpAddr>,
    /// Whether floods go straight to the peers.
    pub(crate) flood_peers: bool,
    /// Hosts that it accepts from, if not all.
    pub(crate) listed: Option<Vec<IpAddr>>,
    pub(crate) settings: Settings,
}

pub(crate) struct Host {
    address: IpAddr,
    peers: Vec<IpAddr>,
    flood_peers: bool,
    listed: Option<Vec<IpAddr>>,
    settings: Settings,
    table: BTreeMap<Mac, Entry>,
    resolver: Frames,
    announcer: Announcer<Box<[Appearance]>>,
    recent: Recent<Box<[Sighting]>>,
    answers: Bucket,
    corrections: Bucket,
    withdrawals: Bucket,
    sweep: Instant,
    moves: u32,
}

impl Host {
    pub(crate) fn new(config: Config, now: Instant) -> Self {
        let Config {
            address,
            peers,
            flood_peers,
            listed,
            settings,
        } = config;
        Self {
            address,
            peers,
            flood_peers,
            listed,
            settings,
            table: BTreeMap::new(),
            resolver: Resolver::new(
                vec![Pending::UNUSED; 1_024].into(),
                (0..1_024).map(|_| Held::unused()).collect(),
            ),
            announcer: Announcer::new(vec![Appearance::UNUSED; 64].into()),
            recent: Recent::new(vec![Sighting::UNUSED; 256].into()),
            answers: Bucket::new(),
            corrections: Bucket::new(),
            withdrawals: Bucket::new(),
            sweep: now.plus(sweep_interval(&settings)),
            moves: 0,
        }
    }

    fn count(&self, here: bool) -> usize {
        self.table
            .values()
            .filter(|entry| entry.place.is_none() == here)
            .count()
    }

    fn send(&self, to: To, bytes: Vec<u8>, out: &mut Output) {
        out.packets.push(Packet {
            from: self.address,
            to,
            bytes,
        });
    }

    /// To the group, and wrapped to each peer; or straight to each peer.
    fn flood(&self, bytes: Vec<u8>, out: &mut Output) {
        if self.flood_peers {
            for peer in &self.peers {
                self.send(To::Host(*peer), bytes.clone(), out);
            }
            return;
        }
        self.forward(self.address, &bytes, out);
        self.send(To::Group, bytes, out);
    }

    fn forward(&self, source: IpAddr, bytes: &[u8], out: &mut Output) {
        if self.flood_peers {
            return;
        }
        for peer in self.peers.iter().filter(|peer| **peer != source) {
            let packet = wrapped(source, bytes, 64);
            self.send(To::Host(*peer), packet, out);
        }
    }

    fn accepts(&self, host: IpAddr) -> bool {
        self.listed
            .as_ref()
            .is_none_or(|listed| listed.contains(&host))
    }

    fn varp(&self, opcode: VarpOpcode, mac: Mac) -> Vec<u8> {
        let addr = self.address.into();
        VarpMessage {
            opcode,
            id: vnet(),
            mac,
            addr,
        }
        .emit()
        .to_vec()
    }

    /// An address was heard somewhere; none is here.
    fn learn(&mut self, now: Instant, mac: Mac, place: Option<IpAddr>, out: &mut Output) {
        let room = self.count(place.is_none()) < self.settings.get(Setting::MaxMacs) as usize;
        match self.table.get_mut(&mac) {
            Some(entry) if entry.place == place => {
                entry.seen = now;
                return;
            }
            Some(entry) if entry.place.is_none() != place.is_none() && !room => return,
            None if !room => return,
            Some(entry) => {
                if entry.moves.moved(now, &self.settings) != Move::Follow {
                    return;
                }
                self.moves += 1;
                (entry.place, entry.seen) = (place, now);
            }
            None => {
                let moves = Moves::new();
                self.table.insert(
                    mac,
                    Entry {
                        place,
                        seen: now,
                        moves,
                    },
                );
            }
        }
        match place {
            None => {
                if self.announcer.appeared(mac, now, &self.settings) {
                    self.flood(self.varp(VarpOpcode::Announce, mac), out);
                }
            }
            Some(_) => self.announcer.gone(mac),
        }
        while let Some(held) = self.resolver.take(mac) {
            // For an address that turns out to be here: the bridge has delivered it.
            if let Some(host) = place {
                self.send(To::Host(host), data(&held), out);
            }
        }
    }

    /// An address is not here any more: everyone is told.
    fn withdraw(&mut self, now: Instant, mac: Mac, out: &mut Output) {
        let rate = self.settings.get(Setting::VarpRate);
        if self.withdrawals.allow(now, rate) {
            self.flood(self.varp(VarpOpcode::Withdraw, mac), out);
        }
    }

    /// Who sent a frame for an address that is elsewhere is told.
    fn correct(&mut self, now: Instant, mac: Mac, to: IpAddr, out: &mut Output) {
        let rate = self.settings.get(Setting::VarpRate);
        if self.corrections.allow(now, rate) {
            self.send(To::Host(to), self.varp(VarpOpcode::Withdraw, mac), out);
        }
    }

    fn message(
        &mut self,
        now: Instant,
        source: IpAddr,
        bytes: &[u8],
        flooded: bool,
        out: &mut Output,
    ) {
        if !is_host(source) || source == self.address || !self.accepts(source) {
            return;
        }
        match Message::parse(bytes) {
            Ok(Message::Data(header, frame)) if header.id == vnet() => {
                let Ok(ethernet) = EthernetHeader::parse(frame) else {
                    return;
                };
                if !ethernet.source.is_valid_source() {
                    return;
                }
                out.delivered.push(frame.to_vec());
                self.learn(now, ethernet.source, Some(source), out);
                let elsewhere = self
                    .table
                    .get(&ethernet.destination)
                    .is_some_and(|entry| entry.place.is_some());
                // Who floods does not believe the address to be here.
                if elsewhere && !flooded {
                    self.correct(now, ethernet.destination, source, out);
                }
            }
            Ok(Message::Varp(message)) if message.id == vnet() => {
                match judge(&message, source, |address| address == self.address) {
                    Judged::Asked(mac) => {
                        let here = self
                            .table
                            .get(&mac)
                            .is_some_and(|entry| entry.place.is_none());
                        if here {
                            self.answer(now, mac, source, out);
                        }
                    }
                    Judged::AskedPresence => self.answer(now, message.mac, source, out),
                    Judged::Announced(mac, host) => {
                        if self.accepts(host) {
                            self.learn(now, mac, Some(host), out);
                        }
                    }
                    Judged::Withdrawn(mac) => {
                        // With one that is damped, its moves would be forgotten.
                        let goes = |entry: &Entry| {
                            entry.place == Some(source) && entry.moves.damped(now) == 0
                        };
                        if self.table.get(&mac).is_some_and(goes) {
                            self.table.remove(&mac);
                        }
                    }
                    Judged::Present(_) | Judged::Refused => {}
                }
            }
            _ => {}
        }
    }

    fn answer(&mut self, now: Instant, mac: Mac, to: IpAddr, out: &mut Output) {
        if self
            .answers
            .allow(now, self.settings.get(Setting::VarpRate))
        {
            self.send(To::Host(to), self.varp(VarpOpcode::Announce, mac), out);
        }
    }

    /// A packet that a peer has forwarded: it is for us, and for our network.
    fn forwarded(&mut self, now: Instant, peer: IpAddr, bytes: &[u8], out: &mut Output) {
        let Ok(packet) = Forwarded::parse(bytes, PORT_DEFAULT) else {
            return;
        };
        let source = if packet.source.is_unspecified() {
            peer
        } else {
            packet.source
        };
        if !is_host(source) || source == self.address {
            return;
        }
        let seen = digest(source, packet.payload);
        if !self.recent.is_new(seen, Way::Peer(peer), now) {
            return;
        }
        self.message(now, source, packet.payload, true, out);
        if packet.ttl > 1 {
            if let Some(marked) = Relay::of(self.address).mark(packet.payload) {
                let bytes = [marked.head(), marked.rest()].concat();
                out.packets.push(Packet {
                    from: source,
                    to: To::Group,
                    bytes,
                });
            }
        }
    }
}

/// A packet from a host to the group, wrapped for a peer.
pub(crate) fn wrapped(source: IpAddr, bytes: &[u8], ttl: u8) -> Vec<u8> {
    let group = match source {
        IpAddr::V4(_) => GROUP_DEFAULT.into(),
        IpAddr::V6(_) => Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 0x1798).into(),
    };
    let header = ForwardHeader::emit(source, group, PORT_DEFAULT, (0, ttl), bytes.len());
    [header.expect("a short packet").as_bytes(), bytes].concat()
}

fn sweep_interval(settings: &Settings) -> u64 {
    u64::from((settings.get(Setting::Ageing) / 8).min(10_000))
}

impl Node for Host {
    fn address(&self) -> IpAddr {
        self.address
    }

    fn is_original(&self) -> bool {
        false
    }

    fn frame(&mut self, now: Instant, frame: &[u8], out: &mut Output) {
        let ethernet = EthernetHeader::parse(frame).expect("a frame");
        let destination = ethernet.destination;
        self.learn(now, ethernet.source, None, out);
        if destination.is_group() {
            return self.flood(data(frame), out);
        }
        match self.table.get(&destination).map(|entry| entry.place) {
            Some(Some(host)) => self.send(To::Host(host), data(frame), out),
            Some(None) => {}
            None => {
                let submitted =
                    self.resolver
                        .submit(destination, frame.to_vec(), now, &self.settings);
                if submitted.ask {
                    self.flood(self.varp(VarpOpcode::Request, destination), out);
                }
                if let Fate::Flood(frame) = submitted.fate {
                    self.flood(data(&frame), out);
                }
            }
        }
    }

    fn packet(&mut self, now: Instant, packet: &Packet, out: &mut Output) {
        let from = packet.from;
        match (packet.to, Message::parse(&packet.bytes)) {
            (To::Host(_), Ok(Message::Forward(_))) => {
                if self.peers.contains(&from) {
                    self.forwarded(now, from, &packet.bytes, out);
                }
            }
            (To::Host(_), _) => self.message(now, from, &packet.bytes, false, out),
            (To::Group, _) if from != self.address => {
                let way = Way::from_group(&packet.bytes);
                // Who does not forward hears of a packet more than once only from several who do.
                let forwards = !self.flood_peers && !self.peers.is_empty();
                let remembers = way != Way::Sender || forwards;
                let seen = digest(from, &packet.bytes);
                if remembers && !self.recent.is_new(seen, way, now) {
                    return;
                }
                self.message(now, from, &packet.bytes, true, out);
                if way == Way::Sender {
                    self.forward(from, &packet.bytes, out);
                }
            }
            (To::Group, _) => {}
        }
    }

    fn gone(&mut self, now: Instant, mac: Mac, out: &mut Output) {
        if self
            .table
            .get(&mac)
            .is_some_and(|entry| entry.place.is_none())
        {
            self.table.remove(&mac);
            self.announcer.gone(mac);
            self.withdraw(now, mac, out);
        }
    }

    fn poll(&mut self, now: Instant, out: &mut Output) {
        while let Some(due) = self.resolver.poll(now, &self.settings) {
            match due {
                Due::Ask(mac) => self.flood(self.varp(VarpOpcode::Request, mac), out),
                Due::Flood(frame) => self.flood(data(&frame), out),
                Due::Drop(_) | Due::Unresolved(_) | Due::Limited => {}
            }
        }
        while let Some(mac) = self.announcer.poll(now, &self.settings) {
            self.flood(self.varp(VarpOpcode::Announce, mac), out);
        }
        if self.sweep <= now {
            self.sweep = now.plus(sweep_interval(&self.settings));
            let ageing = u64::from(self.settings.get(Setting::Ageing));
            // What is local is not withdrawn: it may be silent.
            let announcer = &mut self.announcer;
            self.table.retain(|mac, entry| {
                let stays = now.since(entry.seen) <= ageing;
                if !stays {
                    announcer.gone(*mac);
                }
                stays
            });
        }
    }

    fn next_due(&self) -> Option<Instant> {
        [
            self.resolver.next_due(),
            self.announcer.next_due(),
            Some(self.sweep),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn held(&self) -> usize {
        self.resolver.held()
    }

    fn peers(&self) -> usize {
        self.peers.len()
    }

    fn place(&self, mac: Mac) -> Option<IpAddr> {
        self.table
            .get(&mac)
            .map(|entry| entry.place.unwrap_or(self.address))
    }

    fn moves(&self) -> u32 {
        self.moves
    }

    fn check(&self, settings: &Settings) {
        let most = |setting| settings.get(setting) as usize;
        assert!(self.count(true) <= most(Setting::MaxMacs));
        assert!(self.count(false) <= most(Setting::MaxMacs));
        assert!(self.resolver.held() <= most(Setting::HoldNet));
        assert!(self.resolver.pending().len() <= most(Setting::MaxUnresolved));
        for place in self.table.values().filter_map(|entry| entry.place) {
            assert!(self.accepts(place), "{place} is not listed");
        }
        for pending in self.resolver.pending() {
            assert!(usize::from(pending.frames()) <= most(Setting::HoldMac));
            let known = self.table.contains_key(&pending.mac());
            assert!(!known, "what is known is not asked for");
        }
    }
}
