// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Wire formats: fixed bytes, and properties that hold for all bytes.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use vnet_core::abi::HostCounter;
use vnet_core::wire::{
    DataHeader, EthernetHeader, Forwarded, Message, MessageId, VarpAddr, VarpMessage, VarpOpcode,
    DATA_HEADER_LEN, OVERHEAD_V4, OVERHEAD_V6, PORT_DEFAULT, VARP_LEN,
};
use vnet_core::{Mac, VnetId, WireError};

fn vnet5() -> VnetId {
    "5".parse().expect("an id")
}

const DATA5: [u8; 22] = [
    0, 2, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5,
];

#[test]
fn data_header_bytes() {
    assert_eq!(DataHeader::emit(vnet5()), DATA5);
    assert_eq!(DataHeader::parse(&DATA5), Ok(DataHeader { id: vnet5() }));
}

#[test]
fn version_counts_in_either_byte_and_nothing_else_matters() {
    let mut bytes = DATA5;
    for (first, second, ok) in [
        (0x00, 0x40, true),
        (0x40, 0x00, true),
        (0xff, 0x4f, true),
        (0x4f, 0xff, true),
        (0x00, 0x30, false),
        (0x30, 0x00, false),
        (0x04, 0x04, false),
        (0x00, 0x00, false),
    ] {
        (bytes[4], bytes[5]) = (first, second);
        let expected = if ok {
            Ok(DataHeader { id: vnet5() })
        } else {
            Err(WireError::BadVersion)
        };
        assert_eq!(
            DataHeader::parse(&bytes),
            expected,
            "{first:02x} {second:02x}"
        );
    }
    bytes = DATA5;
    (bytes[2], bytes[3]) = (0xab, 0xcd);
    assert!(DataHeader::parse(&bytes).is_ok());
}

#[test]
fn errors_go_to_their_counters() {
    for (bytes, counter) in [
        (&[][..], HostCounter::RxShort),
        (&[0, 2, 0][..], HostCounter::RxShort),
        (&[0, 0, 0, 0][..], HostCounter::RxBadMessage),
        (&[2, 0, 0, 0][..], HostCounter::RxBadMessage),
        (&[0, 4, 0, 0, 0, 0x40][..], HostCounter::RxShort),
        (&[0, 5, 0, 0, 0, 0x40][..], HostCounter::RxBadMessage),
        (&[0, 2, 0, 0, 0, 0x30][..], HostCounter::RxShort),
        (&DATA5[..21], HostCounter::RxShort),
        (&[0, 1, 0, 1, 0, 0][..], HostCounter::RxShort),
    ] {
        let error = Message::parse(bytes).expect_err("an error");
        assert_eq!(error.counter(), counter, "{bytes:?}: {error}");
    }
    let mut wrong = DATA5;
    wrong[5] = 0x30;
    let error = Message::parse(&wrong).expect_err("an error");
    assert_eq!(error.counter(), HostCounter::RxBadVersion);
}

#[test]
fn a_short_foreign_message_is_foreign() {
    assert_eq!(
        DataHeader::parse(&[0, 1, 0, 1]),
        Err(WireError::BadMessage(1))
    );
    assert_eq!(
        DataHeader::parse(&[0, 9, 0, 1]),
        Err(WireError::BadMessage(9))
    );
    assert_eq!(DataHeader::parse(&[0, 2, 0, 0]), Err(WireError::Short));
}

#[test]
fn overheads() {
    assert_eq!((OVERHEAD_V4, OVERHEAD_V6), (64, 84));
}

#[test]
fn varp_bytes() {
    let message = VarpMessage {
        opcode: VarpOpcode::Announce,
        id: vnet5(),
        mac: "02:00:00:05:00:01".parse().expect("a MAC"),
        addr: VarpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    };
    let bytes = message.emit();
    assert_eq!(bytes[..4], [0, 1, 0, 2]);
    assert_eq!(bytes[4..20], *vnet5().as_bytes());
    assert_eq!(bytes[20..26], [2, 0, 0, 5, 0, 1]);
    assert_eq!(bytes[26..31], [2, 192, 0, 2, 1]);
    assert_eq!(bytes[31..], [0; 12]);
    assert_eq!(VarpMessage::parse(&bytes), Ok(message));
    let mut longer = bytes.to_vec();
    longer.extend([1, 2, 3]);
    assert_eq!(
        VarpMessage::parse(&longer),
        Ok(message),
        "trailing bytes are ignored"
    );
}

