// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Puts consecutive TCP segments of a flow together again, so that they cross the TAP as one packet.
//!
//! Only what the stack could cut into the very same segments: in order, without gap, of one length but for the last, all
//! headers the same but for the numbers that cutting makes, no flags but ACK and PSH, checksums right.

use std::sync::Arc;

use crate::checksum;
use crate::inner::{self, Ip};
use crate::offload::{self, GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, VnetHeader};

/// Flows that are put together at a time.
const FLOWS: usize = 8;
/// Most bytes of an IP packet.
const MOST: usize = 65_535;
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
/// Of a TCP header: the checksum.
const SUM_AT: usize = 16;

/// A TCP segment, as far as it matters here.
#[derive(Clone, Copy)]
struct Segment {
    ip: Ip,
    /// Offset of the TCP header and of the payload.
    tcp: usize,
    payload: usize,
    sequence: u32,
    id: u16,
    pushed: bool,
    /// Whether it may be put together with others.
    plain: bool,
}

/// A TCP segment, if a frame holds a whole one.
fn parse(frame: &[u8]) -> Option<Segment> {
    let ip = inner::ip(frame)?;
    let (inner::TCP, tcp) = ip.transport(frame)? else {
        return None;
    };
    let header = frame.get(tcp..)?.first_chunk::<20>()?;
    let payload = tcp + usize::from(header[12] >> 4) * 4;
    let packet = frame.get(ip.at..)?;
    let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let (length, fragment) = if ip.v6 {
        (usize::from(word(4)) + inner::IPV6_LEN, 0)
    } else {
        (usize::from(word(2)), word(6) & 0x3fff)
    };
    let flags = header[13];
    let options = !ip.v6 && packet[0] != 0x45;
    Some(Segment {
        ip,
        tcp,
        payload,
        sequence: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
        id: if ip.v6 { 0 } else { word(4) },
        pushed: flags & PSH != 0,
        plain: flags & !PSH == ACK
            && header[12] & 0xf == 0
            && payload >= tcp + 20
            && payload < frame.len()
            && length == packet.len()
            && fragment == 0
            && !options,
    })
}

/// Segments that were put together.
struct Flow<T> {
    owner: Arc<T>,
    bytes: Vec<u8>,
    first: Segment,
    /// Bytes of payload of each segment.
    size: usize,
    count: u32,
    next: u32,
}

impl<T> Flow<T> {
    /// Whether a segment is of the same flow.
    fn is_same(&self, owner: &Arc<T>, frame: &[u8], segment: &Segment) -> bool {
        let (from, to) = if segment.ip.v6 { (8, 40) } else { (12, 20) };
        let at = segment.ip.at;
        Arc::ptr_eq(&self.owner, owner)
            && self.first.ip == segment.ip
            && self.first.tcp == segment.tcp
            && self.bytes.get(..at) == frame.get(..at)
            && self.bytes.get(at + from..at + to) == frame.get(at + from..at + to)
            && self.bytes.get(segment.tcp..segment.tcp + 4)
                == frame.get(segment.tcp..segment.tcp + 4)
    }

    /// Whether a segment of the same flow follows, and cutting would make it again.
    fn is_next(&self, frame: &[u8], segment: &Segment) -> bool {
        let (at, tcp) = (segment.ip.at, segment.tcp);
        let payload = frame.len() - segment.payload;
        // Type of service, fragmentation, TTL, protocol; in IPv6 all but the length.
        let ip_same = if segment.ip.v6 {
            self.bytes.get(at..at + 4) == frame.get(at..at + 4)
                && self.bytes.get(at + 6..at + 8) == frame.get(at + 6..at + 8)
        } else {
            // CAST: ids wrap around.
            let id = self.first.id.wrapping_add(self.count as u16);
            self.bytes.get(at..at + 2) == frame.get(at..at + 2)
                && self.bytes.get(at + 6..at + 10) == frame.get(at + 6..at + 10)
                && segment.id == id
        };
        // Acknowledgement, header length, window, options.
        let tcp_same = self.first.payload == segment.payload
            && self.bytes.get(tcp + 8..tcp + 13) == frame.get(tcp + 8..tcp + 13)
            && self.bytes.get(tcp + 14..tcp + 16) == frame.get(tcp + 14..tcp + 16)
            && self.bytes.get(tcp + 18..segment.payload) == frame.get(tcp + 18..segment.payload);
        segment.plain
            && segment.sequence == self.next
            && payload <= self.size
            && self.bytes.len() - at + payload <= MOST
            && ip_same
            && tcp_same
    }

    fn is_full(&self, last: usize, pushed: bool) -> bool {
        pushed || last < self.size
    }

