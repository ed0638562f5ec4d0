// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The header of the inner Ethernet frame.

use super::WireError;
use crate::mac::Mac;

/// Bytes of an Ethernet header.
pub const ETHERNET_HEADER_LEN: usize = 14;

/// The header of an Ethernet frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthernetHeader {
    /// Where the frame goes.
    pub destination: Mac,
    /// Where it comes from.
    pub source: Mac,
    /// The protocol of what follows, or a length if below 1536.
    pub ethertype: u16,
}

impl EthernetHeader {
    /// Reads the header that a frame begins with.
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<Self, WireError> {
        match frame.first_chunk() {
            Some(header) => Ok(Self::parse_fixed(header)),
            None => Err(WireError::Short),
        }
    }

    /// Reads the header when its length is known to be there.
    #[inline]
    pub const fn parse_fixed(header: &[u8; ETHERNET_HEADER_LEN]) -> Self {
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, high, low] = *header;
        Self {
            destination: Mac::from_bytes([d0, d1, d2, d3, d4, d5]),
            source: Mac::from_bytes([s0, s1, s2, s3, s4, s5]),
            ethertype: u16::from_be_bytes([high, low]),
        }
    }

    /// The bytes of the header.
    pub const fn emit(&self) -> [u8; ETHERNET_HEADER_LEN] {
        let [d0, d1, d2, d3, d4, d5] = *self.destination.as_bytes();
        let [s0, s1, s2, s3, s4, s5] = *self.source.as_bytes();
        let [high, low] = self.ethertype.to_be_bytes();
        [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, high, low]
    }
}
