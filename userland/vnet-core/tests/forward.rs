// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Forwarded packets: what is made is read again, by us and by the rules of IP; marks of those who relay.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use vnet_core::wire::{
    DataHeader, ForwardHeader, Forwarded, Message, Relay, VarpAddr, VarpMessage, VarpOpcode,
    DATA_HEADER_LEN, FORWARD_HEADER_MAX, VARP_LEN,
};
use vnet_core::{Mac, VnetId, WireError};

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The ones' complement sum of 16-bit words; 0xffff over a header with its checksum.
fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = (0..bytes.len())
        .step_by(2)
        .map(|at| u32::from(be16(bytes, at)))
        .sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    u16::try_from(sum).expect("16 bits")
}

fn unicast4() -> impl Strategy<Value = Ipv4Addr> {
    any::<Ipv4Addr>().prop_filter("a host", |ip| !ip.is_multicast() && !ip.is_broadcast())
}

fn unicast6() -> impl Strategy<Value = Ipv6Addr> {
    any::<Ipv6Addr>().prop_filter("a host", |ip| !ip.is_multicast())
}

fn group4() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(0xe000_0000 | (bits >> 4)))
}

fn group6() -> impl Strategy<Value = Ipv6Addr> {
    any::<u128>().prop_map(|bits| Ipv6Addr::from_bits((0xff << 120) | (bits >> 8)))
}

fn addresses() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    prop_oneof![
        (unicast4(), group4()).prop_map(|(source, group)| (source.into(), group.into())),
        (unicast6(), group6()).prop_map(|(source, group)| (source.into(), group.into())),
    ]
}

fn wrap(source: IpAddr, group: IpAddr, port: u16, kind: (u8, u8), payload: &[u8]) -> Vec<u8> {
    let header = ForwardHeader::emit(source, group, port, kind, payload.len()).expect("a header");
    [header.as_bytes(), payload].concat()
}

proptest! {
    #[test]
    fn what_is_wrapped_is_unwrapped(
        (source, group) in addresses(), port in 1u16.., tos in any::<u8>(), ttl in 1u8..,
        payload in prop::collection::vec(any::<u8>(), 0..100),
        padding in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        let bytes = wrap(source, group, port, (tos, ttl), &payload);
        prop_assert!(bytes.len() <= FORWARD_HEADER_MAX + payload.len());
        let expected = Forwarded { source, destination: group, tos, ttl, payload: &payload };
        prop_assert_eq!(Forwarded::parse(&bytes, port), Ok(expected));
        prop_assert_eq!(Message::parse(&bytes), Ok(Message::Forward(&bytes[4..])));
        prop_assert_eq!(Forwarded::parse(&bytes, port ^ 1), Err(WireError::BadForward));
        let padded = [&bytes[..], &padding].concat();
        prop_assert_eq!(Forwarded::parse(&padded, port), Ok(expected), "bytes after the packet do not matter");
        for length in 0..bytes.len() {
            prop_assert_eq!(Forwarded::parse(&bytes[..length], port), Err(WireError::Short));
        }
    }

    #[test]
    fn headers_are_those_of_ip(
        (source, group) in addresses(), port in any::<u16>(), ttl in any::<u8>(), length in 0..1_600_usize,
    ) {
        let header = ForwardHeader::emit(source, group, port, (0, ttl), length).expect("a header");
        let bytes = header.as_bytes();
        prop_assert_eq!(&bytes[..4], &[0, 3, 0, 0]);
        let ip = &bytes[4..];
        let udp = match source {
            IpAddr::V4(_) => {
                prop_assert_eq!((ip[0], ip[8], ip[9]), (0x45, ttl, 17));
                prop_assert_eq!(usize::from(be16(ip, 2)), 28 + length);
                prop_assert_eq!(sum(&ip[..20]), 0xffff, "the checksum");
                &ip[20..]
            }
            IpAddr::V6(_) => {
                prop_assert_eq!((ip[0], ip[6], ip[7]), (0x60, 17, ttl));
                prop_assert_eq!(usize::from(be16(ip, 4)), 8 + length);
                &ip[40..]
            }
        };
        prop_assert_eq!(udp.len(), 8);
        prop_assert_eq!((be16(udp, 0), be16(udp, 2), usize::from(be16(udp, 4))), (port, port, 8 + length));
    }

    #[test]
    fn any_bytes_are_judged(
        start in prop_oneof![
            Just(wrap([192, 0, 2, 1].into(), [224, 10, 0, 1].into(), 1798, (0, 64), &[1; 30])),
            Just(wrap(Ipv6Addr::LOCALHOST.into(), group("ff0e::1"), 1798, (0, 64), &[1; 30])),
            prop::collection::vec(any::<u8>(), 0..100),
        ],
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut bytes = start;
        for (at, value) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
        }
        if let Ok(packet) = Forwarded::parse(&bytes, 1798) {
            prop_assert!(packet.destination.is_multicast() && !packet.source.is_multicast());
            prop_assert_eq!(packet.destination.is_ipv4(), packet.source.is_ipv4());
            let start = packet.payload.as_ptr() as usize - bytes.as_ptr() as usize;
            prop_assert!((32..=bytes.len()).contains(&start), "the payload is behind the headers");
        }
        let _ = Relay::read(&bytes);
        let _ = Relay::of([192, 0, 2, 1].into()).mark(&bytes);
    }

    #[test]
    fn a_mark_is_read_again_and_changes_nothing_else(
        address in any::<IpAddr>(), again in any::<IpAddr>(), id in any::<[u8; 16]>(), mac in any::<[u8; 6]>(),
        rest in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let id = VnetId::from_bytes(id);
        let data = [&DataHeader::emit(id)[..], &rest].concat();
        let varp = VarpMessage {
            opcode: VarpOpcode::Request, id, mac: Mac::from_bytes(mac), addr: VarpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        let (relay, again) = (Relay::of(address), Relay::of(again));
        for message in [&data[..], &varp.emit()] {
            prop_assert_eq!(Relay::read(message), None);
            let marked = relay.mark(message).expect("it can be relayed");
            let marked = [marked.head(), marked.rest()].concat();
            prop_assert_eq!(Relay::read(&marked), Some(relay));
            prop_assert_eq!(Message::parse(&marked), Message::parse(message));
            let twice = again.mark(&marked).expect("it can be relayed");
            let twice = [twice.head(), twice.rest()].concat();
            prop_assert_eq!(Relay::read(&twice), Some(again));
            prop_assert_eq!(Message::parse(&twice), Message::parse(message));
            prop_assert_eq!(twice.len(), marked.len());
        }
    }
}

