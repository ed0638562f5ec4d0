// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Hosts, machines that send, move, come and go, and a network that loses, delays, repeats and splits: what the protocol promises
//! holds in the end, and its limits hold all the time (every step is checked in `simulation/world.rs`).
//!
//! The times after which every machine is found (see "Times" in `docs/protocol.md`), counted from when nothing is lost any more:
//!
//! * When a machine sends to all: at once. A host for which its address is damped follows the first such frame after that.
//! * When it sends nothing to the hosts that look for it: once what is wrong has aged. A host that it left without being told
//!   believes to have it, and says so to who asks, for ageing and a sweep after it left; whoever believes that answer does so for as
//!   long again. A host at which the address is damped follows it again when that is over. Then the address is asked for: whoever asked
//!   in vain just before waits for the rest of his probes, and of the time for which he remembers that it is nowhere. One of the
//!   originals answers for up to two minutes for a machine that it has no more, and does not withdraw it: what it said last ages
//!   after that.
//!
//! So it is over a group, between networks with hosts that forward (ours or the originals), straight to peers, over either family of
//! addresses, and where each host accepts only from those that are listed.

use proptest::prelude::*;
use vnet_core::settings::{Setting, Settings};
use vnet_core::Mac;

#[path = "simulation/host.rs"]
mod host;
#[path = "simulation/node.rs"]
mod node;
#[path = "simulation/original.rs"]
mod original;
#[path = "simulation/promises.rs"]
mod promises;
#[path = "simulation/world.rs"]
mod world;

use world::{ops, station, Op, Plan, World, DELAY};

fn with(values: &[(Setting, u32)]) -> Settings {
    let mut settings = Settings::default();
    for (setting, value) in values {
        assert!(settings.set(*setting, *value), "{setting:?} {value}");
    }
    settings
}

/// Short times, so that ageing and damping happen; limits that do not count.
fn quick() -> Settings {
    with(&[
        (Setting::Ageing, 20_000),
        (Setting::MoveWindow, 5_000),
        (Setting::Damp, 10_000),
        (Setting::UnknownRate, 0),
        (Setting::VarpRate, 0),
    ])
}

/// How hosts reach each other.
#[derive(Clone, Copy, Debug)]
enum Underlay {
    /// One network, or two between which pairs of ours forward.
    Group,
    /// Two networks between which two hosts forward, one or both of them of the original.
    OriginalForwards(bool, bool),
    /// Straight to all others.
    Peers,
}

fn plans(originals: bool, settings: Settings) -> impl Strategy<Value = Plan> {
    let luck = prop_oneof![Just(Vec::new()), prop::collection::vec(any::<u8>(), 1..100),];
    let hosts = prop::collection::vec(
        prop::bool::weighted(if originals { 0.4 } else { 0.0 }),
        2..=6,
    );
    let ends = any::<(bool, bool)>().prop_filter("an original", |(one, other)| *one || *other);
    let underlay = prop_oneof![
        4 => Just(Underlay::Group),
        2 => ends.prop_map(|(one, other)| Underlay::OriginalForwards(one, other)),
        2 => Just(Underlay::Peers),
    ];
    let all = (
        hosts,
        underlay,
        0..=2_usize,
        1..=5_usize,
        luck,
        any::<[bool; 2]>(),
    );
    all.prop_map(
        move |(mut hosts, underlay, pairs, vms, luck, [v6, listed])| {
            let pairs = match underlay {
                Underlay::Group => {
                    let ours = hosts.iter().take_while(|original| !**original).count();
                    pairs.min(ours / 2)
                }
                Underlay::OriginalForwards(one, other) => {
                    (hosts[0], hosts[1]) = (one, other);
                    1
                }
                Underlay::Peers => {
                    hosts.fill(false);
                    0
                }
            };
            Plan {
                // The original has no IPv6.
                v6: v6 && !hosts.contains(&true),
                originals: hosts,
                pairs,
                flood_peers: matches!(underlay, Underlay::Peers),
                listed,
                vms,
                settings,
                luck,
            }
        },
    )
}

