// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `vn check`: finding out what is wrong. Facts are gathered apart ([`gather`]); a check is a function from facts to
//! findings.

mod counters;
pub(crate) mod gather;
mod local;
mod proc;
mod reach;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Serialize, Serializer};
use vnet_core::{Mac, VnetId};
use vnet_netlink::{Counters, Device, Flood, Host, Key, Net, Via};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Level {
    /// It does not work.
    Fault,
    /// It may be as it should be.
    Note,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    /// The name of the check.
    pub(crate) check: &'static str,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shown")]
    pub(crate) net: Option<VnetId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<IpAddr>,
    /// One sentence.
    pub(crate) text: String,
    /// What to do next.
    pub(crate) next: String,
}

#[expect(clippy::ref_option, reason = "serde passes the field")]
fn shown<S: Serializer>(net: &Option<VnetId>, serializer: S) -> Result<S::Ok, S::Error> {
    match net {
        Some(net) => serializer.collect_str(net),
        None => serializer.serialize_none(),
    }
}

impl Finding {
    fn new(level: Level, text: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            level,
            check: "",
            net: None,
            host: None,
            text: text.into(),
            next: next.into(),
        }
    }

    fn fault(text: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Level::Fault, text, next)
    }

    fn note(text: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Level::Note, text, next)
    }

    fn of_net(mut self, net: VnetId) -> Self {
        self.net = Some(net);
        self
    }

    fn of_host(mut self, host: IpAddr) -> Self {
        self.host = Some(host);
        self
    }
}

/// That the vnets cannot be got at; no other check can be made then.
pub(crate) fn of_access(text: String, next: &str) -> Finding {
    Finding {
        check: "access",
        ..Finding::fault(text, next)
    }
}

/// A program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) name: String,
}

/// A UDP socket on our port in this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortUser {
    /// The program that has it open; none for the kernel's own, and for what cannot be seen.
    pub(crate) process: Option<Process>,
}

/// What a host does with a UDP packet to our port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Port {
    /// That was not tried.
    #[default]
    Untried,
    /// No answer by ICMP: it is taken, or lost.
    Silent,
    /// It is refused: nothing has the port there.
    Refused,
    /// It does not get there, in the words of the system.
    Unreachable(String),
}

/// What a vnet's packets of a size do on the way to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    /// Bytes of the UDP payload that a frame of the largest size needs.
    pub(crate) needed: u32,
    /// Bytes of the largest that was answered.
    pub(crate) answered: u32,
}

/// Whether a vnet is at a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Presence {
    /// Time to the answer to the question that was put to all.
    pub(crate) all: Option<Duration>,
    /// Time to the answer to the question that was put to it alone.
    pub(crate) alone: Option<Duration>,
    /// What gets through to it; none if that was not tried.
    pub(crate) path: Option<Path>,
}

impl Presence {
    pub(crate) fn time(&self) -> Option<Duration> {
        self.all.or(self.alone)
    }
}

/// Another host: one that is named somewhere, or that answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remote {
    pub(crate) is_peer: bool,
    /// By vnet.
    pub(crate) nets: BTreeMap<VnetId, Presence>,
    /// Whether it answered for a machine of its own, though not whether a vnet is there: so does the original.
    pub(crate) is_original: bool,
    pub(crate) port: Port,
}

impl Remote {
    /// Whether it answered for any vnet.
    fn answers(&self) -> bool {
        self.nets.values().any(|presence| presence.time().is_some())
    }

    fn has(&self, net: VnetId) -> bool {
        self.nets
            .get(&net)
            .is_some_and(|presence| presence.time().is_some())
    }
}

/// A MAC that moved too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DampedMac {
    pub(crate) mac: Mac,
    /// The host behind which it stays; none if it is here.
    pub(crate) addr: Option<IpAddr>,
    /// How often it moved of late.
    pub(crate) moves: Option<u32>,
}