fn group(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn a_header_is_refused_where_ip_has_none() {
    let (host4, group4) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([224, 10, 0, 1]));
    let (host6, group6) = (group("2001:db8::1"), group("ff0e::1"));
    let emit = |source, group, length| ForwardHeader::emit(source, group, 1798, (0, 64), length);
    assert_eq!(emit(host4, group6, 0), None);
    assert_eq!(emit(host6, group4, 0), None);
    assert!(emit(host4, group4, 65_535 - 28).is_some());
    assert_eq!(emit(host4, group4, 65_535 - 27), None);
    assert!(emit(host6, group6, 65_535 - 8).is_some());
    assert_eq!(emit(host6, group6, 65_535 - 7), None);
    assert_eq!(emit(host6, group6, usize::MAX), None);
}

#[test]
fn ipv6_packets_are_checked() {
    let good = wrap(
        group("2001:db8::1"),
        group("ff0e::1"),
        1798,
        (0, 64),
        &[7; 30],
    );
    assert!(Forwarded::parse(&good, 1798).is_ok());
    let bad = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        Forwarded::parse(&bytes, 1798).expect_err("an error")
    };
    assert_eq!(bad(4, 0x50), WireError::BadForward, "version");
    assert_eq!(bad(10, 44), WireError::BadForward, "a fragment header");
    assert_eq!(bad(12, 0xff), WireError::BadForward, "source is a group");
    assert_eq!(
        bad(28, 0x20),
        WireError::BadForward,
        "destination is a host"
    );
    assert_eq!(bad(8, 1), WireError::Short, "longer than the datagram");
    assert_eq!(bad(9, 37), WireError::BadForward, "UDP beyond the packet");
    assert_eq!(bad(47, 9), WireError::BadForward, "port");
    assert_eq!(bad(49, 7), WireError::BadForward, "UDP below its header");
    assert_eq!(bad(49, 0), WireError::BadForward, "a jumbogram");
}

#[test]
fn hosts_of_one_network_have_different_numbers() {
    let mut numbers: Vec<u16> = Vec::new();
    let message = DataHeader::emit(VnetId::from_bytes([5; 16]));
    for last in 0..=255 {
        let marked = Relay::of([192, 0, 2, last].into())
            .mark(&message)
            .expect("data");
        numbers.push(be16(marked.head(), 2));
    }
    numbers.sort_unstable();
    numbers.dedup();
    assert!(
        numbers.len() >= 255 && !numbers.contains(&0),
        "{}",
        numbers.len()
    );
}

#[test]
fn only_whole_messages_are_relayed_and_only_the_mark_is_one() {
    let relay = Relay::of([192, 0, 2, 1].into());
    let data = DataHeader::emit(VnetId::from_bytes([5; 16]));
    let varp = [&[0, 1, 0, 2][..], &[0; VARP_LEN - 4]].concat();
    let wrapped = wrap(
        [192, 0, 2, 1].into(),
        [224, 10, 0, 1].into(),
        1798,
        (0x2b, 64),
        &data,
    );
    for message in [
        &[][..],
        &data[..3],
        &varp[..VARP_LEN - 1],
        &wrapped,
        &[0, 5, 0, 0, 0],
    ] {
        assert_eq!(relay.mark(message), None, "{message:?}");
        assert_eq!(Relay::read(message), None, "{message:?}");
    }
    assert_eq!(
        relay.mark(&data).map(|marked| marked.rest().len()),
        Some(DATA_HEADER_LEN - 4)
    );
    // A request that was filled up with zeros to find the MTU is not marked.
    assert_eq!(Relay::read(&[&varp[..], &[0; 100]].concat()), None);
    assert_eq!(Relay::read(&[&varp[..], &[1]].concat()), None);
}
