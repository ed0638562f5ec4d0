// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The Internet checksum (RFC 1071).

/// Adds bytes to a sum. Only the last part of several may have a number of bytes that is not a multiple of four.
pub(crate) fn add(sum: u64, bytes: &[u8]) -> u64 {
    // In the machine's byte order, and only the result turned around (RFC 1071, section 2): so it is done many bytes at a time.
    let words = bytes.chunks_exact(4);
    let rest = words.remainder();
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let word = |word: &[u8]| u64::from(u32::from_ne_bytes(word.try_into().unwrap_or_default()));
    let native = words.map(word).sum::<u64>() + word(&last);
    sum + u64::from(u16::from_be_bytes(fold(native).to_ne_bytes()))
}

/// Folds a sum to 16 bits, without the complement.
pub(crate) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // CAST: just made to fit.
    sum as u16
}

/// The checksum of bytes.
pub(crate) fn of(bytes: &[u8]) -> u16 {
    !fold(add(0, bytes))
}

/// Writes the checksum of an IPv4 header of at least 20 bytes, options included.
pub(crate) fn set_ipv4(header: &mut [u8]) {
    if let Some(field) = header.get_mut(10..12) {
        field.fill(0);
        let sum = of(header);
        if let Some(field) = header.get_mut(10..12) {
            field.copy_from_slice(&sum.to_be_bytes());
        }
    }
}

/// The sum over the pseudo header of TCP, UDP or ICMPv6 over the IP header at `at`; `length` is that of the transport packet.
pub(crate) fn pseudo(frame: &[u8], at: usize, v6: bool, protocol: u8, length: usize) -> u64 {
    let (from, to) = if v6 { (8, 40) } else { (12, 20) };
    let addresses = frame.get(at + from..at + to).unwrap_or_default();
    add(0, addresses) + u64::from(protocol) + length as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_header() {
        // The example of RFC 1071, and one of an IPv4 header.
        assert_eq!(
            fold(add(0, &[0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7])),
            0xddf2
        );
        let mut header = [
            0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 1, 2, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0,
            0xc7,
        ];
        set_ipv4(&mut header);
        assert_eq!(header[10..12], [0xb8, 0x61]);
        assert_eq!(of(&header), 0);
        assert_eq!(of(&[0xff]), 0x00ff);
    }
}
