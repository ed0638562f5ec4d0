// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! VFWD: a multicast packet, passed on whole by a host that is a peer.

use core::net::Ipv4Addr;

use super::{take, MessageId, WireError, UDP_LEN};

/// Bytes of an IPv4 header without options.
const IPV4_LEN: usize = 20;
/// More fragments, and the offset of the fragment.
const FRAGMENT_MASK: u16 = 0x3fff;
/// IP protocol number of UDP.
const PROTO_UDP: u8 = 17;

/// A forwarded packet, checked: a whole IPv4 packet with UDP to a group and the port.
///
/// The original sends a zeroed IP header, but for the addresses, when it forwards what it received rather than what
/// it made; such packets are refused here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded<'a> {
    /// Who sent the packet first; unspecified if the forwarding host did.
    pub source: Ipv4Addr,
    /// The group.
    pub destination: Ipv4Addr,
    /// The message inside.
    pub payload: &'a [u8],
}

impl<'a> Forwarded<'a> {
    /// Reads a datagram that must be a VFWD message with a packet to UDP port `port`.
    pub fn parse(datagram: &'a [u8], port: u16) -> Result<Self, WireError> {
        match MessageId::parse(datagram)? {
            MessageId::Vfwd => {}
            other => return Err(WireError::BadMessage(other as u16)),
        }
        let mut rest = datagram;
        let _: [u8; super::MESSAGE_HEADER_LEN] = take(&mut rest)?;
        Self::parse_packet(rest, port)
    }

    /// Reads the IPv4 packet that follows the message header. Bytes after its end are ignored.
    pub fn parse_packet(packet: &'a [u8], port: u16) -> Result<Self, WireError> {
        let header = packet.first_chunk::<IPV4_LEN>().ok_or(WireError::Short)?;
        let [version_length, _, l0, l1, _, _, f0, f1, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] =
            *header;
        let source = Ipv4Addr::new(s0, s1, s2, s3);
        let destination = Ipv4Addr::new(d0, d1, d2, d3);
        let header_len = usize::from(version_length & 0xf) << 2;
        if version_length >> 4 != 4
            || header_len < IPV4_LEN
            || u16::from_be_bytes([f0, f1]) & FRAGMENT_MASK != 0
            || protocol != PROTO_UDP
            || !destination.is_multicast()
            || source.is_multicast()
        {
            return Err(WireError::BadForward);
        }
        let total = usize::from(u16::from_be_bytes([l0, l1]));
        if total < header_len {
            return Err(WireError::BadForward);
        }
        let mut udp = packet
            .get(..total)
            .and_then(|whole| whole.get(header_len..))
            .ok_or(WireError::Short)?;
        let available = udp.len();
        let [_, _, p0, p1, u0, u1, _, _]: [u8; UDP_LEN] = take(&mut udp)?;
        let length = usize::from(u16::from_be_bytes([u0, u1]));
        if u16::from_be_bytes([p0, p1]) != port || length > available {
            return Err(WireError::BadForward);
        }
        let payload = length
            .checked_sub(UDP_LEN)
            .and_then(|length| udp.get(..length))
            .ok_or(WireError::BadForward)?;
        Ok(Self {
            source,
            destination,
            payload,
        })
    }
}
