// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What can be wrong on this host.

use std::net::IpAddr;

use vnet_core::abi;
use vnet_core::{Setting, VnetId};
use vnet_netlink::{Device, Flood, Via};

use super::gather::has_current;
use super::reach::is_sealed;
use super::{Facts, Finding, NetFacts};

pub(super) fn version(facts: &Facts) -> Vec<Finding> {
    if facts.host.version == facts.version {
        return Vec::new();
    }
    vec![Finding::note(
        format!(
            "vn is of version {}, {} of version {}",
            facts.version, facts.via, facts.host.version
        ),
        "install both from one build",
    )]
}

/// Whether an address can be the outer source of packets to other hosts.
fn is_usable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    }
}

pub(super) fn underlay(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    let index = facts.host.device;
    if index != 0 && facts.device(index).is_none() {
        found.push(Finding::fault(
            format!("the underlay device, index {index}, is gone"),
            "name another with: vn host set --device IF",
        ));
    }
    for device in facts.underlay() {
        let name = &device.name;
        if !device.up {
            found.push(Finding::fault(
                format!("the underlay device {name} is down"),
                format!("take it up with: ip link set {name} up"),
            ));
        } else if !device.running {
            found.push(Finding::fault(
                format!("the underlay device {name} has no carrier"),
                "check the cable and the switch's port",
            ));
        }
        let mut addresses = facts.addresses.iter();
        if !addresses.any(|(index, address)| *index == device.index && is_usable(*address)) {
            found.push(Finding::fault(
                format!("the underlay device {name} has no address"),
                format!("give it one with: ip address add ADDRESS/LENGTH dev {name}"),
            ));
        }
    }
    for (addr, route) in &facts.routes {
        // The group is sent through the device that is set, whatever the routes.
        let is_group = Some(*addr) == facts.host.group;
        if route.is_some() || (is_group && facts.host.device != 0) {
            continue;
        }
        found.push(if is_group {
            Finding::fault(
                format!("there is no route to the multicast group {addr}"),
                "name the underlay device with: vn host set --device IF",
            )
        } else {
            Finding::fault(
                format!("there is no route to peer {addr}"),
                format!("add one with: ip route add {addr} via GATEWAY"),
            )
            .of_host(*addr)
        });
    }
    found
}

pub(super) fn port(facts: &Facts) -> Vec<Finding> {
    let port = facts.host.port;
    let nets = facts.host.nets.unwrap_or_default();
    let strangers: Vec<_> = facts
        .port_users
        .iter()
        .filter_map(|user| user.process.as_ref())
        .filter(|process| facts.via == Via::Module || process.name != "vnetd")
        .map(|process| format!("{} (process {})", process.name, process.pid))
        .collect();
    if !strangers.is_empty() {
        let effect = if nets == 0 {
            "no vnet can be made"
        } else {
            "it may take packets away from the vnets"
        };
        return vec![Finding::fault(
            format!(
                "UDP port {port} is taken by {}: {effect}",
                strangers.join(", ")
            ),
            "end that program, or take another port, on all hosts, with: vn host set --port N",
        )];
    }
    // The module has no socket without a vnet; that of vnetd may be one that cannot be seen.
    let is_taken = facts.host.nets == Some(0) && !facts.port_users.is_empty();
    if is_taken && facts.via == Via::Module {
        let why = if facts.hidden_programs {
            "other users' programs are shown only with CAP_SYS_PTRACE"
        } else {
            "it is the kernel itself, or a program in another PID namespace"
        };
        return vec![Finding::fault(
            format!("UDP port {port} is taken: no vnet can be made; by whom cannot be seen: {why}"),
            "look as root with: ss -Hulnp; or take another port, on all hosts, with: vn host set --port N",
        )];
    }
    if nets > 0 && facts.port_users.is_empty() {
        return vec![Finding::fault(
            format!("there are vnets, but no socket on UDP port {port}: nothing is received"),
            format!("set the port once more with: vn host set --port {port}"),
        )];
    }
    Vec::new()
}

pub(super) fn flood(facts: &Facts) -> Vec<Finding> {
    let host = &facts.host;
    if facts.floods_to_group() || !facts.peers.is_empty() {
        return Vec::new();
    }
    let text = match host.group {
        Some(_) => "floods go to peers only, and there is none: other hosts hear no broadcast",
        None => "there is neither a multicast group nor a peer: other hosts hear no broadcast",
    };
    vec![Finding::fault(
        text,
        "set a group with: vn host set --group A; or add every other host with: vn peer add ADDR",
    )]
}

