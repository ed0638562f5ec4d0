// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Frames that the original daemon sent (`tests/wire`): they decode to what happened, and encode to the same bytes.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use vnet_core::wire::{
    DataHeader, EthernetHeader, Forwarded, Message, Relay, VarpAddr, VarpMessage, VarpOpcode,
    DATA_HEADER_LEN, PORT_DEFAULT,
};
use vnet_core::{Mac, VnetId};

const HOST_A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const HOST_A_PEER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const HOST_B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const HOST_C: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 3);
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 10, 0, 1);
const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;

/// A UDP datagram of a capture; a fragmented one holds only its first part.
struct Datagram {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    udp_len: usize,
    payload: Vec<u8>,
}

fn be16(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

fn address(bytes: &[u8]) -> Ipv4Addr {
    Ipv4Addr::from(<[u8; 4]>::try_from(bytes).expect("four bytes"))
}

/// Reads a little-endian pcap file of Ethernet frames, all of them IPv4 with UDP.
fn read(name: &str) -> Vec<Datagram> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/wire")
        .join(name);
    let file = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(file[..4], [0xd4, 0xc3, 0xb2, 0xa1], "a pcap file");
    let mut rest = &file[24..];
    let mut datagrams = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_le_bytes(rest[8..12].try_into().expect("four bytes"));
        let (frame, next) = rest[16..].split_at(length as usize);
        rest = next;
        assert_eq!(be16(&frame[12..]), IPV4);
        let packet = &frame[14..14 + usize::from(be16(&frame[16..]))];
        let udp = &packet[usize::from(packet[0] & 0xf) * 4..];
        datagrams.push(Datagram {
            source: address(&packet[12..16]),
            destination: address(&packet[16..20]),
            udp_len: usize::from(be16(&udp[4..])) - 8,
            payload: udp[8..].to_vec(),
        });
    }
    datagrams
}

fn vnet() -> VnetId {
    "0000:0000:0000:0000:0000:0000:0000:0005"
        .parse()
        .expect("an id")
}

/// The vnet device of a host: 1 is A, 2 is B, 3 is C.
fn device(host: u8) -> Mac {
    Mac::from_bytes([2, 0, 0, 5, 0, host])
}

fn number(host: Ipv4Addr) -> u8 {
    match host {
        HOST_A | HOST_A_PEER => 1,
        HOST_B => 2,
        HOST_C => 3,
        other => panic!("{other} is no host of the capture"),
    }
}

#[test]
fn every_message_encodes_to_the_same_bytes() {
    let mut seen = [0; 3];
    for name in ["xen-vnetd-lan.pcap", "xen-vnetd-peer.pcap"] {
        for datagram in read(name) {
            let payload = &datagram.payload;
            assert_eq!(Relay::read(payload), None, "the original marks nothing");
            match Message::parse(payload).expect("a message") {
                Message::Data(header, frame) => {
                    seen[0] += 1;
                    assert_eq!(header.id, vnet());
                    assert_eq!(DataHeader::emit(header.id), payload[..DATA_HEADER_LEN]);
                    let ethernet = EthernetHeader::parse(frame).expect("a frame");
                    assert_eq!(ethernet.emit(), frame[..14]);
                    // Also behind peers, who keep the first sender's outer address.
                    assert_eq!(ethernet.source, device(number(datagram.source)));
                    if datagram.destination == GROUP {
                        assert_eq!(ethernet.destination, Mac::BROADCAST);
                    } else {
                        assert_eq!(ethernet.destination, device(number(datagram.destination)));
                    }
                }
                Message::Varp(message) => {
                    seen[1] += 1;
                    assert_eq!(message.emit()[..], payload[..]);
                }
                Message::Forward(packet) => {
                    seen[2] += 1;
                    assert_eq!(packet.len() + 4, payload.len());
                }
                Message::Sealed(..) => panic!("the original seals nothing"),
            }
        }
    }
    assert_eq!(seen, [38, 2, 4], "data, VARP and forwarded messages");
}

