// SPDX-License-Identifier: GPL-2.0-only

//! Sealing of one vnet: its keys, its counter, and the senders that it believes. See `docs/sealed.md`.
//!
//! As long as a vnet is to be sealed it has [`Keys`], with or without one to seal with: the data path sees by one pointer that it must
//! neither send nor take anything else. They are made anew and replaced whole, under RTNL.
//!
//! Locking: RTNL, then the lock of the senders, then the locks of the namespace's tables. A window's lock is taken with none of
//! them held but RCU.

use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::Arc;
use vnet_core::abi::NetCounter;
use vnet_core::sealed::derive::{Purpose, Root};
use vnet_core::sealed::{
    Cipher, Cookies, Key, Loaded, Mode, Slot, Slots, Window, COOKIE_LEN, COUNTER_LAST, COUNTER_WARN,
};
use vnet_core::wire::SealedHeader;
use vnet_core::{Bucket, Instant, Setting, Settings, VnetId};

use crate::device::Vnet;
use crate::sys::crypto::{self, CipherKey, HmacSha256};
use crate::sys::netdev::OwnDevice;
use crate::sys::once::Once;
use crate::sys::rcu::{self, Guard, RcuBoxCell};
use crate::sys::rtnl::{Rtnl, RtnlCell};
use crate::sys::sync::{BhLock, LockKind};
use crate::sys::table::{ById, ByMac, Table};
use crate::sys::{self, errno, Refusal, Result};
use crate::varp::Event;

/// Keys of a sender that may be ready at a time: for each slot and each cipher.
const OPENERS: usize = 6;

/// What a tag stands for.
pub(crate) struct Tag {
    /// The vnet's device.
    pub(crate) device: OwnDevice<Vnet>,
    /// In a place of its own, as [`Given`].
    root: KBox<Root>,
    purpose: Purpose,
}

impl Tag {
    /// The key of a sender. None without memory.
    pub(crate) fn key_of(&self, sender: u64) -> Option<CipherKey> {
        let key = self.root.sender::<HmacSha256>(self.purpose, sender);
        CipherKey::new(self.purpose.cipher, key)
    }

    /// How it is used.
    pub(crate) fn mode(&self) -> Mode {
        self.purpose.mode
    }
}

/// What opens the messages of a sender, under one tag.
pub(crate) struct Opener {
    /// The vnet's device.
    pub(crate) device: OwnDevice<Vnet>,
    /// How it was sealed.
    pub(crate) mode: Mode,
    /// With what.
    pub(crate) key: CipherKey,
    /// By whom.
    pub(crate) sender: Arc<Known>,
}

/// The tables of a namespace in which sealed messages are looked up.
pub(crate) struct Seals {
    tags: Table<ByMac, Tag>,
    openers: Table<ById, Opener>,
}

fn opener_id(tag: u64, sender: u64) -> [u8; 16] {
    ((u128::from(tag) << 64) | u128::from(sender)).to_be_bytes()
}

impl Seals {
    /// Empty ones. Sleeps.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            tags: Table::new()?,
            openers: Table::new()?,
        })
    }

    /// What opens a message of a sender that is known.
    #[inline]
    pub(crate) fn opener<'g>(
        &'g self,
        header: &SealedHeader,
        guard: &'g Guard,
    ) -> Option<&'g Opener> {
        let id = opener_id(header.tag, header.sender);
        Some(self.openers.get(&id, guard)?.value())
    }

    /// What a tag stands for, if it does here.
    pub(crate) fn tag<'g>(&'g self, tag: u64, guard: &'g Guard) -> Option<&'g Tag> {
        Some(self.tags.get(&tag, guard)?.value())
    }

    fn forget_tag(&self, tag: u64) {
        let guard = rcu::read_lock();
        if let Some(item) = self.tags.get(&tag, &guard) {
            self.tags.remove(item, &guard);
        }
    }

    fn forget_opener(&self, tag: u64, sender: u64) {
        let guard = rcu::read_lock();
        if let Some(item) = self.openers.get(&opener_id(tag, sender), &guard) {
            self.openers.remove(item, &guard);
        }
    }
}

