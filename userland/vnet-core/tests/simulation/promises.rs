// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What the protocol does in the cases that `docs/design.md` and `docs/protocol.md` name, message by message, between simulated
//! hosts without loss; `simulation.rs` has what holds whatever happens.

use vnet_core::settings::{Setting, Settings};
use vnet_core::Mac;

use super::world::{station, Op, Plan, Sent, World};

/// One network without loss; one machine at the first host, if there are no more.
fn world(hosts: usize, settings: &[(Setting, u32)]) -> World {
    let mut all = Settings::default();
    for (setting, value) in settings {
        assert!(all.set(*setting, *value), "{setting:?} {value}");
    }
    let mut world = World::new(Plan {
        originals: vec![false; hosts],
        pairs: 0,
        flood_peers: false,
        v6: false,
        listed: false,
        vms: 1,
        settings: all,
        luck: Vec::new(),
    });
    world.rough = false;
    world
}

/// What was sent by something, until so many milliseconds after it.
fn during(world: &mut World, millis: u64, act: impl FnOnce(&mut World)) -> Sent {
    let before = world.sent;
    act(world);
    world.run(millis);
    let after = world.sent;
    Sent {
        data: after.data - before.data,
        flooded: after.flooded - before.flooded,
        requests: after.requests - before.requests,
        announces: after.announces - before.announces,
        withdraws: after.withdraws - before.withdraws,
        wrapped: after.wrapped - before.wrapped,
        relayed: after.relayed - before.relayed,
    }
}

/// A machine that is nowhere.
const NOBODY: Mac = Mac::from_bytes([2, 9, 9, 9, 9, 9]);

/// Makes the stations of all hosts known everywhere, and waits until they are announced no more.
fn settle(world: &mut World) {
    for host in 0..world.nodes.len() {
        world.send(host, station(host), Mac::BROADCAST);
    }
    world.run(2_000);
}

fn move_to(world: &mut World, host: u8, told: bool) {
    world.apply(&Op::Move {
        vm: 0,
        to: Some(host),
        told,
    });
}

#[test]
fn a_machine_is_announced_and_then_found_without_asking() {
    let mut world = world(4, &[]);
    settle(&mut world);
    let vm = world.vms[0].mac;
    let sent = during(&mut world, 2_000, |world| {
        world.send(0, vm, station(1));
    });
    assert_eq!(
        sent,
        Sent {
            data: 1,
            announces: 3,
            ..Sent::default()
        }
    );
    // It moves, and again says so to one host only; none of the others asks, floods, or errs.
    move_to(&mut world, 2, false);
    let sent = during(&mut world, 10, |world| {
        world.send(2, vm, station(1));
    });
    assert_eq!(
        sent,
        Sent {
            data: 1,
            announces: 1,
            ..Sent::default()
        },
        "the first is enough"
    );
    for from in [0, 1, 3] {
        let mut frame = 0;
        let sent = during(&mut world, 10, |world| {
            frame = world.send(from, station(from), vm)
        });
        assert_eq!(
            sent,
            Sent {
                data: 1,
                ..Sent::default()
            }
        );
        assert_eq!(world.reached[&(0, frame)], 1);
    }
}

#[test]
fn who_missed_a_move_is_told_by_the_host_that_knows() {
    let mut world = world(3, &[]);
    settle(&mut world);
    let vm = world.vms[0].mac;
    world.send(0, vm, Mac::BROADCAST);
    world.run(2_000);
    // Host 2 does not hear that the machine goes from host 0 to host 1.
    world.apply(&Op::Partition(0b100));
    move_to(&mut world, 1, false);
    world.send(1, vm, Mac::BROADCAST);
    world.run(2_000);
    world.apply(&Op::Partition(0));
    let sent = during(&mut world, 10, |world| {
        world.send(2, station(2), vm);
    });
    assert_eq!(
        sent,
        Sent {
            data: 1,
            withdraws: 1,
            ..Sent::default()
        }
    );
    let mut frame = 0;
    let sent = during(&mut world, 10, |world| {
        frame = world.send(2, station(2), vm)
    });
    assert_eq!(
        sent,
        Sent {
            data: 1,
            requests: 1,
            announces: 1,
            ..Sent::default()
        }
    );
    assert_eq!(world.reached[&(0, frame)], 1, "it was held, and not lost");
}

#[test]
fn a_machine_that_goes_is_withdrawn_once() {
    let mut world = world(3, &[]);
    settle(&mut world);
    let vm = world.vms[0].mac;
    world.send(0, vm, Mac::BROADCAST);
    world.run(2_000);
    let sent = during(&mut world, 10, |world| {
        world.apply(&Op::Move {
            vm: 0,
            to: None,
            told: true,
        })
    });
    assert_eq!(
        sent,
        Sent {
            withdraws: 1,
            ..Sent::default()
        }
    );
    assert!((0..3).all(|host| world.nodes[host].place(vm).is_none()));
}

#[test]
fn a_machine_that_was_silent_for_too_long_is_flooded_to() {
    for (unknown, reached) in [(0, Some(&1)), (1, Some(&1)), (2, None)] {
        let mut world = world(3, &[(Setting::Ageing, 10_000), (Setting::Unknown, unknown)]);
        let vm = world.vms[0].mac;
        world.send(0, vm, Mac::BROADCAST);
        world.run(15_000);
        assert_eq!(
            world.nodes[0].place(vm),
            None,
            "also its own host has forgotten it"
        );
        let frame = world.send(1, station(1), vm);
        world.run(5_000);
        assert_eq!(world.reached.get(&(0, frame)), reached);
    }
}

