// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The bytes of netlink, from the kernel's side: requests are checked and answers made as the kernel would.

use nix::errno::Errno;
use vnet_netlink::attributes::Writer;

/// Bytes of `struct nlmsghdr` and of `struct genlmsghdr`.
const HEADER_LEN: usize = 16;
const GENERIC_LEN: usize = 4;
/// Most bytes of a request.
pub(crate) const REQUEST_MAX: usize = 8192;
/// Bytes after which a dump goes on in another packet.
pub(crate) const PART: usize = 16 * 1024;

/// Message types.
const ERROR: u16 = 2;
const DONE: u16 = 3;
const OVERRUN: u16 = 4;
/// Flags.
pub(crate) const FLAG_REQUEST: u16 = 1;
pub(crate) const FLAG_MULTI: u16 = 2;
pub(crate) const FLAG_ACK: u16 = 4;
pub(crate) const FLAG_INTERRUPTED: u16 = 0x10;
pub(crate) const FLAG_DUMP: u16 = 0x300;
const FLAG_CAPPED: u16 = 0x100;
const FLAG_TLVS: u16 = 0x200;
/// Attributes of an extended acknowledgement.
const EXT_TEXT: u16 = 1;
const EXT_OFFSET: u16 = 2;
const EXT_MISSING: u16 = 5;
/// Flags of an attribute's type.
const NESTED: u16 = 1 << 15;
const TYPE_MASK: u16 = 0x3fff;

/// Why something was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The number.
    pub(crate) errno: Errno,
    /// Words.
    pub(crate) text: Option<String>,
    /// The attribute at fault, by number.
    pub(crate) blamed: Option<u16>,
    /// The attribute that is missing.
    pub(crate) missing: Option<u16>,
}

impl Refusal {
    /// A refusal with a reason in words.
    pub(crate) fn new(errno: Errno, text: impl Into<String>) -> Self {
        Self {
            errno,
            text: Some(text.into()),
            blamed: None,
            missing: None,
        }
    }

    /// The same, for an attribute.
    pub(crate) fn blame(self, attribute: u16) -> Self {
        Self {
            blamed: Some(attribute),
            ..self
        }
    }

    fn missing(attribute: u16) -> Self {
        Self {
            missing: Some(attribute),
            ..Self::new(Errno::EINVAL, "a required attribute is missing")
        }
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self {
            errno,
            text: None,
            blamed: None,
            missing: None,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.text {
            Some(text) => write!(f, "{text} ({})", self.errno.desc()),
            None => f.write_str(self.errno.desc()),
        }
    }
}

/// What a value must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Policy {
    /// So many bytes.
    Exact(usize),
    /// So many bytes at least and at most.
    Bytes(usize, usize),
    /// Text with a NUL, of so many bytes at most without it.
    Text(usize),
    /// A number of 8, 16 or 32 bits.
    U8,
    /// Not 0.
    U16,
    U32,
}

impl Policy {
    fn check(self, value: &[u8]) -> Result<(), (Errno, &'static str)> {
        const LENGTH: (Errno, &str) = (Errno::EINVAL, "invalid attribute length");
        const SIZE: (Errno, &str) = (Errno::ERANGE, "binary attribute size out of range");
        const TEXT: &str = "Attribute failed policy validation";
        let in_order = |good: bool, otherwise| if good { Ok(()) } else { Err(otherwise) };
        match self {
            Self::Exact(length) => in_order(value.len() == length, SIZE),
            Self::Bytes(min, max) => in_order((min..=max).contains(&value.len()), SIZE),
            Self::Text(max) => match value.iter().position(|byte| *byte == 0) {
                None => Err((Errno::EINVAL, TEXT)),
                Some(length) => in_order(length <= max, (Errno::ERANGE, TEXT)),
            },
            Self::U8 => in_order(value.len() == 1, LENGTH),
            Self::U16 => {
                in_order(value.len() == 2, LENGTH)?;
                in_order(value != [0, 0], (Errno::ERANGE, "integer out of range"))
            }
            Self::U32 => in_order(value.len() == 4, LENGTH),
        }
    }
}

