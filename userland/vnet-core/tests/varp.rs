// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The small state machines of VARP: announcements, moves, judgement of messages, packets seen before.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use vnet_core::settings::{Setting, Settings};
use vnet_core::varp::{
    digest, is_host, is_of_link, judge, Announcer, Appearance, Judged, Move, Moves, Recent,
    Sighting, Way,
};
use vnet_core::wire::{DataHeader, Relay, VarpAddr, VarpMessage, VarpOpcode};
use vnet_core::{Instant, Mac, VnetId};

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn mac(number: u8) -> Mac {
    Mac::from_bytes([2, 0, 0, 0, 0, number])
}

fn with(values: &[(Setting, u32)]) -> Settings {
    let mut settings = Settings::default();
    for (setting, value) in values {
        assert!(settings.set(*setting, *value), "{setting:?} {value}");
    }
    settings
}

fn announcer(places: usize) -> Announcer<Box<[Appearance]>> {
    Announcer::new(vec![Appearance::UNUSED; places].into())
}

/// All announcements until nothing is due any more, polled when that is said to be due.
fn announcements(
    announcer: &mut Announcer<Box<[Appearance]>>,
    settings: &Settings,
    until: u64,
) -> Vec<(u64, Mac)> {
    let mut all = Vec::new();
    while let Some(due) = announcer.next_due().filter(|due| *due <= at(until)) {
        while let Some(mac) = announcer.poll(due, settings) {
            all.push((due.as_millis(), mac));
        }
        assert!(
            announcer.next_due().is_none_or(|next| next > due),
            "polling did something"
        );
    }
    all
}

#[test]
fn announced_at_once_and_then_at_doubled_intervals() {
    let settings = with(&[(Setting::Announces, 4), (Setting::AnnounceInterval, 100)]);
    let mut announcer = announcer(4);
    assert_eq!(announcer.next_due(), None);
    assert!(announcer.appeared(mac(1), at(1_000), &settings));
    assert_eq!(announcer.poll(at(1_099), &settings), None);
    assert_eq!(
        announcements(&mut announcer, &settings, u64::MAX),
        [(1_100, mac(1)), (1_300, mac(1)), (1_700, mac(1))]
    );
    assert_eq!(announcer.next_due(), None);
}

#[test]
fn announced_once_or_never_if_so_set() {
    let mut announcer = announcer(4);
    assert!(announcer.appeared(mac(1), at(0), &with(&[(Setting::Announces, 1)])));
    assert_eq!(announcer.next_due(), None);
    assert!(!announcer.appeared(mac(1), at(0), &with(&[(Setting::Announces, 0)])));
    assert_eq!(announcer.next_due(), None);
}

#[test]
fn what_is_gone_or_not_wanted_any_more_is_not_announced() {
    let settings = Settings::default();
    let mut announcer = announcer(4);
    for number in 1..=3 {
        assert!(announcer.appeared(mac(number), at(0), &settings));
    }
    announcer.gone(mac(2));
    announcer.gone(mac(9));
    let first: Vec<_> = announcements(&mut announcer, &settings, 200);
    assert_eq!(first.len(), 2);
    assert!(first
        .iter()
        .all(|(time, who)| *time == 200 && *who != mac(2)));
    assert_eq!(
        announcer.poll(at(10_000), &with(&[(Setting::Announces, 0)])),
        None
    );
    assert_eq!(announcer.next_due(), None);
}

#[test]
fn an_address_that_appears_again_begins_again() {
    let settings = Settings::default();
    let mut announcer = announcer(1);
    assert!(announcer.appeared(mac(1), at(0), &settings));
    assert!(announcer.appeared(mac(1), at(150), &settings));
    assert_eq!(
        announcements(&mut announcer, &settings, u64::MAX),
        [(350, mac(1)), (750, mac(1))]
    );
}

