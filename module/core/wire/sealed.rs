// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! SEALED: a message of a sealed vnet. What is in clear, and what the sealed bytes are when they have been opened.

use super::{take, MessageId, WireError};

/// Bytes in clear before the sealed bytes.
pub const SEALED_HEADER_LEN: usize = 28;
/// Bytes of the authentication tag at the end.
pub const SEALED_TAG_LEN: usize = 16;
/// Bytes of the word that sealed bytes begin with.
pub const SEALED_KIND_LEN: usize = 2;
/// Bytes of a [`Hello`].
pub const HELLO_LEN: usize = 28;

/// Where the relay's mark is in the header.
const MARK: core::ops::Range<usize> = 2..4;

/// What is in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedHeader {
    /// Which key, of which vnet, and how it is used; see [`crate::sealed::derive`].
    pub tag: u64,
    /// Who sealed it: a random number that a host chooses for each vnet when it starts.
    pub sender: u64,
    /// The number of the message; never the same twice from one sender.
    pub counter: u64,
}

impl SealedHeader {
    /// Reads the header that a datagram begins with. Whatever follows is sealed; at least the authentication tag is there.
    #[inline]
    pub fn parse(datagram: &[u8]) -> Result<Self, WireError> {
        if datagram.len() < SEALED_HEADER_LEN + SEALED_KIND_LEN + SEALED_TAG_LEN {
            // A foreign message is not a short one of ours.
            return Err(match MessageId::parse(datagram)? {
                MessageId::Sealed => WireError::Short,
                other => WireError::BadMessage(other as u16),
            });
        }
        let mut rest = datagram;
        let message = u16::from_be_bytes(take(&mut rest)?);
        if message != MessageId::Sealed as u16 {
            return Err(WireError::BadMessage(message));
        }
        let [_, _] = take(&mut rest)?;
        Ok(Self {
            tag: u64::from_be_bytes(take(&mut rest)?),
            sender: u64::from_be_bytes(take(&mut rest)?),
            counter: u64::from_be_bytes(take(&mut rest)?),
        })
    }

    /// The bytes of the header, the relay's mark being 0. That is also what is authenticated of it, marked or not.
    #[inline]
    pub fn emit(&self) -> [u8; SEALED_HEADER_LEN] {
        let mut bytes = [0; SEALED_HEADER_LEN];
        let (fixed, numbers) = bytes.split_at_mut(MARK.end);
        if let [_, message, ..] = fixed {
            // CAST: a discriminant below 256.
            *message = MessageId::Sealed as u8;
        }
        for (to, from) in numbers
            .chunks_exact_mut(8)
            .zip([self.tag, self.sender, self.counter])
        {
            to.copy_from_slice(&from.to_be_bytes());
        }
        bytes
    }
}

/// What was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened<'a> {
    /// An Ethernet frame, which is not checked.
    Frame(&'a [u8]),
    /// A VARP message.
    Varp(&'a [u8]),
    /// Hosts that get to know each other.
    Hello(Hello),
}

impl<'a> Opened<'a> {
    /// Takes apart what was sealed. The word that it begins with is the EtherIP word of a frame, or the message id.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        let (kind, rest) = bytes.split_first_chunk().ok_or(WireError::Short)?;
        match u16::from_be_bytes(*kind) {
            FRAME => Ok(Self::Frame(rest)),
            VARP => Ok(Self::Varp(bytes)),
            HELLO => Ok(Self::Hello(Hello::parse(bytes)?)),
            other => Err(WireError::BadMessage(other)),
        }
    }
}

/// The word before a frame: EtherIP as RFC 3378 writes its version in network byte order, with the version of vnets.
pub const FRAME: u16 = 0x4000;
const VARP: u16 = MessageId::Varp as u16;
const HELLO: u16 = 5;

/// What one host says to another so that it is believed not to be a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What it is for.
    pub step: HelloStep,
    /// The sender's number of the host that it is said to; 0 in a greeting.
    pub to: u64,
    /// What is to be answered, and the answer; 0 in a greeting.
    pub cookie: [u8; 16],
}

/// The steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum HelloStep {
    /// I am here. To everyone, so that who does not know me asks at once.
    Greeting = 1,
    /// I do not know you; say this.
    Challenge = 2,
    /// This.
    Answer = 3,
}

impl Hello {
    /// I am here.
    pub const GREETING: Self = Self {
        step: HelloStep::Greeting,
        to: 0,
        cookie: [0; 16],
    };

    fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut rest = bytes;
        let [_, _] = take(&mut rest)?;
        let step = match u16::from_be_bytes(take(&mut rest)?) {
            1 => HelloStep::Greeting,
            2 => HelloStep::Challenge,
            3 => HelloStep::Answer,
            other => return Err(WireError::BadMessage(other)),
        };
        Ok(Self {
            step,
            to: u64::from_be_bytes(take(&mut rest)?),
            cookie: take(&mut rest)?,
        })
    }

    /// The bytes that are to be sealed.
    pub fn emit(&self) -> [u8; HELLO_LEN] {
        let mut out = [0; HELLO_LEN];
        let parts: [&[u8]; 4] = [
            &HELLO.to_be_bytes(),
            &(self.step as u16).to_be_bytes(),
            &self.to.to_be_bytes(),
            &self.cookie,
        ];
        for (to, from) in out.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        out
    }
}
