// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What can be wrong between this host and others.

use std::net::IpAddr;

use vnet_core::wire::{OVERHEAD_V4, SEALED_OVERHEAD_V4};
use vnet_core::{Setting, VnetId};
use vnet_netlink::Net;

use super::{Facts, Finding, Level, NetFacts, Port, Remote};

/// Bytes of the outer IPv4 and UDP headers.
const OUTER: usize = 20 + 8;

/// Whether a vnet is to be sealed.
pub(super) fn is_sealed(net: &Net) -> bool {
    net.settings
        .get(Setting::Seal)
        .is_some_and(|seal| seal != 0)
}

/// Bytes of a UDP payload beside the inner packet: the message and the inner Ethernet header.
pub(super) fn beside(net: &Net) -> u32 {
    let overhead = match is_sealed(net) {
        true => SEALED_OVERHEAD_V4,
        false => OVERHEAD_V4,
    };
    // CAST: about fifty.
    (overhead - OUTER) as u32
}

/// Whether the host should have the vnet: it is listed there, or an address was learned from it.
fn is_expected(net: &NetFacts, addr: IpAddr) -> bool {
    net.listed.contains(&addr) || net.learned.contains(&addr)
}

/// Why a host may not answer at all.
fn silent(addr: IpAddr, remote: &Remote, port: u16) -> Finding {
    if remote.is_original {
        return Finding::note(
            format!(
                "host {addr} speaks the original's protocol only: it answers for its machines, but not whether a vnet is there"
            ),
            format!(
                "nothing, if it runs the original; that its vnets' ids are those here, and the paths wide enough, cannot be \
                 asked. If it should run vnet: on {addr}: vn check"
            ),
        )
        .of_host(addr);
    }
    let (text, next) = match &remote.port {
        Port::Refused => (
            format!("host {addr} is there, but nothing has UDP port {port} on it"),
            format!("on {addr}: make the vnet, or compare the port: vn host status"),
        ),
        Port::Unreachable(words) => (
            format!("host {addr} cannot be reached: {words}"),
            format!("is it on, and is the address right? ping {addr}"),
        ),
        Port::Silent | Port::Untried => (
            format!("host {addr} does not answer for any vnet that is here"),
            format!(
                "on {addr}: vn net list (is an id another?), vn host status (port, group), and does its firewall let \
                 UDP port {port} in? A host of the original answers only for a machine that it heard within the last minute"
            ),
        ),
    };
    Finding::fault(text, next).of_host(addr)
}

/// Why a host that is there may not answer for one vnet.
fn missing(net: VnetId, addr: IpAddr, level: Level) -> Finding {
    Finding::new(
        level,
        format!("host {addr} answers, but not for vnet {net}"),
        format!(
            "on {addr}: vn net show {net}; if it is there, it may accept from listed hosts only: vn remote list {net}"
        ),
    )
    .of_net(net)
    .of_host(addr)
}

pub(super) fn presence(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    if facts.nets.is_empty() {
        return vec![Finding::note(
            "there is no vnet here, so other hosts were not asked",
            "make one with: vn net create ID --bridge",
        )];
    }
    let silents = facts.remotes.iter().filter(|(_, remote)| !remote.answers());
    found.extend(silents.map(|(addr, remote)| silent(*addr, remote, facts.host.port)));
    for net in &facts.nets {
        let id = net.net.id;
        let alone = !facts.remotes.values().any(|remote| remote.has(id));
        for (addr, remote) in facts.remotes.iter().filter(|(_, remote)| remote.answers()) {
            let expected = is_expected(net, *addr);
            if remote.has(id) || !(expected || remote.is_peer) {
                continue;
            }
            // Not every vnet need be on every host, but somewhere it should be.
            let level = if expected || alone || facts.named {
                Level::Fault
            } else {
                Level::Note
            };
            found.push(missing(id, *addr, level));
        }
        let told = found.iter().any(|finding| {
            finding.host.is_some() && (finding.net == Some(id) || finding.net.is_none())
        });
        if alone && !told {
            let level = if facts.named {
                Level::Fault
            } else {
                Level::Note
            };
            let finding = Finding::new(
                level,
                format!("no other host answers for vnet {id}"),
                "is it on another host? Compare ids, port and group there: vn net list, vn host status; does multicast \
                 pass between the hosts? Else add each with: vn peer add ADDR",
            );
            found.push(finding.of_net(id));
        }
    }
    found
}

pub(super) fn multicast(facts: &Facts) -> Vec<Finding> {
    if !facts.floods_to_group() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (addr, remote) in &facts.remotes {
        let heard = remote.nets.values().any(|presence| presence.all.is_some());
        let reached = remote
            .nets
            .values()
            .any(|presence| presence.alone.is_some());
        if heard || !reached {
            continue;
        }
        let group = facts.host.group.map(|group| group.to_string());
        found.push(
            Finding::fault(
                format!(
                    "host {addr} answers when it is asked directly, but not when group {} is: floods do not reach it",
                    group.unwrap_or_default()
                ),
                format!(
                    "compare the group there: vn host status; a switch with IGMP snooping needs a querier; or do \
                     without multicast: vn peer add {addr}"
                ),
            )
            .of_host(*addr),
        );
    }
    found
}