pub(super) fn group(facts: &Facts) -> Vec<Finding> {
    let host = &facts.host;
    let Some(group) = host.group else {
        return Vec::new();
    };
    if host.nets.unwrap_or_default() == 0 || host.flood == Some(Flood::Peers) {
        return Vec::new();
    }
    let Some(joined) = host.joined else {
        return vec![Finding::fault(
            format!("multicast group {group} is not joined on any device: no floods are received"),
            "name the underlay device with: vn host set --device IF; it must be up and have an address",
        )];
    };
    let leads = match host.device {
        0 => facts.routes.get(&group).copied().flatten(),
        index => Some(index),
    };
    let name = |index| {
        let device = facts.device(index);
        device.map_or_else(|| format!("index {index}"), |device| device.name.clone())
    };
    match leads {
        Some(leads) if leads != joined => vec![Finding::fault(
            format!(
                "multicast group {group} is joined on {}, but floods leave by {}",
                name(joined),
                name(leads)
            ),
            format!(
                "name one for both with: vn host set --device {}",
                name(leads)
            ),
        )],
        _ => Vec::new(),
    }
}

/// The vnet's device, if it is in this namespace.
fn vnif_of<'a>(facts: &'a Facts, net: &NetFacts) -> Option<&'a Device> {
    let index = net.net.ifindex.filter(|_| net.net.netnsid.is_none())?;
    facts.device(index)
}

/// A check of each vnet's device.
fn each(facts: &Facts, check: impl Fn(&NetFacts, VnetId, &Device) -> Vec<Finding>) -> Vec<Finding> {
    let found = facts.nets.iter().flat_map(|net| {
        let id = net.net.id;
        let found = vnif_of(facts, net).map(|vnif| check(net, id, vnif));
        let found = found.unwrap_or_default().into_iter();
        found.map(move |finding| finding.of_net(id))
    });
    found.collect()
}

pub(super) fn vnif(facts: &Facts) -> Vec<Finding> {
    each(facts, |net, id, vnif| {
        let mut found = Vec::new();
        let name = &vnif.name;
        if !vnif.up {
            found.push(Finding::fault(
                format!("{name} of vnet {id} is down"),
                format!("take it up with: ip link set {name} up"),
            ));
        }
        if let (Some(mtu), Some(underlay)) = (net.net.mtu, net.net.underlay_mtu) {
            if mtu > underlay {
                found.push(Finding::note(
                    format!(
                        "MTU {mtu} of vnet {id} is larger than the {underlay} that the underlay carries: outer \
                         packets are fragmented"
                    ),
                    format!(
                        "raise the underlay's MTU by {}, or lower this one on all hosts with: vn net set {id} --mtu \
                         {underlay}",
                        mtu - underlay
                    ),
                ));
            }
        }
        found
    })
}

pub(super) fn bridge(facts: &Facts) -> Vec<Finding> {
    each(facts, |_, id, vnif| {
        let name = &vnif.name;
        let master = vnif.master.and_then(|index| facts.device(index));
        let Some(bridge) = master.filter(|master| master.is_bridge()) else {
            return vec![Finding::note(
                format!("{name} of vnet {id} is not a port of a bridge: no guest is on it"),
                format!("make it one with: vn net create {id} --bridge --may-exist"),
            )];
        };
        let mut found = Vec::new();
        let bridge_name = &bridge.name;
        if !bridge.up {
            found.push(Finding::fault(
                format!("bridge {bridge_name} of vnet {id} is down"),
                format!("take it up with: ip link set {bridge_name} up"),
            ));
        } else if vnif.up && vnif.is_blocked() {
            found.push(Finding::fault(
                format!(
                    "the spanning tree of bridge {bridge_name} keeps {name} of vnet {id} from passing frames"
                ),
                format!(
                    "find the loop, or switch it off where there is none: ip link set {bridge_name} type bridge \
                     stp_state 0"
                ),
            ));
        }
        let ports = facts.devices.iter();
        let ports: Vec<&Device> = ports
            .filter(|port| port.master == Some(bridge.index) && port.index != vnif.index)
            .collect();
        if let Some(other) = ports.iter().find(|port| facts.vnifs.contains(&port.name)) {
            found.push(Finding::fault(
                format!(
                    "bridge {bridge_name} joins vnet {id} with another, that of {}",
                    other.name
                ),
                format!(
                    "take one of them off it: ip link set {} nomaster",
                    other.name
                ),
            ));
        }
        if ports.is_empty() {
            found.push(Finding::note(
                format!("no guest is attached to bridge {bridge_name} of vnet {id}"),
                format!("attach one with: ip link set INTERFACE master {bridge_name}"),
            ));
        }
        if let Some(large) = ports.iter().find(|port| port.mtu > vnif.mtu) {
            found.push(Finding::note(
                format!(
                    "{} of bridge {bridge_name} has MTU {}, vnet {id} only {}: larger frames are dropped",
                    large.name, large.mtu, vnif.mtu
                ),
                format!("give the guests MTU {}, or the vnet a larger one", vnif.mtu),
            ));
        }
        found
    })
}