#[test]
fn a_host_that_restarts_learns_by_asking() {
    let mut world = world(3, &[]);
    settle(&mut world);
    let vm = world.vms[0].mac;
    world.send(0, vm, Mac::BROADCAST);
    world.run(2_000);
    world.apply(&Op::Restart(2));
    let mut frames = Vec::new();
    let sent = during(&mut world, 10, |world| {
        frames = (0..5).map(|_| world.send(2, station(2), vm)).collect();
    });
    assert_eq!(
        sent,
        Sent {
            data: 5,
            requests: 1,
            announces: 2,
            ..Sent::default()
        },
        "its station, too"
    );
    assert!(frames.iter().all(|frame| world.reached[&(0, *frame)] == 1));
}

#[test]
fn however_many_frames_go_to_nobody_there_are_so_many_requests() {
    let mut world = world(3, &[(Setting::UnknownRate, 10)]);
    settle(&mut world);
    let sent = during(&mut world, 3_100, |world| {
        for _ in 0..1_000 {
            world.send(1, station(1), NOBODY);
            world.run(3);
        }
    });
    // What is held in the end is flooded at the limited rate: 10 of 16.
    assert_eq!(
        sent,
        Sent {
            requests: 5,
            flooded: 10,
            ..Sent::default()
        }
    );
    let sent = during(&mut world, 1_000, |world| {
        for _ in 0..1_000 {
            world.send(1, station(1), NOBODY);
            world.run(1);
        }
    });
    assert!(sent.flooded <= 20 && sent.requests == 0, "{sent:?}");
}

#[test]
fn flapping_is_followed_so_often_and_no_more() {
    // Defaults: 5 moves in 10 s, and 30 s of damping.
    let mut world = world(3, &[]);
    settle(&mut world);
    let vm = world.vms[0].mac;
    let moves = world.nodes[2].moves();
    let sent = during(&mut world, 1_000, |world| {
        for round in 0..1_200 {
            world.send(round % 2, vm, Mac::BROADCAST);
            world.run(50);
        }
    });
    // A minute: two times until damped, and the second ends after it.
    for node in &world.nodes {
        assert!(node.moves() - moves <= 10, "{} moves", node.moves());
    }
    assert_eq!(sent.flooded, 1_200);
    assert!(sent.announces <= 3 * 2 * 11, "{sent:?}");
    assert_eq!((sent.requests, sent.withdraws, sent.data), (0, 0, 0));
    // In one place again, it is followed after the damping.
    world.run(30_000);
    world.send(1, vm, Mac::BROADCAST);
    world.run(10);
    let place = world.nodes[1].address();
    assert!(world.nodes.iter().all(|node| node.place(vm) == Some(place)));
}

#[test]
fn a_storm_of_requests_is_answered_at_the_limited_rate() {
    let mut world = world(3, &[(Setting::VarpRate, 20)]);
    settle(&mut world);
    let vm = world.vms[0].mac;
    world.send(0, vm, Mac::BROADCAST);
    world.run(2_000);
    let sent = during(&mut world, 10, |world| {
        for _ in 0..3_000 {
            world.apply(&Op::Spoof {
                opcode: 0,
                vm: 0,
                from: 3,
                addr: 3,
                to: None,
            });
            world.run(1);
        }
    });
    assert!((60..=81).contains(&sent.announces), "{sent:?}");
    assert_eq!(
        Sent {
            announces: 0,
            ..sent
        },
        Sent::default()
    );
}

#[test]
fn spoofed_announcements_and_withdrawals_cause_nothing() {
    let mut world = world(3, &[]);
    settle(&mut world);
    let vm = world.vms[0].mac;
    world.send(0, vm, Mac::BROADCAST);
    world.run(2_000);
    for opcode in [1, 2] {
        for addr in 0..=3 {
            let sent = during(&mut world, 100, |world| {
                world.apply(&Op::Spoof {
                    opcode,
                    vm: 0,
                    from: 3,
                    addr,
                    to: None,
                });
            });
            assert_eq!(sent, Sent::default(), "{opcode} {addr}");
        }
    }
    // What was said of the machine holds until it is heard again.
    world.send(0, vm, Mac::BROADCAST);
    world.run(10);
    let place = world.nodes[0].address();
    assert!(world.nodes.iter().all(|node| node.place(vm) == Some(place)));
}

/// A host that was not told that a machine left says that it has it as long as it remembers it; who asks just before that, and hears
/// its answer last, believes it for as long again. Nobody takes longer.
#[test]
fn who_asks_a_host_that_is_wrong_finds_the_machine_when_both_have_forgotten() {
    let (ageing, sweep) = (20_000, 2_500);
    let mut longest = 0;
    for phase in (0..sweep).step_by(250) {
        let mut world = world(3, &[(Setting::Ageing, ageing)]);
        let vm = world.vms[0].mac;
        // The sweeps of host 2 begin later than those of host 0.
        world.run(phase.into());
        world.apply(&Op::Restart(2));
        move_to(&mut world, 2, false);
        world.send(2, vm, Mac::BROADCAST);
        world.run(2_000);
        world.touch(0);
        // It goes to host 1, and nobody hears of it.
        world.apply(&Op::Partition(0b010));
        move_to(&mut world, 1, false);
        world.touch(0);
        world.run(2_000);
        world.apply(&Op::Partition(0));
        let mut passed = 0;
        while world.nodes[0].place(vm) != Some(world.nodes[1].address()) {
            world.touch(0);
            world.send(0, station(0), vm);
            world.run(500);
            passed += 500;
            assert!(
                passed <= u64::from(2 * (ageing + sweep)) + 500,
                "from {phase}"
            );
        }
        longest = longest.max(passed);
    }
    assert!(
        longest > u64::from(ageing + sweep),
        "{longest} is not the longest"
    );
}
