// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What is fuzzed: a function for each target. Each must not panic, whatever the bytes, and checks what must hold.

use vnet_core::wire::{
    DataHeader, EthernetHeader, Forwarded, Message, MessageId, PORT_DEFAULT, VARP_LEN,
};
use vnet_core::{Mac, VnetId};
use vnet_netlink::attributes::Reader;
use vnet_netlink::message::Messages;
use vnet_netlink::{Event, Flushed, Host, Link, Net, Peer, Varp, Vif};

/// Datagrams from the network.
pub fn wire(data: &[u8]) {
    let _ = MessageId::parse(data);
    let _ = Forwarded::parse(data, PORT_DEFAULT);
    match Message::parse(data) {
        Ok(Message::Data(header, frame)) => {
            assert_eq!(DataHeader::parse(data), Ok(header));
            assert_eq!(&DataHeader::emit(header.id)[6..], &data[6..22]);
            if let Ok(ethernet) = EthernetHeader::parse(frame) {
                assert_eq!(ethernet.emit()[..], frame[..14]);
            }
        }
        Ok(Message::Varp(message)) => {
            let bytes = message.emit();
            assert_eq!(bytes[..27], data[..27]);
            assert_eq!(Message::parse(&bytes), Ok(Message::Varp(message)));
            assert!(data.len() >= VARP_LEN);
        }
        Ok(Message::Forward(packet)) => {
            if let Ok(forwarded) = Forwarded::parse_packet(packet, PORT_DEFAULT) {
                wire(forwarded.payload);
            }
        }
        Err(error) => {
            let _ = (error.counter(), error.to_string());
        }
    }
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
    let _ = Link::parse(data);
    if let Some((command, rest)) = data.split_first() {
        let _ = Event::parse(*command, rest);
    }
}
