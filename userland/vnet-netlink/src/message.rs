// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Netlink messages as they come from the kernel, several in a datagram.

use neli::consts::nl::{NlmF, Nlmsg};
use nix::errno::Errno;

use crate::attributes::Reader;
use crate::{Error, Refusal};

/// Bytes of the header of a message.
const HEADER_LEN: usize = 16;
/// Attributes of an extended acknowledgement.
const EXT_MSG: u16 = 1;
const EXT_OFFSET: u16 = 2;
const EXT_MISS_TYPE: u16 = 5;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its type: a control message, a command of rtnetlink, or a generic netlink family.
    pub kind: u16,
    /// Its flags.
    pub flags: u16,
    /// The request that it answers.
    pub sequence: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// What a message means for the request that is waited for.
#[derive(Debug)]
pub enum Content<'a> {
    /// A part of the answer.
    Data(&'a [u8]),
    /// The end, after success. The kernel may have added a text.
    Done(Option<String>),
    /// The end, after a refusal.
    Refused(Refusal),
    /// Nothing.
    Nothing,
}

impl<'a> Message<'a> {
    /// Whether the dump that it belongs to was changed while it ran.
    pub fn interrupted(&self) -> bool {
        self.has(NlmF::DUMP_INTR)
    }

    fn has(&self, flag: NlmF) -> bool {
        self.flags & flag.bits() != 0
    }

    /// What it means.
    pub fn content(&self) -> Result<Content<'a>, Error> {
        if self.kind == u16::from(Nlmsg::Noop) {
            Ok(Content::Nothing)
        } else if self.kind == u16::from(Nlmsg::Error) {
            self.acknowledgement()
        } else if self.kind == u16::from(Nlmsg::Done) {
            self.end_of_dump()
        } else if self.kind == u16::from(Nlmsg::Overrun) {
            Err(Error::Overrun)
        } else {
            Ok(Content::Data(self.payload))
        }
    }

    /// An error number, the header of the request, the rest of the request unless capped, attributes.
    fn acknowledgement(&self) -> Result<Content<'a>, Error> {
        let (code, rest) = self
            .payload
            .split_first_chunk()
            .ok_or(Error::Malformed("an acknowledgement is cut off"))?;
        let code = i32::from_ne_bytes(*code);
        let attributes = if self.has(NlmF::ACK_TLVS) {
            let echoed = if code == 0 || self.has(NlmF::CAPPED) {
                HEADER_LEN
            } else {
                let length = rest.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
                length
                    .and_then(|length| usize::try_from(length).ok())
                    .unwrap_or(usize::MAX)
            };
            // The kernel counts the echoed request in steps of four bytes.
            let start = echoed.checked_next_multiple_of(4);
            start
                .and_then(|start| rest.get(start..))
                .unwrap_or_default()
        } else {
            &[]
        };
        Ok(outcome(code, attributes))
    }

    /// An error number, attributes.
    fn end_of_dump(&self) -> Result<Content<'a>, Error> {
        let Some((code, rest)) = self.payload.split_first_chunk() else {
            return Ok(Content::Done(None));
        };
        let attributes = if self.has(NlmF::ACK_TLVS) { rest } else { &[] };
        Ok(outcome(i32::from_ne_bytes(*code), attributes))
    }
}

fn outcome<'a>(code: i32, attributes: &[u8]) -> Content<'a> {
    let mut refusal = Refusal::from(Errno::from_raw(code.saturating_neg()));
    // What cannot be read is only an explanation.
    for attribute in Reader::new(attributes).map_while(Result::ok) {
        match attribute.kind {
            EXT_MSG => refusal.text = Some(attribute.text()),
            EXT_OFFSET => refusal.offset = attribute.u32().ok(),
            EXT_MISS_TYPE => refusal.missing = attribute.u32().ok(),
            _ => {}
        }
    }
    // The end of a dump may carry its length, as the kernel of old did.
    if code >= 0 {
        Content::Done(refusal.text)
    } else {
        Content::Refused(refusal)
    }
}

/// The messages of a datagram. Ends with an error where they are cut off.
#[derive(Clone, Debug)]
pub struct Messages<'a>(&'a [u8]);

impl<'a> Messages<'a> {
    /// The messages in these bytes.
    pub fn new(datagram: &'a [u8]) -> Self {
        Self(datagram)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let message = split(self.0);
        self.0 = match &message {
            Some((_, rest)) => rest,
            None => &[],
        };
        Some(match message {
            Some((message, _)) => Ok(message),
            None => Err(Error::Malformed("a message is cut off")),
        })
    }
}

