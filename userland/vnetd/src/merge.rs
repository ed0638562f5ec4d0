// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Puts consecutive packets of a flow together again, TCP segments and UDP datagrams, so that they cross the TAP as one
//! packet.
//!
//! Only what the stack could cut into the very same packets: in order, without gap, of one length but for the last, all
//! headers the same but for the numbers that cutting makes, no TCP flags but ACK and PSH, checksums right. Payloads are not
//! copied: they stay where they were received until all is handed over.

use std::sync::Arc;

use crate::checksum;
use crate::inner::{self, Ip};
use crate::offload::{self, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM, VnetHeader};
use crate::tap;

/// Flows that are put together at a time.
const FLOWS: usize = 8;
/// Most bytes of an IP packet.
const MOST: usize = 65_535;
/// Most packets that are put together.
const PACKETS: usize = tap::PIECES;
/// Room for all headers: Ethernet with two tags, IP, TCP with options.
const HEADERS: usize = 128;
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;

/// A TCP segment or UDP datagram, as far as it matters here.
#[derive(Clone, Copy)]
struct Packet {
    ip: Ip,
    protocol: u8,
    /// Offset of the TCP or UDP header and of the payload.
    at: usize,
    payload: usize,
    /// TCP only.
    sequence: u32,
    id: u16,
    pushed: bool,
    /// Whether it may be put together with others.
    plain: bool,
}

/// A segment or datagram, if a frame holds a whole one.
fn parse(frame: &[u8]) -> Option<Packet> {
    let ip = inner::ip(frame)?;
    let (protocol, at) = ip.transport(frame)?;
    let packet = frame.get(ip.at..)?;
    let word = |at: usize| Some(u16::from_be_bytes(*packet.get(at..)?.first_chunk()?));
    let (length, fragment, id) = if ip.v6 {
        (usize::from(word(4)?) + inner::IPV6_LEN, 0, 0)
    } else {
        (usize::from(word(2)?), word(6)? & 0x3fff, word(4)?)
    };
    let options = !ip.v6 && packet.first() != Some(&0x45);
    let whole = length == packet.len() && fragment == 0 && !options;
    let transport = frame.get(at..)?;
    let (payload, sequence, pushed, plain) = match protocol {
        inner::TCP => {
            let header = transport.first_chunk::<20>()?;
            let payload = at + usize::from(header[12] >> 4) * 4;
            let flags = header[13];
            let plain = flags & !PSH == ACK && header[12] & 0xf == 0 && payload >= at + 20;
            let sequence = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            (payload, sequence, flags & PSH != 0, plain)
        }
        inner::UDP => {
            let header = transport.first_chunk::<8>()?;
            let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
            // Without a checksum, a wrong one could not be told.
            let plain = length == transport.len() && header[6..] != [0, 0];
            (at + 8, 0, false, plain)
        }
        _ => return None,
    };
    Some(Packet {
        ip,
        protocol,
        at,
        payload,
        sequence,
        id,
        pushed,
        plain: plain && whole && payload < frame.len() && payload <= HEADERS,
    })
}

/// Packets that were put together.
struct Flow<'a, T> {
    owner: Arc<T>,
    /// The frame that the first one came in.
    frame: &'a [u8],
    first: Packet,
    /// Payloads of the others.
    rest: Vec<&'a [u8]>,
    /// Bytes of all of them from the IP header on.
    length: usize,
    /// Bytes of payload of each.
    size: usize,
    next: u32,
    pushed: bool,
}

impl<'a, T> Flow<'a, T> {
    fn begin(owner: &Arc<T>, frame: &'a [u8], first: Packet) -> Self {
        let size = frame.len() - first.payload;
        Self {
            owner: owner.clone(),
            frame,
            first,
            rest: Vec::new(),
            length: frame.len() - first.ip.at,
            size,
            // CAST: sequence numbers wrap around.
            next: first.sequence.wrapping_add(size as u32),
            pushed: false,
        }
    }

    /// Whether a packet is of the same flow.
    fn is_same(&self, owner: &Arc<T>, frame: &[u8], packet: &Packet) -> bool {
        let (from, to) = if packet.ip.v6 { (8, 40) } else { (12, 20) };
        let at = packet.ip.at;
        let same = |from: usize, to: usize| self.frame.get(from..to) == frame.get(from..to);
        Arc::ptr_eq(&self.owner, owner)
            && self.first.ip == packet.ip
            && self.first.protocol == packet.protocol
            && self.first.at == packet.at
            && same(packet.at, packet.at + 4)
            && same(at + from, at + to)
            && same(0, at)
    }