    /// Finishes the headers, and gives header and frame.
    fn finish(&mut self) -> Option<VnetHeader> {
        if self.count < 2 {
            return Some(VnetHeader::default());
        }
        let Segment {
            ip, tcp, payload, ..
        } = self.first;
        let total = self.bytes.len() - ip.at;
        if ip.v6 {
            let length = u16::try_from(total - inner::IPV6_LEN).ok()?;
            let field = self.bytes.get_mut(ip.at + 4..ip.at + 6)?;
            field.copy_from_slice(&length.to_be_bytes());
        } else {
            let length = u16::try_from(total).ok()?;
            let header = self.bytes.get_mut(ip.at..tcp)?;
            header.get_mut(2..4)?.copy_from_slice(&length.to_be_bytes());
            checksum::set_ipv4(header);
        }
        let length = self.bytes.len() - tcp;
        let sum = checksum::fold(checksum::pseudo(
            &self.bytes,
            ip.at,
            ip.v6,
            inner::TCP,
            length,
        ));
        let field = self.bytes.get_mut(tcp + SUM_AT..tcp + SUM_AT + 2)?;
        field.copy_from_slice(&sum.to_be_bytes());
        Some(VnetHeader {
            flags: NEEDS_CSUM,
            gso: if ip.v6 { GSO_TCPV6 } else { GSO_TCPV4 },
            header_len: u16::try_from(payload).ok()?,
            gso_size: u16::try_from(self.size).ok()?,
            csum_start: u16::try_from(tcp).ok()?,
            csum_offset: SUM_AT as u16,
        })
    }
}

/// What is being put together. `T` is whose it is.
pub(crate) struct Merger<T> {
    flows: Vec<Flow<T>>,
    /// Buffers that were used before.
    spare: Vec<Vec<u8>>,
}

impl<T> Merger<T> {
    /// Nothing.
    pub(crate) fn new() -> Self {
        Self {
            flows: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// Takes a frame. What is complete goes to `out`, with its header and the number of frames that it was; the rest is kept
    /// until [`Merger::flush`].
    pub(crate) fn offer(
        &mut self,
        owner: &Arc<T>,
        frame: &[u8],
        out: &mut impl FnMut(&Arc<T>, &VnetHeader, &[u8], u32),
    ) {
        let alone = VnetHeader::default();
        let Some(segment) = parse(frame) else {
            return out(owner, &alone, frame, 1);
        };
        let found = self
            .flows
            .iter()
            .position(|flow| flow.is_same(owner, frame, &segment));
        let intact = || offload::is_intact(frame, segment.ip, inner::TCP, segment.tcp);
        if let Some(at) = found {
            let payload = frame.len().saturating_sub(segment.payload);
            let flow = &mut self.flows[at];
            if flow.is_next(frame, &segment) && intact() {
                flow.bytes.extend_from_slice(&frame[segment.payload..]);
                flow.count += 1;
                // CAST: sequence numbers wrap around.
                flow.next = flow.next.wrapping_add(payload as u32);
                if segment.pushed {
                    flow.bytes[segment.tcp + 13] |= PSH;
                }
                if flow.is_full(payload, segment.pushed) {
                    self.give(at, out);
                }
                return;
            }
            self.give(at, out);
        }
        // A segment with PSH is the end of something.
        if !segment.plain || segment.pushed || !intact() {
            return out(owner, &alone, frame, 1);
        }
        if self.flows.len() >= FLOWS {
            self.give(0, out);
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(frame);
        let size = frame.len() - segment.payload;
        self.flows.push(Flow {
            owner: owner.clone(),
            bytes,
            first: segment,
            size,
            count: 1,
            // CAST: as above.
            next: segment.sequence.wrapping_add(size as u32),
        });
    }

    fn give(&mut self, at: usize, out: &mut impl FnMut(&Arc<T>, &VnetHeader, &[u8], u32)) {
        let mut flow = self.flows.remove(at);
        if let Some(header) = flow.finish() {
            out(&flow.owner, &header, &flow.bytes, flow.count);
        }
        self.spare.push(flow.bytes);
    }

    /// Gives all that was kept.
    pub(crate) fn flush(&mut self, out: &mut impl FnMut(&Arc<T>, &VnetHeader, &[u8], u32)) {
        while !self.flows.is_empty() {
            self.give(0, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offload::tests::tcp;

    /// What comes out: header, frame, how many it was.
    fn run(frames: &[Vec<u8>]) -> Vec<(VnetHeader, Vec<u8>, u32)> {
        let owner = Arc::new(());
        let mut merger = Merger::new();
        let mut all = Vec::new();
        let mut out = |_: &Arc<()>, header: &VnetHeader, frame: &[u8], count: u32| {
            all.push((*header, frame.to_vec(), count));
        };
        for frame in frames {
            merger.offer(&owner, frame, &mut out);
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
        let segments = offload::segment(&whole, &header, b"", &mut out).expect("segments");
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
