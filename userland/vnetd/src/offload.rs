// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What the stack behind a TAP leaves to its reader: checksums, and cutting large packets into segments.
//!
//! The header before each frame is `struct virtio_net_hdr` in the machine's byte order.

use crate::checksum;
use crate::inner::{self, Ip};

/// Bytes of the header.
pub(crate) const VNET_HEADER_LEN: usize = 10;
/// Most bytes that a device gives at once: a packet of 64 KiB, an Ethernet header and VLAN tags.
pub(crate) const FRAME_MAX: usize = 65_536 + 64;

/// Flag: the checksum at `csum_start + csum_offset` is still to be made.
pub(crate) const NEEDS_CSUM: u8 = 1;
/// Kinds of large packets.
pub(crate) const GSO_NONE: u8 = 0;
pub(crate) const GSO_TCPV4: u8 = 1;
pub(crate) const GSO_TCPV6: u8 = 4;
pub(crate) const GSO_UDP_L4: u8 = 5;
/// The kind may have this bit beside: the first segment has CWR.
const GSO_ECN: u8 = 0x80;

/// TCP flags of which only the first or the last segment has its own.
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// What stands before a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct VnetHeader {
    /// [`NEEDS_CSUM`].
    pub(crate) flags: u8,
    /// What kind of segments it is to be cut into.
    pub(crate) gso: u8,
    /// Bytes of all headers; a hint.
    pub(crate) header_len: u16,
    /// Bytes of payload in each segment.
    pub(crate) gso_size: u16,
    /// Where checksumming starts.
    pub(crate) csum_start: u16,
    /// Where the checksum is, from there.
    pub(crate) csum_offset: u16,
}

impl VnetHeader {
    /// Reads one.
    pub(crate) fn parse(bytes: &[u8; VNET_HEADER_LEN]) -> Self {
        let [flags, gso, h0, h1, g0, g1, s0, s1, o0, o1] = *bytes;
        Self {
            flags,
            gso,
            header_len: u16::from_ne_bytes([h0, h1]),
            gso_size: u16::from_ne_bytes([g0, g1]),
            csum_start: u16::from_ne_bytes([s0, s1]),
            csum_offset: u16::from_ne_bytes([o0, o1]),
        }
    }

    /// Its bytes.
    pub(crate) fn emit(&self) -> [u8; VNET_HEADER_LEN] {
        let [h0, h1] = self.header_len.to_ne_bytes();
        let [g0, g1] = self.gso_size.to_ne_bytes();
        let [s0, s1] = self.csum_start.to_ne_bytes();
        let [o0, o1] = self.csum_offset.to_ne_bytes();
        [self.flags, self.gso, h0, h1, g0, g1, s0, s1, o0, o1]
    }

    /// Whether the frame is to be cut.
    pub(crate) fn is_large(&self) -> bool {
        self.gso != GSO_NONE
    }
}

/// Makes the checksum that a frame lacks. False if the header and the frame do not fit each other.
#[must_use]
pub(crate) fn complete(frame: &mut [u8], header: &VnetHeader) -> bool {
    if header.flags & NEEDS_CSUM == 0 {
        return true;
    }
    let start = usize::from(header.csum_start);
    let at = start + usize::from(header.csum_offset);
    let Some(covered) = frame.get(start..) else {
        return false;
    };
    let sum = match checksum::of(covered) {
        // Zero would mean that there is none; in TCP both stand for the same.
        0 => 0xffff,
        sum => sum,
    };
    match frame.get_mut(at..at + 2) {
        Some(field) => {
            field.copy_from_slice(&u16::to_be_bytes(sum));
            true
        }
        None => false,
    }
}

/// Segments that stand one after another, each behind its own copy of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segments {
    /// Bytes of each but the last, which may be shorter; with the header.
    pub(crate) size: usize,
    /// How many there are.
    pub(crate) count: usize,
}

