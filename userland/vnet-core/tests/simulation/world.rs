// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The network between the hosts, the machines on them, and the rules that every single step must keep.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use vnet_core::settings::{Setting, Settings};
use vnet_core::wire::{EthernetHeader, Message, VarpMessage, VarpOpcode};
use vnet_core::{Instant, Mac};

use super::host::{Config, Host};
use super::node::{data, frame, number, vnet, Node, Output, Packet, To};
use super::original::Original;

/// What is there.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Whether each host is one of the originals.
    pub(crate) originals: Vec<bool>,
    /// Between two networks, in which hosts are in turn, so many pairs of hosts forward; with none, there is one network.
    pub(crate) pairs: usize,
    /// Whether all are peers of each other, and floods go straight to each.
    pub(crate) flood_peers: bool,
    /// Whether hosts have addresses of IPv6.
    pub(crate) v6: bool,
    /// Whether each host accepts only from the others, not from whoever pretends to be one more.
    pub(crate) listed: bool,
    pub(crate) vms: usize,
    pub(crate) settings: Settings,
    /// What becomes of each packet, one byte for each, again and again; zero is the best luck.
    pub(crate) luck: Vec<u8>,
}

/// What may happen. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Wait(u16),
    /// A machine sends to another, or to all.
    Send(u8, Option<u8>),
    /// A machine goes elsewhere, or away; the host that it leaves is told, or is not.
    Move {
        vm: u8,
        to: Option<u8>,
        told: bool,
    },
    /// A host forgets everything.
    Restart(u8),
    /// Hosts whose bits differ do not hear each other.
    Partition(u8),
    /// A message with any addresses from anywhere, to one host or to all.
    Spoof {
        opcode: u8,
        vm: u8,
        from: u8,
        addr: u8,
        to: Option<u8>,
    },
}

pub(crate) fn ops(most: usize) -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        3 => prop_oneof![0..300_u16, 0..8_000_u16].prop_map(Op::Wait),
        6 => any::<(u8, Option<u8>)>().prop_map(|(vm, to)| Op::Send(vm, to)),
        3 => any::<(u8, Option<u8>, bool)>().prop_map(|(vm, to, told)| Op::Move { vm, to, told }),
        1 => any::<u8>().prop_map(Op::Restart),
        1 => any::<u8>().prop_map(Op::Partition),
        2 => any::<(u8, u8, u8, u8, Option<u8>)>()
            .prop_map(|(opcode, vm, from, addr, to)| Op::Spoof { opcode, vm, from, addr, to }),
    ];
    prop::collection::vec(op, 1..most)
}

/// Messages sent so far, by kind. One that goes to group and peers counts once for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) data: usize,
    pub(crate) flooded: usize,
    pub(crate) requests: usize,
    pub(crate) announces: usize,
    pub(crate) withdraws: usize,
    pub(crate) wrapped: usize,
    pub(crate) relayed: usize,
}

pub(crate) struct Vm {
    pub(crate) mac: Mac,
    pub(crate) host: Option<usize>,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) nodes: Vec<Box<dyn Node>>,
    pub(crate) vms: Vec<Vm>,
    pub(crate) now: Instant,
    pub(crate) sent: Sent,
    /// Whether luck counts; without, every packet arrives after a millisecond.
    pub(crate) rough: bool,
    /// How often a host was given a frame.
    pub(crate) given: BTreeMap<(usize, u32), u32>,
    /// How often a machine was given a unicast frame by its bridge.
    pub(crate) reached: BTreeMap<(usize, u32), u32>,
    partition: u8,
    flying: BTreeMap<(Instant, usize), (usize, Packet)>,
    packets: usize,
    frames: u32,
}

/// The longest that a packet may take.
pub(crate) const DELAY: u64 = 1_500;

fn address(host: usize, v6: bool) -> IpAddr {
    let number = u8::try_from(host + 1).expect("few hosts");
    if v6 {
        Ipv6Addr::new(0xfd00, 0xdb8, 0, 0, 0, 0, 0, number.into()).into()
    } else {
        Ipv4Addr::new(192, 0, 2, number).into()
    }
}

