// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What is inside the UDP datagrams.
//!
//! Every datagram begins with a message header of four bytes: message id and opcode, network byte order. `parse`
//! functions take untrusted bytes; what they return can be used without further checks. See `docs/protocol.md`.

mod data;
mod ethernet;
mod forward;
mod relay;
mod sealed;
mod varp;

use core::fmt;
use core::net::Ipv4Addr;

use crate::abi::HostCounter;

pub use data::{DataHeader, DATA_HEADER_LEN};
pub use ethernet::{EthernetHeader, ETHERNET_HEADER_LEN};
pub use forward::{ForwardHeader, Forwarded, FORWARD_HEADER_MAX};
pub use relay::{Relay, Relayed};
pub use sealed::{
    Hello, HelloStep, Opened, SealedHeader, FRAME, HELLO_LEN, SEALED_HEADER_LEN, SEALED_KIND_LEN,
    SEALED_TAG_LEN,
};
pub use varp::{VarpAddr, VarpMessage, VarpOpcode, VARP_LEN};

/// UDP port of everything, source and destination, unless set.
pub const PORT_DEFAULT: u16 = 1798;
/// Multicast group to which frames are flooded unless set.
pub const GROUP_DEFAULT: Ipv4Addr = Ipv4Addr::new(224, 10, 0, 1);

/// Bytes of the message header.
pub const MESSAGE_HEADER_LEN: usize = 4;
/// Bytes of a UDP header.
const UDP_LEN: usize = 8;
/// Bytes between the inner IP packet and the outer IPv4 packet that carries it: IPv4, UDP, our header, inner Ethernet.
pub const OVERHEAD_V4: usize = 20 + UDP_LEN + DATA_HEADER_LEN + ETHERNET_HEADER_LEN;
/// The same for an outer IPv6 packet.
pub const OVERHEAD_V6: usize = 40 + UDP_LEN + DATA_HEADER_LEN + ETHERNET_HEADER_LEN;

/// Bytes between the inner IP packet and the outer IPv4 packet of a sealed vnet: IPv4, UDP, the header in clear, the word that
/// says what is sealed, inner Ethernet, the authentication tag.
pub const SEALED_OVERHEAD_V4: usize =
    20 + UDP_LEN + SEALED_HEADER_LEN + SEALED_KIND_LEN + ETHERNET_HEADER_LEN + SEALED_TAG_LEN;
/// The same for an outer IPv6 packet.
pub const SEALED_OVERHEAD_V6: usize = SEALED_OVERHEAD_V4 + 20;

const _: () = assert!(OVERHEAD_V4 == 64);
const _: () = assert!(SEALED_OVERHEAD_V4 == 88 && SEALED_OVERHEAD_V6 == 108);

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum MessageId {
    /// Where is this MAC, or: this MAC is there.
    Varp = 1,
    /// An Ethernet frame of a vnet.
    Vudp = 2,
    /// A multicast packet, passed on by a host that is a peer.
    Vfwd = 3,
    /// Anything of a sealed vnet.
    Sealed = 4,
}

impl MessageId {
    /// The message with this number.
    #[inline]
    pub const fn from_u16(value: u16) -> Option<Self> {
        match value {
            1 => Some(Self::Varp),
            2 => Some(Self::Vudp),
            3 => Some(Self::Vfwd),
            4 => Some(Self::Sealed),
            _ => None,
        }
    }

    /// Reads the message header that a datagram begins with, and ignores the opcode.
    #[inline]
    pub const fn parse(datagram: &[u8]) -> Result<Self, WireError> {
        let Some([high, low, _, _]) = datagram.first_chunk::<MESSAGE_HEADER_LEN>() else {
            return Err(WireError::Short);
        };
        let number = u16::from_be_bytes([*high, *low]);
        match Self::from_u16(number) {
            Some(id) => Ok(id),
            None => Err(WireError::BadMessage(number)),
        }
    }
}

/// A datagram, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// The header and the Ethernet frame after it, which is not checked.
    Data(DataHeader, &'a [u8]),
    /// A VARP message.
    Varp(VarpMessage),
    /// What follows the message header of a forwarded packet; [`Forwarded::parse`] checks it.
    Forward(&'a [u8]),
    /// What is in clear of a sealed message, and the sealed bytes, the authentication tag at their end.
    Sealed(SealedHeader, &'a [u8]),
}

impl<'a> Message<'a> {
    /// Takes a datagram apart.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, WireError> {
        match MessageId::parse(datagram)? {
            MessageId::Varp => Ok(Self::Varp(VarpMessage::parse(datagram)?)),
            MessageId::Vudp => {
                let (header, frame) = datagram.split_first_chunk().ok_or(WireError::Short)?;
                Ok(Self::Data(DataHeader::parse_fixed(header)?, frame))
            }
            MessageId::Vfwd => {
                let (_, packet) = datagram
                    .split_first_chunk::<MESSAGE_HEADER_LEN>()
                    .ok_or(WireError::Short)?;
                Ok(Self::Forward(packet))
            }
            MessageId::Sealed => {
                let header = SealedHeader::parse(datagram)?;
                let sealed = datagram.get(SEALED_HEADER_LEN..).unwrap_or_default();
                Ok(Self::Sealed(header, sealed))
            }
        }
    }
}

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// Shorter than the headers that it must have.
    Short,
    /// An unknown message id, or not the one that was asked for.
    BadMessage(u16),
    /// An EtherIP version other than 4.
    BadVersion,
    /// A forwarded packet that is not a whole IP packet with UDP to a group and the port.
    BadForward,
}

impl WireError {
    /// The counter that such a datagram belongs to.
    pub const fn counter(self) -> HostCounter {
        match self {
            Self::Short => HostCounter::RxShort,
            Self::BadMessage(_) => HostCounter::RxBadMessage,
            Self::BadVersion => HostCounter::RxBadVersion,
            Self::BadForward => HostCounter::RxForward,
        }
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("shorter than its headers"),
            Self::BadMessage(id) => write!(f, "message id {id} is not the expected one"),
            Self::BadVersion => f.write_str("EtherIP version is not 4"),
            Self::BadForward => f.write_str("forwarded packet is not UDP to a group"),
        }
    }
}

impl core::error::Error for WireError {}

/// Takes the first `N` bytes off `bytes`.
fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], WireError> {
    let (first, rest) = bytes.split_first_chunk().ok_or(WireError::Short)?;
    *bytes = rest;
    Ok(*first)
}
