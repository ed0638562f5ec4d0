// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The resolver, one behaviour at a time; `machines.rs` has it against a model.

use vnet_core::settings::{Setting, Settings};
use vnet_core::varp::{Due, Fate, Held, Pending, PendingState, Resolver, Submitted};
use vnet_core::{Instant, Mac};

type Tested = Resolver<u32, Box<[Pending]>, Box<[Held<u32>]>>;

fn resolver() -> Tested {
    sized(128, 256)
}

fn sized(addresses: usize, frames: usize) -> Tested {
    Resolver::new(
        vec![Pending::UNUSED; addresses].into(),
        (0..frames).map(|_| Held::unused()).collect(),
    )
}

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn mac(number: u16) -> Mac {
    let [high, low] = number.to_be_bytes();
    Mac::from_bytes([2, 0, 0, 0, high, low])
}

fn with(values: &[(Setting, u32)]) -> Settings {
    let mut settings = Settings::default();
    for (setting, value) in values {
        assert!(settings.set(*setting, *value), "{setting:?} {value}");
    }
    settings
}

fn held(ask: bool, evicted: Option<u32>) -> Submitted<u32> {
    Submitted {
        ask,
        limited: false,
        fate: Fate::Held,
        evicted,
    }
}

/// All that is due until a time, each at the time that was said.
fn due(resolver: &mut Tested, settings: &Settings, until: u64) -> Vec<(u64, Due<u32>)> {
    let mut all = Vec::new();
    while let Some(now) = resolver.next_due().filter(|due| *due <= at(until)) {
        while let Some(due) = resolver.poll(now, settings) {
            all.push((now.as_millis(), due));
        }
    }
    all
}

fn taken(resolver: &mut Tested, number: u16) -> Vec<u32> {
    std::iter::from_fn(|| resolver.take(mac(number))).collect()
}

#[test]
fn asked_at_doubled_intervals_then_flooded_then_remembered_then_asked_again() {
    let settings = with(&[
        (Setting::Probes, 4),
        (Setting::ProbeInterval, 50),
        (Setting::Negative, 1_000),
    ]);
    let mut resolver = resolver();
    assert_eq!(
        resolver.submit(mac(1), 10, at(100), &settings),
        held(true, None)
    );
    assert_eq!(
        resolver.submit(mac(1), 11, at(120), &settings),
        held(false, None)
    );
    assert_eq!(
        due(&mut resolver, &settings, 1_000),
        [
            (150, Due::Ask(mac(1))),
            (250, Due::Ask(mac(1))),
            (450, Due::Ask(mac(1))),
            (850, Due::Flood(10)),
            (850, Due::Flood(11)),
            (850, Due::Unresolved(mac(1))),
        ]
    );
    assert_eq!(resolver.pending()[0].state(), PendingState::Absent);
    let flooded = Submitted {
        ask: false,
        limited: false,
        fate: Fate::Flood(12),
        evicted: None,
    };
    assert_eq!(resolver.submit(mac(1), 12, at(1_849), &settings), flooded);
    assert_eq!(resolver.next_due(), Some(at(1_850)));
    assert_eq!(resolver.poll(at(1_850), &settings), None);
    assert!(!resolver.knows(mac(1)));
    assert_eq!(
        resolver.submit(mac(1), 13, at(1_851), &settings),
        held(true, None)
    );
}

#[test]
fn held_frames_come_out_in_their_order_when_the_address_is_known() {
    let settings = Settings::default();
    let mut resolver = resolver();
    for frame in 0..12 {
        let number = (frame % 3) as u16;
        assert_eq!(
            resolver.submit(mac(number), frame, at(0), &settings),
            held(frame < 3, None)
        );
    }
    assert_eq!(resolver.held(), 12);
    assert_eq!(taken(&mut resolver, 1), [1, 4, 7, 10]);
    assert!(!resolver.knows(mac(1)) && resolver.knows(mac(0)));
    assert_eq!(taken(&mut resolver, 9), []);
    let mut rest: Vec<_> = std::iter::from_fn(|| resolver.clear()).collect();
    rest.sort_unstable();
    assert_eq!(rest, [0, 2, 3, 5, 6, 8, 9, 11]);
    assert_eq!(
        (
            resolver.held(),
            resolver.pending().len(),
            resolver.next_due()
        ),
        (0, 0, None)
    );
}