pub(super) fn mtu(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    for (addr, remote) in &facts.remotes {
        for (id, presence) in &remote.nets {
            let Some(path) = presence.path else {
                continue;
            };
            if path.answered >= path.needed {
                continue;
            }
            let net = facts.nets.iter().find(|net| net.net.id == *id);
            let beside = net.map_or(0, |net| beside(&net.net));
            let fits = path.answered.saturating_sub(beside);
            found.push(
                Finding::fault(
                    format!(
                        "packets of vnet {id} to {addr} get lost if they have more than {} bytes, but its MTU needs {}",
                        path.answered, path.needed
                    ),
                    format!(
                        "raise the MTU of what is between the hosts by {}, or lower that of the vnet, on all hosts, with: \
                         vn net set {id} --mtu {fits}",
                        path.needed - path.answered
                    ),
                )
                .of_net(*id)
                .of_host(*addr),
            );
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::tests::{addr, found, id, sound};
    use super::super::{Path, Presence};
    use super::*;
    use std::time::Duration;

    fn remote(facts: &mut Facts) -> &mut Remote {
        facts.remotes.get_mut(&addr("192.0.2.2")).expect("a host")
    }

    /// The host does not answer for vnet 0005.
    fn mute(facts: &mut Facts) {
        remote(facts).nets.insert(id("5"), Presence::default());
    }

    #[test]
    fn hosts_that_do_not_answer() {
        for (port, words) in [
            (
                Port::Refused,
                "host 192.0.2.2 is there, but nothing has UDP port 1798",
            ),
            (
                Port::Unreachable("No route to host".to_owned()),
                "host 192.0.2.2 cannot be reached: No route to host",
            ),
            (
                Port::Silent,
                "host 192.0.2.2 does not answer for any vnet that is here",
            ),
            (
                Port::Untried,
                "host 192.0.2.2 does not answer for any vnet that is here",
            ),
        ] {
            let mut facts = sound();
            mute(&mut facts);
            remote(&mut facts).port = port;
            let lines = found(presence, &facts);
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(
                lines[0].starts_with(&format!("fault: {words}")),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn a_host_of_the_original_is_no_fault() {
        let mut facts = sound();
        mute(&mut facts);
        remote(&mut facts).is_original = true;
        let lines = found(presence, &facts);
        assert_eq!(lines.len(), 1, "{lines:?}");
        let words = "note: host 192.0.2.2 speaks the original's protocol only";
        assert!(lines[0].starts_with(words), "{lines:?}");
        facts.named = true;
        assert_eq!(found(presence, &facts), lines, "nor if its vnet is named");
    }

    #[test]
    fn a_host_without_the_vnet() {
        let mut facts = sound();
        mute(&mut facts);
        let there = Presence {
            all: Some(Duration::from_millis(1)),
            ..Presence::default()
        };
        remote(&mut facts).nets.insert(id("6"), there);
        let text = "host 192.0.2.2 answers, but not for vnet 0005";
        assert_eq!(found(presence, &facts), [format!("fault: {text}")]);
        // It need not have it.
        facts.nets[0].learned.clear();
        assert_eq!(
            found(presence, &facts),
            ["note: no other host answers for vnet 0005"]
        );
        // A peer need not either, if another host has it.
        remote(&mut facts).is_peer = true;
        assert_eq!(found(presence, &facts), [format!("fault: {text}")]);
        let other = Remote {
            nets: [(id("5"), there)].into(),
            ..Remote::default()
        };
        facts.remotes.insert(addr("192.0.2.3"), other);
        assert_eq!(found(presence, &facts), [format!("note: {text}")]);
        facts.named = true;
        assert_eq!(found(presence, &facts), [format!("fault: {text}")]);
    }

    #[test]
    fn nobody_is_there() {
        let mut facts = sound();
        facts.remotes.clear();
        assert_eq!(
            found(presence, &facts),
            ["note: no other host answers for vnet 0005"]
        );
        facts.named = true;
        assert_eq!(
            found(presence, &facts),
            ["fault: no other host answers for vnet 0005"]
        );
        facts.nets.clear();
        assert_eq!(
            found(presence, &facts),
            ["note: there is no vnet here, so other hosts were not asked"]
        );
    }

    #[test]
    fn multicast_that_does_not_arrive() {
        let mut facts = sound();
        let direct = Presence {
            alone: Some(Duration::from_millis(1)),
            ..Presence::default()
        };
        remote(&mut facts).nets.insert(id("5"), direct);
        assert_eq!(found(presence, &facts), [""; 0]);
        assert_eq!(
            found(multicast, &facts),
            [
                "fault: host 192.0.2.2 answers when it is asked directly, but not when group 224.10.0.1 is: floods do not \
              reach it"
            ]
        );
        facts.host.group = None;
        assert_eq!(found(multicast, &facts), [""; 0]);
    }

    #[test]
    fn narrow_paths() {
        let mut facts = sound();
        let presence = remote(&mut facts).nets.get_mut(&id("5")).expect("it");
        presence.path = Some(Path {
            needed: 1472,
            answered: 1272,
        });
        let lines = found(mtu, &facts);
        assert_eq!(
            lines,
            [
                "fault: packets of vnet 0005 to 192.0.2.2 get lost if they have more than 1272 bytes, but its MTU needs 1472"
            ]
        );
        assert!(mtu(&facts)[0].next.ends_with("vn net set 0005 --mtu 1236"));
    }
}
