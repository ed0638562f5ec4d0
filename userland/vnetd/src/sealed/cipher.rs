// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The ciphers, and what goes with them: HMAC and random numbers.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, KeyInit};
use chacha20poly1305::ChaCha20Poly1305;
use hmac::{Hmac as HmacOf, Mac as _};
use nix::errno::Errno;
use sha2::Sha256;
use vnet_core::sealed::{Cipher, Hmac, KEY_LEN, Key, Mode};
use vnet_core::wire::{SEALED_HEADER_LEN, SEALED_TAG_LEN, SealedHeader};
use zeroize::Zeroize;

/// HMAC with SHA-256.
pub(crate) struct HmacSha256;

impl Hmac for HmacSha256 {
    fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; KEY_LEN] {
        // No length is refused.
        let Ok(mut code) = <HmacOf<Sha256> as KeyInit>::new_from_slice(key) else {
            return [0; KEY_LEN];
        };
        for part in parts {
            code.update(part);
        }
        code.finalize().into_bytes().into()
    }
}

/// Fills bytes with random ones.
fn randomize(bytes: &mut [u8]) -> nix::Result<()> {
    let no_number = Errno::EIO;
    getrandom::fill(bytes).map_err(|error| error.raw_os_error().map_or(no_number, Errno::from_raw))
}

/// A random key.
pub(crate) fn random_key() -> nix::Result<Key> {
    let mut bytes = [0; KEY_LEN];
    randomize(&mut bytes)?;
    let key = Key::from_bytes(bytes);
    bytes.zeroize();
    Ok(key)
}

/// A random number.
pub(crate) fn random_u64() -> nix::Result<u64> {
    let mut bytes = [0; 8];
    randomize(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Whether this processor has instructions for AES: without, it costs more than the other cipher.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes")
        && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// Whether it is sealed with a cipher here. Everything is opened.
pub(crate) fn can_seal(cipher: Cipher) -> bool {
    match cipher {
        Cipher::ChaCha20Poly1305 => true,
        Cipher::Aes256Gcm => has_aes(),
    }
}

/// A cipher with the key of one sender. The key is wiped when it is dropped.
pub(crate) enum Aead {
    ChaCha(Box<ChaCha20Poly1305>),
    Aes(Box<Aes256Gcm>),
}

impl Aead {
    /// Makes a key ready.
    pub(crate) fn new(cipher: Cipher, key: &Key) -> Self {
        let key = key.as_bytes().into();
        match cipher {
            Cipher::ChaCha20Poly1305 => Self::ChaCha(Box::new(ChaCha20Poly1305::new(key))),
            Cipher::Aes256Gcm => Self::Aes(Box::new(Aes256Gcm::new(key))),
        }
    }

    fn encrypt(
        &self,
        counter: u64,
        data: &[u8],
        buffer: &mut [u8],
    ) -> Option<[u8; SEALED_TAG_LEN]> {
        let nonce = Cipher::nonce(counter).into();
        let tag = match self {
            Self::ChaCha(cipher) => cipher.encrypt_inout_detached(&nonce, data, buffer.into()),
            Self::Aes(cipher) => cipher.encrypt_inout_detached(&nonce, data, buffer.into()),
        };
        Some(tag.ok()?.into())
    }

    fn decrypt(
        &self,
        counter: u64,
        data: &[u8],
        buffer: &mut [u8],
        tag: [u8; SEALED_TAG_LEN],
    ) -> bool {
        let (nonce, tag) = (Cipher::nonce(counter).into(), tag.into());
        let buffer = buffer.into();
        let opened = match self {
            Self::ChaCha(cipher) => cipher.decrypt_inout_detached(&nonce, data, buffer, &tag),
            Self::Aes(cipher) => cipher.decrypt_inout_detached(&nonce, data, buffer, &tag),
        };
        opened.is_ok()
    }

    /// Seals a message: room for the header, what is to be sealed, room for the authentication tag. False if it is too short for that, or longer
    /// than the cipher takes.
    #[must_use]
    pub(crate) fn seal(&self, mode: Mode, header: &SealedHeader, message: &mut [u8]) -> bool {
        let Some((rest, place)) = message.split_last_chunk_mut::<SEALED_TAG_LEN>() else {
            return false;
        };
        let Some((start, body)) = rest.split_first_chunk_mut::<SEALED_HEADER_LEN>() else {
            return false;
        };
        *start = header.emit();
        let tag = match mode {
            Mode::Conf => self.encrypt(header.counter, start, body),
            Mode::Auth => self.encrypt(header.counter, rest, &mut []),
        };
        tag.map(|tag| *place = tag).is_some()
    }

    /// Opens a message in place: what was sealed, if it is what its sender has sealed. The mark of who relays it is lost.
    pub(crate) fn open<'a>(
        &self,
        mode: Mode,
        header: &SealedHeader,
        message: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        let (rest, tag) = message.split_last_chunk_mut::<SEALED_TAG_LEN>()?;
        let (start, _) = rest.split_first_chunk_mut::<SEALED_HEADER_LEN>()?;
        *start = header.emit();
        let opened = match mode {
            Mode::Conf => {
                let (start, body) = rest.split_at_mut(SEALED_HEADER_LEN);
                self.decrypt(header.counter, start, body, *tag)
            }
            Mode::Auth => self.decrypt(header.counter, rest, &mut [], *tag),
        };
        let (_, body) = rest.split_at_mut(SEALED_HEADER_LEN);
        opened.then_some(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SealedHeader = SealedHeader {
        tag: 1,
        sender: 2,
        counter: 3,
    };

    #[test]
    fn every_bit_counts() {
        for cipher in Cipher::ALL {
            for mode in [Mode::Auth, Mode::Conf] {
                let aead = Aead::new(cipher, &Key::from_bytes([7; KEY_LEN]));
                let plain = b"\x40\0what is to be sealed";
                let mut message = [&[0; SEALED_HEADER_LEN][..], plain, &[0; 16]].concat();
                assert!(aead.seal(mode, &HEADER, &mut message));
                let shown = message.windows(4).any(|bytes| bytes == b"what");
                assert_eq!(shown, mode == Mode::Auth, "{cipher:?}");
                let open = |bytes: &[u8]| {
                    let mut copy = bytes.to_vec();
                    let header = SealedHeader::parse(&copy).ok()?;
                    aead.open(mode, &header, &mut copy)
                        .map(|body| body.to_vec())
                };
                assert_eq!(open(&message).expect("opened"), plain);
                for bit in 0..message.len() * 8 {
                    let mut other = message.clone();
                    other[bit / 8] ^= 1 << (bit % 8);
                    // The mark of who relays is the only thing that may change.
                    let is_mark = (16..32).contains(&bit);
                    assert_eq!(
                        open(&other).is_some(),
                        is_mark,
                        "{cipher:?} {mode:?} bit {bit}"
                    );
                }
                for length in 0..message.len() {
                    assert_eq!(open(&message[..length]), None);
                    let _ = aead.seal(mode, &HEADER, &mut message[..length].to_vec());
                }
            }
        }
    }

    #[test]
    fn random_numbers_differ() {
        assert_ne!(random_u64(), random_u64());
        let (one, other) = (random_key().expect("a key"), random_key().expect("a key"));
        assert_ne!(one.as_bytes(), other.as_bytes());
    }
}