#[test]
fn the_oldest_frame_makes_room() {
    let settings = with(&[(Setting::HoldMac, 3), (Setting::HoldNet, 4)]);
    let mut resolver = resolver();
    for frame in 0..3 {
        assert_eq!(
            resolver.submit(mac(1), frame, at(0), &settings).evicted,
            None
        );
    }
    assert_eq!(
        resolver.submit(mac(1), 3, at(0), &settings),
        held(false, Some(0)),
        "of its address"
    );
    assert_eq!(
        resolver.submit(mac(2), 4, at(0), &settings),
        held(true, None)
    );
    assert_eq!(
        resolver.submit(mac(2), 5, at(0), &settings),
        held(false, Some(4)),
        "its own first"
    );
    assert_eq!(
        resolver.submit(mac(3), 6, at(0), &settings),
        held(true, Some(1)),
        "of who has most"
    );
    assert_eq!(resolver.held(), 4);
    assert_eq!(taken(&mut resolver, 1), [2, 3]);
}

#[test]
fn nothing_is_held_where_nothing_may_be() {
    for settings in [
        with(&[(Setting::HoldMac, 0)]),
        with(&[(Setting::HoldNet, 0)]),
        with(&[(Setting::Unknown, 1)]),
    ] {
        let mut resolver = resolver();
        let flooded = Submitted {
            ask: true,
            limited: false,
            fate: Fate::Flood(1),
            evicted: None,
        };
        assert_eq!(
            resolver.submit(mac(1), 1, at(0), &settings),
            flooded,
            "{settings:?}"
        );
        assert_eq!((resolver.held(), resolver.pending().len()), (0, 1));
    }
    let mut storage = sized(4, 0);
    let fate = storage.submit(mac(1), 1, at(0), &Settings::default()).fate;
    assert_eq!(fate, Fate::Flood(1));
    let mut storage = sized(0, 4);
    let submitted = storage.submit(mac(1), 1, at(0), &Settings::default());
    assert_eq!(
        submitted,
        Submitted {
            ask: false,
            limited: false,
            fate: Fate::Flood(1),
            evicted: None
        }
    );
}

#[test]
fn floods_are_limited_and_dropping_drops() {
    let settings = with(&[(Setting::Unknown, 1), (Setting::UnknownRate, 2)]);
    let mut unresolved = resolver();
    let fates: Vec<_> = (0..3)
        .map(|frame| unresolved.submit(mac(1), frame, at(0), &settings).fate)
        .collect();
    assert_eq!(fates, [Fate::Flood(0), Fate::Flood(1), Fate::Drop(2)]);
    assert_eq!(
        unresolved.submit(mac(2), 3, at(500), &settings).fate,
        Fate::Flood(3)
    );

    let settings = with(&[(Setting::Unknown, 2), (Setting::Probes, 1)]);
    let mut dropping = resolver();
    assert_eq!(
        dropping.submit(mac(1), 0, at(0), &settings),
        held(true, None)
    );
    assert_eq!(
        due(&mut dropping, &settings, 100),
        [(100, Due::Drop(0)), (100, Due::Unresolved(mac(1)))]
    );
    assert_eq!(
        dropping.submit(mac(1), 1, at(200), &settings).fate,
        Fate::Drop(1)
    );
}