fn split(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (kind, rest) = rest.split_first_chunk()?;
    let (flags, rest) = rest.split_first_chunk()?;
    let (sequence, _) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_ne_bytes(*length)).ok()?;
    let message = Message {
        kind: u16::from_ne_bytes(*kind),
        flags: u16::from_ne_bytes(*flags),
        sequence: u32::from_ne_bytes(*sequence),
        payload: bytes.get(HEADER_LEN..length)?,
    };
    let next = length.checked_next_multiple_of(4)?;
    Some((message, bytes.get(next..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::Writer;

    fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER_LEN + payload.len()).expect("short");
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(7u32.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn explanation() -> Vec<u8> {
        let mut writer = Writer::new();
        writer
            .put_text(EXT_MSG, "port 1798 is in use")
            .and_then(|w| w.put(EXT_OFFSET, &20u32.to_ne_bytes()))
            .expect("short");
        writer.into_bytes()
    }

    fn only(bytes: &[u8]) -> Content<'_> {
        let mut messages = Messages::new(bytes);
        let message = messages.next().expect("one").expect("whole");
        assert!(messages.next().is_none());
        assert_eq!(message.sequence, 7);
        message.content().expect("sense")
    }

    const ERROR: u16 = 2;
    const DONE: u16 = 3;

    #[test]
    fn refusal_with_the_echoed_request() {
        let request = message(30, 5, &[1, 2, 3, 4, 5, 6]);
        let mut payload = (-libc_errno(Errno::EADDRINUSE)).to_ne_bytes().to_vec();
        payload.extend(&request);
        payload.extend(explanation());
        let bytes = message(ERROR, NlmF::ACK_TLVS.bits(), &payload);
        let Content::Refused(refusal) = only(&bytes) else {
            panic!("not refused");
        };
        assert_eq!(refusal.errno, Errno::EADDRINUSE);
        assert_eq!(refusal.text.as_deref(), Some("port 1798 is in use"));
        assert_eq!(refusal.offset, Some(20));
    }

    #[test]
    fn refusal_without_a_text() {
        let mut payload = (-libc_errno(Errno::EPERM)).to_ne_bytes().to_vec();
        payload.extend(message(30, 5, &[]));
        let Content::Refused(refusal) = only(&message(ERROR, NlmF::CAPPED.bits(), &payload)) else {
            panic!("not refused");
        };
        assert_eq!((refusal.errno, refusal.text), (Errno::EPERM, None));
    }

    #[test]
    fn a_warning_comes_with_success() {
        let mut payload = 0i32.to_ne_bytes().to_vec();
        payload.extend(&message(30, 5, &[]));
        payload.extend(explanation());
        let flags = NlmF::ACK_TLVS.bits() | NlmF::CAPPED.bits();
        let bytes = message(ERROR, flags, &payload);
        let Content::Done(Some(text)) = only(&bytes) else {
            panic!("no text");
        };
        assert_eq!(text, "port 1798 is in use");
    }

    #[test]
    fn a_dump_may_end_with_a_refusal() {
        let mut payload = (-libc_errno(Errno::EINVAL)).to_ne_bytes().to_vec();
        payload.extend(explanation());
        let bytes = message(DONE, NlmF::ACK_TLVS.bits(), &payload);
        assert!(matches!(only(&bytes), Content::Refused(refusal) if refusal.text.is_some()));
        assert!(matches!(
            only(&message(DONE, 0, &0i32.to_ne_bytes())),
            Content::Done(None)
        ));
        assert!(matches!(only(&message(DONE, 0, &[])), Content::Done(None)));
    }

    #[test]
    fn every_truncation_of_a_message_is_refused_or_harmless() {
        let mut payload = (-libc_errno(Errno::EADDRINUSE)).to_ne_bytes().to_vec();
        payload.extend(message(30, 5, &[1, 2, 3, 4]));
        payload.extend(explanation());
        let bytes = message(ERROR, NlmF::ACK_TLVS.bits(), &payload);
        for length in 1..bytes.len() {
            let read: Vec<_> = Messages::new(&bytes[..length]).collect();
            assert!(matches!(read[..], [Err(_)]), "{length}");
        }
        for length in 0..payload.len() {
            // Whatever is cut inside, the error number is not lost.
            let bytes = message(ERROR, NlmF::ACK_TLVS.bits(), &payload[..length]);
            let message = Messages::new(&bytes).next().expect("one").expect("whole");
            match message.content() {
                Err(_) => assert!(length < 4),
                Ok(content) => assert!(matches!(content, Content::Refused(_))),
            }
        }
    }

    fn libc_errno(errno: Errno) -> i32 {
        errno as i32
    }
}
