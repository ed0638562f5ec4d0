// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Ethernet addresses.

use core::fmt;
use core::str::FromStr;

/// Bytes of an Ethernet address.
pub const MAC_LEN: usize = 6;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; MAC_LEN]);

impl Mac {
    /// The broadcast address.
    pub const BROADCAST: Self = Self([0xff; MAC_LEN]);

    /// The address with these bytes.
    #[inline]
    pub const fn from_bytes(bytes: [u8; MAC_LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[inline]
    pub const fn as_bytes(&self) -> &[u8; MAC_LEN] {
        &self.0
    }

    /// The address as a number, its first byte the least: what is done with it so is done at once, not byte by byte.
    #[inline]
    pub const fn to_bits(&self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }

    /// Whether it addresses a group; the broadcast address does.
    #[inline]
    pub const fn is_group(&self) -> bool {
        self.to_bits() & 1 != 0
    }

    /// Whether all bytes are zero.
    #[inline]
    pub const fn is_zero(&self) -> bool {
        self.to_bits() == 0
    }

    /// Whether a frame may come from it, and a table may hold it: neither zero nor a group.
    #[inline]
    pub const fn is_valid_source(&self) -> bool {
        !self.is_group() && !self.is_zero()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mac({self})")
    }
}

impl FromStr for Mac {
    type Err = MacError;

    /// Six fields of two hex digits, all separated by colons or all by hyphens.
    fn from_str(text: &str) -> Result<Self, MacError> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut bytes = [0; MAC_LEN];
        let mut fields = text.split(separator);
        for byte in &mut bytes {
            *byte = fields.next().and_then(parse_byte).ok_or(MacError)?;
        }
        match fields.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(MacError),
        }
    }
}

fn parse_byte(field: &str) -> Option<u8> {
    let mut digits = field.chars().map(|character| character.to_digit(16));
    match (digits.next(), digits.next(), digits.next()) {
        (Some(Some(high)), Some(Some(low)), None) => u8::try_from((high << 4) | low).ok(),
        _ => None,
    }
}

/// A text that is not an Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacError;

impl fmt::Display for MacError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an Ethernet address is six fields of two hex digits, such as 02:00:00:05:00:01",
        )
    }
}

impl core::error::Error for MacError {}
