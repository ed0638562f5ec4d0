// SPDX-License-Identifier: GPL-2.0-only

//! The ciphers of sealed vnets, out of the kernel's crypto library.
//!
//! All of it may be called in any context in which the floating point unit may be, softirq among them: the library looks for itself.

use core::ptr::NonNull;

use vnet_core::sealed::{Cipher, Hmac, Key, Mode, KEY_LEN};
use vnet_core::wire::{SEALED_HEADER_LEN, SEALED_TAG_LEN};

use super::bindings;

/// The kernel's HMAC with SHA-256.
pub(crate) struct HmacSha256;

/// Parts that a message for it may have.
const PARTS: usize = 8;

impl Hmac for HmacSha256 {
    fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; KEY_LEN] {
        // More would be left out in silence.
        debug_assert!(parts.len() <= PARTS);
        let mut list = [const {
            bindings::vnet_bytes {
                data: core::ptr::null(),
                len: 0,
            }
        }; PARTS];
        for (to, from) in list.iter_mut().zip(parts) {
            *to = bindings::vnet_bytes {
                data: from.as_ptr(),
                len: from.len(),
            };
        }
        let mut code = [0; KEY_LEN];
        // SAFETY: Key and parts are slices, the code has room for its bytes; unused parts are empty.
        unsafe {
            bindings::vnet_hmac_sha256(
                key.as_ptr(),
                key.len(),
                list.as_ptr(),
                list.len(),
                code.as_mut_ptr(),
            )
        };
        code
    }
}

/// A random key.
pub(crate) fn random_key() -> Key {
    let mut bytes = [0; KEY_LEN];
    for chunk in bytes.chunks_exact_mut(8) {
        chunk.copy_from_slice(&random_u64().to_ne_bytes());
    }
    let key = Key::from_bytes(bytes);
    wipe(&mut bytes);
    key
}

/// A random number, of which nobody can tell the next.
pub(crate) fn random_u64() -> u64 {
    // SAFETY: A function without requirements.
    unsafe { bindings::get_random_u64() }
}

/// Overwrites bytes that nobody may find.
pub(crate) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    // The compiler must believe that somebody reads the zeros.
    core::hint::black_box(bytes);
}

/// Whether the kernel has a cipher, and the processor what makes it safe.
pub(crate) fn has(cipher: Cipher) -> bool {
    match cipher {
        Cipher::ChaCha20Poly1305 => true,
        // SAFETY: A function without requirements.
        Cipher::Aes256Gcm => unsafe { bindings::vnet_has_aes() },
    }
}

/// A key made ready for AES.
///
/// # Invariants
///
/// Points to one from `vnet_aes_key`, which is ours.
struct AesKey(NonNull<bindings::aes_gcm_key>);

// SAFETY: Nobody changes it once it is made.
unsafe impl Send for AesKey {}
// SAFETY: As above.
unsafe impl Sync for AesKey {}

impl Drop for AesKey {
    fn drop(&mut self) {
        // SAFETY: Ours, by the type invariant. It is overwritten.
        unsafe { bindings::vnet_aes_key_free(self.0.as_ptr()) };
    }
}

enum Prepared {
    ChaCha(Key),
    Aes(AesKey),
}

/// A key of a sender, made ready for its cipher.
pub(crate) struct CipherKey(Prepared);

/// The parts of a sealed message: what is authenticated only, and what is encrypted, the tag at its end.
fn split(message: &mut [u8], mode: Mode) -> Option<(&mut [u8], &mut [u8])> {
    let open = match mode {
        Mode::Conf => SEALED_HEADER_LEN,
        Mode::Auth => message.len().checked_sub(SEALED_TAG_LEN)?,
    };
    let (open, hidden) = message.split_at_mut_checked(open)?;
    (open.len() >= SEALED_HEADER_LEN && hidden.len() >= SEALED_TAG_LEN).then_some((open, hidden))
}

impl CipherKey {
    /// Makes a key ready. None without memory, or if the kernel does not have the cipher.
    pub(crate) fn new(cipher: Cipher, key: Key) -> Option<Self> {
        Some(Self(match cipher {
            Cipher::ChaCha20Poly1305 => Prepared::ChaCha(key),
            Cipher::Aes256Gcm => {
                // SAFETY: The key has its bytes; they are copied.
                let aes = unsafe { bindings::vnet_aes_key(key.as_bytes().as_ptr()) };
                // INVARIANT: Just made.
                Prepared::Aes(AesKey(NonNull::new(aes)?))
            }
        }))
    }

    /// Seals a message in place: header, bytes to be sealed, room for the tag. False if it is too short for that.
    #[must_use]
    pub(crate) fn seal(&self, mode: Mode, counter: u64, message: &mut [u8]) -> bool {
        let Some((open, hidden)) = split(message, mode) else {
            return false;
        };
        let len = hidden.len().saturating_sub(SEALED_TAG_LEN);
        let nonce = Cipher::nonce(counter);
        // SAFETY: `hidden` has `len` bytes and behind them room for the tag; both ciphers work in place. `open` and `hidden` do not
        // overlap.
        unsafe {
            match &self.0 {
                Prepared::ChaCha(key) => bindings::chacha20poly1305_encrypt(
                    hidden.as_mut_ptr(),
                    hidden.as_ptr(),
                    len,
                    open.as_ptr(),
                    open.len(),
                    counter,
                    key.as_bytes().as_ptr(),
                ),
                Prepared::Aes(key) => bindings::vnet_aes_seal(
                    key.0.as_ptr(),
                    hidden.as_mut_ptr(),
                    len,
                    open.as_ptr(),
                    open.len(),
                    nonce.as_ptr(),
                ),
            }
        }
        true
    }

    /// Opens a message in place, whose header has no mark. If that is false the bytes mean nothing.
    #[must_use]
    pub(crate) fn open(&self, mode: Mode, counter: u64, message: &mut [u8]) -> bool {
        let Some((open, hidden)) = split(message, mode) else {
            return false;
        };
        let len = hidden.len().saturating_sub(SEALED_TAG_LEN);
        let nonce = Cipher::nonce(counter);
        // SAFETY: As in `seal`; ChaCha20 counts the tag as part of what it is given.
        unsafe {
            match &self.0 {
                Prepared::ChaCha(key) => bindings::chacha20poly1305_decrypt(
                    hidden.as_mut_ptr(),
                    hidden.as_ptr(),
                    hidden.len(),
                    open.as_ptr(),
                    open.len(),
                    counter,
                    key.as_bytes().as_ptr(),
                ),
                Prepared::Aes(key) => bindings::vnet_aes_open(
                    key.0.as_ptr(),
                    hidden.as_mut_ptr(),
                    len,
                    open.as_ptr(),
                    open.len(),
                    nonce.as_ptr(),
                ),
            }
        }
    }
}