/// A sender that has proved that it is there.
#[pin_data]
pub(crate) struct Known {
    number: u64,
    #[pin]
    window: BhLock<Window>,
    /// Ticks when it was heard last.
    heard: Once<usize>,
}

impl Known {
    fn new(number: u64, counter: u64) -> Result<Arc<Self>> {
        let flags = GFP_ATOMIC | __GFP_NOWARN;
        let window = Window::starting_after(counter);
        let known = pin_init!(Self {
            number,
            window <- BhLock::new(window, LockKind::Window),
            heard: Once::new(sys::jiffies()),
        });
        Ok(Arc::pin_init(known, flags)?)
    }

    /// Takes note of a message that has opened. False if it was there.
    #[must_use]
    pub(crate) fn take(&self, counter: u64) -> bool {
        let is_new = self.window.lock().take(counter).is_ok();
        let now = sys::jiffies();
        // Not to write to a line that others read, for nothing.
        if is_new && self.heard.load() != now {
            self.heard.store(now);
        }
        is_new
    }
}

/// A sender, and the tags under which it has openers; 0 is none.
struct Entry {
    known: Arc<Known>,
    tags: [u64; OPENERS],
}

struct Senders {
    list: KVec<Entry>,
    cookies: Cookies,
    challenges: Bucket,
    answers: Bucket,
    /// The vnet is being removed: nobody is taken in any more.
    closed: bool,
}

/// The senders that a vnet believes.
#[pin_data]
pub(crate) struct Believed {
    #[pin]
    senders: BhLock<Senders>,
}

impl Believed {
    fn new() -> Result<Arc<Self>> {
        let senders = Senders {
            list: KVec::new(),
            cookies: Cookies::new(crypto::random_key()),
            challenges: Bucket::new(),
            answers: Bucket::new(),
            closed: false,
        };
        let believed = pin_init!(Self {
            senders <- BhLock::new(senders, LockKind::Senders),
        });
        Ok(Arc::pin_init(believed, GFP_KERNEL)?)
    }

    /// The sender with a number.
    pub(crate) fn find(&self, number: u64) -> Option<Arc<Known>> {
        let senders = self.senders.lock();
        let entry = senders
            .list
            .iter()
            .find(|entry| entry.known.number == number)?;
        Some(entry.known.clone())
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.senders.lock().list.len()
    }

    /// The cookie that a sender is asked for; none if enough are asked.
    pub(crate) fn challenge(&self, vnet: &Vnet, number: u64) -> Option<[u8; COOKIE_LEN]> {
        let (now, rate) = (sys::now(), vnet.settings().get(Setting::VarpRate));
        let mut senders = self.senders.lock();
        let id = *vnet.vnet_id();
        let allowed = senders.challenges.allow(now, rate);
        allowed.then(|| senders.cookies.make::<HmacSha256>(id, number, now))
    }

    /// Whether one more challenge is answered.
    pub(crate) fn may_answer(&self, vnet: &Vnet) -> bool {
        let rate = vnet.settings().get(Setting::VarpRate);
        self.senders.lock().answers.allow(sys::now(), rate)
    }

    /// A sender has sealed what it says it was asked for, with this counter. Who was heard least recently makes room.
    pub(crate) fn answered(
        &self,
        vnet: &Vnet,
        number: u64,
        cookie: &[u8; COOKIE_LEN],
        counter: u64,
    ) {
        let id = *vnet.vnet_id();
        let most = vnet.settings().get(Setting::MaxSenders) as usize;
        let mut senders = self.senders.lock();
        let is_known = senders.list.iter().any(|e| e.known.number == number);
        // Who is known keeps its window.
        if is_known
            || senders.closed
            || !senders
                .cookies
                .check::<HmacSha256>(id, number, cookie, sys::now())
        {
            return;
        }
        let Ok(known) = Known::new(number, counter) else {
            return vnet.count(NetCounter::RxNoMemory);
        };
        while senders.list.len() >= most && senders.evict(vnet) {
            vnet.count(NetCounter::Evicted);
        }
        let entry = Entry {
            known,
            tags: [0; OPENERS],
        };
        match senders.list.push(entry, GFP_ATOMIC | __GFP_NOWARN) {
            Ok(()) => vnet.count(NetCounter::Admitted),
            Err(_) => vnet.count(NetCounter::RxNoMemory),
        }
    }