/// A VFWD message around `payload`.
fn forward(source: Ipv4Addr, group: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let udp_len = u16::try_from(8 + payload.len()).expect("a short payload");
    let mut bytes = vec![0, 3, 0, 0, 0x45, 0];
    bytes.extend((20 + udp_len).to_be_bytes());
    bytes.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    bytes.extend(source.octets());
    bytes.extend(group.octets());
    bytes.extend([7, 6, 7, 6]);
    bytes.extend(udp_len.to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    bytes
}

#[test]
fn forwarded_packets_are_checked() {
    let group = Ipv4Addr::new(224, 10, 0, 1);
    let good = forward(Ipv4Addr::UNSPECIFIED, group, &DATA5);
    let packet = Forwarded::parse(&good, PORT_DEFAULT).expect("a forwarded packet");
    assert_eq!(packet.payload, DATA5);
    assert_eq!(packet.destination, group);
    assert_eq!(packet.source, Ipv4Addr::UNSPECIFIED);

    let bad = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        Forwarded::parse(&bytes, PORT_DEFAULT).expect_err("an error")
    };
    assert_eq!(bad(&|b| b[1] = 2), WireError::BadMessage(2));
    assert_eq!(bad(&|b| b[4] = 0x65), WireError::BadForward, "version");
    assert_eq!(
        bad(&|b| b[4] = 0x44),
        WireError::BadForward,
        "header length"
    );
    assert_eq!(
        bad(&|b| b[4] = 0),
        WireError::BadForward,
        "a length, but no version"
    );
    assert_eq!(
        bad(&|b| b[7] = 19),
        WireError::BadForward,
        "total below header"
    );
    assert_eq!(
        bad(&|b| b[6] = 1),
        WireError::Short,
        "total beyond the datagram"
    );
    assert_eq!(
        bad(&|b| b[10] = 0x20),
        WireError::BadForward,
        "a first fragment"
    );
    assert_eq!(
        bad(&|b| b[11] = 1),
        WireError::BadForward,
        "a later fragment"
    );
    assert_eq!(bad(&|b| b[13] = 97), WireError::BadForward, "protocol");
    assert_eq!(
        bad(&|b| b[16] = 224),
        WireError::BadForward,
        "source is a group"
    );
    assert_eq!(
        bad(&|b| b[20] = 192),
        WireError::BadForward,
        "destination is a host"
    );
    assert_eq!(bad(&|b| b[26] = 8), WireError::BadForward, "port");
    assert_eq!(
        bad(&|b| b[29] = 7),
        WireError::BadForward,
        "UDP below its header"
    );
    assert_eq!(
        bad(&|b| b[29] = 31),
        WireError::BadForward,
        "UDP beyond the packet"
    );
}

fn any_id() -> impl Strategy<Value = VnetId> {
    any::<[u8; 16]>().prop_map(VnetId::from_bytes)
}

fn any_varp() -> impl Strategy<Value = VarpMessage> {
    let opcode = prop_oneof![
        Just(VarpOpcode::Request),
        Just(VarpOpcode::Announce),
        Just(VarpOpcode::Withdraw),
        (4u16..).prop_map(VarpOpcode::Unknown),
    ];
    let addr = prop_oneof![
        any::<Ipv4Addr>().prop_map(VarpAddr::V4),
        any::<Ipv6Addr>().prop_map(VarpAddr::V6),
        (11u8.., any::<[u8; 16]>()).prop_map(|(family, bytes)| VarpAddr::Unknown { family, bytes }),
    ];
    (opcode, any_id(), any::<[u8; 6]>(), addr).prop_map(|(opcode, id, mac, addr)| VarpMessage {
        opcode,
        id,
        mac: Mac::from_bytes(mac),
        addr,
    })
}