#[test]
fn absent_addresses_make_room_and_those_asked_for_do_not() {
    let settings = with(&[(Setting::MaxUnresolved, 3), (Setting::Probes, 1)]);
    let mut resolver = resolver();
    for (number, time) in [(1, 0), (2, 10), (3, 20)] {
        assert!(resolver.submit(mac(number), 0, at(time), &settings).ask);
    }
    let refused = Submitted {
        ask: false,
        limited: false,
        fate: Fate::Flood(4),
        evicted: None,
    };
    assert_eq!(resolver.submit(mac(4), 4, at(50), &settings), refused);
    due(&mut resolver, &settings, 115);
    assert_eq!(
        resolver.submit(mac(4), 4, at(116), &settings),
        held(true, None),
        "in place of 1"
    );
    assert!(!resolver.knows(mac(1)) && resolver.knows(mac(2)) && resolver.knows(mac(3)));
    assert_eq!(
        resolver.submit(mac(5), 5, at(116), &settings),
        held(true, None),
        "in place of 2"
    );
    assert!(!resolver.submit(mac(6), 6, at(116), &settings).ask);
}

#[test]
fn lowered_limits_drop_what_is_beyond_once_and_let_nothing_in() {
    let mut settings = Settings::default();
    let mut resolver = resolver();
    for frame in 0..10 {
        resolver.submit(mac(frame as u16 / 5), frame, at(0), &settings);
    }
    assert!(settings.set(Setting::HoldNet, 8) && settings.set(Setting::MaxUnresolved, 1));
    let submitted = resolver.submit(mac(0), 10, at(1), &settings);
    assert_eq!(
        submitted,
        Submitted {
            ask: false,
            limited: false,
            fate: Fate::Flood(10),
            evicted: None
        },
        "dropping one would not make room"
    );
    let excess: Vec<_> = std::iter::from_fn(|| resolver.excess(&settings)).collect();
    assert_eq!((excess, resolver.held()), (vec![5, 0], 8));
    assert_eq!(
        resolver.submit(mac(1), 12, at(1), &settings),
        held(false, Some(6))
    );
    assert!(!resolver.submit(mac(2), 13, at(1), &settings).ask);
    assert_eq!(taken(&mut resolver, 0), [1, 2, 3, 4]);
    assert!(
        !resolver.submit(mac(2), 14, at(1), &settings).ask,
        "there is still one"
    );
    assert_eq!(taken(&mut resolver, 1), [7, 8, 9, 12]);
    assert!(resolver.submit(mac(2), 15, at(1), &settings).ask);
}

#[test]
fn a_lowered_limit_of_one_address_is_for_each() {
    let mut settings = Settings::default();
    let mut resolver = resolver();
    for frame in 0..10 {
        resolver.submit(mac(frame as u16 % 2), frame, at(0), &settings);
    }
    assert_eq!(resolver.excess(&settings), None);
    assert!(settings.set(Setting::HoldMac, 3));
    while resolver.excess(&settings).is_some() {}
    assert_eq!(
        resolver.submit(mac(0), 10, at(1), &settings),
        held(false, Some(4))
    );
    assert_eq!(taken(&mut resolver, 0), [6, 8, 10]);
    assert!(settings.set(Setting::HoldMac, 0));
    while resolver.excess(&settings).is_some() {}
    assert_eq!((resolver.held(), resolver.pending().len()), (0, 1));
}

#[test]
fn requests_are_limited_and_those_left_out_are_told() {
    let settings = with(&[(Setting::VarpRate, 1), (Setting::Probes, 2)]);
    let mut resolver = resolver();
    assert_eq!(
        resolver.submit(mac(1), 1, at(0), &settings),
        held(true, None)
    );
    let late = Submitted {
        limited: true,
        ..held(false, None)
    };
    assert_eq!(resolver.submit(mac(2), 2, at(0), &settings), late);
    assert_eq!(
        resolver.submit(mac(2), 3, at(0), &settings),
        held(false, None),
        "only the first of an address would be asked for"
    );
    assert_eq!(
        due(&mut resolver, &settings, 299),
        [(100, Due::Limited), (100, Due::Limited)]
    );
    assert_eq!(
        due(&mut resolver, &settings, 300).len(),
        5,
        "the times stay as they are"
    );
}