    /// Makes what opens the messages of a sender under a tag, so that it is found next time. Without memory it is not.
    pub(crate) fn remember(
        &self,
        vnet: &Vnet,
        tag: u64,
        device: OwnDevice<Vnet>,
        mode: Mode,
        (number, key): (u64, CipherKey),
    ) {
        let seals = vnet.namespace().seals();
        let mut senders = self.senders.lock();
        if senders.closed {
            return;
        }
        // Under the lock that who takes a tag away takes afterwards: either it is gone here, or the opener goes, too.
        let guard = rcu::read_lock();
        let is_tag = seals.tag(tag, &guard).is_some();
        let entry = senders
            .list
            .iter_mut()
            .find(|entry| entry.known.number == number);
        let Some(entry) = entry.filter(|_| is_tag) else {
            return;
        };
        if entry.tags.contains(&tag) {
            return;
        }
        let Some(place) = entry.tags.iter_mut().find(|tag| **tag == 0) else {
            return;
        };
        let opener = Opener {
            device,
            mode,
            key,
            sender: entry.known.clone(),
        };
        if seals.openers.insert(opener_id(tag, number), opener).is_ok() {
            *place = tag;
        }
    }

    /// Tags do not stand for anything any more: nothing opens under them.
    fn forget_tags(&self, seals: &Seals, gone: &[u64]) {
        let mut senders = self.senders.lock();
        for entry in senders.list.iter_mut() {
            for tag in entry.tags.iter_mut().filter(|tag| gone.contains(tag)) {
                seals.forget_opener(*tag, entry.known.number);
                *tag = 0;
            }
        }
    }

    /// Not more than so many are believed from now on.
    fn limit(&self, vnet: &Vnet, most: usize) {
        let mut senders = self.senders.lock();
        while senders.list.len() > most && senders.evict(vnet) {
            vnet.count(NetCounter::Evicted);
        }
    }

    /// Nobody is believed any more, or will be if `close`.
    fn clear(&self, vnet: &Vnet, close: bool) {
        let mut senders = self.senders.lock();
        senders.closed |= close;
        while senders.evict(vnet) {}
    }
}

impl Senders {
    /// Forgets the sender that was heard least recently, if there is one.
    fn evict(&mut self, vnet: &Vnet) -> bool {
        let now = sys::jiffies();
        let silence = |entry: &Entry| now.wrapping_sub(entry.known.heard.load());
        let ages = self.list.iter().map(silence).enumerate();
        let Some((oldest, _)) = ages.max_by_key(|(_, silence)| *silence) else {
            return false;
        };
        let Ok(entry) = self.list.remove(oldest) else {
            return false;
        };
        for tag in entry.tags.iter().filter(|tag| **tag != 0) {
            let seals = vnet.namespace().seals();
            seals.forget_opener(*tag, entry.known.number);
        }
        // What it answered must not admit it once more: its window is gone.
        self.cookies = Cookies::new(crypto::random_key());
        true
    }
}

/// Who we are for those who receive what is sealed here.
struct Own {
    number: u64,
    counter: Atomic<u64>,
}

impl Own {
    fn new() -> Result<Arc<Self>> {
        let own = Self {
            number: crypto::random_u64(),
            counter: Atomic::new(0),
        };
        Ok(Arc::new(own, GFP_KERNEL)?)
    }

    fn counter(&self) -> u64 {
        self.counter.load(Relaxed).min(COUNTER_LAST)
    }
}

/// What is sealed with.
struct Current {
    index: u16,
    tag: u64,
    key: CipherKey,
}

/// What the data path needs of a vnet that is to be sealed.
pub(crate) struct Keys {
    own: Arc<Own>,
    believed: Arc<Believed>,
    mode: Mode,
    current: Option<Current>,
}

/// Header, key and mode for one message.
pub(crate) struct Envelope<'a> {
    pub(crate) header: SealedHeader,
    pub(crate) key: &'a CipherKey,
    pub(crate) mode: Mode,
}