/// The header of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Its type.
    pub(crate) kind: u16,
    /// Its flags.
    pub(crate) flags: u16,
    /// Its number.
    pub(crate) sequence: u32,
    /// The port id of who sent it.
    pub(crate) port: u32,
    length: u32,
}

impl Header {
    /// Whether a listing is asked for.
    pub(crate) fn is_dump(&self) -> bool {
        self.flags & FLAG_DUMP == FLAG_DUMP
    }

    fn emit(&self) -> Vec<u8> {
        let mut bytes = self.length.to_ne_bytes().to_vec();
        bytes.extend(self.kind.to_ne_bytes());
        bytes.extend(self.flags.to_ne_bytes());
        bytes.extend(self.sequence.to_ne_bytes());
        bytes.extend(self.port.to_ne_bytes());
        bytes
    }
}

/// The one request of a packet: its header and what follows. None if the packet is not exactly one message.
pub(crate) fn split(packet: &[u8]) -> Option<(Header, &[u8])> {
    let header = packet.first_chunk::<HEADER_LEN>()?;
    let [
        l0,
        l1,
        l2,
        l3,
        k0,
        k1,
        f0,
        f1,
        s0,
        s1,
        s2,
        s3,
        p0,
        p1,
        p2,
        p3,
    ] = *header;
    let length = u32::from_ne_bytes([l0, l1, l2, l3]);
    let end = usize::try_from(length).ok()?;
    let payload = packet.get(HEADER_LEN..end)?;
    if packet.len() > REQUEST_MAX || packet.len() - end > 3 {
        return None;
    }
    let header = Header {
        kind: u16::from_ne_bytes([k0, k1]),
        flags: u16::from_ne_bytes([f0, f1]),
        sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
        port: u32::from_ne_bytes([p0, p1, p2, p3]),
        length,
    };
    Some((header, payload))
}

/// The attributes of a request, checked.
#[derive(Debug, Default)]
pub(crate) struct Attributes<'a> {
    /// Number, value, and offset in the message.
    all: Vec<(u16, &'a [u8], u32)>,
}

/// A request of generic netlink: its command, and its attributes yet to be checked.
pub(crate) fn generic(payload: &[u8]) -> Result<(u8, &[u8]), Refusal> {
    match payload.split_first_chunk::<GENERIC_LEN>() {
        Some(([command, _, 0, 0], rest)) => Ok((*command, rest)),
        Some(_) => Err(Refusal::new(
            Errno::EINVAL,
            "genlmsghdr.reserved field is not 0",
        )),
        None => Err(Errno::EINVAL.into()),
    }
}

impl<'a> Attributes<'a> {
    /// Reads attributes that must be among those of the policy and as it says.
    ///
    /// # Errors
    ///
    /// The refusal, and the offset of the attribute at fault.
    pub(crate) fn parse(
        mut bytes: &'a [u8],
        policy: &[(u16, Policy)],
    ) -> Result<Self, (Refusal, Option<u32>)> {
        let total = bytes.len();
        let mut all: Vec<(u16, &[u8], u32)> = Vec::new();
        let leftover = || {
            let text = "bytes leftover after parsing attributes";
            (Refusal::new(Errno::EINVAL, text), None)
        };
        while !bytes.is_empty() {
            let offset = HEADER_LEN + GENERIC_LEN + (total - bytes.len());
            let offset = u32::try_from(offset).unwrap_or(u32::MAX);
            let [l0, l1, k0, k1] = *bytes.first_chunk().ok_or_else(leftover)?;
            let length = usize::from(u16::from_ne_bytes([l0, l1]));
            let value = bytes.get(4..length).ok_or_else(leftover)?;
            let kind = u16::from_ne_bytes([k0, k1]);
            let number = kind & TYPE_MASK;
            let refuse = |errno, text: &str| (Refusal::new(errno, text), Some(offset));
            let Some((_, rule)) = policy.iter().find(|(known, _)| *known == number) else {
                return Err(refuse(Errno::EINVAL, "Unknown attribute type"));
            };
            if kind & NESTED != 0 {
                return Err(refuse(Errno::EINVAL, "NLA_F_NESTED not expected"));
            }
            rule.check(value)
                .map_err(|(errno, text)| refuse(errno, text))?;
            all.retain(|(known, ..)| *known != number);
            all.push((number, value, offset));
            bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(Self { all })
    }

    /// The offset of an attribute in the message.
    pub(crate) fn offset(&self, attribute: u16) -> Option<u32> {
        let found = self.all.iter().find(|(number, ..)| *number == attribute);
        found.map(|(.., offset)| *offset)
    }

    /// An attribute's value.
    pub(crate) fn get(&self, attribute: u16) -> Option<&'a [u8]> {
        let found = self.all.iter().find(|(number, ..)| *number == attribute);
        found.map(|(_, value, _)| *value)
    }