/// A machine at each host that asks for others.
pub(crate) fn station(host: usize) -> Mac {
    Mac::from_bytes([2, 0, 0, 0, 1, u8::try_from(host).expect("few hosts")])
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let now = Instant::from_millis(10_000_000);
        let mut world = Self {
            nodes: Vec::new(),
            vms: Vec::new(),
            now,
            sent: Sent::default(),
            rough: true,
            given: BTreeMap::new(),
            reached: BTreeMap::new(),
            partition: 0,
            flying: BTreeMap::new(),
            packets: 0,
            frames: 0,
            plan,
        };
        let hosts = world.plan.originals.len();
        world.nodes = (0..hosts).map(|host| world.fresh(host)).collect();
        for vm in 0..world.plan.vms {
            let mac = Mac::from_bytes([2, 0, 0, 0, 0, u8::try_from(vm).expect("few machines")]);
            world.vms.push(Vm {
                mac,
                host: Some(vm % hosts),
            });
        }
        world
    }

    fn network(&self, host: usize) -> usize {
        if self.plan.pairs == 0 {
            0
        } else {
            host % 2
        }
    }

    fn address(&self, host: usize) -> IpAddr {
        address(host, self.plan.v6)
    }

    /// The peers of a host: all others, or, of those that forward, every one of the other network.
    fn peers(&self, host: usize) -> Vec<IpAddr> {
        let ends = 2 * self.plan.pairs;
        let others = if self.plan.flood_peers {
            0..self.plan.originals.len()
        } else if host < ends {
            0..ends
        } else {
            0..0
        };
        let is_peer =
            |other: &usize| *other != host && (self.plan.flood_peers || other % 2 != host % 2);
        others
            .filter(is_peer)
            .map(|other| self.address(other))
            .collect()
    }

    fn fresh(&self, host: usize) -> Box<dyn Node> {
        let (address, peers) = (self.address(host), self.peers(host));
        if self.plan.originals[host] {
            return Box::new(Original::new(address, peers, self.now));
        }
        let everybody = 0..self.plan.originals.len();
        let listed = everybody.map(|other| self.address(other));
        let config = Config {
            address,
            peers,
            flood_peers: self.plan.flood_peers,
            listed: self.plan.listed.then(|| listed.collect()),
            settings: self.plan.settings,
        };
        Box::new(Host::new(config, self.now))
    }

    fn luck(&mut self) -> u8 {
        self.packets += 1;
        let luck = &self.plan.luck;
        match luck.len() {
            _ if !self.rough => 0,
            0 => 0,
            length => luck[self.packets % length],
        }
    }

    /// Puts a packet on the way to a host, as luck will have it.
    fn fly(&mut self, to: usize, packet: &Packet) {
        let luck = self.luck();
        let late = u64::from(luck & 0x1f) * 45;
        let delays: &[u64] = match luck {
            0..0x80 => &[1],
            0x80..0xa0 => &[],
            0xa0..0xc0 => &[1, 2 + late],
            _ => &[1 + late],
        };
        for delay in delays {
            self.packets += 1;
            let key = (self.now.plus(*delay), self.packets);
            self.flying.insert(key, (to, packet.clone()));
        }
    }

    fn hear_each_other(&self, one: usize, other: usize) -> bool {
        (self.partition >> one) & 1 == (self.partition >> other) & 1
    }

    /// Sends what a host has sent, from where it is.
    fn dispatch(&mut self, from: usize, packets: Vec<Packet>) {
        for packet in packets {
            for to in 0..self.nodes.len() {
                let meant = match packet.to {
                    To::Group => self.network(to) == self.network(from),
                    To::Host(host) => self.nodes[to].address() == host,
                };
                if meant && to != from && self.hear_each_other(from, to) {
                    self.fly(to, &packet);
                }
            }
        }
    }

    /// One step of a host; what it did is counted, and must be no more than the step allows.
    fn step(
        &mut self,
        host: usize,
        cause: Option<&Packet>,
        act: impl FnOnce(&mut dyn Node, Instant, &mut Output),
    ) {
        let mut out = Output::default();
        let node = &mut self.nodes[host];
        let held = node.held();
        act(&mut **node, self.now, &mut out);
        node.check(&self.plan.settings);
        let sent = self.count(host, &out);
        let node = &self.nodes[host];
        if let Some(packet) = cause {
            let allowed = allowed(
                packet,
                node.address(),
                node.peers(),
                held - node.held().min(held),
            );
            assert!(
                within(&sent, &allowed),
                "{packet:?}: {sent:?}, not {allowed:?}"
            );
            for to in out
                .packets
                .iter()
                .filter(|_| sent.announces + sent.withdraws > 0)
            {
                let data = matches!(Message::parse(&to.bytes), Ok(Message::Data(..)));
                let back = matches!(packet.to, To::Group) || to.to == To::Host(packet.from);
                assert!(
                    data || back || sent.relayed > 0 || sent.wrapped > 0,
                    "an answer to somebody else"
                );
            }
        }
        for frame in out.delivered {
            self.give(host, &frame, true);
        }
        self.dispatch(host, out.packets);
    }

    fn count(&mut self, host: usize, out: &Output) -> Sent {
        let mut sent = Sent::default();
        for packet in &out.packets {
            let parsed = Message::parse(&packet.bytes).expect("a message");
            match (parsed, packet.to) {
                (Message::Forward(_), _) => sent.wrapped += 1,
                _ if packet.from != self.nodes[host].address() => sent.relayed += 1,
                (Message::Data(..), To::Host(_)) => sent.data += 1,
                (Message::Data(..), To::Group) => sent.flooded += 1,
                (Message::Varp(message), _) => match message.opcode {
                    VarpOpcode::Request => sent.requests += 1,
                    VarpOpcode::Announce => sent.announces += 1,
                    _ => sent.withdraws += 1,
                },
                (Message::Sealed(..), _) => panic!("no vnet is sealed here"),
            }
        }
        let all = &mut self.sent;
        all.data += sent.data;
        all.flooded += sent.flooded;
        all.requests += sent.requests;
        all.announces += sent.announces;
        all.withdraws += sent.withdraws;
        all.wrapped += sent.wrapped;
        all.relayed += sent.relayed;
        sent
    }

    /// A frame is on a host's bridge.
    fn give(&mut self, host: usize, frame: &[u8], from_vnet: bool) {
        if from_vnet {
            *self.given.entry((host, number(frame))).or_default() += 1;
        }
        let to = EthernetHeader::parse(frame).expect("a frame").destination;
        for (index, vm) in self.vms.iter().enumerate() {
            if vm.host == Some(host) && vm.mac == to {
                *self.reached.entry((index, number(frame))).or_default() += 1;
            }
        }
    }

    /// A frame from an address at a host, and its number.
    pub(crate) fn send(&mut self, host: usize, source: Mac, destination: Mac) -> u32 {
        self.frames += 1;
        let frame = frame(source, destination, self.frames);
        self.give(host, &frame, false);
        self.step(host, None, |node, now, out| node.frame(now, &frame, out));
        self.frames
    }

    /// A machine sends something that does not leave its host's bridge, which hears it all the same.
    pub(crate) fn touch(&mut self, vm: usize) {
        let Vm { mac, host } = self.vms[vm];
        if let Some(host) = host {
            self.send(host, mac, mac);
        }
    }

    pub(crate) fn run(&mut self, millis: u64) {
        let end = self.now.plus(millis);
        loop {
            let due = self.nodes.iter().filter_map(|node| node.next_due()).min();
            let arrival = self.flying.first_key_value().map(|(key, _)| key.0);
            let Some(next) = due
                .into_iter()
                .chain(arrival)
                .min()
                .filter(|next| *next <= end)
            else {
                break;
            };
            self.now = self.now.max(next);
            while let Some(first) = self
                .flying
                .first_entry()
                .filter(|first| first.key().0 <= self.now)
            {
                let (to, packet) = first.remove();
                self.step(to, Some(&packet), |node, now, out| {
                    node.packet(now, &packet, out)
                });
            }
            for host in 0..self.nodes.len() {
                self.step(host, None, |node, now, out| node.poll(now, out));
            }
        }
        self.now = end;
    }

    pub(crate) fn apply(&mut self, op: &Op) {
        let (hosts, vms) = (self.nodes.len(), self.vms.len());
        match *op {
            Op::Wait(millis) => self.run(millis.into()),
            Op::Send(vm, to) => {
                let to = to.map_or(Mac::BROADCAST, |to| self.vms[usize::from(to) % vms].mac);
                let Vm { mac, host } = self.vms[usize::from(vm) % vms];
                if let Some(host) = host {
                    self.send(host, mac, to);
                }
            }
            Op::Move { vm, to, told } => {
                let vm = usize::from(vm) % vms;
                let mac = self.vms[vm].mac;
                let from = self.vms[vm].host;
                self.vms[vm].host = to.map(|to| usize::from(to) % hosts);
                if let Some(from) = from.filter(|_| told) {
                    self.step(from, None, |node, now, out| node.gone(now, mac, out));
                }
            }
            Op::Restart(host) => {
                let host = usize::from(host) % hosts;
                self.nodes[host] = self.fresh(host);
            }
            Op::Partition(mask) => self.partition = mask,
            Op::Spoof {
                opcode,
                vm,
                from,
                addr,
                to,
            } => {
                let mac = self.vms[usize::from(vm) % vms].mac;
                // One more than there are: a host that is nowhere.
                let from = usize::from(from) % (hosts + 1);
                let addr = self.address(usize::from(addr) % (hosts + 1)).into();
                let varp = |opcode| {
                    VarpMessage {
                        opcode,
                        id: vnet(),
                        mac,
                        addr,
                    }
                    .emit()
                    .to_vec()
                };
                self.frames += 1;
                let bytes = match opcode % 4 {
                    0 => varp(VarpOpcode::Request),
                    1 => varp(VarpOpcode::Announce),
                    2 => varp(VarpOpcode::Withdraw),
                    _ => data(&frame(mac, self.vms[0].mac, self.frames)),
                };
                let from = self.address(from);
                for host in 0..hosts {
                    let to = match to {
                        None => To::Group,
                        Some(to) if usize::from(to) % hosts == host => {
                            To::Host(self.nodes[host].address())
                        }
                        Some(_) => continue,
                    };
                    self.fly(
                        host,
                        &Packet {
                            from,
                            to,
                            bytes: bytes.clone(),
                        },
                    );
                }
            }
        }
    }

    /// From now on nothing is lost; what is on its way arrives.
    pub(crate) fn heal(&mut self) {
        (self.partition, self.rough) = (0, false);
        self.run(DELAY);
    }

    pub(crate) fn most(&self, setting: Setting) -> u64 {
        self.plan.settings.get(setting).into()
    }
}

/// The most that a message may cause, with so many held frames that were released by it.
fn allowed(packet: &Packet, host: IpAddr, peers: usize, released: usize) -> Sent {
    let mut allowed = Sent {
        data: released,
        ..Sent::default()
    };
    match Message::parse(&packet.bytes).expect("a message") {
        Message::Varp(message) => {
            allowed.announces = usize::from(message.opcode == VarpOpcode::Request);
        }
        // To group addresses, to ours, and what was flooded: none.
        Message::Data(..) => allowed.withdraws = usize::from(packet.to == To::Host(host)),
        Message::Forward(_) => {
            (allowed.announces, allowed.relayed) = (1, 1);
        }
        Message::Sealed(..) => panic!("no vnet is sealed here"),
    }
    if packet.to == To::Group {
        allowed.wrapped = peers;
    }
    allowed
}

fn within(sent: &Sent, allowed: &Sent) -> bool {
    sent.data <= allowed.data
        && sent.flooded <= allowed.flooded
        && sent.requests <= allowed.requests
        && sent.announces <= allowed.announces
        && sent.withdraws <= allowed.withdraws
        && sent.wrapped <= allowed.wrapped
        && sent.relayed <= allowed.relayed
}