impl Keys {
    /// The number by which receivers know us.
    pub(crate) fn number(&self) -> u64 {
        self.own.number
    }

    /// Whom the vnet believes.
    pub(crate) fn believed(&self) -> &Believed {
        &self.believed
    }

    /// What the next message is sealed with. None if there is no key, or if it has sealed all that it may.
    #[inline]
    pub(crate) fn next(&self, vnet: &Vnet) -> Option<Envelope<'_>> {
        let current = self.current.as_ref()?;
        let counter = self.own.counter.fetch_add(1, Relaxed).wrapping_add(1);
        if counter >= COUNTER_WARN {
            if counter > COUNTER_LAST {
                // It stays there, however often this is tried.
                self.own.counter.store(COUNTER_LAST, Relaxed);
                return None;
            }
            if counter == COUNTER_WARN {
                let index = current.index;
                vnet.varp().tell(Event::KeyExpiring { index, counter });
            }
        }
        Some(Envelope {
            header: SealedHeader {
                tag: current.tag,
                sender: self.own.number,
                counter,
            },
            key: &current.key,
            mode: self.mode,
        })
    }
}

/// A key as it was given. In a place of its own: what is moved about, or taken out of an `Option`, leaves a copy behind that nobody wipes.
struct Given {
    key: KBox<Key>,
    since: Instant,
}

/// A key, as far as it may be told of.
pub(crate) struct Listed {
    pub(crate) index: u16,
    pub(crate) slot: Slot,
    /// Milliseconds since it was given.
    pub(crate) age: u64,
    /// Messages that were sealed so far; of the current key.
    pub(crate) counter: Option<u64>,
}

struct State {
    slots: Slots<Given>,
    own: Option<Arc<Own>>,
    believed: Option<Arc<Believed>>,
    /// The tags in the namespace's table.
    tags: KVec<u64>,
}

/// Sealing of a vnet.
pub(crate) struct Seal {
    keys: RcuBoxCell<Keys>,
    state: RtnlCell<State>,
}

impl Seal {
    /// Not sealed, no keys.
    pub(crate) fn new() -> Self {
        Self {
            keys: RcuBoxCell::empty(),
            state: RtnlCell::new(State {
                slots: Slots::new(),
                own: None,
                believed: None,
                tags: KVec::new(),
            }),
        }
    }

    /// What the data path needs, if the vnet is to be sealed.
    #[inline]
    pub(crate) fn keys<'g>(&'g self, guard: &'g Guard) -> Option<&'g Keys> {
        self.keys.load(guard)
    }

    /// Refuses settings that cannot be.
    pub(crate) fn check(settings: &Settings) -> Result {
        match settings.sealed() {
            Some((_, cipher)) if !crypto::has(cipher) => Err(Refusal::new(
                errno::not_supported(),
                c"this kernel cannot seal with aes-256-gcm: it is there from Linux 7.3 on, with AES instructions",
            )),
            _ => Ok(()),
        }
    }

    /// The keys there are.
    pub(crate) fn list(&self, rtnl: &Rtnl) -> Result<KVec<Listed>> {
        let state = self.state.get(rtnl);
        let mut list = KVec::new();
        for (slot, loaded) in state.slots.iter() {
            let sealed = state.own.as_ref().map_or(0, |own| own.counter());
            list.push(
                Listed {
                    index: loaded.index,
                    slot,
                    age: sys::now().since(loaded.key.since),
                    counter: (slot == Slot::Current).then_some(sealed),
                },
                GFP_KERNEL,
            )?;
        }
        Ok(list)
    }

    /// Senders that are believed.
    pub(crate) fn senders(&self, rtnl: &Rtnl) -> usize {
        let believed = self.state.get(rtnl).believed.as_ref();
        believed.map_or(0, |believed| believed.count())
    }

