// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What is inside Ethernet frames, as far as a tunnel has to know: the IP header, its congestion marks, the flow.

use crate::checksum;

const ETHERNET_LEN: usize = 14;
const VLAN: [u16; 2] = [0x8100, 0x88a8];
/// Ethertypes.
pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const IPV6: u16 = 0x86dd;
/// Lengths of the headers, without options.
pub(crate) const IPV4_LEN: usize = 20;
pub(crate) const IPV6_LEN: usize = 40;
/// Protocols.
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;

/// Congestion marks (RFC 3168), the low two bits of the type of service.
const ECN_MASK: u8 = 3;
const ECT_1: u8 = 1;
const ECT_0: u8 = 2;
const CE: u8 = 3;

/// Where the IP header of a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ip {
    /// Its offset in the frame.
    pub(crate) at: usize,
    /// Whether it is IPv6.
    pub(crate) v6: bool,
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    /// An IP packet, whose header is whole.
    Ip(Ip),
    /// An IP packet whose header is cut off.
    Cut,
    /// Something else.
    Other,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Finds the IP header of a frame, behind at most two VLAN tags.
pub(crate) fn carried(frame: &[u8]) -> Carried {
    let mut at = ETHERNET_LEN;
    let mut kind = u16_at(frame, at - 2);
    for _ in 0..2 {
        match kind {
            Some(tag) if VLAN.contains(&tag) => {
                at += 4;
                kind = u16_at(frame, at - 2);
            }
            _ => break,
        }
    }
    let (v6, len) = match kind {
        Some(IPV4) => (false, IPV4_LEN),
        Some(IPV6) => (true, IPV6_LEN),
        Some(_) => return Carried::Other,
        None => return Carried::Cut,
    };
    match frame.get(at..at + len) {
        Some(_) => Carried::Ip(Ip { at, v6 }),
        None => Carried::Cut,
    }
}

/// The IP header of a frame, if it has a whole one.
pub(crate) fn ip(frame: &[u8]) -> Option<Ip> {
    match carried(frame) {
        Carried::Ip(ip) => Some(ip),
        Carried::Cut | Carried::Other => None,
    }
}

impl Ip {
    /// Type of service or traffic class.
    pub(crate) fn tos(self, frame: &[u8]) -> u8 {
        let header = frame.get(self.at..).unwrap_or_default();
        match header {
            [first, second, ..] if self.v6 => (first << 4) | (second >> 4),
            [_, tos, ..] => *tos,
            _ => 0,
        }
    }

    /// TTL or hop limit.
    pub(crate) fn ttl(self, frame: &[u8]) -> u8 {
        let at = self.at + if self.v6 { 7 } else { 8 };
        frame.get(at).copied().unwrap_or_default()
    }

    /// Sets type of service or traffic class.
    pub(crate) fn set_tos(self, frame: &mut [u8], tos: u8) {
        let Some(header) = frame.get_mut(self.at..) else {
            return;
        };
        if self.v6 {
            if let [first, second, ..] = header {
                *first = (*first & 0xf0) | (tos >> 4);
                *second = (*second & 0x0f) | (tos << 4);
            }
            return;
        }
        let length = usize::from(header.first().copied().unwrap_or_default() & 0xf) * 4;
        if let Some(header) = header.get_mut(..length.max(IPV4_LEN)) {
            header[1] = tos;
            checksum::set_ipv4(header);
        }
    }

    /// Protocol and offset of what the packet carries, unless it is a later fragment or there are extension headers.
    pub(crate) fn transport(self, frame: &[u8]) -> Option<(u8, usize)> {
        let header = frame.get(self.at..)?;
        if self.v6 {
            return Some((*header.get(6)?, self.at + IPV6_LEN));
        }
        let length = usize::from(header.first()? & 0xf) * 4;
        let first_piece = u16_at(header, 6)? & 0x1fff == 0;
        (first_piece && length >= IPV4_LEN).then_some((*header.get(9)?, self.at + length))
    }
}

/// The type of service of the outer packet (RFC 6040, normal mode): the inner congestion mark and this DSCP, or the inner one.
pub(crate) fn outer_tos(inner: Option<u8>, dscp: Option<u8>) -> u8 {
    let inner = inner.unwrap_or_default();
    match dscp {
        Some(dscp) => (dscp << 2) | (inner & ECN_MASK),
        None => inner,
    }
}

/// What becomes of the inner congestion mark when the outer header goes (RFC 6040).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// It stays as it is.
    Stays,
    /// It becomes that of the outer packet.
    Taken(Ip, u8),
    /// The two contradict each other: the packet must be dropped.
    Drop,
}