    /// Whether a packet of the same flow follows, and cutting would make it again.
    fn is_next(&self, frame: &[u8], packet: &Packet) -> bool {
        let (at, l4) = (packet.ip.at, packet.at);
        let same = |from: usize, to: usize| self.frame.get(from..to) == frame.get(from..to);
        let payload = frame.len() - packet.payload;
        // Type of service, fragmentation, TTL, protocol; in IPv6 all but the length.
        let ip_same = if packet.ip.v6 {
            same(at, at + 4) && same(at + 6, at + 8)
        } else {
            // CAST: ids wrap around.
            let next = self.first.id.wrapping_add(self.rest.len() as u16 + 1);
            // What must not be fragmented has an id that says nothing (RFC 6864).
            let any_id = packet.protocol == inner::UDP
                && frame.get(at + 6).is_some_and(|flags| flags & 0x40 != 0);
            same(at, at + 2) && same(at + 6, at + 10) && (any_id || packet.id == next)
        };
        // Acknowledgement, header length, window, options.
        let transport_same = packet.protocol == inner::UDP
            || self.first.payload == packet.payload
                && packet.sequence == self.next
                && same(l4 + 8, l4 + 13)
                && same(l4 + 14, l4 + 16)
                && same(l4 + 18, packet.payload);
        packet.plain
            && payload <= self.size
            && self.length + payload <= MOST
            && self.rest.len() + 1 < PACKETS
            && ip_same
            && transport_same
    }

    /// Takes the next one. Whether none can follow it.
    fn take(&mut self, frame: &'a [u8], packet: &Packet) -> bool {
        let payload = frame.get(packet.payload..).unwrap_or_default();
        if self.rest.is_empty() {
            self.rest.reserve(PACKETS);
        }
        self.rest.push(payload);
        self.length += payload.len();
        // CAST: sequence numbers wrap around.
        self.next = self.next.wrapping_add(payload.len() as u32);
        self.pushed |= packet.pushed;
        packet.pushed || payload.len() < self.size || self.rest.len() + 1 >= PACKETS
    }

    /// Hands over what was put together, its headers made to fit.
    fn finish(&mut self, out: &mut Out<'_, T>) -> Option<()> {
        if self.rest.is_empty() {
            out(Complete::alone(&self.owner, self.frame));
            return Some(());
        }
        let Packet {
            ip,
            protocol,
            at,
            payload,
            ..
        } = self.first;
        let mut headers = [0; HEADERS];
        let headers = headers.get_mut(..payload)?;
        let (old, first) = self.frame.split_at_checked(payload)?;
        headers.copy_from_slice(old);
        if ip.v6 {
            let length = u16::try_from(self.length - inner::IPV6_LEN).ok()?;
            let field = headers.get_mut(ip.at + 4..ip.at + 6)?;
            field.copy_from_slice(&length.to_be_bytes());
        } else {
            let length = u16::try_from(self.length).ok()?;
            let header = headers.get_mut(ip.at..at)?;
            header.get_mut(2..4)?.copy_from_slice(&length.to_be_bytes());
            checksum::set_ipv4(header);
        }
        let length = self.length - (at - ip.at);
        let (sum_at, gso) = match (protocol, ip.v6) {
            (inner::TCP, v6) => {
                if self.pushed {
                    *headers.get_mut(at + 13)? |= PSH;
                }
                (16, if v6 { GSO_TCPV6 } else { GSO_TCPV4 })
            }
            _ => {
                let field = headers.get_mut(at + 4..at + 6)?;
                field.copy_from_slice(&u16::try_from(length).ok()?.to_be_bytes());
                (6, GSO_UDP_L4)
            }
        };
        let sum = checksum::fold(checksum::pseudo(headers, ip.at, ip.v6, protocol, length));
        let field = headers.get_mut(at + sum_at..at + sum_at + 2)?;
        field.copy_from_slice(&sum.to_be_bytes());
        let header = VnetHeader {
            flags: NEEDS_CSUM,
            gso,
            header_len: u16::try_from(payload).ok()?,
            gso_size: u16::try_from(self.size).ok()?,
            csum_start: u16::try_from(at).ok()?,
            csum_offset: u16::try_from(sum_at).ok()?,
        };
        let count = self.rest.len() + 1;
        self.rest.insert(0, first);
        out(Complete {
            owner: &self.owner,
            header,
            first: headers,
            rest: &self.rest,
            count,
        });
        Some(())
    }
}