pub(super) fn bridge_filter(facts: &Facts) -> Vec<Finding> {
    let is_bridged = facts
        .nets
        .iter()
        .any(|net| vnif_of(facts, net).is_some_and(|vnif| vnif.master.is_some()));
    if facts.bridge_filter != Some(true) || !is_bridged {
        return Vec::new();
    }
    vec![Finding::note(
        "bridges pass their frames to iptables (br_netfilter), whose FORWARD rules may drop those between guests",
        "switch that off with: sysctl net.bridge.bridge-nf-call-iptables=0; or let the bridges' frames pass there",
    )]
}

pub(super) fn lists(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    for net in &facts.nets {
        let listed_only = net.net.settings.get(Setting::Remotes) == Some(abi::net::REMOTES_LISTED);
        if listed_only && net.listed.is_empty() {
            let id = net.net.id;
            let finding = Finding::fault(
                format!("vnet {id} accepts from listed hosts only, and none is listed"),
                format!(
                    "list them with: vn remote add {id} ADDR; or accept any with: vn net set {id} --remotes any"
                ),
            );
            found.push(finding.of_net(id));
        }
    }
    found
}

pub(super) fn keys(facts: &Facts) -> Vec<Finding> {
    let found = facts.nets.iter().filter_map(|net| {
        let id = net.net.id;
        let finding = match (is_sealed(&net.net), has_current(&net.keys)) {
            (true, false) => Finding::fault(
                format!("vnet {id} is to be sealed and has no key: it sends nothing"),
                format!("give it one, the same on all hosts, with: vn key set {id} --file FILE"),
            ),
            (false, true) => Finding::note(
                format!("vnet {id} has a key and is not sealed: all of it can be read and changed"),
                format!("seal it, on all hosts, with: vn net set {id} --seal conf"),
            ),
            _ => return None,
        };
        Some(finding.of_net(id))
    });
    found.collect()
}

pub(super) fn damped(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    for net in &facts.nets {
        let id = net.net.id;
        for damped in &net.damped {
            let place = match damped.addr {
                Some(addr) => format!("behind {addr}"),
                None => "on this host".to_owned(),
            };
            let times = match damped.moves {
                Some(moves) => format!(" {moves} times"),
                None => String::new(),
            };
            let finding = Finding::fault(
                format!(
                    "MAC address {} of vnet {id} moved{times} within a short time and is kept {place}",
                    damped.mac
                ),
                "find the second guest with this address, or the loop: vn monitor tells where it moves to",
            );
            found.push(finding.of_net(id));
        }
    }
    found
}

pub(super) fn checksums(facts: &Facts) -> Vec<Finding> {
    let sums = facts.checksums;
    if sums.wrong == 0 {
        return Vec::new();
    }
    let text = format!(
        "{} UDP packets came with a wrong checksum and were dropped",
        sums.wrong
    );
    let mut next =
        "on the host that sends them, switch the offload off: ethtool -K DEVICE tx off".to_owned();
    for (device, offloads) in &facts.offloads {
        if offloads.iter().any(|name| name == "rx-checksum") {
            next.push_str(&format!(
                "; if that does not help, here: ethtool -K {device} rx off"
            ));
        }
    }
    vec![if sums.wrong > sums.wrong_before {
        Finding::fault(format!("{text}, and more are coming"), next)
    } else {
        Finding::note(format!("{text}, none just now"), next)
    }]
}

#[cfg(test)]
mod tests {
    use super::super::tests::{addr, device, found, id, sound};
    use super::super::{Checksums, DampedMac, Level, PortUser, Process};
    use super::*;
    use vnet_netlink::{Key, KeySlot};

    #[test]
    fn versions() {
        let mut facts = sound();
        facts.host.version = "0.0.9".to_owned();
        assert_eq!(
            found(version, &facts),
            ["note: vn is of version 0.1.0, module of version 0.0.9"]
        );
    }