/// What becomes of the congestion mark of a frame that came in a packet of this type of service.
pub(crate) fn decapsulate_ecn(frame: &[u8], outer: u8) -> Mark {
    let outer = outer & ECN_MASK;
    if outer != CE && outer != ECT_1 {
        return Mark::Stays;
    }
    let Some(ip) = ip(frame) else {
        return Mark::Stays;
    };
    let tos = ip.tos(frame);
    match (tos & ECN_MASK, outer) {
        (0, CE) => Mark::Drop,
        (ECT_0 | ECT_1, CE) | (ECT_0, ECT_1) => Mark::Taken(ip, (tos & !ECN_MASK) | outer),
        _ => Mark::Stays,
    }
}

/// A type of service, with the mark of congestion if the packet around it had that.
pub(crate) fn congested(tos: u8, around: u8) -> u8 {
    match around & ECN_MASK {
        CE => tos | CE,
        _ => tos,
    }
}

/// A number that is the same for all packets of an inner flow.
pub(crate) fn flow_hash(frame: &[u8]) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    let mut mix = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    };
    match ip(frame) {
        Some(ip) => {
            let (from, to) = if ip.v6 { (8, 40) } else { (12, 20) };
            mix(frame.get(ip.at + from..ip.at + to).unwrap_or_default());
            match ip.transport(frame) {
                Some((protocol @ (TCP | UDP), at)) => {
                    mix(&[protocol]);
                    mix(frame.get(at..at + 4).unwrap_or_default());
                }
                Some((protocol, _)) => mix(&[protocol]),
                None => {}
            }
        }
        None => mix(frame.get(..ETHERNET_LEN).unwrap_or_default()),
    }
    // The low bits of this hash are its weakest.
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(tos: u8) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00]);
        let mut header = vec![0x45, tos, 0, 20, 0, 0, 0, 0, 64, TCP, 0, 0];
        header.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        checksum::set_ipv4(&mut header);
        frame.extend(header);
        frame
    }

    fn ipv6(class: u8) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([
            0x86,
            0xdd,
            0x60 | (class >> 4),
            class << 4,
            0,
            0,
            0,
            0,
            59,
            64,
        ]);
        frame.extend([0; 32]);
        frame
    }

    #[test]
    fn headers_are_found_behind_tags_and_never_beyond_the_end() {
        assert_eq!(carried(&ipv4(0)), Carried::Ip(Ip { at: 14, v6: false }));
        let mut tagged = ipv6(0xb8);
        tagged.splice(12..12, [0x88, 0xa8, 0, 7, 0x81, 0, 0, 8]);
        let found = ip(&tagged).expect("an IP header");
        assert_eq!(found, Ip { at: 22, v6: true });
        assert_eq!(found.tos(&tagged), 0xb8);
        assert_eq!(found.ttl(&tagged), 64);
        for length in 0..tagged.len() {
            assert_eq!(carried(&tagged[..length]), Carried::Cut, "{length}");
        }
        assert_eq!(carried(&[0; 14]), Carried::Other);
    }

    #[test]
    fn marks_of_congestion_are_carried_over() {
        for (inner, outer, expected) in [
            (0, 0, Some(0)),
            (0, CE, None),
            (ECT_0, CE, Some(CE)),
            (ECT_1, CE, Some(CE)),
            (ECT_0, ECT_1, Some(ECT_1)),
            (ECT_1, ECT_0, Some(ECT_1)),
            (CE, 0, Some(CE)),
        ] {
            for make in [ipv4, ipv6] {
                let mut frame = make(0x20 | inner);
                let mark = decapsulate_ecn(&frame, outer);
                assert_eq!(mark == Mark::Drop, expected.is_none());
                if let Mark::Taken(ip, tos) = mark {
                    ip.set_tos(&mut frame, tos);
                }
                if let Some(expected) = expected {
                    assert_eq!(ip(&frame).expect("IP").tos(&frame), 0x20 | expected);
                }
            }
            let mut frame = ipv4(inner);
            if let Mark::Taken(ip, tos) = decapsulate_ecn(&frame, outer) {
                ip.set_tos(&mut frame, tos);
            }
            assert_eq!(checksum::of(&frame[14..34]), 0, "the header's sum is right");
        }
    }

    #[test]
    fn what_is_taken_over_of_the_inner_packet() {
        assert_eq!(outer_tos(Some(0xba), None), 0xba);
        assert_eq!(outer_tos(Some(0xba), Some(10)), 0x2a);
        assert_eq!(outer_tos(None, Some(10)), 0x28);
        assert_eq!(congested(0x2a, CE), 0x2b);
        assert_eq!(congested(0x2a, ECT_1), 0x2a);
    }
}