/// Cuts a large frame into segments, put to what is in `out`, each behind `prefix` and before `room` bytes of 0. None if it cannot be what its header
/// says; then `out` may have some of them.
pub(crate) fn segment(
    frame: &[u8],
    header: &VnetHeader,
    (prefix, room): (&[u8], usize),
    out: &mut Vec<u8>,
) -> Option<Segments> {
    let ip = inner::ip(frame)?;
    let kind = header.gso & !GSO_ECN;
    let (protocol, at) = ip.transport(frame)?;
    let transport_len = match (kind, ip.v6, protocol) {
        (GSO_TCPV4, false, inner::TCP) | (GSO_TCPV6, true, inner::TCP) => {
            usize::from(frame.get(at + 12)? >> 4) * 4
        }
        (GSO_UDP_L4, _, inner::UDP) => 8,
        _ => return None,
    };
    let shortest = if protocol == inner::TCP { 20 } else { 8 };
    let size = usize::from(header.gso_size);
    if size == 0 || transport_len < shortest {
        return None;
    }
    let (headers, payload) = frame.split_at_checked(at + transport_len)?;
    let last = payload.len().div_ceil(size).max(1) - 1;
    for (index, piece) in pieces(payload, size).enumerate() {
        out.extend_from_slice(prefix);
        let start = out.len();
        out.extend_from_slice(headers);
        out.extend_from_slice(piece);
        let segment = out.get_mut(start..)?;
        let place = Place {
            index,
            offset: index * size,
            is_last: index == last,
        };
        finish(segment, ip, protocol, at, &place)?;
        out.resize(out.len() + room, 0);
    }
    Some(Segments {
        size: prefix.len() + headers.len() + size.min(payload.len()) + room,
        count: last + 1,
    })
}

/// Pieces of a payload; one that is empty, if it is.
fn pieces(payload: &[u8], size: usize) -> impl Iterator<Item = &[u8]> {
    let empty = payload.is_empty().then_some(payload);
    empty.into_iter().chain(payload.chunks(size))
}

struct Place {
    index: usize,
    offset: usize,
    is_last: bool,
}

/// Writes lengths, numbers, flags and checksums of one segment.
fn finish(segment: &mut [u8], ip: Ip, protocol: u8, at: usize, place: &Place) -> Option<()> {
    let total = u16::try_from(segment.len() - ip.at).ok()?;
    if ip.v6 {
        let length = total.checked_sub(40)?;
        segment
            .get_mut(ip.at + 4..ip.at + 6)?
            .copy_from_slice(&length.to_be_bytes());
    } else {
        let header = segment.get_mut(ip.at..at)?;
        let id = u16::from_be_bytes([*header.get(4)?, *header.get(5)?]);
        // CAST: ids wrap around.
        let id = id.wrapping_add(place.index as u16);
        header.get_mut(2..4)?.copy_from_slice(&total.to_be_bytes());
        header.get_mut(4..6)?.copy_from_slice(&id.to_be_bytes());
        checksum::set_ipv4(header);
    }
    let transport = segment.get_mut(at..)?;
    let length = transport.len();
    let sum_at = if protocol == inner::TCP {
        let sequence = u32::from_be_bytes(*transport.get(4..)?.first_chunk()?);
        // CAST: sequence numbers wrap around.
        let sequence = sequence.wrapping_add(place.offset as u32);
        transport
            .get_mut(4..8)?
            .copy_from_slice(&sequence.to_be_bytes());
        let flags = transport.get_mut(13)?;
        if place.index > 0 {
            *flags &= !CWR;
        }
        if !place.is_last {
            *flags &= !(FIN | PSH);
        }
        16
    } else {
        let length = u16::try_from(length).ok()?;
        transport
            .get_mut(4..6)?
            .copy_from_slice(&length.to_be_bytes());
        6
    };
    transport.get_mut(sum_at..sum_at + 2)?.fill(0);
    let pseudo = checksum::pseudo(segment, ip.at, ip.v6, protocol, length);
    let transport = segment.get_mut(at..)?;
    let sum = match !checksum::fold(checksum::add(pseudo, transport)) {
        0 => 0xffff,
        sum => sum,
    };
    transport
        .get_mut(sum_at..sum_at + 2)?
        .copy_from_slice(&u16::to_be_bytes(sum));
    Some(())
}

