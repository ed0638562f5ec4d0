// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Keys from keys: HKDF with SHA-256 (RFC 5869), whose HMAC the driver has.
//!
//! From the key of a vnet follow, for each way it can be used, the tag by which messages name it in clear, and the key of
//! each sender. What it is used for goes into all of them, so that nothing sealed for one vnet, way or sender opens as
//! another's.

use core::fmt;

use crate::id::VnetId;

/// Bytes of a key.
pub const KEY_LEN: usize = 32;

/// HKDF's salt: no key of another protocol, or of another version of this one, gives the same.
const SALT: &[u8] = b"vnet sealed 1";

/// 256 bits that must not be seen. Overwritten when they are dropped; not comparable, not printable.
pub struct Key([u8; KEY_LEN]);

impl Key {
    /// The key with these bytes. The caller overwrites its own copy.
    pub const fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// Other bytes in the same place, for a key that must not be moved: what is moved leaves a copy behind. The caller overwrites its own.
    pub const fn set(&mut self, bytes: &[u8; KEY_LEN]) {
        self.0 = *bytes;
    }

    /// The bytes, for the cipher.
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Another place for the same key; each overwrites itself.
    #[must_use]
    pub const fn duplicate(&self) -> Self {
        Self(self.0)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0 = [0; KEY_LEN];
        // The compiler must believe that somebody reads the zeros.
        core::hint::black_box(&self.0);
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// HMAC with SHA-256 (RFC 2104).
pub trait Hmac {
    /// The authentication code of `parts`, one after the other.
    fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; KEY_LEN];
}

/// What sealing does to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Nobody can change it. Everybody can read it.
    Auth = 1,
    /// Nobody can read it either.
    Conf = 2,
}

/// The cipher, an AEAD with a key of 256 bits, a nonce of 96 and a tag of 128.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cipher {
    /// RFC 8439.
    ChaCha20Poly1305 = 1,
    /// NIST SP 800-38D.
    Aes256Gcm = 2,
}

impl Cipher {
    /// All of them: a host accepts each, and sends with the one it is told.
    pub const ALL: [Self; 2] = [Self::ChaCha20Poly1305, Self::Aes256Gcm];

    /// The nonce of a message: four zeros and the counter, least byte first, as ChaCha20 in Linux takes it.
    #[inline]
    pub const fn nonce(counter: u64) -> [u8; 12] {
        let mut nonce = [0; 12];
        if let Some(place) = nonce.last_chunk_mut() {
            *place = counter.to_le_bytes();
        }
        nonce
    }
}

/// How a key is used: what goes into everything that follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purpose {
    /// The vnet.
    pub id: VnetId,
    /// What is done.
    pub mode: Mode,
    /// With what.
    pub cipher: Cipher,
}

/// HKDF's pseudorandom key, from which all others follow.
#[derive(Debug)]
pub struct Root(Key);

impl Root {
    /// That of a vnet's key.
    pub fn new<H: Hmac>(key: &Key) -> Self {
        Self(Key(H::hmac(SALT, &[key.as_bytes()])))
    }

    /// Another place for the same.
    #[must_use]
    pub const fn duplicate(&self) -> Self {
        Self(self.0.duplicate())
    }

    fn expand<H: Hmac>(&self, purpose: Purpose, label: &[u8], data: &[u8]) -> Key {
        // CAST: discriminants of u8.
        let way = [purpose.mode as u8, purpose.cipher as u8];
        // One block is all that is ever needed: the 1 is its number.
        Key(H::hmac(
            self.0.as_bytes(),
            &[label, &way, purpose.id.as_bytes(), data, &[1]],
        ))
    }

    /// The tag by which messages name this key, used so.
    pub fn tag<H: Hmac>(&self, purpose: Purpose) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = *self.expand::<H>(purpose, b"tag", &[]).as_bytes();
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// The key with which a sender seals.
    pub fn sender<H: Hmac>(&self, purpose: Purpose, sender: u64) -> Key {
        self.expand::<H>(purpose, b"key", &sender.to_be_bytes())
    }
}