/// A frame that is complete.
pub(crate) struct Complete<'c, T> {
    /// Whose it is.
    pub(crate) owner: &'c Arc<T>,
    pub(crate) header: VnetHeader,
    /// The frame, in pieces.
    pub(crate) first: &'c [u8],
    pub(crate) rest: &'c [&'c [u8]],
    /// How many frames it was.
    pub(crate) count: usize,
}

impl<'c, T> Complete<'c, T> {
    fn alone(owner: &'c Arc<T>, frame: &'c [u8]) -> Self {
        Self {
            owner,
            header: VnetHeader::default(),
            first: frame,
            rest: &[],
            count: 1,
        }
    }
}

/// Where what is complete goes to.
pub(crate) type Out<'o, T> = dyn FnMut(Complete<'_, T>) + 'o;

/// What is being put together. `T` is whose it is, `'a` how long what was received stays where it is.
pub(crate) struct Merger<'a, T> {
    flows: Vec<Flow<'a, T>>,
}

impl<'a, T> Merger<'a, T> {
    /// Nothing.
    pub(crate) fn new() -> Self {
        Self { flows: Vec::new() }
    }

    /// Takes a frame. What is complete goes to `out`; the rest is kept until [`Merger::flush`]. `datagrams`: whether UDP
    /// datagrams are put together, too.
    pub(crate) fn offer(
        &mut self,
        owner: &Arc<T>,
        frame: &'a [u8],
        datagrams: bool,
        out: &mut Out<'_, T>,
    ) {
        let packet = parse(frame).filter(|found| datagrams || found.protocol == inner::TCP);
        let Some(packet) = packet else {
            return out(Complete::alone(owner, frame));
        };
        let intact = || offload::is_intact(frame, packet.ip, packet.protocol, packet.at);
        if let Some(at) = self.find(owner, frame, &packet) {
            let flow = &mut self.flows[at];
            if flow.is_next(frame, &packet) && intact() {
                if flow.take(frame, &packet) {
                    self.give(at, out);
                }
                return;
            }
            self.give(at, out);
        }
        // A segment with PSH is the end of something.
        if !packet.plain || packet.pushed || !intact() {
            return out(Complete::alone(owner, frame));
        }
        if self.flows.len() >= FLOWS {
            self.give(0, out);
        }
        self.flows.push(Flow::begin(owner, frame, packet));
    }

    /// Takes a frame that does not stay where it is: it is handed over at once, after those of its flow.
    pub(crate) fn pass(&mut self, owner: &Arc<T>, frame: &[u8], out: &mut Out<'_, T>) {
        let packet = parse(frame);
        if let Some(at) = packet.and_then(|packet| self.find(owner, frame, &packet)) {
            self.give(at, out);
        }
        out(Complete::alone(owner, frame));
    }

    fn find(&self, owner: &Arc<T>, frame: &[u8], packet: &Packet) -> Option<usize> {
        self.flows
            .iter()
            .position(|flow| flow.is_same(owner, frame, packet))
    }

    fn give(&mut self, at: usize, out: &mut Out<'_, T>) {
        // All that could not fit was looked at when it was parsed.
        let _ = self.flows.remove(at).finish(out);
    }

