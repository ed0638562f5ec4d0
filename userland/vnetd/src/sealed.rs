// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Sealing of vnets: keys, the counter, and the senders that are believed. See `docs/sealed.md`.
//!
//! As long as a vnet is to be sealed, the workers see [`Keys`] of it, with or without one to seal with: they must neither send nor take
//! anything else. They are made anew by the control thread and replaced whole.

pub(crate) mod cipher;
mod senders;
mod slots;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use vnet_core::abi::NetCounter;
use vnet_core::sealed::derive::{Purpose, Root};
use vnet_core::sealed::{COUNTER_LAST, COUNTER_WARN, Key, Mode};
use vnet_core::wire::{FRAME, SEALED_HEADER_LEN, SEALED_KIND_LEN, SEALED_TAG_LEN, SealedHeader};

use cipher::{Aead, HmacSha256};
pub(crate) use senders::{Admission, Believed, Known, Taken};
pub(crate) use slots::{Listed, Seal};

/// Bytes around a frame in a sealed message.
pub(crate) const AROUND: usize = PREFIX_LEN + SEALED_TAG_LEN;
/// Bytes before it.
pub(crate) const PREFIX_LEN: usize = SEALED_HEADER_LEN + SEALED_KIND_LEN;

/// What stands before a frame until it is sealed: room for the header, and the word that says that it is one.
pub(crate) const fn prefix() -> [u8; PREFIX_LEN] {
    let mut bytes = [0; PREFIX_LEN];
    if let Some(word) = bytes.last_chunk_mut() {
        *word = FRAME.to_be_bytes();
    }
    bytes
}

/// Who we are for those who receive what is sealed here.
pub(crate) struct Own {
    pub(crate) number: u64,
    counter: AtomicU64,
}

impl Own {
    fn new() -> nix::Result<Self> {
        Ok(Self {
            number: cipher::random_u64()?,
            counter: AtomicU64::new(0),
        })
    }

    /// Messages that were sealed so far.
    fn counter(&self) -> u64 {
        self.counter.load(Relaxed).min(COUNTER_LAST)
    }
}

/// What is sealed with.
struct Current {
    index: u16,
    tag: u64,
    aead: Aead,
}

/// What opens the messages of a sender under one key.
pub(crate) struct Opener {
    pub(crate) aead: Aead,
    pub(crate) sender: Arc<Known>,
}

/// A key, used in one way: what its tag stands for.
pub(crate) struct Use {
    pub(crate) tag: u64,
    root: Root,
    purpose: Purpose,
    openers: RwLock<HashMap<u64, Arc<Opener>>>,
}

impl Use {
    fn new(key: &Key, purpose: Purpose) -> Self {
        let root = Root::new::<HmacSha256>(key);
        Self {
            tag: root.tag::<HmacSha256>(purpose),
            root,
            purpose,
            openers: RwLock::default(),
        }
    }

    /// How it is used.
    pub(crate) fn mode(&self) -> Mode {
        self.purpose.mode
    }

    /// What opens the messages of a sender that is known.
    pub(crate) fn opener(&self, sender: u64) -> Option<Arc<Opener>> {
        let openers = self.openers.read().unwrap_or_else(PoisonError::into_inner);
        openers.get(&sender).cloned()
    }

    /// What opens the messages of any sender. It takes a while.
    pub(crate) fn aead_of(&self, sender: u64) -> Aead {
        let key = self.root.sender::<HmacSha256>(self.purpose, sender);
        Aead::new(self.purpose.cipher, &key)
    }

    fn remember(&self, sender: u64, opener: Opener) {
        let mut openers = self.openers.write().unwrap_or_else(PoisonError::into_inner);
        openers.insert(sender, Arc::new(opener));
    }

    /// Forgets what opens the messages of a sender.
    pub(crate) fn forget(&self, sender: u64) {
        let mut openers = self.openers.write().unwrap_or_else(PoisonError::into_inner);
        openers.remove(&sender);
    }
}

/// What was sealed, if anything is to be told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expiring {
    /// Index of the key that is nearly used up.
    pub(crate) index: u16,
    /// Messages that were sealed with it.
    pub(crate) counter: u64,
}

/// What the workers need of a vnet that is to be sealed.
pub(crate) struct Keys {
    pub(crate) own: Arc<Own>,
    pub(crate) believed: Arc<Believed>,
    mode: Mode,
    current: Option<Current>,
    /// All keys in all ways in which others may use them.
    pub(crate) uses: Vec<Arc<Use>>,
}

impl Keys {
    /// Seals messages that stand one after another, each of `size` bytes but the last, with room for header and authentication tag. Tells if
    /// the key is nearly used up.
    ///
    /// # Errors
    ///
    /// There is no key, or it has sealed all that it may.
    pub(crate) fn seal(
        &self,
        messages: &mut [u8],
        size: usize,
    ) -> Result<Option<Expiring>, NetCounter> {
        let current = self.current.as_ref().ok_or(NetCounter::TxNoKey)?;
        let size = size.max(1);
        let count = messages.len().div_ceil(size) as u64;
        let before = self.own.counter.fetch_add(count, Relaxed);
        let last = before.saturating_add(count);
        if last > COUNTER_LAST {
            // It stays there, however often this is tried.
            self.own.counter.store(COUNTER_LAST, Relaxed);
            return Err(NetCounter::TxNoKey);
        }
        for (message, counter) in messages.chunks_mut(size).zip(before.saturating_add(1)..) {
            let header = SealedHeader {
                tag: current.tag,
                sender: self.own.number,
                counter,
            };
            if !current.aead.seal(self.mode, &header, message) {
                return Err(NetCounter::TxShort);
            }
        }
        let expires = before < COUNTER_WARN && last >= COUNTER_WARN;
        Ok(expires.then_some(Expiring {
            index: current.index,
            counter: last,
        }))
    }

    /// The frame in a message that was sealed here just now, to tell its sender that it was too large.
    pub(crate) fn reopen(&self, message: &[u8]) -> Option<Vec<u8>> {
        let current = self.current.as_ref()?;
        let header = SealedHeader::parse(message).ok()?;
        let mut copy = message.to_vec();
        let body = current.aead.open(self.mode, &header, &mut copy)?;
        Some(body.get(SEALED_KIND_LEN..)?.to_vec())
    }

    /// Whether there is a key to seal with.
    pub(crate) fn is_ready(&self) -> bool {
        self.current.is_some()
    }

    /// Whether a message was sealed here.
    pub(crate) fn is_own(&self, message: &[u8]) -> bool {
        SealedHeader::parse(message).is_ok_and(|header| header.sender == self.own.number)
    }
}

#[cfg(test)]
mod tests;
