// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! VARP messages: which host a MAC is behind.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{take, MessageId, WireError};
use crate::id::VnetId;
use crate::mac::Mac;

/// Bytes of a VARP message. What follows them is ignored.
pub const VARP_LEN: usize = 43;

/// Address families, as Linux numbers them on every machine.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// What a VARP message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VarpOpcode {
    /// Asks who has the MAC.
    Request,
    /// Says who has it.
    Announce,
    /// Says that the sender has it no more. Not in the original, which ignores it.
    Withdraw,
    /// None of these.
    Unknown(u16),
}

impl VarpOpcode {
    const fn from_u16(value: u16) -> Self {
        match value {
            1 => Self::Request,
            2 => Self::Announce,
            3 => Self::Withdraw,
            other => Self::Unknown(other),
        }
    }

    const fn to_u16(self) -> u16 {
        match self {
            Self::Request => 1,
            Self::Announce => 2,
            Self::Withdraw => 3,
            Self::Unknown(other) => other,
        }
    }
}

/// The address field: a family and 16 bytes, of which IPv4 uses the first four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VarpAddr {
    /// Family 2.
    V4(Ipv4Addr),
    /// Family 10.
    V6(Ipv6Addr),
    /// Any other family.
    Unknown {
        /// The family.
        family: u8,
        /// The bytes.
        bytes: [u8; 16],
    },
}

impl VarpAddr {
    const fn from_parts(family: u8, bytes: [u8; 16]) -> Self {
        match family {
            AF_INET => {
                let [a, b, c, d, ..] = bytes;
                Self::V4(Ipv4Addr::new(a, b, c, d))
            }
            AF_INET6 => Self::V6(Ipv6Addr::from_bits(u128::from_be_bytes(bytes))),
            family => Self::Unknown { family, bytes },
        }
    }

    const fn to_parts(self) -> (u8, [u8; 16]) {
        match self {
            Self::V4(address) => {
                let [a, b, c, d] = address.octets();
                (AF_INET, [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
            }
            Self::V6(address) => (AF_INET6, address.octets()),
            Self::Unknown { family, bytes } => (family, bytes),
        }
    }
}

impl From<IpAddr> for VarpAddr {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6(address),
        }
    }
}

/// A VARP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VarpMessage {
    /// What it is for.
    pub opcode: VarpOpcode,
    /// The vnet.
    pub id: VnetId,
    /// The MAC that is asked for or announced.
    pub mac: Mac,
    /// The host that has it; in a request the host that asks.
    pub addr: VarpAddr,
}

impl VarpMessage {
    /// Reads the message that a datagram begins with.
    pub fn parse(datagram: &[u8]) -> Result<Self, WireError> {
        let mut rest = datagram;
        let message = u16::from_be_bytes(take(&mut rest)?);
        let opcode = u16::from_be_bytes(take(&mut rest)?);
        if message != MessageId::Varp as u16 {
            return Err(WireError::BadMessage(message));
        }
        let id = take(&mut rest)?;
        let mac = take(&mut rest)?;
        let [family] = take(&mut rest)?;
        let bytes = take(&mut rest)?;
        Ok(Self {
            opcode: VarpOpcode::from_u16(opcode),
            id: VnetId::from_bytes(id),
            mac: Mac::from_bytes(mac),
            addr: VarpAddr::from_parts(family, bytes),
        })
    }

    /// The bytes of the message.
    pub fn emit(&self) -> [u8; VARP_LEN] {
        let [op0, op1] = self.opcode.to_u16().to_be_bytes();
        let (family, bytes) = self.addr.to_parts();
        let mut out = [0; VARP_LEN];
        let parts: [&[u8]; 5] = [
            // CAST: a discriminant below 256.
            &[0, MessageId::Varp as u8, op0, op1],
            self.id.as_bytes(),
            self.mac.as_bytes(),
            &[family],
            &bytes,
        ];
        for (to, from) in out.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        out
    }
}