    #[test]
    fn underlay_devices() {
        let mut facts = sound();
        facts.devices[1].up = false;
        let of = |facts: &Facts| found(underlay, facts);
        assert_eq!(of(&facts), ["fault: the underlay device eth0 is down"]);
        facts.devices[1].up = true;
        facts.devices[1].running = false;
        assert_eq!(
            of(&facts),
            ["fault: the underlay device eth0 has no carrier"]
        );
        facts.devices[1].running = true;
        facts.addresses = vec![(2, addr("fe80::1")), (1, addr("192.0.2.1"))];
        assert_eq!(
            of(&facts),
            ["fault: the underlay device eth0 has no address"]
        );
        facts = sound();
        facts.host.device = 77;
        assert_eq!(
            of(&facts),
            ["fault: the underlay device, index 77, is gone"]
        );
    }

    #[test]
    fn routes() {
        let mut facts = sound();
        facts.host.joined = None;
        facts.routes.insert(addr("224.10.0.1"), None);
        facts.routes.insert(addr("198.51.100.1"), None);
        let no_peer = "fault: there is no route to peer 198.51.100.1";
        assert_eq!(
            found(underlay, &facts),
            [
                no_peer,
                "fault: there is no route to the multicast group 224.10.0.1"
            ]
        );
        facts.host.device = 2;
        assert_eq!(found(underlay, &facts), [no_peer]);
    }

    #[test]
    fn ports() {
        let mut facts = sound();
        facts.port_users = Vec::new();
        assert_eq!(
            found(port, &facts),
            ["fault: there are vnets, but no socket on UDP port 1798: nothing is received"]
        );
        let user = |name: &str| PortUser {
            process: Some(Process {
                pid: 12,
                name: name.to_owned(),
            }),
        };
        facts.port_users = vec![user("socat")];
        facts.host.nets = Some(0);
        assert_eq!(
            found(port, &facts),
            ["fault: UDP port 1798 is taken by socat (process 12): no vnet can be made"]
        );
        facts.port_users = vec![PortUser { process: None }];
        for (hidden, why) in [
            (
                true,
                "other users' programs are shown only with CAP_SYS_PTRACE",
            ),
            (
                false,
                "it is the kernel itself, or a program in another PID namespace",
            ),
        ] {
            facts.hidden_programs = hidden;
            let text = "fault: UDP port 1798 is taken: no vnet can be made; by whom cannot be seen";
            assert_eq!(found(port, &facts), [format!("{text}: {why}")]);
        }
        facts.via = Via::Vnetd;
        assert_eq!(found(port, &facts), [""; 0]);
        facts.via = Via::Module;
        facts.port_users = vec![user("vnetd")];
        assert_eq!(found(port, &facts).len(), 1);
        facts.via = Via::Vnetd;
        assert_eq!(found(port, &facts), [""; 0]);
        facts.port_users = Vec::new();
        assert_eq!(found(port, &facts), [""; 0]);
    }

    #[test]
    fn floods_and_group() {
        let mut facts = sound();
        facts.host.flood = Some(Flood::Peers);
        assert!(found(flood, &facts)[0].starts_with("fault: floods go to peers only"));
        facts.host.group = None;
        assert!(found(flood, &facts)[0].starts_with("fault: there is neither"));
        assert_eq!(found(group, &facts), [""; 0]);
        facts.peers = vec![addr("192.0.2.2")];
        assert_eq!(found(flood, &facts), [""; 0]);

        let mut facts = sound();
        facts.host.joined = None;
        assert_eq!(
            found(group, &facts),
            [
                "fault: multicast group 224.10.0.1 is not joined on any device: no floods are received"
            ]
        );
        facts.host.nets = Some(0);
        assert_eq!(found(group, &facts), [""; 0]);
        facts = sound();
        facts.host.joined = Some(1);
        assert_eq!(
            found(group, &facts),
            ["fault: multicast group 224.10.0.1 is joined on lo, but floods leave by eth0"]
        );
    }

    #[test]
    fn vnifs() {
        let mut facts = sound();
        facts.devices[3].up = false;
        facts.nets[0].net.mtu = Some(1500);
        let lines = found(vnif, &facts);
        assert_eq!(lines[0], "fault: vnif0005 of vnet 0005 is down");
        assert!(lines[1].starts_with("note: MTU 1500 of vnet 0005 is larger than the 1436"));
        facts.nets[0].net.netnsid = Some(1);
        assert_eq!(found(vnif, &facts), [""; 0]);
    }