proptest! {
    #[test]
    fn data_survives(id in any_id(), frame in proptest::collection::vec(any::<u8>(), 0..64)) {
        let mut datagram = DataHeader::emit(id).to_vec();
        datagram.extend(&frame);
        prop_assert_eq!(Message::parse(&datagram), Ok(Message::Data(DataHeader { id }, &frame)));
    }

    #[test]
    fn varp_survives(message in any_varp()) {
        let bytes = message.emit();
        prop_assert_eq!(VarpMessage::parse(&bytes), Ok(message));
        prop_assert_eq!(Message::parse(&bytes), Ok(Message::Varp(message)));
    }

    #[test]
    fn ethernet_survives(bytes in any::<[u8; 14]>()) {
        prop_assert_eq!(EthernetHeader::parse_fixed(&bytes).emit(), bytes);
    }

    #[test]
    fn id_text_survives(id in any_id()) {
        if id.validate().is_ok() {
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn short_id_text_survives(field in 2u16..) {
        let text = format!("{field:04x}");
        let id: VnetId = text.parse().expect("an id");
        prop_assert_eq!(id.to_string(), text);
        prop_assert_eq!(id.last_field(), field);
    }

    #[test]
    fn mac_text_survives(bytes in any::<[u8; 6]>()) {
        let mac = Mac::from_bytes(bytes);
        prop_assert_eq!(mac.to_string().parse(), Ok(mac));
    }

    #[test]
    fn truncated_data_is_refused(id in any_id(), length in 0..DATA_HEADER_LEN) {
        let bytes = DataHeader::emit(id);
        prop_assert_eq!(DataHeader::parse(&bytes[..length]), Err(WireError::Short));
        prop_assert_eq!(Message::parse(&bytes[..length]), Err(WireError::Short));
    }

    #[test]
    fn truncated_varp_is_refused(message in any_varp(), length in 0..VARP_LEN) {
        prop_assert_eq!(VarpMessage::parse(&message.emit()[..length]), Err(WireError::Short));
    }

    #[test]
    fn truncated_ethernet_is_refused(bytes in any::<[u8; 14]>(), length in 0usize..14) {
        prop_assert_eq!(EthernetHeader::parse(&bytes[..length]), Err(WireError::Short));
    }

    #[test]
    fn truncated_forward_is_refused(
        payload in proptest::collection::vec(any::<u8>(), 0..64),
        cut in any::<proptest::sample::Index>(),
    ) {
        let bytes = forward(Ipv4Addr::new(192, 0, 2, 2), Ipv4Addr::new(224, 10, 0, 1), &payload);
        prop_assert!(Forwarded::parse(&bytes, PORT_DEFAULT).is_ok());
        let cut = cut.index(bytes.len());
        prop_assert_eq!(Forwarded::parse(&bytes[..cut], PORT_DEFAULT), Err(WireError::Short));
    }

    #[test]
    fn any_bytes_are_judged(
        start in prop_oneof![
            any::<[u8; 6]>(),
            (1u8..4, any::<[u8; 2]>()).prop_map(|(id, [a, b])| [0, id, a, b, 0x45, 0x40]),
        ],
        rest in proptest::collection::vec(any::<u8>(), 0..128),
    ) {
        let mut bytes = start.to_vec();
        bytes.extend(rest);
        let _ = MessageId::parse(&bytes);
        let _ = Message::parse(&bytes);
        let _ = VarpMessage::parse(&bytes);
        let _ = EthernetHeader::parse(&bytes);
        let _ = Forwarded::parse(&bytes, PORT_DEFAULT);
        if let Ok(header) = DataHeader::parse(&bytes) {
            prop_assert_eq!(&DataHeader::emit(header.id)[6..], &bytes[6..22]);
        }
    }

    #[test]
    fn any_text_is_judged(text in "\\PC{0,48}") {
        let _ = text.parse::<VnetId>();
        let _ = text.parse::<Mac>();
    }
}