#[test]
fn without_room_announced_once() {
    let settings = Settings::default();
    let mut announcer = announcer(1);
    assert!(announcer.appeared(mac(1), at(0), &settings));
    assert!(announcer.appeared(mac(2), at(0), &settings));
    assert!(announcements(&mut announcer, &settings, u64::MAX)
        .iter()
        .all(|(_, who)| *who == mac(1)));
}

#[test]
fn what_the_limit_holds_back_is_announced_later_as_often() {
    let settings = with(&[(Setting::VarpRate, 2), (Setting::AnnounceInterval, 100)]);
    let mut announcer = announcer(8);
    let at_once = (0..4)
        .filter(|n| announcer.appeared(mac(*n), at(0), &settings))
        .count();
    assert_eq!(at_once, 2);
    let later = announcements(&mut announcer, &settings, 60_000);
    assert_eq!(at_once + later.len(), 4 * 3);
    for (index, (start, _)) in later.iter().enumerate() {
        let within = later[index..]
            .iter()
            .filter(|(time, _)| time - start < 1_000)
            .count();
        assert!(within <= 4, "{later:?}");
    }
}

proptest! {
    /// Each address that has room is announced as often as set and at no other times than it may; nothing else is.
    #[test]
    fn announcements_are_counted(
        total in 1..=10_u32,
        room in 0..6_usize,
        steps in prop::collection::vec((0..6_u8, any::<bool>(), 0..2_000_u64), 1..60),
    ) {
        let settings = with(&[(Setting::Announces, total), (Setting::VarpRate, 0)]);
        let mut announcer = announcer(room);
        let mut left = [0_u32; 6];
        let mut now = 0;
        for (number, appears, wait) in steps {
            if appears {
                prop_assert!(announcer.appeared(mac(number), at(now), &settings));
                left[usize::from(number)] = 0;
                let others = left.iter().filter(|left| **left > 0).count();
                left[usize::from(number)] = if others < room { total - 1 } else { 0 };
            } else {
                announcer.gone(mac(number));
                left[usize::from(number)] = 0;
            }
            now += wait;
            for (_, mac) in announcements(&mut announcer, &settings, now) {
                let left = &mut left[usize::from(mac.as_bytes()[5])];
                prop_assert!(*left > 0);
                *left -= 1;
            }
        }
        for (_, mac) in announcements(&mut announcer, &settings, u64::MAX) {
            left[usize::from(mac.as_bytes()[5])] -= 1;
        }
        prop_assert_eq!(left, [0; 6]);
    }

    /// No more moves than twice the limit in the shorter of window and damping, and none while damped.
    #[test]
    fn moves_are_bounded(
        limit in 1..8_u32,
        window in 100..5_000_u32,
        damp in 100..5_000_u32,
        waits in prop::collection::vec(0..700_u64, 1..300),
    ) {
        let settings = with(&[(Setting::MoveLimit, limit), (Setting::MoveWindow, window), (Setting::Damp, damp)]);
        let mut moves = Moves::new();
        let mut now = 0;
        let mut followed = Vec::new();
        let mut damped_until = 0;
        for wait in waits {
            now += wait;
            let damped = moves.damped(at(now));
            match moves.moved(at(now), &settings) {
                Move::Follow => {
                    prop_assert!(now >= damped_until && damped == 0);
                    followed.push(now);
                }
                Move::Damp => {
                    prop_assert!(now >= damped_until && damped == 0);
                    damped_until = now + u64::from(damp);
                    prop_assert_eq!(moves.damped(at(now)), damp);
                    prop_assert_eq!(moves.count(at(now), &settings), limit, "what is told");
                }
                Move::Damped => {
                    prop_assert!(now < damped_until);
                    prop_assert_eq!(u64::from(damped), damped_until - now);
                }
            }
            prop_assert!(moves.count(at(now), &settings) <= limit);
        }
        for (index, start) in followed.iter().enumerate() {
            let within = followed[index..].iter().filter(|time| **time - start <= u64::from(window.min(damp))).count();
            prop_assert!(within <= 2 * limit as usize);
        }
    }
}

