// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Counters that point at faults.

use vnet_netlink::Counters;

use super::Level::{self, Fault, Note};
use super::{Facts, Finding};

/// What it means if a counter is not 0: its name, how bad it is if it rises, what follows the number, what to do.
type Meaning = (&'static str, Level, &'static str, &'static str);

const CAPTURE: &str = "find who sends them: tcpdump -ni DEVICE udp port PORT";

/// Counters of the network namespace.
const HOST: &[Meaning] = &[
    (
        "rx-short",
        Note,
        "packets were shorter than their headers",
        CAPTURE,
    ),
    (
        "rx-bad-message",
        Note,
        "packets were no messages of vnet",
        CAPTURE,
    ),
    (
        "rx-bad-version",
        Fault,
        "packets had another EtherIP version",
        CAPTURE,
    ),
    (
        "rx-unknown-net",
        Note,
        "packets were for vnets that are not here",
        "normal where not every vnet is on every host; else compare the ids on the hosts: vn net list",
    ),
    (
        "rx-other-group",
        Note,
        "packets were sent to a multicast group that is not ours",
        "normal if other hosts use another group; else compare: vn host status",
    ),
    (
        "rx-bad-outer",
        Fault,
        "packets came from an impossible address or our own",
        "look for a loop in the underlay, or two hosts with one address",
    ),
    (
        "rx-forward-refused",
        Fault,
        "forwarded packets were from a host that is no peer, or made no sense",
        "add that host with: vn peer add ADDR",
    ),
    (
        "rx-unknown-key",
        Note,
        "sealed messages named no key of a vnet that is here",
        "normal where not every vnet is on every host; else compare keys and settings on the hosts: vn key list, vn net show ID",
    ),
];

/// Counters of a vnet.
const NET: &[Meaning] = &[
    (
        "rx-own-source",
        Fault,
        "frames came with the device's own address",
        "look for a loop: a vnet that is bridged to another network on two hosts",
    ),
    (
        "rx-down",
        Fault,
        "frames came while the device was down",
        "take it up: ip link set DEVICE up",
    ),
    (
        "rx-ecn",
        Note,
        "frames were dropped for contradicting congestion marks",
        "look for a router in the underlay that marks wrongly",
    ),
    (
        "rx-backlog",
        Fault,
        "frames were dropped as the host was overloaded",
        "raise net.core.netdev_max_backlog, or spread interrupts",
    ),
    (
        "rx-not-listed",
        Note,
        "packets came from hosts that are not listed",
        "list them with: vn remote add ID ADDR; or they are forged",
    ),
    (
        "rx-not-sealed",
        Fault,
        "packets of a sealed vnet were not sealed",
        "have all its hosts seal: vn net set ID --seal conf; or somebody makes them up",
    ),
    (
        "rx-bad-seal",
        Fault,
        "sealed messages did not open",
        "somebody on the way changes them, or makes them up",
    ),
    (
        "rx-replay",
        Note,
        "sealed messages were there already",
        "look for what doubles packets in the underlay; or somebody repeats them",
    ),
    (
        "rx-unknown-sender",
        Note,
        "sealed messages came from hosts that had not proved yet that they are there",
        "normal when a host starts; else its answers do not arrive: does the firewall let them in both ways?",
    ),
    (
        "tx-no-key",
        Fault,
        "packets were not sent for want of a key",
        "give it one, the same on all hosts, with: vn key set ID --file FILE; vn key list shows what it has",
    ),
    (
        "evicted",
        Note,
        "hosts were forgotten to make room for others",
        "raise it with: vn net set ID --max-senders N",
    ),
    (
        "rx-flood-limit",
        Fault,
        "floods of one host were over the limit",
        "look for a storm behind that host, or raise it with: vn net set ID --remote-floods N",
    ),
    (
        "tx-no-destination",
        Fault,
        "frames had nowhere to go",
        "set a group with: vn host set --group A; or add peers",
    ),
    (
        "tx-no-route",
        Fault,
        "packets had no route",
        "check the underlay's routes and addresses: ip route get ADDR",
    ),
    (
        "tx-loop",
        Fault,
        "packets would have gone back into the vnet",
        "the underlay's addresses and routes must not be on the vnet's bridge",
    ),
    (
        "tx-too-big",
        Note,
        "packets were larger than the path",
        "the senders were told; if guests stall, lower the MTU with: vn net set ID --mtu N",
    ),
    (
        "tx-underlay",
        Fault,
        "packets were lost below the vnet",
        "look at nft list ruleset and tc -s qdisc",
    ),
    (
        "table-full",
        Fault,
        "addresses were not learned as the table is full",
        "raise it with: vn net set ID --max-macs N; or find the guest that makes addresses up",
    ),
    (
        "remote-full",
        Fault,
        "addresses of one host were not learned",
        "raise it with: vn net set ID --remote-macs N; or find the guest that makes addresses up",
    ),
    (
        "damped",
        Note,
        "times an address had moved too often",
        "look for an address that is used twice, or a loop: vn monitor",
    ),
    (
        "rx-elsewhere",
        Note,
        "frames came for guests of other hosts",
        "normal after a guest has moved; else a host does not hear announcements: check multicast between the hosts",
    ),
    (
        "rx-varp-refused",
        Note,
        "VARP messages made no sense or came from a host that is not listed",
        "forged, or a host with a wrong address",
    ),
    (
        "varp-limited",
        Note,
        "VARP messages were not sent because of the limit",
        "raise it with: vn net set ID --varp-rate N; or find the guest that makes addresses up",
    ),
    (
        "hold-dropped",
        Note,
        "frames that were held were dropped",
        "raise --hold-mac and --hold-net with: vn net set ID",
    ),
];

fn judge(meanings: &[Meaning], now: Option<&Counters>, before: &Counters) -> Vec<Finding> {
    let Some(now) = now else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (name, rising, text, next) in meanings {
        let (value, was) = (now.get(name), before.get(name));
        if value == 0 {
            continue;
        }
        let (level, when) = if value > was {
            (*rising, "and it is rising")
        } else {
            (Note, "none just now")
        };
        let text = format!("{name}: {value} {text}, {when}");
        found.push(Finding::new(level, text, *next));
    }
    found
}

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut found = judge(HOST, facts.host.stats.as_ref(), &facts.before);
    for net in &facts.nets {
        let id = net.net.id;
        for mut finding in judge(NET, net.net.stats.as_ref(), &net.before) {
            finding.text = format!("vnet {id}: {}", finding.text);
            found.push(finding.of_net(id));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::tests::{found, sound};
    use super::*;
    use vnet_core::abi::{HostCounter, NetCounter};

    #[test]
    fn the_counters_exist() {
        for (name, ..) in HOST {
            let mut all = HostCounter::ALL.iter();
            assert!(all.any(|counter| counter.name() == *name), "{name}");
        }
        for (name, ..) in NET {
            let mut all = NetCounter::ALL.iter();
            assert!(all.any(|counter| counter.name() == *name), "{name}");
        }
    }

    #[test]
    fn rising_and_not() {
        let mut facts = sound();
        facts.host.stats = Some(Counters(vec![("rx-bad-version", 3), ("rx-varp", 7)]));
        facts.nets[0].net.stats = Some(Counters(vec![("tx-no-route", 2), ("rx-packets", 9)]));
        facts.nets[0].before = Counters(vec![("tx-no-route", 2)]);
        assert_eq!(
            found(check, &facts),
            [
                "fault: rx-bad-version: 3 packets had another EtherIP version, and it is rising",
                "note: vnet 0005: tx-no-route: 2 packets had no route, none just now",
            ]
        );
    }
}
