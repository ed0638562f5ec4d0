// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Ids of vnets, and the names that follow from them.

use core::fmt;
use core::str::FromStr;

/// Bytes of an id.
pub const ID_LEN: usize = 16;
/// Most digits of a field.
const FIELD_DIGITS: usize = 4;

/// Id of a vnet: 128 bits, kept in network byte order.
///
/// In text it is eight fields of four hex digits; `0005` is short for the id whose last field is 5 and whose others
/// are 0. Every value can be held, as packets may carry any; [`VnetId::validate`] tells whether a vnet may have it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VnetId([u8; ID_LEN]);

impl VnetId {
    /// The id that no vnet may have.
    pub const ZERO: Self = Self([0; ID_LEN]);
    /// The id that stands for the physical network.
    pub const PHYSICAL: Self = Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// The id with these bytes, network byte order.
    #[inline]
    pub const fn from_bytes(bytes: [u8; ID_LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes, network byte order.
    #[inline]
    pub const fn as_bytes(&self) -> &[u8; ID_LEN] {
        &self.0
    }

    /// Whether it is 0.
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    /// Whether it is 1, which stands for the physical network.
    pub fn is_reserved(&self) -> bool {
        *self == Self::PHYSICAL
    }

    /// Refuses the ids that no vnet may have.
    pub fn validate(&self) -> Result<(), IdError> {
        if self.is_zero() {
            Err(IdError::Zero)
        } else if self.is_reserved() {
            Err(IdError::Reserved)
        } else {
            Ok(())
        }
    }

    /// The last 16 bits, from which the default names are made.
    pub const fn last_field(&self) -> u16 {
        let [.., high, low] = self.0;
        u16::from_be_bytes([high, low])
    }

    /// Name of the vnet's device unless another is given: `vnif0005`.
    pub const fn default_ifname(&self) -> IfName {
        IfName::with_field(*b"vnif", self.last_field())
    }

    /// Name of the vnet's bridge unless another is given: `vnbr0005`.
    pub const fn default_bridge(&self) -> IfName {
        IfName::with_field(*b"vnbr", self.last_field())
    }

    /// The eight fields of the text form.
    fn fields(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.chunks_exact(2).filter_map(|pair| match pair {
            [high, low] => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        })
    }
}

impl fmt::Display for VnetId {
    /// The short form if all fields but the last are zero, else the full form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [others @ .., _, _] = &self.0;
        if others.iter().all(|byte| *byte == 0) {
            return write!(f, "{:04x}", self.last_field());
        }
        for (index, field) in self.fields().enumerate() {
            if index > 0 {
                f.write_str(":")?;
            }
            write!(f, "{field:04x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for VnetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VnetId({self})")
    }
}

impl FromStr for VnetId {
    type Err = IdError;

    /// One to eight fields of one to four hex digits; fields that are missing in front are zero. Ids that no vnet may
    /// have are refused.
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.is_empty() {
            return Err(IdError::Empty);
        }
        let mut bytes = [0; ID_LEN];
        let mut fields = text.rsplit(':');
        for pair in bytes.rchunks_exact_mut(2) {
            let Some(field) = fields.next() else { break };
            pair.copy_from_slice(&parse_field(field)?.to_be_bytes());
        }
        if fields.next().is_some() {
            return Err(IdError::TooManyFields);
        }
        let id = Self(bytes);
        id.validate()?;
        Ok(id)
    }
}

fn parse_field(field: &str) -> Result<u16, IdError> {
    if field.is_empty() {
        return Err(IdError::EmptyField);
    }
    let mut value: u16 = 0;
    for (count, character) in field.chars().enumerate() {
        let digit = character
            .to_digit(16)
            .and_then(|digit| u16::try_from(digit).ok())
            .ok_or(IdError::BadDigit(character))?;
        if count >= FIELD_DIGITS {
            return Err(IdError::LongField);
        }
        value = (value << 4) | digit;
    }
    Ok(value)
}

/// Why a text or a value is not the id of a vnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdError {
    /// There is no text.
    Empty,
    /// A character other than a hex digit or a colon.
    BadDigit(char),
    /// Nothing between two colons, or before the first or after the last.
    EmptyField,
    /// A field of more than four digits.
    LongField,
    /// More than eight fields.
    TooManyFields,
    /// Id 0.
    Zero,
    /// Id 1.
    Reserved,
}

impl IdError {
    /// The reason in words, without the character at fault.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Empty => "the id is empty",
            Self::BadDigit(_) => "the id has a character that is not a hex digit",
            Self::EmptyField => "the id has an empty field",
            Self::LongField => "a field of the id has more than 4 hex digits",
            Self::TooManyFields => "the id has more than 8 fields",
            Self::Zero => "id 0 is invalid",
            Self::Reserved => "id 1 is reserved for the physical network",
        }
    }
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadDigit(character) => write!(f, "{character:?} in the id is not a hex digit"),
            other => f.write_str(other.reason()),
        }
    }
}

impl core::error::Error for IdError {}

/// Bytes that hold the name of a network device and the NUL after it.
pub const IFNAME_SIZE: usize = 16;
/// Length of the default names.
const DEFAULT_NAME_LEN: usize = 8;

/// Name of a network device that follows from an id, padded with NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IfName([u8; IFNAME_SIZE]);

impl IfName {
    const fn with_field(prefix: [u8; 4], field: u16) -> Self {
        let [a, b, c, d] = prefix;
        let mut name = [0; IFNAME_SIZE];
        name[0] = a;
        name[1] = b;
        name[2] = c;
        name[3] = d;
        name[4] = hex_digit(field >> 12);
        name[5] = hex_digit(field >> 8);
        name[6] = hex_digit(field >> 4);
        name[7] = hex_digit(field);
        Self(name)
    }

    /// The name with its padding, as `struct ifreq` and `net_device` hold it.
    pub const fn as_padded(&self) -> &[u8; IFNAME_SIZE] {
        &self.0
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        let (name, _) = self.0.split_at(DEFAULT_NAME_LEN);
        core::str::from_utf8(name).unwrap_or_default()
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The hex digit of the lowest four bits.
const fn hex_digit(value: u16) -> u8 {
    // CAST: four bits.
    let digit = (value & 0xf) as u8;
    if digit < 10 {
        b'0' + digit
    } else {
        b'a' + (digit - 10)
    }
}