    /// Gives the vnet a key: into a slot, or where it belongs. The slot, or none if it was there already. Sleeps.
    pub(crate) fn give(
        &self,
        vnet: &Vnet,
        index: u16,
        slot: Option<Slot>,
        key: KBox<Key>,
        rtnl: &mut Rtnl,
    ) -> Result<Option<Slot>> {
        let slots = &self.state.get(rtnl).slots;
        for (there, loaded) in slots.iter() {
            let same = same_key(&loaded.key.key, &key);
            if loaded.index == index && same && slot.is_none_or(|slot| slot == there) {
                return Ok(None);
            }
            if loaded.index == index && slot != Some(there) {
                return Err(Refusal::new(
                    EEXIST,
                    if same {
                        c"the key is in another slot"
                    } else {
                        c"there is another key with this index"
                    },
                ));
            }
            if loaded.index != index && same {
                return Err(Refusal::new(
                    EEXIST,
                    c"this key is there under another index",
                ));
            }
        }
        let slot = slot.unwrap_or(slots.place());
        let given = Given {
            key,
            since: sys::now(),
        };
        let loaded = Some(Loaded { index, key: given });
        let old = self.state.get_mut(rtnl).slots.set(slot, loaded);
        if let Err(refusal) = self.renew(vnet, &vnet.settings().now(), rtnl) {
            self.state.get_mut(rtnl).slots.set(slot, old);
            return Err(refusal);
        }
        Ok(Some(slot))
    }

    /// Takes a key away. Sleeps.
    pub(crate) fn take_away(&self, vnet: &Vnet, index: u16, rtnl: &mut Rtnl) -> Result<Slot> {
        let slots = &self.state.get(rtnl).slots;
        let found = slots.iter().find(|(_, loaded)| loaded.index == index);
        let Some((slot, _)) = found else {
            return Err(Refusal::new(ENOENT, c"the vnet has no key with this index"));
        };
        let old = self.state.get_mut(rtnl).slots.set(slot, None);
        if let Err(refusal) = self.renew(vnet, &vnet.settings().now(), rtnl) {
            self.state.get_mut(rtnl).slots.set(slot, old);
            return Err(refusal);
        }
        Ok(slot)
    }

    /// Makes the next key the current one. Its index, or none if the one with `index` is that already. Sleeps.
    pub(crate) fn rotate(
        &self,
        vnet: &Vnet,
        index: Option<u16>,
        rtnl: &mut Rtnl,
    ) -> Result<Option<u16>> {
        let slots = &self.state.get(rtnl).slots;
        let index_of = |slot| slots.get(slot).map(|loaded| loaded.index);
        if index.is_some() && index_of(Slot::Current) == index {
            return Ok(None);
        }
        let Some(next) = index_of(Slot::Next) else {
            return Err(Refusal::new(
                ENOENT,
                c"the vnet has no next key to rotate to",
            ));
        };
        if index.is_some_and(|index| index != next) {
            let other = Refusal::new(ENOENT, c"the next key is another one, with index");
            return Err(other.with(u32::from(next)));
        }
        let state = self.state.get_mut(rtnl);
        // There is a next one, as was just seen.
        let Ok(dropped) = state.slots.rotate() else {
            return Err(EINVAL.into());
        };
        if let Err(refusal) = self.renew(vnet, &vnet.settings().now(), rtnl) {
            let slots = &mut self.state.get_mut(rtnl).slots;
            let new = slots.set(Slot::Current, None);
            let old = slots.set(Slot::Previous, dropped);
            slots.set(Slot::Current, old);
            slots.set(Slot::Next, new);
            return Err(refusal);
        }
        Ok(Some(next))
    }

