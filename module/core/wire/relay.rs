// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The mark on what a host sends to the group because a peer forwarded it.
//!
//! A relayed message has the source address of the host that made it, so that it cannot be told from the message itself. Without a
//! mark it would be forwarded again, in a circle for ever where there are several pairs of peers between two networks, and a host
//! that hears several relays would take it several times. The mark stands where it is ignored by whoever does not know it, the
//! originals among them: in the opcode of data and of sealed messages, and after the end of a VARP message.

use core::net::IpAddr;
use core::num::NonZeroU16;

use super::{MessageId, MESSAGE_HEADER_LEN, VARP_LEN};

/// Bytes of the mark.
const MARK_LEN: usize = 2;
/// Bytes of the longest [`Relayed::head`].
const HEAD_MAX: usize = VARP_LEN + MARK_LEN;

/// The number of a host that relays: two hosts of one network seldom have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relay(NonZeroU16);

/// A message, marked: [`Relayed::head`] and, after it, [`Relayed::rest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relayed<'a> {
    head: [u8; HEAD_MAX],
    head_len: usize,
    rest: &'a [u8],
}

impl<'a> Relayed<'a> {
    /// The bytes that the message begins with; at most 45.
    pub fn head(&self) -> &[u8] {
        self.head.get(..self.head_len).unwrap_or_default()
    }

    /// The bytes that follow them, as they were. The head of data replaces as many bytes as it has.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl Relay {
    /// The number of the host with this address.
    pub fn of(address: IpAddr) -> Self {
        let bits = match address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        let folded = bits.to_be_bytes().iter().fold(0_u16, |hash, byte| {
            (hash ^ u16::from(*byte))
                .wrapping_mul(0x6255)
                .rotate_left(5)
        });
        Self(NonZeroU16::new(folded).unwrap_or(NonZeroU16::MIN))
    }

    /// Who relayed a message; none if it comes from the host that made it.
    pub fn read(message: &[u8]) -> Option<Self> {
        let at = match MessageId::parse(message).ok()? {
            MessageId::Vudp | MessageId::Sealed => MESSAGE_HEADER_LEN - MARK_LEN,
            MessageId::Varp => VARP_LEN,
            MessageId::Vfwd => return None,
        };
        let mark = message.get(at..)?.first_chunk()?;
        NonZeroU16::new(u16::from_be_bytes(*mark)).map(Self)
    }

    /// Marks a message. None if it is neither data nor a whole VARP message: nothing else is relayed.
    pub fn mark(self, message: &[u8]) -> Option<Relayed<'_>> {
        let (keep, rest) = match MessageId::parse(message).ok()? {
            MessageId::Vudp | MessageId::Sealed => (
                MESSAGE_HEADER_LEN - MARK_LEN,
                message.get(MESSAGE_HEADER_LEN..)?,
            ),
            MessageId::Varp => (VARP_LEN, &[][..]),
            MessageId::Vfwd => return None,
        };
        let mut head = [0; HEAD_MAX];
        let mark = self.0.get().to_be_bytes();
        for (to, from) in head
            .iter_mut()
            .zip(message.get(..keep)?.iter().chain(&mark))
        {
            *to = *from;
        }
        Some(Relayed {
            head,
            head_len: keep.saturating_add(MARK_LEN),
            rest,
        })
    }
}
