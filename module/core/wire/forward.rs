// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! VFWD: a multicast packet, passed on whole by a host that is a peer.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{take, MessageId, WireError, MESSAGE_HEADER_LEN, UDP_LEN};

/// Bytes of an IPv4 header without options.
const IPV4_LEN: usize = 20;
/// Bytes of an IPv6 header.
const IPV6_LEN: usize = 40;
/// More fragments, and the offset of the fragment.
const FRAGMENT_MASK: u16 = 0x3fff;
/// IP protocol number of UDP.
const PROTO_UDP: u8 = 17;

/// A forwarded packet, checked: a whole IP packet with UDP to a group and the port.
///
/// When the original's daemon forwards what it received rather than what it made, the IP header is zero but for protocol and
/// addresses, and so is the UDP header but for the ports. Such a packet is taken to end where the datagram does, and has
/// TTL 0, so that nobody sends it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded<'a> {
    /// Who sent the packet first; unspecified if the forwarding host did. Of the family of `destination`.
    pub source: IpAddr,
    /// The group.
    pub destination: IpAddr,
    /// Type of service or traffic class, with the congestion mark that the packet had when it was forwarded.
    pub tos: u8,
    /// TTL or hop limit.
    pub ttl: u8,
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
        let _: [u8; MESSAGE_HEADER_LEN] = take(&mut rest)?;
        Self::parse_packet(rest, port)
    }

    /// Reads the IP packet that follows the message header. Bytes after its end are ignored.
    pub fn parse_packet(packet: &'a [u8], port: u16) -> Result<Self, WireError> {
        match packet.first() {
            Some(first) if first >> 4 == 6 => Self::parse_ipv6(packet, port),
            Some(_) => Self::parse_ipv4(packet, port),
            None => Err(WireError::Short),
        }
    }

    fn parse_ipv4(packet: &'a [u8], port: u16) -> Result<Self, WireError> {
        let header = packet.first_chunk::<IPV4_LEN>().ok_or(WireError::Short)?;
        let [version_length, tos, l0, l1, _, _, f0, f1, ttl, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] =
            *header;
        let source = Ipv4Addr::new(s0, s1, s2, s3);
        let destination = Ipv4Addr::new(d0, d1, d2, d3);
        let lost = version_length == 0 && (l0, l1, ttl) == (0, 0, 0);
        let (version, header_len, total) = if lost {
            (4, IPV4_LEN, packet.len())
        } else {
            (
                version_length >> 4,
                usize::from(version_length & 0xf) << 2,
                usize::from(u16::from_be_bytes([l0, l1])),
            )
        };
        if version != 4
            || header_len < IPV4_LEN
            || u16::from_be_bytes([f0, f1]) & FRAGMENT_MASK != 0
            || protocol != PROTO_UDP
            || !destination.is_multicast()
            || source.is_multicast()
            || source.is_broadcast()
        {
            return Err(WireError::BadForward);
        }
        if total < header_len {
            return Err(WireError::BadForward);
        }
        let udp = packet
            .get(..total)
            .and_then(|whole| whole.get(header_len..))
            .ok_or(WireError::Short)?;
        Ok(Self {
            source: source.into(),
            destination: destination.into(),
            tos,
            ttl,
            payload: parse_udp(udp, port, lost)?,
        })
    }

    /// Extension headers are not taken: nobody who forwards vnet packets makes any.
    fn parse_ipv6(packet: &'a [u8], port: u16) -> Result<Self, WireError> {
        let mut rest = packet;
        let [first, second, _, _, l0, l1, next, ttl]: [u8; 8] = take(&mut rest)?;
        let source = Ipv6Addr::from(take::<16>(&mut rest)?);
        let destination = Ipv6Addr::from(take::<16>(&mut rest)?);
        if next != PROTO_UDP || !destination.is_multicast() || source.is_multicast() {
            return Err(WireError::BadForward);
        }
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let udp = rest.get(..length).ok_or(WireError::Short)?;
        Ok(Self {
            source: source.into(),
            destination: destination.into(),
            tos: (first << 4) | (second >> 4),
            ttl,
            payload: parse_udp(udp, port, false)?,
        })
    }
}