/// A vnet that is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NetFacts {
    /// With its counters.
    pub(crate) net: Net,
    /// The same counters a while before.
    pub(crate) before: Counters,
    /// Hosts that are listed.
    pub(crate) listed: Vec<IpAddr>,
    /// Hosts behind which there is a MAC.
    pub(crate) learned: Vec<IpAddr>,
    /// MACs and the hosts behind which they are, the ones that were heard last first.
    pub(crate) machines: Vec<(Mac, IpAddr)>,
    pub(crate) damped: Vec<DampedMac>,
    pub(crate) keys: Vec<Key>,
}

/// UDP packets that were lost because of their checksum in this network namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checksums {
    pub(crate) wrong: u64,
    pub(crate) wrong_before: u64,
}

/// All that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) via: Via,
    /// Version of `vn`.
    pub(crate) version: &'static str,
    /// With its counters.
    pub(crate) host: Host,
    /// The same counters a while before.
    pub(crate) before: Counters,
    pub(crate) peers: Vec<IpAddr>,
    /// Those that are checked.
    pub(crate) nets: Vec<NetFacts>,
    /// Whether one vnet was named.
    pub(crate) named: bool,
    /// Vnets' devices, those that are not checked included.
    pub(crate) vnifs: Vec<String>,
    /// Network devices.
    pub(crate) devices: Vec<Device>,
    /// Addresses of the host, each with the index of its device.
    pub(crate) addresses: Vec<(u32, IpAddr)>,
    /// Indices of the devices through which routes to the group and to peers lead; none where there is no route.
    pub(crate) routes: BTreeMap<IpAddr, Option<u32>>,
    pub(crate) port_users: Vec<PortUser>,
    /// Whether there are programs of which cannot be seen what they have open.
    pub(crate) hidden_programs: bool,
    pub(crate) remotes: BTreeMap<IpAddr, Remote>,
    pub(crate) checksums: Checksums,
    /// Checksum offloads that are on, by device.
    pub(crate) offloads: BTreeMap<String, Vec<String>>,
    /// Whether bridges pass packets to iptables, if that can be known.
    pub(crate) bridge_filter: Option<bool>,
}

impl Facts {
    fn device(&self, index: u32) -> Option<&Device> {
        self.devices.iter().find(|device| device.index == index)
    }

    /// Whether floods go to the multicast group.
    fn floods_to_group(&self) -> bool {
        self.host.group.is_some() && self.host.flood != Some(Flood::Peers)
    }

    /// The devices that carry the vnets' packets.
    fn underlay(&self) -> Vec<&Device> {
        let mut indices: Vec<u32> = match self.host.device {
            0 => self.routes.values().copied().flatten().collect(),
            index => vec![index],
        };
        indices.extend(self.host.joined);
        indices.sort_unstable();
        indices.dedup();
        indices
            .iter()
            .filter_map(|index| self.device(*index))
            .collect()
    }
}

type Check = fn(&Facts) -> Vec<Finding>;

/// All checks, in the order in which one causes the next.
const CHECKS: &[(&str, Check)] = &[
    ("version", local::version),
    ("underlay", local::underlay),
    ("port", local::port),
    ("flood", local::flood),
    ("group", local::group),
    ("vnif", local::vnif),
    ("bridge", local::bridge),
    ("bridge-filter", local::bridge_filter),
    ("lists", local::lists),
    ("keys", local::keys),
    ("presence", reach::presence),
    ("multicast", reach::multicast),
    ("mtu", reach::mtu),
    ("checksums", local::checksums),
    ("damped", local::damped),
    ("counters", counters::check),
];

/// The names of all checks.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|(name, _)| *name)
}