    /// Gives all that was kept.
    pub(crate) fn flush(&mut self, out: &mut Out<'_, T>) {
        while !self.flows.is_empty() {
            self.give(0, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offload::tests::{tcp, udp};

    /// What comes out: header, frame, how many it was.
    fn run(frames: &[Vec<u8>]) -> Vec<(VnetHeader, Vec<u8>, usize)> {
        let owner = Arc::new(());
        let mut merger = Merger::new();
        let mut all = Vec::new();
        let mut out = |complete: Complete<'_, ()>| {
            let frame = [complete.first, &complete.rest.concat()].concat();
            all.push((complete.header, frame, complete.count));
        };
        for frame in frames {
            merger.offer(&owner, frame, true, &mut out);
        }
        merger.flush(&mut out);
        all
    }

    fn cut(v6: bool, payload: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>) {
        let whole = tcp(v6, 5, ACK | PSH, payload);
        let header = VnetHeader {
            gso: if v6 { GSO_TCPV6 } else { GSO_TCPV4 },
            gso_size: 100,
            ..VnetHeader::default()
        };
        let mut out = Vec::new();
        let segments = offload::segment(&whole, &header, (b"", 0), &mut out).expect("segments");
        let all = out.chunks(segments.size).map(<[u8]>::to_vec).collect();
        (whole, all)
    }

    #[test]
    fn what_was_cut_is_put_together() {
        for v6 in [false, true] {
            let payload: Vec<u8> = (0..=255).cycle().take(350).collect();
            let (whole, pieces) = cut(v6, &payload);
            let all = run(&pieces);
            assert_eq!(all.len(), 1, "{v6}");
            let (header, mut frame, count) = all.into_iter().next().expect("one");
            assert_eq!((count, header.gso_size), (4, 100));
            assert!(offload::complete(&mut frame, &header));
            assert_eq!(frame, whole);
        }
    }

    #[test]
    fn datagrams_are_put_together() {
        for v6 in [false, true] {
            let payload: Vec<u8> = (0..=255).cycle().take(350).collect();
            let whole = udp(v6, &payload);
            let header = VnetHeader {
                gso: GSO_UDP_L4,
                gso_size: 100,
                ..VnetHeader::default()
            };
            let mut out = Vec::new();
            let segments = offload::segment(&whole, &header, (b"", 0), &mut out).expect("segments");
            let mut pieces: Vec<_> = out.chunks(segments.size).map(<[u8]>::to_vec).collect();
            let all = run(&pieces);
            assert_eq!(all.len(), 1, "{v6}");
            let (header, mut frame, count) = all.into_iter().next().expect("one");
            assert_eq!((count, header.gso, header.gso_size), (4, GSO_UDP_L4, 100));
            assert!(offload::complete(&mut frame, &header));
            assert_eq!(frame, whole);
            let mut again = Vec::new();
            offload::segment(&frame, &header, (b"", 0), &mut again).expect("segments");
            assert_eq!(again, out);
            // A wrong checksum, none at all, a longer one.
            *pieces[1].last_mut().expect("bytes") ^= 1;
            let at = if v6 { 14 + 40 } else { 14 + 20 };
            pieces[2][at + 6..at + 8].fill(0);
            pieces.push(udp(v6, &[1; 200]));
            let all = run(&pieces);
            let frames: Vec<_> = all.iter().map(|(_, frame, _)| frame.clone()).collect();
            assert_eq!(frames, pieces, "nothing is put together");
        }
    }

    #[test]
    fn what_does_not_stay_passes_after_what_came_before() {
        let (_, pieces) = cut(false, &[1; 300]);
        let owner = Arc::new(());
        let mut merger = Merger::new();
        let mut counts = Vec::new();
        let mut out = |complete: Complete<'_, ()>| counts.push(complete.count);
        merger.offer(&owner, &pieces[0], true, &mut out);
        merger.offer(&owner, &pieces[1], true, &mut out);
        merger.pass(&owner, &pieces[2].clone(), &mut out);
        merger.flush(&mut out);
        assert_eq!(counts, [2, 1]);
    }

    #[test]
    fn what_differs_stays_apart_and_in_order() {
        let (_, pieces) = cut(false, &[1; 300]);
        // A gap, a duplicate, a wrong checksum, another acknowledgement.
        let gap = [pieces[0].clone(), pieces[2].clone()];
        let twice = [pieces[0].clone(), pieces[0].clone()];
        let mut broken = pieces.clone();
        *broken[1].last_mut().expect("bytes") ^= 1;
        let mut fin = pieces.clone();
        fin[1][47] |= 1;
        for frames in [&gap[..], &twice[..], &broken[..], &fin[..]] {
            let all = run(frames);
            let frames_out: Vec<_> = all.iter().map(|(_, frame, _)| frame.clone()).collect();
            assert_eq!(frames_out, frames, "nothing is put together");
            assert!(
                all.iter()
                    .all(|(header, ..)| *header == VnetHeader::default())
            );
        }
        let (mut other, _) = (pieces.clone(), ());
        other.insert(1, vec![0; 60]);
        let all = run(&other);
        assert_eq!(all.len(), 2, "what is not TCP does not disturb");
    }

    #[test]
    fn no_bytes_are_too_strange() {
        let (_, pieces) = cut(true, &[1; 150]);
        for length in 0..pieces[0].len() {
            run(&[pieces[0][..length].to_vec(), pieces[1].clone()]);
        }
        for at in 12..74 {
            let mut strange = pieces.clone();
            strange[0][at] ^= 0xff;
            run(&strange);
        }
    }
}