#[test]
fn lan_is_the_story_of_its_readme() {
    let lan = read("xen-vnetd-lan.pcap");
    let frames: Vec<_> = lan
        .iter()
        .filter_map(|datagram| match Message::parse(&datagram.payload) {
            Ok(Message::Data(_, frame)) => {
                let ethernet = EthernetHeader::parse(frame).expect("a frame");
                Some((
                    datagram.source,
                    datagram.destination,
                    ethernet.ethertype,
                    datagram.udp_len,
                ))
            }
            _ => None,
        })
        .collect();
    // ARP of A floods; everything after it is unicast.
    assert_eq!(frames[0], (HOST_A, GROUP, ARP, 64));
    assert_eq!(frames[1], (HOST_B, HOST_A, ARP, 64));
    assert_eq!(frames[2], (HOST_A, HOST_B, IPV4, 120));
    assert_eq!(frames[3], (HOST_B, HOST_A, IPV4, 120));
    // The ping with 1472 bytes of payload: 1500 + 14 + 22.
    assert_eq!(frames[6], (HOST_A, HOST_B, IPV4, 1536));
    assert_eq!(frames[7], (HOST_B, HOST_A, IPV4, 1536));
    // B looks for C by flooding, C answers B directly.
    assert_eq!(frames[9], (HOST_B, GROUP, ARP, 64));
    assert_eq!(frames[10], (HOST_C, HOST_B, ARP, 64));
}

#[test]
fn varp_request_is_answered_by_announce() {
    let messages: Vec<_> = read("xen-vnetd-lan.pcap")
        .iter()
        .filter_map(|datagram| match Message::parse(&datagram.payload) {
            Ok(Message::Varp(message)) => Some((datagram.source, datagram.destination, message)),
            _ => None,
        })
        .collect();
    let message = |opcode, host| VarpMessage {
        opcode,
        id: vnet(),
        mac: device(1),
        addr: VarpAddr::V4(host),
    };
    assert_eq!(
        messages,
        [
            (HOST_B, GROUP, message(VarpOpcode::Request, HOST_B)),
            (HOST_A, HOST_B, message(VarpOpcode::Announce, HOST_A)),
        ]
    );
}

#[test]
fn what_a_made_is_forwarded_whole_and_what_it_received_is_not() {
    let forwarded: Vec<_> = read("xen-vnetd-peer.pcap")
        .into_iter()
        .filter(|datagram| matches!(Message::parse(&datagram.payload), Ok(Message::Forward(_))))
        .collect();
    assert!(forwarded
        .iter()
        .all(|datagram| (datagram.source, datagram.destination) == (HOST_A_PEER, HOST_C)));
    for whole in &forwarded[..2] {
        assert_eq!(whole.udp_len, 96);
        let packet = Forwarded::parse(&whole.payload, PORT_DEFAULT).expect("a whole packet");
        assert_eq!(packet.source, Ipv4Addr::UNSPECIFIED);
        assert_eq!(packet.destination, GROUP);
        let Ok(Message::Data(header, frame)) = Message::parse(packet.payload) else {
            panic!("the packet inside is a data message");
        };
        assert_eq!(header.id, vnet());
        let ethernet = EthernetHeader::parse(frame).expect("a frame");
        assert_eq!((ethernet.source, ethernet.ethertype), (device(1), ARP));
    }
    for lost in &forwarded[2..] {
        assert_eq!(
            lost.payload[4], 0,
            "the IP header of what was received is lost"
        );
        let packet = Forwarded::parse(&lost.payload, PORT_DEFAULT).expect("a packet");
        assert_eq!((packet.destination, packet.ttl), (IpAddr::from(GROUP), 0));
        assert_ne!(packet.source, Ipv4Addr::UNSPECIFIED);
        assert!(matches!(
            Message::parse(packet.payload),
            Ok(Message::Data(..) | Message::Varp(_))
        ));
    }
    assert_eq!(forwarded.len(), 4);
}