#[test]
fn without_negative_time_it_is_asked_again_at_once() {
    let settings = with(&[(Setting::Negative, 0), (Setting::Probes, 1)]);
    let mut resolver = resolver();
    assert!(resolver.submit(mac(1), 1, at(0), &settings).ask);
    assert_eq!(
        due(&mut resolver, &settings, 100).last(),
        Some(&(100, Due::Unresolved(mac(1))))
    );
    assert!(!resolver.knows(mac(1)) && resolver.next_due().is_none());
    assert!(resolver.submit(mac(1), 2, at(100), &settings).ask);
}

#[test]
fn an_absent_address_that_is_found_is_forgotten() {
    let settings = with(&[(Setting::Probes, 1)]);
    let mut resolver = resolver();
    resolver.submit(mac(1), 1, at(0), &settings);
    due(&mut resolver, &settings, 100);
    assert!(resolver.knows(mac(1)));
    assert_eq!(resolver.take(mac(1)), None);
    assert!(!resolver.knows(mac(1)));
}

#[test]
fn shorter_times_hold_for_what_waits_already() {
    let slow = with(&[(Setting::ProbeInterval, 10_000), (Setting::Probes, 2)]);
    let mut resolver = resolver();
    assert_eq!(resolver.submit(mac(1), 1, at(0), &slow), held(true, None));
    assert_eq!(resolver.next_due(), Some(at(10_000)));
    let fast = with(&[(Setting::ProbeInterval, 100), (Setting::Probes, 2)]);
    resolver.settings_changed(at(50), &fast);
    assert_eq!(resolver.next_due(), Some(at(150)));
    // Longer ones hold from the next time on.
    resolver.settings_changed(at(60), &slow);
    assert_eq!(resolver.next_due(), Some(at(150)));
    let fast = with(&[
        (Setting::ProbeInterval, 100),
        (Setting::Probes, 2),
        (Setting::Negative, 600_000),
    ]);
    due(&mut resolver, &fast, 1_000);
    assert_eq!(resolver.pending()[0].state(), PendingState::Absent);
    let forgets = with(&[(Setting::Negative, 0)]);
    resolver.settings_changed(at(1_000), &forgets);
    due(&mut resolver, &forgets, 1_000);
    assert!(resolver.pending().is_empty());
}

#[test]
fn an_address_that_cannot_be_learned_is_absent_for_a_while() {
    let settings = with(&[(Setting::UnknownRate, 1)]);
    let mut resolver = resolver();
    assert_eq!(
        resolver.submit(mac(1), 1, at(0), &settings),
        held(true, None)
    );
    assert_eq!(taken(&mut resolver, 1), [1]);
    resolver.unlearned(mac(1), at(10), &settings);
    assert_eq!(resolver.pending()[0].state(), PendingState::Absent);
    // Neither held nor asked for, and flooded at the rate only.
    for (frame, fate) in [(2, Fate::Flood(2)), (3, Fate::Drop(3))] {
        let submitted = resolver.submit(mac(1), frame, at(20), &settings);
        assert_eq!((submitted.ask, submitted.fate), (false, fate));
    }
    let negative = u64::from(settings.get(Setting::Negative));
    assert_eq!(due(&mut resolver, &settings, 10 + negative), []);
    assert_eq!(resolver.pending().len(), 0);

    // Frames that came meanwhile wait on.
    assert_eq!(
        resolver.submit(mac(2), 4, at(9_000), &settings),
        held(true, None)
    );
    resolver.unlearned(mac(2), at(9_001), &settings);
    assert_eq!(resolver.pending()[0].state(), PendingState::Probing(1));
    resolver.unlearned(mac(3), at(9_002), &with(&[(Setting::Negative, 0)]));
    assert_eq!(resolver.pending().len(), 1);
}
