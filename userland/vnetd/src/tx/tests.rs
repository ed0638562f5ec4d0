// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The race of who sends a frame to an unknown address and who makes the address known.

use vnet_core::wire::Message;

use super::*;
use crate::harness::{Bench, PEERS, frame, mac};

fn learn(bench: &Bench) {
    let (now, settings) = (bench.worker.shared.clock.now(), bench.settings);
    let heard = bench
        .vnet()
        .table
        .hear(mac(1), Some(PEERS[1]), now, &settings);
    assert_eq!(heard, Heard::New);
}

fn sent(bench: &Bench) -> Vec<IpAddr> {
    let data = |bytes: &[u8]| matches!(Message::parse(bytes), Ok(Message::Data(..)));
    let heard = bench.heard().into_iter();
    heard
        .filter(|(.., bytes)| data(bytes))
        .map(|(to, ..)| to)
        .collect()
}

#[test]
fn what_became_known_before_the_resolver_was_locked_is_not_asked_for() {
    let mut bench = Bench::new();
    let mut bytes = frame(mac(1), mac(9));
    // The table was looked at without success; then another thread learned the address, and found nothing that waited.
    learn(&bench);
    bench.work(|worker, _, underlay, net| {
        let header = VnetHeader::default();
        worker.submit(underlay, net, &header, &mut bytes, mac(1));
    });
    assert_eq!(sent(&bench), [PEERS[1]]);
    let counters = [NetCounter::Held, NetCounter::Unknown, NetCounter::TxRequest];
    assert_eq!(counters.map(|counter| bench.counted(counter)), [0; 3]);
}

#[test]
fn who_learns_an_address_waits_for_who_is_about_to_hold_a_frame_for_it() {
    let mut bench = Bench::new();
    assert!(!bench.vnet().is_asking(), "nobody has to wait");
    let shared = bench.worker.shared.clone();
    let now = shared.clock.now();
    let settings = bench.settings;
    bench.vnet().with_resolver(&shared, |resolver| {
        assert_eq!(bench.vnet().table.find(mac(1)), None);
        learn(&bench);
        assert!(
            bench.vnet().is_asking(),
            "who has learned it now takes the lock, and finds the frame"
        );
        let held = Frame {
            header: VnetHeader::default(),
            bytes: frame(mac(1), mac(9)),
        };
        resolver.submit(mac(1), held, now, &settings);
    });
    assert!(bench.vnet().is_asking());
    bench.work(|worker, world, _, net| worker.known(world, net, mac(1)));
    assert_eq!(sent(&bench), [PEERS[1]]);
    assert!(!bench.vnet().is_asking());
}