    /// Makes what follows from keys and settings anew. What can fail comes before what is changed. Sleeps.
    pub(crate) fn renew(&self, vnet: &Vnet, settings: &Settings, rtnl: &mut Rtnl) -> Result {
        let seals = vnet.namespace().seals();
        let Some((mode, cipher)) = settings.sealed() else {
            self.stop(vnet, rtnl);
            return Ok(());
        };
        let id = *vnet.vnet_id();
        let (own, believed) = self.own(rtnl)?;
        let keys = KBox::new_uninit(GFP_KERNEL)?;
        let mut wanted = KVec::with_capacity(OPENERS, GFP_KERNEL)?;
        let mut current = None;
        for (slot, loaded) in self.state.get(rtnl).slots.iter() {
            let root = Root::new::<HmacSha256>(&loaded.key.key);
            for way in Cipher::ALL.into_iter().filter(|way| crypto::has(*way)) {
                let purpose = purpose(id, mode, way);
                let tag = root.tag::<HmacSha256>(purpose);
                if slot == Slot::Current && way == cipher {
                    let key = root.sender::<HmacSha256>(purpose, own.number);
                    let key = CipherKey::new(way, key).ok_or(ENOMEM)?;
                    let index = loaded.index;
                    current = Some(Current { index, tag, key });
                }
                let root = KBox::new(root.duplicate(), GFP_KERNEL)?;
                wanted.push((tag, root, purpose), GFP_KERNEL)?;
            }
        }
        let mut tags = KVec::with_capacity(wanted.len(), GFP_KERNEL)?;
        for (tag, ..) in &wanted {
            tags.push(*tag, GFP_KERNEL)?;
        }
        let old = &self.state.get(rtnl).tags;
        let mut added = KVec::with_capacity(wanted.len(), GFP_KERNEL)?;
        for (tag, root, purpose) in wanted {
            if old.contains(&tag) {
                continue;
            }
            let device = *vnet.device();
            let entry = Tag {
                device,
                root,
                purpose,
            };
            if let Err(refusal) = seals.tags.insert(tag, entry) {
                for tag in &added {
                    seals.forget_tag(*tag);
                }
                return Err(refusal.into());
            }
            added.push(tag, GFP_KERNEL)?;
        }
        let keys = KBox::write(
            keys,
            Keys {
                own,
                believed: believed.clone(),
                mode,
                current,
            },
        );
        self.keys.replace(Some(keys));
        let state = self.state.get_mut(rtnl);
        let mut old = core::mem::replace(&mut state.tags, tags);
        old.retain(|tag| !state.tags.contains(tag));
        for tag in &old {
            seals.forget_tag(*tag);
        }
        believed.forget_tags(seals, &old);
        believed.limit(vnet, settings.get(Setting::MaxSenders) as usize);
        Ok(())
    }

    /// Who we are and whom we believe; kept while the vnet is there, so that no counter comes twice.
    fn own(&self, rtnl: &mut Rtnl) -> Result<(Arc<Own>, Arc<Believed>)> {
        let state = self.state.get_mut(rtnl);
        let own = match &state.own {
            // Whose counter is nearly used up begins anew as somebody else.
            Some(own) if own.counter() < COUNTER_WARN => own.clone(),
            _ => Own::new()?,
        };
        let believed = match &state.believed {
            Some(believed) => believed.clone(),
            None => Believed::new()?,
        };
        state.own = Some(own.clone());
        state.believed = Some(believed.clone());
        Ok((own, believed))
    }

    /// Nothing is sealed or opened any more. Sleeps.
    fn stop(&self, vnet: &Vnet, rtnl: &mut Rtnl) {
        drop(self.keys.replace(None));
        self.close(vnet, false, rtnl);
    }

    /// The vnet goes, and with it the keys: nothing is opened any more. What its machines send until the device is closed is sealed
    /// as before, as who finds nothing to seal with sends it as it is. What it is sealed with goes with the device. Sleeps.
    pub(crate) fn end(&self, vnet: &Vnet, rtnl: &mut Rtnl) {
        self.close(vnet, true, rtnl);
        self.state.get_mut(rtnl).slots = Slots::new();
    }

    /// Nothing is opened any more, for good if `end`.
    fn close(&self, vnet: &Vnet, end: bool, rtnl: &mut Rtnl) {
        let seals = vnet.namespace().seals();
        let state = self.state.get_mut(rtnl);
        for tag in &state.tags {
            seals.forget_tag(*tag);
        }
        state.tags.clear();
        if let Some(believed) = &state.believed {
            believed.clear(vnet, end);
        }
    }
}

fn purpose(id: VnetId, mode: Mode, cipher: Cipher) -> Purpose {
    Purpose { id, mode, cipher }
}

/// Compares in a time that does not depend on where they differ.
fn same_key(one: &Key, other: &Key) -> bool {
    let pairs = one.as_bytes().iter().zip(other.as_bytes());
    let difference = pairs.fold(0, |all, (a, b)| all | (a ^ b));
    core::hint::black_box(difference) == 0
}