/// The payload of a UDP datagram to a port.
///
/// `ends` says that it may end where the bytes do, if it does not say how long it is.
fn parse_udp(mut udp: &[u8], port: u16, ends: bool) -> Result<&[u8], WireError> {
    let available = udp.len();
    let [_, _, p0, p1, u0, u1, _, _]: [u8; UDP_LEN] = take(&mut udp)?;
    let length = match u16::from_be_bytes([u0, u1]) {
        0 if ends => available,
        length => usize::from(length),
    };
    if u16::from_be_bytes([p0, p1]) != port || length > available {
        return Err(WireError::BadForward);
    }
    length
        .checked_sub(UDP_LEN)
        .and_then(|length| udp.get(..length))
        .ok_or(WireError::BadForward)
}

/// Bytes of the longest header that [`ForwardHeader::emit`] makes.
pub const FORWARD_HEADER_MAX: usize = MESSAGE_HEADER_LEN + IPV6_LEN + UDP_LEN;

/// What stands before a message that is forwarded to a peer: the VFWD header, and IP and UDP headers of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardHeader {
    /// A packet to an IPv4 group.
    V4([u8; MESSAGE_HEADER_LEN + IPV4_LEN + UDP_LEN]),
    /// A packet to an IPv6 group.
    V6([u8; MESSAGE_HEADER_LEN + IPV6_LEN + UDP_LEN]),
}

impl ForwardHeader {
    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8] {
        match self {
            Self::V4(bytes) => bytes,
            Self::V6(bytes) => bytes,
        }
    }

    /// The header of a packet with type of service and TTL, and a payload of so many bytes, from `source` (unspecified: the
    /// host that forwards) to the port at `group`. The UDP checksum is not computed. None if the packet would be too long, or if the addresses are
    /// not of one family.
    pub fn emit(
        source: IpAddr,
        group: IpAddr,
        port: u16,
        (tos, ttl): (u8, u8),
        payload: usize,
    ) -> Option<Self> {
        let udp_len = u16::try_from(payload.checked_add(UDP_LEN)?).ok()?;
        let (p, u) = (port.to_be_bytes(), udp_len.to_be_bytes());
        let message: &[u8] = &[0, MessageId::Vfwd as u8, 0, 0];
        let udp: &[u8] = &[p[0], p[1], p[0], p[1], u[0], u[1], 0, 0];
        match (source, group) {
            (IpAddr::V4(source), IpAddr::V4(group)) => {
                let total = udp_len.checked_add(IPV4_LEN as u16)?.to_be_bytes();
                let start = [0x45, tos, total[0], total[1], 0, 0, 0, 0, ttl, PROTO_UDP];
                let (source, group) = (source.octets(), group.octets());
                let sum = checksum(&[&start, &source, &group]).to_be_bytes();
                let mut bytes = [0; MESSAGE_HEADER_LEN + IPV4_LEN + UDP_LEN];
                fill(&mut bytes, &[message, &start, &sum, &source, &group, udp]);
                Some(Self::V4(bytes))
            }
            (IpAddr::V6(source), IpAddr::V6(group)) => {
                let (t0, t1) = (0x60 | (tos >> 4), tos << 4);
                let start = [t0, t1, 0, 0, u[0], u[1], PROTO_UDP, ttl];
                let (source, group) = (source.octets(), group.octets());
                let mut bytes = [0; MESSAGE_HEADER_LEN + IPV6_LEN + UDP_LEN];
                fill(&mut bytes, &[message, &start, &source, &group, udp]);
                Some(Self::V6(bytes))
            }
            _ => None,
        }
    }
}

fn fill(to: &mut [u8], parts: &[&[u8]]) {
    for (to, from) in to.iter_mut().zip(parts.iter().copied().flatten()) {
        *to = *from;
    }
}

/// The checksum of an IPv4 header (RFC 1071), of parts of even length without the checksum itself.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for pair in parts.iter().flat_map(|part| part.chunks_exact(2)) {
        if let [high, low] = pair {
            sum = sum.wrapping_add(u32::from(u16::from_be_bytes([*high, *low])));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