    #[test]
    fn bridges() {
        let of = |facts: &Facts| found(bridge, facts);
        let mut facts = sound();
        facts.devices[4].mtu = 1500;
        assert_eq!(
            of(&facts),
            [
                "note: vif1.0 of bridge vnbr0005 has MTU 1500, vnet 0005 only 1436: larger frames are dropped"
            ]
        );
        facts.devices.pop();
        assert_eq!(
            of(&facts),
            ["note: no guest is attached to bridge vnbr0005 of vnet 0005"]
        );
        facts = sound();
        facts.devices[3].port_state = Some(1);
        assert_eq!(
            of(&facts),
            [
                "fault: the spanning tree of bridge vnbr0005 keeps vnif0005 of vnet 0005 from passing frames"
            ]
        );
        facts.devices[2].up = false;
        assert_eq!(of(&facts), ["fault: bridge vnbr0005 of vnet 0005 is down"]);
        facts.devices[3].master = None;
        assert_eq!(
            of(&facts),
            ["note: vnif0005 of vnet 0005 is not a port of a bridge: no guest is on it"]
        );
        facts = sound();
        let mut other = device(9, "vnif0006", "vnet", Some(3));
        other.mtu = 1436;
        facts.devices.push(other);
        facts.vnifs.push("vnif0006".to_owned());
        assert_eq!(
            of(&facts),
            ["fault: bridge vnbr0005 joins vnet 0005 with another, that of vnif0006"]
        );
    }

    #[test]
    fn iptables_on_bridges() {
        let mut facts = sound();
        facts.bridge_filter = Some(true);
        assert!(found(bridge_filter, &facts)[0].starts_with("note: bridges pass their frames"));
        facts.devices[3].master = None;
        assert_eq!(found(bridge_filter, &facts), [""; 0]);
    }

    #[test]
    fn empty_lists() {
        let mut facts = sound();
        let settings = &mut facts.nets[0].net.settings;
        settings.set(Setting::Remotes, Some(abi::net::REMOTES_LISTED));
        assert_eq!(
            found(lists, &facts),
            ["fault: vnet 0005 accepts from listed hosts only, and none is listed"]
        );
        facts.nets[0].listed = vec![addr("192.0.2.2")];
        assert_eq!(found(lists, &facts), [""; 0]);
    }

    #[test]
    fn sealed_vnets() {
        let mut facts = sound();
        facts.nets[0].keys = vec![Key {
            slot: Some(KeySlot::Current),
            ..Key::new(id("5"), 1)
        }];
        assert_eq!(
            found(keys, &facts),
            ["note: vnet 0005 has a key and is not sealed: all of it can be read and changed"]
        );
        let settings = &mut facts.nets[0].net.settings;
        settings.set(Setting::Seal, Some(abi::net::SEAL_AUTH));
        assert_eq!(found(keys, &facts), [""; 0]);
        facts.nets[0].keys[0].slot = Some(KeySlot::Next);
        assert_eq!(
            found(keys, &facts),
            ["fault: vnet 0005 is to be sealed and has no key: it sends nothing"]
        );
    }

    #[test]
    fn macs_that_move() {
        let mut facts = sound();
        let one = |addr, moves| DampedMac {
            mac: "02:00:00:00:00:01".parse().expect("a MAC"),
            addr,
            moves,
        };
        facts.nets[0].damped = vec![one(Some(addr("192.0.2.2")), Some(6)), one(None, None)];
        assert_eq!(
            found(damped, &facts),
            [
                "fault: MAC address 02:00:00:00:00:01 of vnet 0005 moved 6 times within a short time and is kept \
                 behind 192.0.2.2",
                "fault: MAC address 02:00:00:00:00:01 of vnet 0005 moved within a short time and is kept on this host"
            ]
        );
        assert_eq!(damped(&facts)[0].net, Some(id("5")));
    }

    #[test]
    fn wrong_checksums() {
        let mut facts = sound();
        facts.checksums = Checksums {
            wrong: 5,
            wrong_before: 5,
        };
        assert!(found(checksums, &facts)[0].starts_with("note: 5 UDP packets"));
        facts.checksums.wrong_before = 3;
        facts
            .offloads
            .insert("eth0".to_owned(), vec!["rx-checksum".to_owned()]);
        let finding = &checksums(&facts)[0];
        assert_eq!(finding.level, Level::Fault);
        assert!(finding.next.contains("ethtool -K eth0 rx off"));
    }
}
