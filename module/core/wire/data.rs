// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! VUDP: a frame of a vnet, behind a message header and an EtherIP header that carries the id.

use super::{MessageId, WireError};
use crate::id::VnetId;

/// Bytes before the Ethernet frame: message header, EtherIP word, id.
pub const DATA_HEADER_LEN: usize = 22;

/// The EtherIP version of vnets; RFC 3378 has 3.
const VERSION: u8 = 4;

/// What stands before the Ethernet frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataHeader {
    /// The vnet that the frame belongs to.
    pub id: VnetId,
}

impl DataHeader {
    /// The header of the frames of this vnet: opcode and reserved bits 0, version in the second byte of the EtherIP
    /// word, as the original writes it on a little-endian machine.
    #[inline]
    pub const fn emit(id: VnetId) -> [u8; DATA_HEADER_LEN] {
        let mut bytes = [0; DATA_HEADER_LEN];
        let [_, message, _, _, _, version, net @ ..] = &mut bytes;
        // CAST: a discriminant below 256.
        *message = MessageId::Vudp as u8;
        *version = VERSION << 4;
        *net = *id.as_bytes();
        bytes
    }

    /// Reads the header that a datagram begins with.
    #[inline]
    pub fn parse(datagram: &[u8]) -> Result<Self, WireError> {
        match datagram.first_chunk() {
            Some(header) => Self::parse_fixed(header),
            // A foreign message is not a short one of ours.
            None => match MessageId::parse(datagram)? {
                MessageId::Vudp => Err(WireError::Short),
                other => Err(WireError::BadMessage(other as u16)),
            },
        }
    }

    /// Reads the header when its length is known to be there.
    ///
    /// The opcode and the reserved bits are ignored: the original leaves garbage in them. The version counts in either
    /// byte of its word, since the original writes that word in the byte order of the machine.
    #[inline]
    pub const fn parse_fixed(header: &[u8; DATA_HEADER_LEN]) -> Result<Self, WireError> {
        let [high, low, _, _, first, second, net @ ..] = header;
        let message = u16::from_be_bytes([*high, *low]);
        if message != MessageId::Vudp as u16 {
            return Err(WireError::BadMessage(message));
        }
        if *first >> 4 != VERSION && *second >> 4 != VERSION {
            return Err(WireError::BadVersion);
        }
        Ok(Self {
            id: VnetId::from_bytes(*net),
        })
    }
}
