// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The keys of a vnet as the administrator has given them. Owned by the control thread; the workers see what follows from them.

use std::sync::Arc;

use nix::errno::Errno;
use vnet_core::sealed::derive::Purpose;
use vnet_core::sealed::{COUNTER_WARN, Cipher, Key, Loaded, Slot, Slots};
use vnet_core::{Instant, Setting, Settings, VnetId};

use super::cipher::{self, Aead, HmacSha256};
use super::{Believed, Current, Keys, Own, Use};
use crate::message::Refusal;

/// A key as it was given. In a place of its own: what is moved about leaves copies behind that nobody wipes.
struct Given {
    key: Box<Key>,
    since: Instant,
}

/// A key, as far as it may be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) index: u16,
    pub(crate) slot: Slot,
    /// Milliseconds since it was given.
    pub(crate) age: u64,
    /// Messages that were sealed so far; of the current key.
    pub(crate) counter: Option<u64>,
}

/// Sealing of a vnet.
#[derive(Default)]
pub(crate) struct Seal {
    slots: Slots<Given>,
    /// Kept while the vnet is there, so that no counter comes twice.
    own: Option<Arc<Own>>,
    believed: Option<Arc<Believed>>,
    keys: Option<Arc<Keys>>,
}

impl Seal {
    /// What the workers need, if the vnet is to be sealed.
    pub(crate) fn keys(&self) -> Option<&Arc<Keys>> {
        self.keys.as_ref()
    }

    /// Whether messages can be sealed.
    pub(crate) fn is_ready(&self) -> bool {
        let keys = self.keys.as_ref();
        keys.is_some_and(|keys| keys.current.is_some())
    }

    /// Senders that are believed.
    pub(crate) fn senders(&self) -> usize {
        self.believed.as_ref().map_or(0, |all| all.count())
    }

    /// Refuses settings that cannot be.
    pub(crate) fn check(settings: &Settings) -> Result<(), Refusal> {
        match settings.sealed() {
            Some((_, cipher)) if !cipher::can_seal(cipher) => {
                let text =
                    "this processor has no instructions for AES: seal with chacha20-poly1305";
                Err(Refusal::new(Errno::EOPNOTSUPP, text).blame(Setting::Cipher.attr()))
            }
            _ => Ok(()),
        }
    }

    /// The keys there are.
    pub(crate) fn list(&self, now: Instant) -> Vec<Listed> {
        let sealed = self.own.as_ref().map_or(0, |own| own.counter());
        let all = self.slots.iter();
        all.map(|(slot, loaded)| Listed {
            index: loaded.index,
            slot,
            age: now.since(loaded.key.since),
            counter: (slot == Slot::Current).then_some(sealed),
        })
        .collect()
    }

    /// Puts a key into a slot, or where it belongs. False if it was there already.
    pub(crate) fn give(
        &mut self,
        index: u16,
        slot: Option<Slot>,
        key: Box<Key>,
        now: Instant,
    ) -> Result<bool, Refusal> {
        for (there, loaded) in self.slots.iter() {
            let same = is_same(&loaded.key.key, &key);
            let text = match (loaded.index == index, same) {
                (true, true) if slot.is_none_or(|slot| slot == there) => return Ok(false),
                (true, true) => "the key is in another slot",
                (true, false) if slot != Some(there) => "there is another key with this index",
                (false, true) => "this key is there under another index",
                _ => continue,
            };
            return Err(Refusal::new(Errno::EEXIST, text));
        }
        let slot = slot.unwrap_or_else(|| self.slots.place());
        let key = Given { key, since: now };
        self.slots.set(slot, Some(Loaded { index, key }));
        Ok(true)
    }

    /// Takes a key away. What it was.
    pub(crate) fn take_away(&mut self, index: u16) -> Result<(), Refusal> {
        let found = self.slots.iter().find(|(_, loaded)| loaded.index == index);
        let Some((slot, _)) = found else {
            let text = "the vnet has no key with this index";
            return Err(Refusal::new(Errno::ENOENT, text));
        };
        self.slots.set(slot, None);
        Ok(())
    }

    /// Makes the next key the current one. Its index, or none if the one with `index` is that already.
    pub(crate) fn rotate(&mut self, index: Option<u16>) -> Result<Option<u16>, Refusal> {
        let index_of = |slot| self.slots.get(slot).map(|loaded| loaded.index);
        if index.is_some() && index_of(Slot::Current) == index {
            return Ok(None);
        }
        let Some(next) = index_of(Slot::Next) else {
            let text = "the vnet has no next key to rotate to";
            return Err(Refusal::new(Errno::ENOENT, text));
        };
        if index.is_some_and(|index| index != next) {
            let text = format!("the next key is another one, with index {next}");
            return Err(Refusal::new(Errno::ENOENT, text));
        }
        // There is a next one, as was just seen.
        let _ = self.slots.rotate();
        Ok(Some(next))
    }

    /// Makes what follows from keys and settings anew: how many senders had to go. Fails if there are no random numbers; then it is as it
    /// was.
    pub(crate) fn renew(&mut self, id: VnetId, settings: &Settings) -> Result<usize, Refusal> {
        let Some((mode, cipher)) = settings.sealed() else {
            self.keys = None;
            self.believed = None;
            return Ok(0);
        };
        let failed = |error| Refusal::new(error, "cannot get random numbers");
        let own = match &self.own {
            // Whose counter is nearly used up begins anew as somebody else.
            Some(own) if own.counter() < COUNTER_WARN => own.clone(),
            _ => Arc::new(Own::new().map_err(failed)?),
        };
        let believed = match &self.believed {
            Some(believed) => believed.clone(),
            None => Arc::new(Believed::new().map_err(failed)?),
        };
        let old = self.keys.take();
        let mut uses = Vec::new();
        let mut current = None;
        for (slot, loaded) in self.slots.iter() {
            for way in Cipher::ALL {
                let purpose = Purpose {
                    id,
                    mode,
                    cipher: way,
                };
                let new = Use::new(&loaded.key.key, purpose);
                let tag = new.tag;
                // With what it opens already.
                let mut known = old.iter().flat_map(|old| &old.uses);
                let key = known.find(|known| known.tag == tag).cloned();
                let key = key.unwrap_or_else(|| Arc::new(new));
                if slot == Slot::Current && way == cipher {
                    let sender = key.root.sender::<HmacSha256>(purpose, own.number);
                    current = Some(Current {
                        index: loaded.index,
                        tag,
                        aead: Aead::new(way, &sender),
                    });
                }
                uses.push(key);
            }
        }
        let keys = Keys {
            own: own.clone(),
            believed: believed.clone(),
            mode,
            current,
            uses,
        };
        let evicted = believed.limit(&keys, settings.get(Setting::MaxSenders) as usize);
        self.own = Some(own);
        self.believed = Some(believed);
        self.keys = Some(Arc::new(keys));
        Ok(evicted)
    }
}

/// Compares in a time that does not depend on where they differ.
fn is_same(one: &Key, other: &Key) -> bool {
    let pairs = one.as_bytes().iter().zip(other.as_bytes());
    let difference = pairs.fold(0, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(difference) == 0
}