/// Time after which every machine is found, if its host hears it now and then, every so often at least.
fn worst(world: &World, every: u64) -> u64 {
    let ageing = world.most(Setting::Ageing);
    let sweep = (ageing / 8).min(10_000);
    let probing = world.most(Setting::ProbeInterval) * ((1 << world.most(Setting::Probes)) - 1);
    let originals = if world.nodes.iter().any(|node| node.is_original()) {
        120_000
    } else {
        0
    };
    let wrong = originals + 2 * (ageing + sweep);
    wrong.max(world.most(Setting::Damp) + every) + probing + world.most(Setting::Negative) + DELAY
}

/// From every host a frame to every machine that is somewhere, whether it arrives or not.
fn everyone_sends(world: &mut World) {
    for from in 0..world.nodes.len() {
        for vm in 0..world.vms.len() {
            if world.vms[vm].host.is_none() {
                continue;
            }
            world.send(from, station(from), world.vms[vm].mac);
        }
    }
}

/// From every host a frame to every machine elsewhere: it arrives, once, at the machine's host and at no other.
fn everyone_reaches_everyone(world: &mut World) -> Result<(), TestCaseError> {
    for from in 0..world.nodes.len() {
        for vm in 0..world.vms.len() {
            let Some(host) = world.vms[vm].host.filter(|host| *host != from) else {
                continue;
            };
            let flooded = world.sent.flooded;
            let frame = world.send(from, station(from), world.vms[vm].mac);
            world.run(20);
            let reached = world.reached.get(&(vm, frame)).copied();
            prop_assert_eq!(
                reached,
                Some(1),
                "from {} to machine {} at {}",
                from,
                vm,
                host
            );
            if !world.nodes[from].is_original() {
                let node = &world.nodes[from];
                prop_assert_eq!(world.sent.flooded, flooded, "flooded from {}", from);
                prop_assert_eq!(
                    node.place(world.vms[vm].mac),
                    Some(world.nodes[host].address())
                );
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// After the network has healed: at once after each machine has sent to all.
    #[test]
    fn who_speaks_is_found_at_once(plan in plans(true, quick()), ops in ops(120)) {
        let mut world = World::new(plan);
        ops.iter().for_each(|op| world.apply(op));
        world.heal();
        // What is damped is not followed before that is over; a window that is under way ends as well.
        world.run(world.most(Setting::Damp).max(world.most(Setting::MoveWindow)) + 1);
        for vm in 0..world.vms.len() {
            if let Some(host) = world.vms[vm].host {
                world.send(host, world.vms[vm].mac, Mac::BROADCAST);
            }
        }
        world.run(10);
        everyone_reaches_everyone(&mut world)?;
    }

    /// After the network has healed: in the worst-case time, though no machine sends anything that leaves its host.
    #[test]
    fn who_is_silent_is_found_in_time(plan in plans(true, quick()), ops in ops(120), busy: bool) {
        let mut world = World::new(plan);
        ops.iter().for_each(|op| world.apply(op));
        world.heal();
        let every = 3_000;
        let end = world.now.plus(worst(&world, every));
        while world.now < end {
            (0..world.vms.len()).for_each(|vm| world.touch(vm));
            if busy {
                everyone_sends(&mut world);
            }
            world.run(every);
        }
        everyone_reaches_everyone(&mut world)?;
    }

    /// Low limits, spoofed messages, machines that flap: memory and messages stay within what is set. (Each step is checked.)
    #[test]
    fn limits_hold(plan in plans(true, with(&[
        (Setting::MaxMacs, 3), (Setting::HoldMac, 2), (Setting::HoldNet, 3), (Setting::MaxUnresolved, 2),
        (Setting::VarpRate, 2), (Setting::UnknownRate, 2), (Setting::MoveLimit, 2),
        (Setting::MoveWindow, 5_000), (Setting::Damp, 5_000), (Setting::Ageing, 10_000),
    ])), ops in ops(150)) {
        let mut world = World::new(plan);
        let start = world.now;
        ops.iter().for_each(|op| world.apply(op));
        world.heal();
        let seconds = world.now.since(start).div_ceil(1_000);
        // A restart gives everything once more; each kind of message goes to the group, and wrapped beside it, or to each peer.
        let starts = ops.iter().filter(|op| matches!(op, Op::Restart(_))).count() + world.nodes.len();
        let most = world.nodes.len().max(2) * (starts + usize::try_from(seconds).expect("a short time") * world.nodes.len());
        prop_assert!(world.sent.requests <= most, "{:?} in {seconds} s", world.sent);
        // Announcements and answers are limited each.
        let answers = if world.nodes.iter().any(|node| node.is_original()) { usize::MAX / 4 } else { most };
        prop_assert!(world.sent.announces <= most + answers, "{:?} in {seconds} s", world.sent);
        // Of its own accord and as answers, each.
        prop_assert!(world.sent.withdraws <= 2 * most, "{:?} in {seconds} s", world.sent);
        let windows = seconds / 5 + 1;
        for node in &world.nodes {
            let followed = u64::from(node.moves());
            prop_assert!(followed <= 2 * 2 * windows * (world.vms.len() + 6) as u64, "{followed} in {windows} windows");
        }
    }

    /// Several hosts forward between two networks: everybody gets every frame at most once, and nothing goes in a circle. If nothing is
    /// lost, everybody gets it.
    #[test]
    fn forwarded_once(
        hosts in 4..=6_usize, pairs in 1..=2_usize, v6: bool, luck in prop::collection::vec(any::<u8>(), 0..60),
        sends in prop::collection::vec((any::<u8>(), 0..400_u64), 1..40),
    ) {
        // Repeating a packet is the network's doing: it comes by the same way, and is taken as sent twice. By three ways of at most
        // 600 ms it comes while it is remembered.
        let luck: Vec<u8> = luck
            .into_iter()
            .map(|luck| match luck {
                0xa0..0xc0 => 0,
                0xc0.. => 0xc0 + luck % 14,
                _ => luck,
            })
            .collect();
        let lossless = luck.iter().all(|luck| !(0x80..0xa0).contains(luck));
        let plan = Plan { originals: vec![false; hosts], pairs, flood_peers: false, v6, listed: false, vms: hosts, settings: quick(), luck };
        let mut world = World::new(plan);
        let mut before = world.sent;
        let mut since = 0;
        for (host, wait) in sends {
            let host = usize::from(host) % hosts;
            let frame = world.send(host, station(host), Mac::BROADCAST);
            world.run(wait);
            since += 1;
            if wait == 0 {
                continue;
            }
            world.run(2_000);
            for other in (0..hosts).filter(|other| *other != host) {
                let given = world.given.get(&(other, frame)).copied().unwrap_or(0);
                prop_assert!(given <= 1 && (given == 1 || !lossless), "{given} times to {other} from {host}");
            }
            // The frame, three announcements that its sender has appeared, and withdrawals of those that have aged.
            let most = 4 * since + hosts;
            let wrapped = world.sent.wrapped - before.wrapped;
            let relayed = world.sent.relayed - before.relayed;
            prop_assert!(wrapped <= most * pairs * pairs, "{wrapped} wrapped");
            prop_assert!(relayed <= most * pairs, "{relayed} relayed");
            (before, since) = (world.sent, 0);
        }
        world.run(60_000);
        let before = world.sent;
        world.run(10_000);
        prop_assert_eq!((before.wrapped, before.relayed), (world.sent.wrapped, world.sent.relayed), "in a circle");
        for ((host, frame), given) in &world.given {
            prop_assert!(*given == 1, "frame {frame} {given} times to {host}");
        }
    }
}
