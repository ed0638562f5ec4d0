// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What is said to whom, and what becomes of frames that wait.

use vnet_core::abi::net;
use vnet_core::varp::PendingState;
use vnet_core::wire::{Forwarded, MESSAGE_HEADER_LEN, Message, VARP_LEN};

use super::*;
use crate::harness::{A, B, Bench, OURS, PEERS, frame, from, id, mac};
use crate::table::Heard;

fn message(opcode: VarpOpcode, mac: Mac, addr: IpAddr) -> VarpMessage {
    VarpMessage {
        opcode,
        id: id(),
        mac,
        addr: addr.into(),
    }
}

/// The VARP messages that the peers have heard: to which, from where, what.
fn said(bench: &Bench) -> Vec<(IpAddr, IpAddr, VarpMessage)> {
    let varp = |(to, from, bytes): (IpAddr, IpAddr, Vec<u8>)| match Message::parse(&bytes) {
        Ok(Message::Varp(message)) => (to, from, message),
        other => panic!("{other:?}"),
    };
    bench.heard().into_iter().map(varp).collect()
}

fn probe(bench: &mut Bench, to: Option<(IpAddr, IpAddr)>, size: usize) -> nix::Result<()> {
    bench.work(|worker, world, _, net| worker.probe(world, net, mac(1), to, size))
}

#[test]
fn a_question_to_all_goes_to_each_with_the_address_that_it_knows() {
    let mut bench = Bench::new();
    assert_eq!(probe(&mut bench, None, 0), Ok(()));
    let to_each = PEERS.iter().zip(OURS).map(|(to, ours)| {
        let asked = message(VarpOpcode::Request, mac(1), ours);
        (*to, ours, asked)
    });
    assert_eq!(said(&bench), to_each.collect::<Vec<_>>());
    assert_eq!(bench.counted(NetCounter::TxRequest), 2);
    // One to which there is no way does not keep the others from being asked.
    bench.underlay.sources.remove(&PEERS[0]);
    assert_eq!(probe(&mut bench, None, 0), Ok(()));
    let asked: Vec<_> = said(&bench).into_iter().map(|(to, ..)| to).collect();
    assert_eq!(asked, [PEERS[1]]);
    assert_eq!(bench.counted(NetCounter::TxNoRoute), 1);
}

#[test]
fn where_floods_go_to_a_group_peers_are_asked_wrapped() {
    let mut bench = Bench::new();
    bench.underlay.flood_peers = false;
    assert_eq!(probe(&mut bench, None, 0), Ok(()));
    let heard = bench.heard();
    assert_eq!(heard.len(), 2, "each once");
    for ((to, _, bytes), (peer, ours)) in heard.iter().zip(PEERS.iter().zip(OURS)) {
        let packet = &bytes[MESSAGE_HEADER_LEN..];
        let forwarded = Forwarded::parse_packet(packet, bench.underlay.port).expect("wrapped");
        assert!(to == peer && forwarded.source.is_unspecified());
        let Ok(Message::Varp(asked)) = Message::parse(forwarded.payload) else {
            panic!("{forwarded:?}");
        };
        assert_eq!(asked, message(VarpOpcode::Request, mac(1), ours));
    }
}

#[test]
fn a_question_to_one_goes_there_alone_and_has_the_size_that_was_asked_for() {
    let mut bench = Bench::new();
    for (size, length) in [(0, VARP_LEN), (100, 100)] {
        assert_eq!(probe(&mut bench, Some((PEERS[1], OURS[1])), size), Ok(()));
        let heard = bench.heard();
        let [(to, _, bytes)] = &heard[..] else {
            panic!("{heard:?}");
        };
        assert_eq!((*to, bytes.len()), (PEERS[1], length));
        let asked = VarpMessage::parse(bytes).expect("a question");
        assert_eq!(asked, message(VarpOpcode::Request, mac(1), OURS[1]));
    }
    // The sockets here are of IPv4 only.
    let nowhere = Some(("2001:db8::1".parse().expect("an address"), OURS[0]));
    assert!(probe(&mut bench, nowhere, 0).is_err());
    assert_eq!(bench.counted(NetCounter::TxRequest), 2);
}

