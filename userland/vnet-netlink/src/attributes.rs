// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Netlink attributes: a header of four bytes (length, type; host byte order), the value, padding to four bytes.

use zeroize::Zeroize;

use crate::Error;

/// Bytes of the header.
const HEADER_LEN: usize = 4;
/// The bits of the type that are not flags.
const TYPE_MASK: u16 = 0x3fff;
/// The flag of an attribute that holds attributes.
const NESTED: u16 = 1 << 15;

/// Rounds up to the alignment of attributes.
const fn align(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// Attributes that are being written. One of them may be a key: they are wiped when they are dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writer(Vec<u8>);

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Writer {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an attribute.
    pub fn put(&mut self, kind: u16, value: &[u8]) -> Result<&mut Self, Error> {
        let length = u16::try_from(HEADER_LEN + value.len())
            .map_err(|_| Error::Malformed("an attribute would be longer than 65535 bytes"))?;
        self.reserve(align(usize::from(length)));
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(align(self.0.len()), 0);
        Ok(self)
    }

    /// Makes room for so many more bytes, and leaves none of the present ones behind.
    fn reserve(&mut self, more: usize) {
        if self.0.capacity() - self.0.len() < more {
            let mut larger = Vec::with_capacity((self.0.len() + more).max(64) * 2);
            larger.extend(&self.0);
            self.0.zeroize();
            self.0 = larger;
        }
    }

    /// Adds an attribute if there is a value.
    pub fn put_some<T: AsRef<[u8]>>(
        &mut self,
        kind: u16,
        value: Option<T>,
    ) -> Result<&mut Self, Error> {
        match value {
            Some(value) => self.put(kind, value.as_ref()),
            None => Ok(self),
        }
    }

    /// Adds a text with a NUL after it.
    pub fn put_text(&mut self, kind: u16, text: &str) -> Result<&mut Self, Error> {
        if text.contains('\0') {
            return Err(Error::Malformed("a name has a NUL in it"));
        }
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.put(kind, &bytes)
    }

    /// Adds an attribute that holds attributes.
    pub fn put_nest(&mut self, kind: u16, inner: &Self) -> Result<&mut Self, Error> {
        self.put(kind | NESTED, &inner.0)
    }

    /// The bytes. Whoever has written a key wipes them.
    pub fn into_bytes(mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

/// One attribute of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its number in its set.
    pub kind: u16,
    /// Its value.
    pub value: &'a [u8],
}

impl<'a> Attribute<'a> {
    fn fixed<const N: usize>(self) -> Result<[u8; N], Error> {
        self.value
            .try_into()
            .map_err(|_| Error::Malformed("an attribute has the wrong length"))
    }

    /// The value as bytes of a fixed number.
    pub fn bytes<const N: usize>(self) -> Result<[u8; N], Error> {
        self.fixed()
    }

    /// The value as a number.
    pub fn u8(self) -> Result<u8, Error> {
        self.fixed().map(u8::from_ne_bytes)
    }

    /// The value as a number.
    pub fn u16(self) -> Result<u16, Error> {
        self.fixed().map(u16::from_ne_bytes)
    }

    /// The value as a number.
    pub fn u32(self) -> Result<u32, Error> {
        self.fixed().map(u32::from_ne_bytes)
    }

    /// The value as a number.
    pub fn i32(self) -> Result<i32, Error> {
        self.fixed().map(i32::from_ne_bytes)
    }

    /// The value as a number.
    pub fn u64(self) -> Result<u64, Error> {
        self.fixed().map(u64::from_ne_bytes)
    }

    /// The value as text, up to the first NUL.
    pub fn text(self) -> String {
        let text = self.value.split(|byte| *byte == 0).next();
        String::from_utf8_lossy(text.unwrap_or_default()).into_owned()
    }

    /// The attributes that the value holds.
    pub fn nest(self) -> Reader<'a> {
        Reader::new(self.value)
    }
}

/// Attributes of a message, in their order. Ends with an error where they are cut off.
#[derive(Clone, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The attributes in these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Attribute<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let (bytes, [l0, l1, k0, k1]) = match self.0.first_chunk() {
            Some(header) => (self.0, *header),
            // Padding after the last attribute.
            None if self.0.iter().all(|byte| *byte == 0) => {
                self.0 = &[];
                return None;
            }
            None => {
                self.0 = &[];
                return Some(Err(Error::Malformed("an attribute is cut off")));
            }
        };
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let Some(value) = bytes.get(HEADER_LEN..length) else {
            self.0 = &[];
            return Some(Err(Error::Malformed("an attribute is cut off")));
        };
        self.0 = bytes.get(align(length)..).unwrap_or_default();
        Some(Ok(Attribute {
            kind: u16::from_ne_bytes([k0, k1]) & TYPE_MASK,
            value,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_attributes_are_read() {
        let mut inner = Writer::new();
        inner.put(7, &[9]).expect("short");
        let mut writer = Writer::new();
        writer
            .put(1, &5u32.to_ne_bytes())
            .and_then(|w| w.put_text(2, "vnif0005"))
            .and_then(|w| w.put_some(3, None::<[u8; 4]>))
            .and_then(|w| w.put_nest(4, &inner))
            .expect("short");
        let bytes = writer.into_bytes();
        let read: Vec<_> = Reader::new(&bytes).map(|a| a.expect("whole")).collect();
        assert_eq!(read.len(), 3);
        assert_eq!((read[0].kind, read[0].u32().ok()), (1, Some(5)));
        assert_eq!((read[1].kind, read[1].text()), (2, "vnif0005".to_owned()));
        assert_eq!(read[2].kind, 4);
        let nested: Vec<_> = read[2].nest().map(|a| a.expect("whole")).collect();
        assert_eq!(nested[0].u8().ok(), Some(9));
        assert!(read[0].u64().is_err());
    }

    #[test]
    fn cut_attributes_are_refused_once() {
        for bytes in [
            &[1][..],
            &[3, 0, 1, 0][..],
            &[0, 0, 1, 0][..],
            &[8, 0, 1, 0, 1][..],
        ] {
            let read: Vec<_> = Reader::new(bytes).collect();
            assert!(matches!(read[..], [Err(_)]), "{bytes:?}");
        }
        assert_eq!(Reader::new(&[0, 0]).count(), 0);
        assert_eq!(Reader::new(&[4, 0, 1, 0]).count(), 1);
        // The last attribute may lack its padding.
        assert_eq!(Reader::new(&[5, 0, 1, 0, 1]).count(), 1);
    }

    #[test]
    fn text_without_nul_and_empty_text() {
        let text = |value| Attribute { kind: 1, value }.text();
        assert_eq!(text(b"ab"), "ab");
        assert_eq!(text(b"ab\0\0"), "ab");
        assert_eq!(text(b""), "");
        assert!(Writer::new().put_text(1, "a\0b").is_err());
        assert!(Writer::new().put(1, &[0; 65532]).is_err());
    }
}