#[test]
fn a_move_too_many_damps_and_the_first_after_it_is_followed() {
    let settings = with(&[
        (Setting::MoveLimit, 2),
        (Setting::MoveWindow, 60_000),
        (Setting::Damp, 1_000),
    ]);
    let mut moves = Moves::new();
    assert_eq!(moves.moved(at(0), &settings), Move::Follow);
    assert_eq!(moves.moved(at(1), &settings), Move::Follow);
    assert_eq!(moves.count(at(1), &settings), 2);
    assert_eq!(moves.moved(at(2), &settings), Move::Damp);
    assert_eq!(moves.moved(at(1_001), &settings), Move::Damped);
    assert_eq!(moves.damped(at(1_001)), 1);
    assert_eq!(moves.damped(at(1_002)), 0);
    // The window is longer than the damping: it begins anew all the same.
    assert_eq!(moves.moved(at(1_002), &settings), Move::Follow);
    assert_eq!(moves.count(at(1_002), &settings), 1);
    assert_eq!(moves.moved(at(1_003), &settings), Move::Follow);
    assert_eq!(moves.moved(at(1_004), &settings), Move::Damp);
}

#[test]
fn slow_moves_are_never_damped_and_no_limit_is_none() {
    let slow = with(&[(Setting::MoveLimit, 1), (Setting::MoveWindow, 100)]);
    let mut moves = Moves::new();
    assert!((0..100).all(|n| moves.moved(at(n * 101), &slow) == Move::Follow));
    assert_eq!(moves.count(at(99 * 101 + 101), &slow), 0);
    let free = with(&[(Setting::MoveLimit, 0)]);
    let mut moves = Moves::new();
    assert!((0..100).all(|_| moves.moved(at(0), &free) == Move::Follow));
}

const ASKER: &str = "192.0.2.1";
const OTHER: &str = "192.0.2.2";
const OURS: &str = "192.0.2.3";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn judged(opcode: VarpOpcode, mac: Mac, addr: impl Into<VarpAddr>) -> Judged {
    let message = VarpMessage {
        opcode,
        id: "5".parse().expect("an id"),
        mac,
        addr: addr.into(),
    };
    judge(&message, ip(ASKER), |address| address == ip(OURS))
}

#[test]
fn what_is_plausible_is_accepted() {
    use VarpOpcode::{Announce, Request, Withdraw};
    let zero = Mac::from_bytes([0; 6]);
    // The address in a request does not matter.
    for addr in [
        ASKER,
        OTHER,
        OURS,
        "0.0.0.0",
        "224.0.0.1",
        "::",
        "2001:db8::1",
    ] {
        assert_eq!(judged(Request, mac(1), ip(addr)), Judged::Asked(mac(1)));
        assert_eq!(judged(Request, zero, ip(addr)), Judged::AskedPresence);
    }
    let strange = VarpAddr::Unknown {
        family: 1,
        bytes: [1; 16],
    };
    assert_eq!(judged(Request, mac(1), strange), Judged::Asked(mac(1)));
    // A host may announce for another.
    for addr in [ASKER, OTHER, "2001:db8::1"] {
        assert_eq!(
            judged(Announce, mac(1), ip(addr)),
            Judged::Announced(mac(1), ip(addr))
        );
        assert_eq!(judged(Announce, zero, ip(addr)), Judged::Present(ip(addr)));
    }
    assert_eq!(
        judged(Withdraw, mac(1), ip(ASKER)),
        Judged::Withdrawn(mac(1))
    );
}

#[test]
fn what_is_another_one_on_each_link() {
    for address in ["fe80::1", "febf::1", "ff01::1", "ff02::1798", "ff12::1"] {
        assert!(is_of_link(ip(address)), "{address}");
    }
    for address in [
        "fec0::1",
        "fd00::1",
        "ff05::1798",
        "ff0e::1",
        "ff15::2",
        "169.254.0.1",
        "224.0.0.1",
    ] {
        assert!(!is_of_link(ip(address)), "{address}");
    }
}