/// Everything that is found, faults first.
pub(crate) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut all: Vec<Finding> = CHECKS
        .iter()
        .flat_map(|(name, check)| {
            check(facts).into_iter().map(|mut finding| {
                finding.check = name;
                finding
            })
        })
        .collect();
    all.sort_by_key(|finding| finding.level != Level::Fault);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use vnet_netlink::SomeSettings;

    pub(super) fn id(text: &str) -> VnetId {
        text.parse().expect("an id")
    }

    pub(super) fn addr(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    pub(super) fn device(index: u32, name: &str, kind: &str, master: Option<u32>) -> Device {
        Device {
            index,
            name: name.to_owned(),
            kind: kind.to_owned(),
            master,
            mtu: 1500,
            up: true,
            running: true,
            port_state: master.map(|_| 3),
        }
    }

    /// Two hosts, all is well.
    pub(super) fn sound() -> Facts {
        let five = id("5");
        let mut net = Net::new(five);
        net.ifname = "vnif0005".to_owned();
        net.ifindex = Some(4);
        net.mtu = Some(1436);
        net.underlay_mtu = Some(1436);
        net.settings = SomeSettings::new();
        net.stats = Some(Counters::default());
        let group = addr("224.10.0.1");
        let mut vnif = device(4, "vnif0005", "vnet", Some(3));
        vnif.mtu = 1436;
        let mut bridge = device(3, "vnbr0005", "bridge", None);
        bridge.mtu = 1436;
        let mut guest = device(5, "vif1.0", "", Some(3));
        guest.mtu = 1436;
        let presence = Presence {
            all: Some(Duration::from_micros(300)),
            alone: None,
            path: Some(Path {
                needed: 1472,
                answered: 1472,
            }),
        };
        Facts {
            via: Via::Module,
            version: "0.1.0",
            host: Host {
                port: 1798,
                group: Some(group),
                joined: Some(2),
                nets: Some(1),
                version: "0.1.0".to_owned(),
                ttl: 64,
                stats: Some(Counters::default()),
                ..Host::default()
            },
            before: Counters::default(),
            peers: Vec::new(),
            nets: vec![NetFacts {
                net,
                before: Counters::default(),
                listed: Vec::new(),
                learned: vec![addr("192.0.2.2")],
                machines: vec![(Mac::from_bytes([2, 0, 0, 0, 0, 2]), addr("192.0.2.2"))],
                damped: Vec::new(),
                keys: Vec::new(),
            }],
            named: false,
            vnifs: vec!["vnif0005".to_owned()],
            devices: vec![
                device(1, "lo", "", None),
                device(2, "eth0", "", None),
                bridge,
                vnif,
                guest,
            ],
            addresses: vec![(1, addr("127.0.0.1")), (2, addr("192.0.2.1"))],
            routes: BTreeMap::from([(group, Some(2))]),
            port_users: vec![PortUser { process: None }],
            hidden_programs: false,
            remotes: BTreeMap::from([(
                addr("192.0.2.2"),
                Remote {
                    is_peer: false,
                    nets: BTreeMap::from([(five, presence)]),
                    is_original: false,
                    port: Port::Untried,
                },
            )]),
            checksums: Checksums::default(),
            offloads: BTreeMap::new(),
            bridge_filter: Some(false),
        }
    }

    /// What a check finds, as lines.
    pub(super) fn found(check: Check, facts: &Facts) -> Vec<String> {
        let line = |finding: Finding| {
            let level = match finding.level {
                Level::Fault => "fault",
                Level::Note => "note",
            };
            assert!(!finding.next.is_empty() && !finding.text.ends_with('.'));
            format!("{level}: {}", finding.text)
        };
        check(facts).into_iter().map(line).collect()
    }

    #[test]
    fn nothing_is_found_where_all_is_well() {
        assert_eq!(findings(&sound()), []);
    }

    #[test]
    fn faults_come_first_and_carry_the_name_of_their_check() {
        let mut facts = sound();
        facts.version = "0.2.0";
        facts.devices[1].up = false;
        let found = findings(&facts);
        let names: Vec<_> = found.iter().map(|f| (f.level, f.check)).collect();
        assert_eq!(
            names,
            [(Level::Fault, "underlay"), (Level::Note, "version")]
        );
    }
}
