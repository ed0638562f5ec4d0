// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Tells who sent a packet that does not fit the path how large it may be: "fragmentation needed", "packet too big".

use crate::checksum;
use crate::inner::{self, IPV4_LEN, IPV6_LEN};

const ETHERNET_LEN: usize = 14;
const ICMP_LEN: usize = 8;
/// Hosts need not believe less, and need not be told.
const SMALLEST_V4: u32 = 576;
const SMALLEST_V6: u32 = 1280;
const ICMPV4: u8 = 1;
const ICMPV6: u8 = 58;

/// Whether the sender of a frame can be told that it is too large. Others are sent in fragments.
pub(crate) fn can_tell(frame: &[u8]) -> bool {
    let Some(ip) = inner::ip(frame).filter(|ip| ip.at == ETHERNET_LEN) else {
        return false;
    };
    let Some(header) = frame.get(ip.at..) else {
        return false;
    };
    let is_error = |at: usize, protocol: u8, query: fn(u8) -> bool| {
        ip.transport(frame)
            .is_some_and(|(found, start)| found == protocol && start == ip.at + at)
            && frame.get(ip.at + at).is_some_and(|kind| !query(*kind))
    };
    if ip.v6 {
        let group = header.get(8) == Some(&0xff) || header.get(24) == Some(&0xff);
        let nobody = header
            .get(8..24)
            .is_some_and(|from| from.iter().all(|b| *b == 0));
        return !group && !nobody && !is_error(IPV6_LEN, ICMPV6, |kind| kind >= 128);
    }
    let must_not_fragment = header.get(6).is_some_and(|flags| flags & 0x40 != 0);
    let host = |at: usize| {
        header
            .get(at)
            .is_some_and(|first| !matches!(first, 0 | 127 | 224..))
    };
    // Echo, router and timestamp messages are no errors.
    let is_error = is_error(usize::from(header[0] & 0xf) * 4, ICMPV4, |kind| {
        matches!(kind, 0 | 8 | 9 | 10 | 13..=18)
    });
    must_not_fragment && host(12) && host(16) && !is_error
}

/// The answer to a frame of which an IP packet must not be larger than `mtu`. None if there is nothing to tell.
pub(crate) fn too_big(frame: &[u8], mtu: u32) -> Option<Vec<u8>> {
    if !can_tell(frame) {
        return None;
    }
    let ip = inner::ip(frame)?;
    let smallest = if ip.v6 { SMALLEST_V6 } else { SMALLEST_V4 };
    if mtu < smallest {
        return None;
    }
    let header_len = if ip.v6 { IPV6_LEN } else { IPV4_LEN };
    let room = smallest as usize - header_len - ICMP_LEN;
    let packet = frame.get(ip.at..)?;
    let quoted = packet.get(..room).unwrap_or(packet);
    let mut answer = Vec::with_capacity(ETHERNET_LEN + smallest as usize);
    answer.extend_from_slice(frame.get(6..12)?);
    answer.extend_from_slice(frame.get(..6)?);
    answer.extend_from_slice(frame.get(12..14)?);
    let length = u16::try_from(ICMP_LEN + quoted.len()).ok()?;
    if ip.v6 {
        answer.extend([0x60, 0, 0, 0]);
        answer.extend(length.to_be_bytes());
        answer.extend([ICMPV6, 64]);
        answer.extend_from_slice(packet.get(24..40)?);
        answer.extend_from_slice(packet.get(8..24)?);
        answer.extend([2, 0, 0, 0]);
        answer.extend(mtu.to_be_bytes());
    } else {
        let mut header = vec![0x45, 0];
        header.extend((length + IPV4_LEN as u16).to_be_bytes());
        header.extend([0, 0, 0x40, 0, 64, ICMPV4, 0, 0]);
        header.extend_from_slice(packet.get(16..20)?);
        header.extend_from_slice(packet.get(12..16)?);
        checksum::set_ipv4(&mut header);
        answer.extend(header);
        answer.extend([3, 4, 0, 0, 0, 0]);
        answer.extend(u16::try_from(mtu).unwrap_or(u16::MAX).to_be_bytes());
    }
    answer.extend_from_slice(quoted);
    let at = ETHERNET_LEN + header_len;
    let pseudo = if ip.v6 {
        checksum::pseudo(&answer, ETHERNET_LEN, true, ICMPV6, usize::from(length))
    } else {
        0
    };
    let sum = !checksum::fold(checksum::add(pseudo, answer.get(at..)?));
    answer
        .get_mut(at + 2..at + 4)?
        .copy_from_slice(&sum.to_be_bytes());
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offload::{self, tests::tcp};

    #[test]
    fn the_sender_is_told() {
        let mut frame = tcp(false, 1, 0x10, &[7; 1400]);
        let answer = too_big(&frame, 1300).expect("told");
        assert_eq!(answer.len(), 14 + 576);
        assert_eq!(answer[..6], frame[6..12]);
        assert_eq!(answer[26..30], [10, 0, 0, 2]);
        assert_eq!(answer[30..34], [10, 0, 0, 1]);
        assert_eq!(answer[34..36], [3, 4]);
        assert_eq!(answer[40..42], 1300_u16.to_be_bytes());
        assert_eq!(checksum::of(&answer[14..34]), 0);
        assert_eq!(checksum::of(&answer[34..]), 0);
        assert_eq!(answer[42..], frame[14..14 + 548]);
        assert_eq!(too_big(&frame, 500), None);
        assert_eq!(too_big(&answer, 1300), None, "no error about an error");
        frame[20] = 0;
        assert_eq!(too_big(&frame, 1300), None, "it may be fragmented");

        let frame = tcp(true, 1, 0x10, &[7; 1400]);
        let answer = too_big(&frame, 1300).expect("told");
        assert_eq!(answer.len(), 14 + 1280);
        let ip = inner::ip(&answer).expect("IP");
        assert!(offload::is_intact(&answer, ip, ICMPV6, 54));
        assert_eq!(answer[58..62], 1300_u32.to_be_bytes());
        assert_eq!(too_big(&answer, 1300), None);
        for length in 0..54 {
            let _ = too_big(&frame[..length], 1300);
        }
    }
}