/// Whether the checksum of a TCP or UDP packet is right.
pub(crate) fn is_intact(frame: &[u8], ip: Ip, protocol: u8, at: usize) -> bool {
    let transport = frame.get(at..).unwrap_or_default();
    let pseudo = checksum::pseudo(frame, ip.at, ip.v6, protocol, transport.len());
    checksum::fold(checksum::add(pseudo, transport)) == 0xffff
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An Ethernet and an IP header, that of IPv4 with DF.
    fn headers(v6: bool, protocol: u8) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        if v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, protocol, 64]);
            frame.extend([0xfd; 16]);
            frame.extend([0xfc; 16]);
        } else {
            frame.extend([0x08, 0, 0x45, 0, 0, 0, 0, 7, 0x40, 0, 64, protocol, 0, 0]);
            frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        }
        frame
    }

    fn finished(mut frame: Vec<u8>, protocol: u8, at: usize) -> Vec<u8> {
        let ip = inner::ip(&frame).expect("IP");
        let place = Place {
            index: 0,
            offset: 0,
            is_last: true,
        };
        finish(&mut frame, ip, protocol, at, &place).expect("long enough");
        frame
    }

    /// A UDP datagram with right checksums.
    pub(crate) fn udp(v6: bool, payload: &[u8]) -> Vec<u8> {
        let mut frame = headers(v6, inner::UDP);
        let at = frame.len();
        frame.extend([0x10, 0x92, 0x20, 0x91, 0, 0, 0, 0]);
        frame.extend(payload);
        finished(frame, inner::UDP, at)
    }

    /// A TCP segment with right checksums.
    pub(crate) fn tcp(v6: bool, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = headers(v6, inner::TCP);
        let at = frame.len();
        frame.extend([0x10, 0x92, 0x20, 0x91]);
        frame.extend(sequence.to_be_bytes());
        frame.extend([0, 0, 0, 9, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
        frame.extend(payload);
        finished(frame, inner::TCP, at)
    }

    #[test]
    fn segments_are_what_the_stack_would_have_made() {
        for v6 in [false, true] {
            let payload: Vec<u8> = (0..250_u8).collect();
            let frame = tcp(v6, u32::MAX - 99, FIN | PSH | CWR | 0x10, &payload);
            let header = VnetHeader {
                gso: if v6 { GSO_TCPV6 } else { GSO_TCPV4 } | GSO_ECN,
                gso_size: 100,
                ..VnetHeader::default()
            };
            let mut out = Vec::new();
            let segments = segment(&frame, &header, (b"prefix", 0), &mut out).expect("segments");
            assert_eq!(segments.count, 3);
            let all: Vec<_> = out.chunks(segments.size).map(|piece| &piece[6..]).collect();
            assert_eq!(all.len(), 3);
            let flags = [CWR | 0x10, 0x10, 0x10 | FIN | PSH];
            for (index, piece) in all.iter().enumerate() {
                let ip = inner::ip(piece).expect("IP");
                let (protocol, at) = ip.transport(piece).expect("TCP");
                assert!(is_intact(piece, ip, protocol, at), "{v6} {index}");
                assert_eq!(piece[at + 13], flags[index]);
                let expected = (u32::MAX - 99).wrapping_add(100 * index as u32);
                assert_eq!(piece[at + 4..at + 8], expected.to_be_bytes());
                let end = (index * 100 + 100).min(250);
                assert_eq!(piece[at + 20..], payload[index * 100..end]);
                if !v6 {
                    assert_eq!(checksum::of(&piece[14..34]), 0);
                    assert_eq!(piece[18..20], u16::to_be_bytes(7 + index as u16));
                }
            }
        }
    }

    #[test]
    fn a_header_that_does_not_fit_is_refused() {
        let frame = tcp(false, 1, 0x10, &[1; 50]);
        let header = VnetHeader {
            gso: GSO_TCPV4,
            gso_size: 20,
            ..VnetHeader::default()
        };
        let mut out = Vec::new();
        assert!(segment(&frame, &header, (b"", 0), &mut out).is_some());
        for wrong in [
            VnetHeader {
                gso_size: 0,
                ..header
            },
            VnetHeader {
                gso: GSO_TCPV6,
                ..header
            },
            VnetHeader {
                gso: GSO_UDP_L4,
                ..header
            },
            VnetHeader { gso: 9, ..header },
        ] {
            assert_eq!(segment(&frame, &wrong, (b"", 0), &mut out), None);
        }
        for length in 0..54 {
            assert_eq!(segment(&frame[..length], &header, (b"", 0), &mut out), None);
        }
        let far = VnetHeader {
            flags: NEEDS_CSUM,
            csum_start: 60,
            csum_offset: 44,
            ..VnetHeader::default()
        };
        assert!(!complete(&mut frame.clone(), &far));
    }

    #[test]
    fn a_missing_checksum_is_made() {
        let whole = tcp(false, 1, 0x10, b"odd");
        let mut frame = whole.clone();
        // What the stack leaves: the sum of the pseudo header.
        let pseudo = checksum::fold(checksum::pseudo(&frame, 14, false, inner::TCP, 23));
        frame[50..52].copy_from_slice(&pseudo.to_be_bytes());
        let header = VnetHeader {
            flags: NEEDS_CSUM,
            csum_start: 34,
            csum_offset: 16,
            ..VnetHeader::default()
        };
        assert!(complete(&mut frame, &header));
        assert_eq!(frame, whole);
        assert_eq!(VnetHeader::parse(&header.emit()), header);
    }
}