    /// One that must be there.
    pub(crate) fn required(&self, attribute: u16) -> Result<&'a [u8], Refusal> {
        self.get(attribute)
            .ok_or_else(|| Refusal::missing(attribute))
    }

    /// One of so many bytes that must be there.
    pub(crate) fn bytes<const N: usize>(&self, attribute: u16) -> Result<[u8; N], Refusal> {
        let value = self.required(attribute)?;
        let wrong = || Refusal::from(Errno::EINVAL).blame(attribute);
        value.try_into().map_err(|_| wrong())
    }

    fn number<const N: usize>(&self, attribute: u16) -> Option<[u8; N]> {
        self.get(attribute)?.try_into().ok()
    }

    /// A number, if it is there.
    pub(crate) fn u32(&self, attribute: u16) -> Option<u32> {
        self.number(attribute).map(u32::from_ne_bytes)
    }

    /// A number, if it is there.
    pub(crate) fn u16(&self, attribute: u16) -> Option<u16> {
        self.number(attribute).map(u16::from_ne_bytes)
    }

    /// A number, if it is there.
    pub(crate) fn u8(&self, attribute: u16) -> Option<u8> {
        self.number(attribute).map(u8::from_ne_bytes)
    }

    /// A text, up to its NUL, if it is there.
    pub(crate) fn text(&self, attribute: u16) -> Option<&'a [u8]> {
        self.get(attribute)?.split(|byte| *byte == 0).next()
    }
}

/// Attributes of an answer. What cannot be put, for want of room in 16 bits of length, is left out; nothing here is so long.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer(Writer);

impl Answer {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn put(&mut self, attribute: u16, value: &[u8]) -> &mut Self {
        let _ = self.0.put(attribute, value);
        self
    }

    pub(crate) fn u8(&mut self, attribute: u16, value: u8) -> &mut Self {
        self.put(attribute, &[value])
    }

    pub(crate) fn u16(&mut self, attribute: u16, value: u16) -> &mut Self {
        self.put(attribute, &value.to_ne_bytes())
    }

    pub(crate) fn u32(&mut self, attribute: u16, value: u32) -> &mut Self {
        self.put(attribute, &value.to_ne_bytes())
    }

    pub(crate) fn u64(&mut self, attribute: u16, value: u64) -> &mut Self {
        self.put(attribute, &value.to_ne_bytes())
    }

    pub(crate) fn text(&mut self, attribute: u16, text: &str) -> &mut Self {
        let _ = self.0.put_text(attribute, text);
        self
    }

    pub(crate) fn address(&mut self, attribute: u16, address: std::net::IpAddr) -> &mut Self {
        match address {
            std::net::IpAddr::V4(address) => self.put(attribute, &address.octets()),
            std::net::IpAddr::V6(address) => self.put(attribute, &address.octets()),
        }
    }

    pub(crate) fn nest(&mut self, attribute: u16, inner: &Self) -> &mut Self {
        let _ = self.0.put_nest(attribute, &inner.0);
        self
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.clone().into_bytes()
    }
}

/// A message of any type.
pub(crate) fn message(kind: u16, flags: u16, sequence: u32, port: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER_LEN + payload.len()).unwrap_or(u32::MAX);
    let header = Header {
        kind,
        flags,
        sequence,
        port,
        length,
    };
    let mut bytes = header.emit();
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A message of generic netlink that answers a request.
pub(crate) fn reply(to: &Header, flags: u16, command: u8, version: u8, answer: &Answer) -> Vec<u8> {
    let mut payload = vec![command, version, 0, 0];
    payload.extend(answer.bytes());
    message(to.kind, flags, to.sequence, to.port, &payload)
}