#[test]
fn an_address_of_the_link_is_good_for_who_has_it() {
    for (source, expected) in [
        ("fe80::1", Judged::Announced(mac(1), ip("fe80::1"))),
        ("fe80::2", Judged::Refused),
    ] {
        let message = VarpMessage {
            opcode: VarpOpcode::Announce,
            id: VnetId::from_bytes([5; 16]),
            mac: mac(1),
            addr: ip("fe80::1").into(),
        };
        assert_eq!(judge(&message, ip(source), |_| false), expected);
    }
}

#[test]
fn what_is_not_plausible_is_refused() {
    use VarpOpcode::{Announce, Request, Unknown, Withdraw};
    let zero = Mac::from_bytes([0; 6]);
    for group in [Mac::BROADCAST, Mac::from_bytes([1, 0, 0x5e, 0, 0, 1])] {
        for opcode in [Request, Announce, Withdraw] {
            assert_eq!(judged(opcode, group, ip(ASKER)), Judged::Refused);
        }
    }
    for opcode in [Announce, Withdraw] {
        for addr in [
            OURS,
            "0.0.0.0",
            "127.0.0.1",
            "224.10.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "ff02::1",
            "::ffff:192.0.2.2",
        ] {
            assert_eq!(
                judged(opcode, mac(1), ip(addr)),
                Judged::Refused,
                "{opcode:?} {addr}"
            );
        }
        let strange = VarpAddr::Unknown {
            family: 1,
            bytes: [192; 16],
        };
        assert_eq!(judged(opcode, mac(1), strange), Judged::Refused);
    }
    assert_eq!(judged(Announce, zero, ip(OURS)), Judged::Refused);
    assert_eq!(
        judged(Withdraw, mac(1), ip(OTHER)),
        Judged::Refused,
        "for another host"
    );
    assert_eq!(judged(Withdraw, zero, ip(ASKER)), Judged::Refused);
    for opcode in [0, 4, u16::MAX] {
        assert_eq!(judged(Unknown(opcode), mac(1), ip(ASKER)), Judged::Refused);
    }
    assert!(is_host(ip(OTHER)) && is_host(ip("fd00::1")) && !is_host(ip("fe80::1")));
}

fn recent(places: usize) -> Recent<Box<[Sighting]>> {
    Recent::new(vec![Sighting::UNUSED; places].into())
}

fn peer(number: u8) -> Way {
    Way::Peer(IpAddr::V4(Ipv4Addr::new(192, 0, 2, number)))
}

fn relay(number: u8) -> Way {
    Way::Relay(Relay::of(Ipv4Addr::new(192, 0, 2, number).into()))
}

#[test]
fn the_first_way_is_taken_and_no_other() {
    let ways = [Way::Sender, peer(1), peer(2), relay(1), relay(2)];
    for first in ways {
        let mut recent = recent(4);
        assert!(recent.is_new(7, first, at(0)));
        for way in ways {
            assert_eq!(
                recent.is_new(7, way, at(10)),
                way == first,
                "{first:?} {way:?}"
            );
        }
        assert!(recent.is_new(8, peer(9), at(10)), "another packet");
    }
}

#[test]
fn the_way_is_forgotten_two_seconds_after_it_was_last_used() {
    let mut recent = recent(4);
    assert!(recent.is_new(7, peer(1), at(0)));
    assert!(recent.is_new(7, peer(1), at(1_500)));
    assert!(
        !recent.is_new(7, peer(2), at(3_500)),
        "refused ones do not count"
    );
    assert!(recent.is_new(7, peer(2), at(3_501)));
    assert!(!recent.is_new(7, peer(1), at(3_502)));
}

