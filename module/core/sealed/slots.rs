// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The keys of a vnet: with the current one is sealed, and all are opened with.

/// The last counter that is used. Far below where 64 bits, or the limits of the ciphers for one key, end.
pub const COUNTER_LAST: u64 = 1 << 60;
/// The counter at which is said that the key is to be replaced.
pub const COUNTER_WARN: u64 = COUNTER_LAST / 4 * 3;

/// Where a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Slot {
    /// Sealed with, opened with.
    Current = 0,
    /// Opened with; the next rotation makes it the current one.
    Next = 1,
    /// Opened with, as others may not have rotated yet.
    Previous = 2,
}

impl Slot {
    /// All of them, in the order in which a key is most likely meant.
    pub const ALL: [Self; 3] = [Self::Current, Self::Next, Self::Previous];
}

/// A key in its slot; `K` is what the driver has of it.
#[derive(Clone, Debug)]
pub struct Loaded<K> {
    /// The number that its administrator gave it, the same on all hosts.
    pub index: u16,
    /// The key, and all that follows from it.
    pub key: K,
}

/// The slots of a vnet.
#[derive(Clone, Debug)]
pub struct Slots<K> {
    slots: [Option<Loaded<K>>; 3],
}

impl<K> Default for Slots<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> Slots<K> {
    /// No keys.
    pub const fn new() -> Self {
        Self {
            slots: [None, None, None],
        }
    }

    /// The key of a slot.
    pub fn get(&self, slot: Slot) -> Option<&Loaded<K>> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// The keys there are.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &Loaded<K>)> {
        Slot::ALL
            .into_iter()
            .filter_map(|slot| Some((slot, self.get(slot)?)))
    }

    /// Where a key belongs that is given without a slot: the first is the current one, any other the next.
    pub const fn place(&self) -> Slot {
        match self.slots {
            [None, ..] => Slot::Current,
            _ => Slot::Next,
        }
    }

    /// Puts a key into a slot, and gives back the one that was there.
    pub fn set(&mut self, slot: Slot, loaded: Option<Loaded<K>>) -> Option<Loaded<K>> {
        match self.slots.get_mut(slot as usize) {
            Some(place) => core::mem::replace(place, loaded),
            None => loaded,
        }
    }

    /// The next key becomes the current one, and that the previous one, in place of the one that is given back. Without a next
    /// key nothing happens, and that is said.
    pub fn rotate(&mut self) -> Result<Option<Loaded<K>>, NoNext> {
        let [current, next, previous] = &mut self.slots;
        let Some(new) = next.take() else {
            return Err(NoNext);
        };
        Ok(core::mem::replace(previous, current.replace(new)))
    }
}

/// There is no next key to rotate to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoNext;
