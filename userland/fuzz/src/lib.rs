// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What is fuzzed: a function for each target. Each must not panic, whatever the bytes, and checks what must hold.

pub mod machines;
pub mod resolver;

use std::net::{IpAddr, Ipv4Addr};

use vnet_core::varp::{Judged, digest, is_host, judge};
use vnet_core::wire::{
    DataHeader, EthernetHeader, ForwardHeader, Forwarded, Message, MessageId, Opened, PORT_DEFAULT,
    Relay, VARP_LEN, VarpMessage,
};
use vnet_core::{Mac, VnetId};
use vnet_netlink::attributes::Reader;
use vnet_netlink::message::Messages;
use vnet_netlink::{
    Answer, Damped, Event, Flushed, Host, Key, Link, Net, Peer, Probe, Remote, Varp, Vif,
};

/// Where the datagrams come from.
const SENDER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// The host that has them.
const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

/// Datagrams from the network.
pub fn wire(bytes: &[u8]) {
    let _ = MessageId::parse(bytes);
    let parsed = Message::parse(bytes);
    match parsed {
        Ok(Message::Data(header, _)) => {
            assert_eq!(DataHeader::parse(bytes), Ok(header));
            data(bytes);
        }
        Ok(Message::Varp(_)) => varp(bytes),
        Ok(Message::Forward(packet)) => forward(packet),
        Ok(Message::Sealed(header, sealed)) => {
            let (before, after) = bytes.split_at(28);
            assert_eq!(header.emit()[4..], before[4..]);
            assert_eq!(after, sealed);
            opened(sealed);
        }
        Err(error) => {
            let _ = (error.counter(), error.to_string());
        }
    }
    let relay = Relay::of(OURS);
    match relay.mark(bytes) {
        Some(marked) => {
            let marked = [marked.head(), marked.rest()].concat();
            assert_eq!(Relay::read(&marked), Some(relay));
            assert_eq!(Message::parse(&marked), parsed);
            assert_eq!(digest(SENDER, &marked), digest(SENDER, bytes));
        }
        None => assert_eq!(Relay::read(bytes), None),
    }
}

/// What was sealed, once it is open.
pub fn opened(bytes: &[u8]) {
    match Opened::parse(bytes) {
        Ok(Opened::Frame(frame)) => assert_eq!(frame, &bytes[2..]),
        Ok(Opened::Varp(message)) => varp(message),
        Ok(Opened::Hello(hello)) => {
            assert_eq!(Opened::parse(&hello.emit()), Ok(Opened::Hello(hello)))
        }
        Err(error) => {
            let _ = (error.counter(), error.to_string());
        }
    }
}

/// Frames of vnets.
pub fn data(bytes: &[u8]) {
    let Ok(header) = DataHeader::parse(bytes) else {
        return;
    };
    let (before, frame) = bytes.split_at(22);
    assert_eq!(DataHeader::emit(header.id)[6..], before[6..]);
    if let Ok(ethernet) = EthernetHeader::parse(frame) {
        assert_eq!(ethernet.emit()[..], frame[..14]);
    } else {
        assert!(frame.len() < 14);
    }
}

/// VARP messages.
pub fn varp(bytes: &[u8]) {
    let Ok(message) = VarpMessage::parse(bytes) else {
        return;
    };
    assert!(bytes.len() >= VARP_LEN);
    let again = message.emit();
    assert_eq!(again[..27], bytes[..27]);
    assert_eq!(VarpMessage::parse(&again), Ok(message));
    let ours = |address| address == OURS;
    match judge(&message, SENDER, ours) {
        Judged::Announced(mac, host) => {
            assert!(mac.is_valid_source() && is_host(host) && !ours(host));
        }
        Judged::Present(host) => assert!(message.mac.is_zero() && is_host(host) && !ours(host)),
        Judged::Asked(mac) => assert!(mac.is_valid_source()),
        Judged::Withdrawn(mac) => {
            assert!(mac.is_valid_source());
            assert_eq!(message.addr, SENDER.into());
        }
        Judged::AskedPresence | Judged::Refused => {}
    }
}

/// Forwarded IPv4 packets, with and without their headers.
pub fn forward4(bytes: &[u8]) {
    let mut packet = bytes.to_vec();
    if let [first, ..] = &mut packet[..] {
        *first = if *first & 0x80 == 0 {
            0
        } else {
            0x40 | *first & 0xf
        };
    }
    forward(&packet);
}

/// Forwarded IPv6 packets.
pub fn forward6(bytes: &[u8]) {
    let mut packet = bytes.to_vec();
    if let [first, ..] = &mut packet[..] {
        *first = 0x60 | *first & 0xf;
    }
    forward(&packet);
}

fn forward(packet: &[u8]) {
    let Ok(forwarded) = Forwarded::parse_packet(packet, PORT_DEFAULT) else {
        return;
    };
    let Forwarded {
        source,
        destination,
        tos,
        ttl,
        payload,
    } = forwarded;
    assert!(destination.is_multicast() && !source.is_multicast());
    let header = ForwardHeader::emit(source, destination, PORT_DEFAULT, (tos, ttl), payload.len());
    // What has lost its headers may be longer than IP allows.
    if let Some(header) = header {
        let whole = [header.as_bytes(), payload].concat();
        assert_eq!(Forwarded::parse(&whole, PORT_DEFAULT), Ok(forwarded));
    }
    wire(payload);
}

/// Ids and Ethernet addresses that people write.
pub fn text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(id) = text.parse::<VnetId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.validate().is_ok());
    }
    if let Ok(mac) = text.parse::<Mac>() {
        assert_eq!(mac.to_string().parse(), Ok(mac));
    }
}

/// Answers and notifications from the kernel.
pub fn replies(data: &[u8]) {
    for message in Messages::new(data).flatten() {
        let _ = message.content();
        attributes(message.payload);
    }
    attributes(data);
}

fn attributes(data: &[u8]) {
    for attribute in Reader::new(data).flatten() {
        let _ = (attribute.text(), attribute.u64());
        let _ = attribute.nest().flatten().count();
    }
    let _ = Net::parse(data);
    let _ = Host::parse(data);
    let _ = Peer::parse(data);
    let _ = Varp::parse(data);
    let _ = Vif::parse(data);
    let _ = Flushed::parse(data);
    let _ = Damped::parse(data);
    let _ = Remote::parse(data);
    let _ = Probe::parse(data);
    let _ = Answer::parse(data);
    let _ = Key::parse(data);
    let _ = Link::parse(data);
    if let Some((command, rest)) = data.split_first() {
        let _ = Event::parse(*command, rest);
    }
}