#[test]
fn the_oldest_makes_room() {
    let mut recent = recent(3);
    for packet in 0..3 {
        assert!(recent.is_new(packet, peer(1), at(0)));
    }
    assert!(recent.is_new(3, peer(1), at(1)));
    for packet in 1..=3 {
        assert!(
            !recent.is_new(packet, peer(2), at(2)),
            "{packet} is there still"
        );
    }
    assert!(recent.is_new(0, peer(2), at(2)), "0 is not");
    assert!(!recent.is_new(2, peer(3), at(2)));
    assert!(recent.is_new(1, peer(3), at(2)), "1 made room for it");
}

#[test]
fn without_storage_everything_is_new() {
    let mut recent = recent(0);
    assert!(recent.is_new(1, peer(1), at(0)) && recent.is_new(1, peer(2), at(0)));
}

#[test]
fn a_digest_knows_source_and_message_but_not_who_relayed_it() {
    let id = VnetId::from_bytes([5; 16]);
    let mut data = DataHeader::emit(id).to_vec();
    data.extend([1, 2, 3]);
    let varp = VarpMessage {
        opcode: VarpOpcode::Announce,
        id,
        mac: mac(1),
        addr: ip(ASKER).into(),
    };
    for message in [&data[..], &varp.emit()] {
        let plain = digest(ip(ASKER), message);
        assert_ne!(plain, digest(ip(OTHER), message));
        let marked = Relay::of(ip(OTHER))
            .mark(message)
            .expect("it can be relayed");
        let marked = [marked.head(), marked.rest()].concat();
        assert_ne!(marked, message);
        assert_eq!(plain, digest(ip(ASKER), &marked));
        for changed in [0, 1, 4, message.len() - 1] {
            let mut other = message.to_vec();
            other[changed] ^= 0x80;
            assert_ne!(plain, digest(ip(ASKER), &other), "byte {changed}");
        }
    }
    let withdraw = VarpMessage {
        opcode: VarpOpcode::Withdraw,
        ..varp
    };
    assert_ne!(
        digest(ip(ASKER), &varp.emit()),
        digest(ip(ASKER), &withdraw.emit())
    );
    assert_ne!(digest(ip(ASKER), &[]), digest(ip(OTHER), &[]));
}

#[test]
fn what_is_damped_or_announced_follows_the_settings() {
    let mut settings = Settings::default();
    assert!(settings.set(Setting::Damp, 3_600_000) && settings.set(Setting::MoveLimit, 1));
    let mut moves = Moves::new();
    assert_eq!(moves.moved(at(0), &settings), Move::Follow);
    assert_eq!(moves.moved(at(1), &settings), Move::Damp);
    assert_eq!(moves.damped(at(1)), 3_600_000);
    assert!(settings.set(Setting::Damp, 100));
    moves.settings_changed(at(10), &settings);
    assert_eq!(moves.damped(at(10)), 100);
    assert!(settings.set(Setting::MoveLimit, 0));
    moves.settings_changed(at(20), &settings);
    assert_eq!(moves.damped(at(20)), 0);
    assert_eq!(moves.moved(at(20), &settings), Move::Follow);

    assert!(settings.set(Setting::AnnounceInterval, 10_000));
    let mut announcer = Announcer::new(vec![Appearance::UNUSED; 4]);
    assert!(announcer.appeared(mac(1), at(0), &settings));
    assert_eq!(announcer.next_due(), Some(at(10_000)));
    assert!(settings.set(Setting::AnnounceInterval, 100));
    announcer.settings_changed(at(5), &settings);
    assert!(announcer.next_due() <= Some(at(5 + (100 << 3))));
    assert!(settings.set(Setting::Announces, 1));
    announcer.settings_changed(at(6), &settings);
    let due = announcer.next_due().expect("one is owed");
    assert_eq!(announcer.poll(due, &settings), Some(mac(1)));
    assert_eq!(announcer.next_due(), None);
}