/// A message of generic netlink that nobody asked for.
pub(crate) fn notification(kind: u16, command: u8, version: u8, answer: &Answer) -> Vec<u8> {
    let mut payload = vec![command, version, 0, 0];
    payload.extend(answer.bytes());
    message(kind, 0, 0, 0, &payload)
}

/// That messages were lost.
pub(crate) fn overrun() -> Vec<u8> {
    message(OVERRUN, 0, 0, 0, &[])
}

fn explanation(refusal: &Refusal, offset: Option<u32>) -> Vec<u8> {
    let mut answer = Answer::new();
    if let Some(text) = &refusal.text {
        answer.text(EXT_TEXT, text);
    }
    if let Some(offset) = offset {
        answer.u32(EXT_OFFSET, offset);
    }
    if let Some(missing) = refusal.missing {
        answer.u32(EXT_MISSING, u32::from(missing));
    }
    answer.bytes()
}

/// The end of a request, after success or refusal.
pub(crate) fn acknowledgement(to: &Header, refusal: Option<(&Refusal, Option<u32>)>) -> Vec<u8> {
    let errno = refusal.map_or(0, |(refusal, _)| refusal.errno as i32);
    let mut payload = errno.wrapping_neg().to_ne_bytes().to_vec();
    payload.extend(to.emit());
    let mut flags = FLAG_CAPPED;
    if let Some((refusal, offset)) = refusal {
        let explained = explanation(refusal, offset);
        if !explained.is_empty() {
            flags |= FLAG_TLVS;
            payload.extend(explained);
        }
    }
    message(ERROR, flags, to.sequence, to.port, &payload)
}

/// The end of a dump.
pub(crate) fn done(to: &Header, flags: u16) -> Vec<u8> {
    message(DONE, FLAG_MULTI | flags, to.sequence, to.port, &[0; 4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_requests_are_read() {
        let good = message(16, 5, 7, 9, &[1, 2, 3, 4, 5]);
        let (header, payload) = split(&good).expect("whole");
        assert_eq!(
            (header.kind, header.flags, header.sequence, header.port),
            (16, 5, 7, 9)
        );
        assert_eq!(payload, [1, 2, 3, 4, 5]);
        for length in 0..21 {
            assert_eq!(split(&good[..length]), None);
        }
        assert!(split(&good[..21]).is_some(), "without padding");
        let mut two = good.clone();
        two.extend(&good);
        assert_eq!(split(&two), None);
        assert_eq!(split(&vec![0; 20_000]), None);
    }

    #[test]
    fn attributes_are_checked() {
        let policy = [
            (1, Policy::Exact(2)),
            (2, Policy::U32),
            (3, Policy::Text(4)),
            (4, Policy::U16),
            (5, Policy::Bytes(4, 16)),
        ];
        let parse = |kind: u16, value: &[u8]| {
            let mut answer = Answer::new();
            answer.put(kind, value);
            let bytes = answer.bytes();
            Attributes::parse(&bytes, &policy)
                .map(|_| ())
                .map_err(|(refusal, offset)| (refusal.errno, offset))
        };
        assert_eq!(parse(1, &[1, 2]), Ok(()));
        assert_eq!(parse(3, b"abcd\0"), Ok(()));
        for (kind, value, errno) in [
            (1, &[1][..], Errno::ERANGE),
            (2, &[1; 3], Errno::EINVAL),
            (3, b"abcde\0", Errno::ERANGE),
            (3, b"abc", Errno::EINVAL),
            (4, &[0, 0], Errno::ERANGE),
            (5, &[0; 17], Errno::ERANGE),
            (9, &[], Errno::EINVAL),
            (1 | NESTED, &[1, 2], Errno::EINVAL),
        ] {
            assert_eq!(parse(kind, value), Err((errno, Some(20))), "{kind}");
        }
        for cut in [&[1][..], &[3, 0, 1, 0], &[9, 0, 2, 0, 1, 2, 3, 4]] {
            assert!(Attributes::parse(cut, &policy).is_err());
        }
    }
}