#[test]
fn an_answer_goes_to_who_has_asked_and_to_nobody_else() {
    let mut bench = Bench::new();
    let asked = |mac| message(VarpOpcode::Request, mac, A);
    let origin = Origin {
        ours: Some(OURS[1]),
        ..from(PEERS[1])
    };
    bench.varp(&asked(mac(1)), &origin);
    assert_eq!(said(&bench), [], "it is not here");
    bench.transmit(frame(mac(2), mac(1)));
    bench.heard();
    bench.varp(&asked(mac(1)), &origin);
    bench.varp(&asked(NO_MAC), &origin);
    let answer = |mac| {
        let answer = message(VarpOpcode::Announce, mac, OURS[1]);
        (PEERS[1], OURS[1], answer)
    };
    assert_eq!(said(&bench), [answer(mac(1)), answer(NO_MAC)]);
    // Nothing may be said with an address that is not known.
    bench.varp(
        &asked(mac(1)),
        &Origin {
            ours: None,
            ..origin
        },
    );
    assert_eq!(said(&bench), []);
    assert_eq!(bench.counted(NetCounter::TxNoRoute), 1);
}

#[test]
fn an_address_of_the_link_is_believed_only_where_the_device_is_known() {
    let link: IpAddr = "fe80::2".parse().expect("an address");
    let announced = message(VarpOpcode::Announce, mac(1), link);
    let mut bench = Bench::new();
    bench.varp(&announced, &from(link));
    assert_eq!(bench.counted(NetCounter::RxVarpRefused), 1);
    assert_eq!(bench.vnet().table.find(mac(1)), None);
    bench.underlay.device = 7;
    bench.varp(&announced, &from(link));
    assert_eq!(bench.vnet().table.find(mac(1)), Some(link));
    // Only of its own, as another one cannot know on which link we are.
    let other = message(VarpOpcode::Announce, mac(2), link);
    bench.varp(&other, &from(A));
    assert_eq!(bench.vnet().table.find(mac(2)), None);
    assert_eq!(bench.counted(NetCounter::RxVarpRefused), 2);
}

/// A frame waits for MAC 1, and there is no room for it in the table any more.
fn without_room() -> Bench {
    let mut bench = Bench::new();
    assert!(bench.settings.set(Setting::MaxMacs, 1));
    bench.transmit(frame(mac(1), mac(9)));
    assert_eq!(bench.counted(NetCounter::Held), 1);
    let (now, settings) = (bench.worker.shared.clock.now(), bench.settings);
    let heard = bench.vnet().table.hear(mac(2), Some(B), now, &settings);
    assert_eq!(heard, Heard::New);
    bench.heard();
    bench
}

/// How many frames the peers have heard.
fn frames(bench: &Bench) -> usize {
    let is_frame = |bytes: &[u8]| matches!(Message::parse(bytes), Ok(Message::Data(..)));
    let heard = bench.heard().into_iter();
    heard.filter(|(.., bytes)| is_frame(bytes)).count()
}

fn pending(bench: &Bench) -> Option<PendingState> {
    let state = |pending: &vnet_core::varp::Pending| {
        assert_eq!(pending.mac(), mac(1));
        pending.state()
    };
    let resolving = bench.vnet().resolving(|resolver| {
        assert_eq!(resolver.held(), 0, "no frame is left behind");
        resolver.pending().first().map(state)
    });
    resolving.flatten()
}

#[test]
fn what_waits_for_an_address_without_room_is_flooded() {
    let mut bench = without_room();
    bench.varp(&message(VarpOpcode::Announce, mac(1), A), &from(A));
    assert_eq!(bench.vnet().table.find(mac(1)), None);
    assert_eq!(bench.counted(NetCounter::TableFull), 1);
    assert_eq!(frames(&bench), 2, "to both peers");
    assert_eq!(pending(&bench), Some(PendingState::Absent));
    // And so is what follows.
    bench.transmit(frame(mac(1), mac(9)));
    assert_eq!(frames(&bench), 2);
    assert_eq!(bench.counted(NetCounter::Held), 1);
}

#[test]
fn what_waits_for_an_address_without_room_is_dropped_if_that_is_wanted() {
    let mut bench = without_room();
    assert!(bench.settings.set(Setting::Unknown, net::UNKNOWN_DROP));
    bench.varp(&message(VarpOpcode::Announce, mac(1), A), &from(A));
    assert_eq!(frames(&bench), 0);
    assert_eq!(bench.counted(NetCounter::UnknownDropped), 1);
    assert_eq!(pending(&bench), Some(PendingState::Absent));
}

#[test]
fn what_waits_for_an_address_that_appears_here_is_dropped() {
    let mut bench = Bench::new();
    bench.transmit(frame(mac(1), mac(9)));
    bench.heard();
    bench.work(|worker, world, _, net| worker.bridged(world, net, mac(1)));
    assert_eq!(frames(&bench), 0, "the bridge has reached it");
    assert_eq!(bench.counted(NetCounter::HoldDropped), 1);
    assert_eq!(pending(&bench), None);
}
