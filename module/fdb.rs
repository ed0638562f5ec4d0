// SPDX-License-Identifier: GPL-2.0-only

//! Where the MAC addresses of a vnet are: here, or behind another host.
//!
//! Remote ones are the VARP table, local ones the vif table. They are learned from the source addresses of frames, and
//! forgotten when they were not heard for the ageing time. Static entries are made by command and only changed by it.
//!
//! What the table says about the addresses of most frames was looked up for the frame before, too. Each CPU makes notes of that
//! ([`Notes`]), which last until the table is changed, or the tick is over: an address is heard once a tick at least.
//!
//! Locking: the fast paths ([`Fdb::find`], and learning what is known already) run under RCU alone. Whatever changes the
//! table does so under its lock (inside RTNL, outside that of [`Remotes`]), in process context and softirq. An entry is
//! never edited but for the time it was last seen, and its remote, which is replaced whole.

use core::net::{IpAddr, Ipv4Addr};
use core::ops::ControlFlow;

use kernel::prelude::*;
use kernel::rbtree::{RBTree, RBTreeNode};
use kernel::sync::Arc;
use vnet_core::abi::NetCounter;
use vnet_core::varp::{Move, Moves};
use vnet_core::{Mac, Setting, Settings};

use crate::remote::{Remote, Remotes};
use crate::settings::Live;
use crate::sys::once::{self, Once};
use crate::sys::percpu::{Note, Notes};
use crate::sys::rcu::{self, Guard, RcuArc, RcuArcCell};
use crate::sys::sync::{BhLock, LockKind};
use crate::sys::table::{ByMac, Item, Table, Walk};
use crate::sys::work::{Delayed, Task};
use crate::sys::{self, jiffies};

/// Entries that one run of the ageing work looks at, so that it holds its CPU for a short time only.
const SWEEP_BATCH: usize = 512;
/// The longest time between two sweeps, in milliseconds.
const SWEEP_MAX: u32 = 10_000;

/// What takes the place of a destination in a note about an address that is here. No address is so great.
const LOCAL: u64 = 1 << 48;

/// What is known of one MAC address.
pub(crate) struct Entry {
    /// Where it is; here, if there is none.
    remote: RcuArcCell<Remote>,
    /// [`LEARNED`], [`STATIC`] or [`GONE`].
    state: Once<i32>,
    /// When it was last heard, in ticks.
    seen: Once<usize>,
    /// Its moves ([`Moves::to_parts`]). Under the table's lock; listings read them without.
    moves: [Once<u64>; 3],
}

/// The entry was learned from a frame.
const LEARNED: i32 = 0;
/// It was made by command, and only commands change it.
const STATIC: i32 = 1;
/// It was removed, and has no remote because of that.
const GONE: i32 = 2;

impl Entry {
    #[inline]
    fn is(&self, state: i32) -> bool {
        self.state.load() == state
    }

    /// Whether it was removed from the table after it had been found there.
    pub(crate) fn is_gone(&self) -> bool {
        self.is(GONE)
    }

    #[inline]
    fn touch(&self, now: usize) {
        // Written once a tick, so that CPUs do not fight for the line.
        if self.seen.load() != now {
            self.seen.store(now);
        }
    }

    /// Where it is; none if it is here.
    pub(crate) fn remote<'g>(&'g self, guard: &'g Guard) -> Option<&'g Remote> {
        self.remote.load(guard)
    }

    /// Whether it was made by command.
    pub(crate) fn is_static(&self) -> bool {
        self.is(STATIC)
    }

    /// Milliseconds since it was last heard.
    pub(crate) fn age(&self) -> u32 {
        sys::jiffies_to_msecs(self.idle(jiffies()))
    }

    /// Its moves.
    pub(crate) fn moves(&self) -> Moves {
        let [since, count, damped] = &self.moves;
        Moves::from_parts([since.load(), count.load(), damped.load()])
    }

    /// Only under the table's lock.
    fn set_moves(&self, moves: Moves) {
        for (place, part) in self.moves.iter().zip(moves.to_parts()) {
            place.store(part);
        }
    }

    fn idle(&self, now: usize) -> usize {
        let idle = now.wrapping_sub(self.seen.load());
        // Another CPU may have touched it a tick after `now` was read.
        if idle > usize::MAX / 2 {
            0
        } else {
            idle
        }
    }
}

/// What came of hearing a MAC address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing new.
    Known,
    /// It was learned.
    New,
    /// It was somewhere else until now.
    Moved,
    /// It is not known, and there is no room, or no memory.
    Full,
    /// It is not known, and too many were learned from the host.
    RemoteFull,
    /// It has moved too often: from now on it stays where it is for a while.
    Damp,
    /// It stays where it is, as it has moved too often.
    Damped,
}

impl Heard {
    /// The counter that it belongs to.
    pub(crate) fn counter(self) -> Option<NetCounter> {
        match self {
            Self::Moved => Some(NetCounter::Moves),
            Self::Full => Some(NetCounter::TableFull),
            Self::RemoteFull => Some(NetCounter::RemoteFull),
            Self::Damp => Some(NetCounter::Damped),
            Self::Known | Self::New | Self::Damped => None,
        }
    }
}

/// The key of a MAC address.
#[inline]
fn key(mac: Mac) -> u64 {
    mac.to_bits()
}

/// The MAC address of an item.
pub(crate) fn mac_of(item: &Item<ByMac, Entry>) -> Mac {
    let [a, b, c, d, e, f, _, _] = item.key().to_le_bytes();
    Mac::from_bytes([a, b, c, d, e, f])
}

/// How many entries there are.
struct Counts {
    remote: Once<u32>,
    local: Once<u32>,
}

impl Counts {
    fn of(&self, remote: bool) -> &Once<u32> {
        if remote {
            &self.remote
        } else {
            &self.local
        }
    }

    /// Only under the table's lock.
    fn change(&self, remote: bool, by: i32) {
        let count = self.of(remote);
        count.store(count.load().saturating_add_signed(by));
    }
}

/// The table of a vnet.
#[pin_data]
pub(crate) struct Fdb {
    #[pin]
    ageing: Delayed<Entries>,
}

/// The entries; as a task, forgets those that were not heard.
#[pin_data(PinnedDrop)]
struct Entries {
    table: Table<ByMac, Entry>,
    /// What was found in it, as long as it is not changed.
    notes: Arc<Notes>,
    /// Tells the notes about this table from others, and from those made before the last change.
    edition: Once<u64>,
    remotes: Arc<Remotes>,
    counts: Counts,
    settings: Arc<Live>,
    /// Held by who changes the table. How many entries there are for each host.
    #[pin]
    lock: BhLock<Hosts>,
    /// Where a sweep that is under way goes on.
    #[pin]
    sweep: BhLock<Option<Walk<ByMac, Entry>>>,
}

/// How many MAC addresses are behind each host.
struct Hosts(RBTree<IpAddr, u32>);

impl Hosts {
    fn count(&self, host: IpAddr) -> u32 {
        self.0.get(&host).copied().unwrap_or(0)
    }

    /// One more. Does not sleep.
    fn add(&mut self, host: IpAddr) -> Result {
        if let Some(count) = self.0.get_mut(&host) {
            *count = count.saturating_add(1);
            return Ok(());
        }
        self.0
            .insert(RBTreeNode::new(host, 1, GFP_ATOMIC | __GFP_NOWARN)?);
        Ok(())
    }

    /// One less.
    fn remove(&mut self, host: IpAddr) {
        let gone = match self.0.get_mut(&host) {
            Some(count) => {
                *count = count.saturating_sub(1);
                *count == 0
            }
            None => false,
        };
        if gone {
            self.0.remove(&host);
        }
    }
}

impl Entries {
    fn sweep_interval(&self) -> usize {
        sys::msecs_to_jiffies((self.settings.get(Setting::Ageing) / 8).min(SWEEP_MAX)).max(1)
    }

    fn is_full(&self, remote: bool) -> bool {
        self.counts.of(remote).load() >= self.settings.get(Setting::MaxMacs)
    }

    /// The table as it is now, in this tick. What is looked up after this is of this edition, or a later one.
    #[inline]
    fn edition(&self) -> u64 {
        let edition = self.edition.load();
        once::reads_in_order();
        edition ^ (jiffies() as u64) << 32
    }

    /// The table was changed. Only under its lock.
    fn changed(&self) {
        self.edition.store(self.notes.next_edition());
    }

    /// Removes an entry.
    fn remove(&self, item: &Item<ByMac, Entry>, hosts: &mut Hosts, guard: &Guard) -> bool {
        let gone = self.table.remove(item, guard);
        if gone {
            item.value().state.store(GONE);
            let old = item.value().remote.replace(None);
            self.left(old, hosts);
            self.changed();
        }
        gone
    }

    /// An entry has left where it was.
    fn left(&self, old: Option<RcuArc<Remote>>, hosts: &mut Hosts) {
        self.counts.change(old.is_some(), -1);
        if let Some(old) = old {
            hosts.remove(old.address());
            self.remotes.put(old);
        }
    }

    /// Removes all entries for which this holds, and tells how many. Sleeps.
    fn remove_if(&self, wanted: impl Fn(&Entry, &Guard) -> bool) -> Result<u32> {
        Ok(self.remove_on(self.table.walk(GFP_KERNEL)?, wanted))
    }

    /// Removes all entries of a walk for which this holds, and tells how many. Sleeps.
    fn remove_on(
        &self,
        mut walk: Walk<ByMac, Entry>,
        wanted: impl Fn(&Entry, &Guard) -> bool,
    ) -> u32 {
        let mut removed = 0_u32;
        loop {
            let mut budget = SWEEP_BATCH;
            let walked = walk.visit(|item, guard| {
                if budget == 0 {
                    return ControlFlow::Break(());
                }
                budget -= 1;
                if wanted(item.value(), guard) {
                    let mut hosts = self.lock.lock();
                    if self.remove(item, &mut hosts, guard) {
                        removed = removed.saturating_add(1);
                    }
                }
                ControlFlow::Continue(())
            });
            if walked.done {
                return removed;
            }
            sys::work::yield_cpu();
        }
    }

    /// The slow part of learning: inserts or moves. Does not sleep.
    fn learn(&self, mac: Mac, from: Option<IpAddr>) -> Heard {
        let guard = rcu::read_lock();
        let mut hosts = self.lock.lock();
        let now = jiffies();
        let known = self.table.get(&key(mac), &guard).map(Item::value);
        let current = known.map(|entry| entry.remote(&guard).map(Remote::address));
        if let Some(entry) = known {
            if entry.is_static() || current == Some(from) {
                entry.touch(now);
                return Heard::Known;
            }
        }
        let grows = current.is_none_or(|current| current.is_some() != from.is_some());
        if grows && self.is_full(from.is_some()) {
            return Heard::Full;
        }
        if let Some(host) = from {
            let most = self.settings.get(Setting::RemoteMacs);
            if most != 0 && hosts.count(host) >= most {
                return Heard::RemoteFull;
            }
        }
        if let Some(entry) = known {
            let mut moves = entry.moves();
            let verdict = moves.moved(sys::now(), &self.settings.now());
            entry.set_moves(moves);
            match verdict {
                Move::Follow => {}
                Move::Damp => return Heard::Damp,
                Move::Damped => return Heard::Damped,
            }
        }
        let Ok(remote) = self.enter(from, &mut hosts) else {
            return Heard::Full;
        };
        if let Some(entry) = known {
            self.counts.change(remote.is_some(), 1);
            let old = entry.remote.replace(remote);
            entry.touch(now);
            self.left(old, &mut hosts);
            self.changed();
            return Heard::Moved;
        }
        match self.insert(mac, remote, LEARNED, &mut hosts) {
            Ok(()) => Heard::New,
            Err(_) => Heard::Full,
        }
    }

    /// The remote for one more entry behind a host, which is counted. Does not sleep.
    fn enter(&self, host: Option<IpAddr>, hosts: &mut Hosts) -> Result<Option<RcuArc<Remote>>> {
        let Some(host) = host else { return Ok(None) };
        let remote = self.remotes.get(host)?;
        match hosts.add(host) {
            Ok(()) => Ok(Some(remote)),
            Err(error) => {
                self.remotes.put(remote);
                Err(error)
            }
        }
    }

    /// Inserts an entry for a remote from [`Entries::enter`], or gives that back.
    fn insert(
        &self,
        mac: Mac,
        remote: Option<RcuArc<Remote>>,
        state: i32,
        hosts: &mut Hosts,
    ) -> Result {
        let spare = remote.clone();
        let is_remote = remote.is_some();
        let entry = Entry {
            remote: RcuArcCell::new(remote),
            state: Once::new(state),
            seen: Once::new(jiffies()),
            moves: core::array::from_fn(|_| Once::new(0)),
        };
        let done = self.table.insert(key(mac), entry);
        if done.is_ok() {
            self.counts.change(is_remote, 1);
            self.changed();
            drop(spare);
        } else if let Some(spare) = spare {
            hosts.remove(spare.address());
            self.remotes.put(spare);
        }
        done
    }
}

impl Task for Entries {
    fn run(&self) -> Option<usize> {
        let under_way = self.sweep.lock().take();
        let mut walk = match under_way {
            Some(walk) => walk,
            None => match self.table.walk(GFP_KERNEL) {
                Ok(walk) => walk,
                Err(_) => return Some(self.sweep_interval()),
            },
        };
        let now = jiffies();
        let ageing = sys::msecs_to_jiffies(self.settings.get(Setting::Ageing));
        let mut budget = SWEEP_BATCH;
        let walked = walk.visit(|item, guard| {
            if budget == 0 {
                return ControlFlow::Break(());
            }
            budget -= 1;
            let entry = item.value();
            if !entry.is_static() && entry.idle(now) > ageing {
                let mut hosts = self.lock.lock();
                self.remove(item, &mut hosts, guard);
            }
            ControlFlow::Continue(())
        });
        if !walked.done {
            *self.sweep.lock() = Some(walk);
            return Some(1);
        }
        drop(walk);
        let empty = self.counts.remote.load() == 0 && self.counts.local.load() == 0;
        (!empty).then(|| self.sweep_interval())
    }
}

#[pinned_drop]
impl PinnedDrop for Entries {
    fn drop(self: Pin<&mut Self>) {
        // Gives the remotes back. Without memory for the walk they stay until the namespace goes.
        let _ = self.remove_if(|_, _| true);
    }
}

impl Fdb {
    /// An empty table.
    pub(crate) fn new(
        remotes: Arc<Remotes>,
        notes: Arc<Notes>,
        settings: Arc<Live>,
    ) -> impl PinInit<Self, Error> {
        let entries = try_pin_init!(Entries {
            table: Table::new()?,
            edition: Once::new(notes.next_edition()),
            notes,
            remotes,
            counts: Counts {
                remote: Once::new(0),
                local: Once::new(0),
            },
            settings,
            lock <- BhLock::new(Hosts(RBTree::new()), LockKind::Fdb),
            sweep <- BhLock::new(None, LockKind::Sweep),
        }? Error);
        try_pin_init!(Self {
            ageing <- Delayed::new(entries),
        }? Error)
    }

    #[inline]
    fn entries(&self) -> &Entries {
        self.ageing.task()
    }

    /// The host behind which a MAC address is. None if it is here, or not known.
    #[inline]
    pub(crate) fn find<'g>(&'g self, mac: Mac, guard: &'g Guard) -> Option<&'g Remote> {
        self.entries()
            .table
            .get(&key(mac), guard)?
            .value()
            .remote(guard)
    }

    /// The note that a frame from one MAC address at a host to another one teaches nothing, and has come to the right host.
    #[inline]
    pub(crate) fn note(&self, source: Mac, destination: Mac, host: IpAddr) -> Note<'_> {
        let entries = self.entries();
        let edition = entries.edition();
        entries
            .notes
            .about([key(source), key(destination), edition], Some(host))
    }

    /// Takes note that a frame from a MAC address was sent from here.
    #[inline]
    pub(crate) fn hear_here(&self, mac: Mac, guard: &Guard) -> Heard {
        let entries = self.entries();
        let edition = entries.edition();
        let note = entries.notes.about([key(mac), LOCAL, edition], None);
        if note.is_there() {
            return Heard::Known;
        }
        let heard = self.hear(mac, None, guard);
        if heard == Heard::Known {
            note.make();
        }
        heard
    }

    /// Whether a MAC address is behind another host. One that is damped may as well be here.
    pub(crate) fn is_elsewhere(&self, mac: Mac, guard: &Guard) -> bool {
        self.get(mac, guard).is_some_and(|entry| {
            entry.remote(guard).is_some() && entry.moves().damped(sys::now()) == 0
        })
    }

    /// Takes note that a frame from a MAC address came from a host, or from here.
    pub(crate) fn hear(&self, mac: Mac, from: Option<IpAddr>, guard: &Guard) -> Heard {
        let entries = self.entries();
        match entries.table.get(&key(mac), guard).map(Item::value) {
            Some(entry) if entry.is_static() => return Heard::Known,
            Some(entry) if entry.is_gone() => {}
            Some(entry) => {
                let current = entry.remote(guard).map(Remote::address);
                if current == from {
                    entry.touch(jiffies());
                    return Heard::Known;
                }
                if current.is_some() != from.is_some() && entries.is_full(from.is_some()) {
                    return Heard::Full;
                }
                if entry.moves().damped(sys::now()) > 0 {
                    return Heard::Damped;
                }
            }
            // Seen without the lock, so that a flood of new addresses does not fight for it.
            None if entries.is_full(from.is_some()) => return Heard::Full,
            None => {}
        }
        let heard = entries.learn(mac, from);
        if heard == Heard::New {
            self.ageing.queue(entries.sweep_interval());
        }
        heard
    }

    /// Makes a static entry, or makes what there was one. False if it is there already.
    ///
    /// # Errors
    ///
    /// ENOSPC if the table is full. What there was is then as it was.
    pub(crate) fn set_static(&self, mac: Mac, address: IpAddr) -> Result<bool> {
        let entries = self.entries();
        let guard = rcu::read_lock();
        let mut hosts = entries.lock.lock();
        let known = entries.table.get(&key(mac), &guard).map(Item::value);
        let current = known.and_then(|entry| entry.remote(&guard).map(Remote::address));
        if known.is_some_and(Entry::is_static) && current == Some(address) {
            return Ok(false);
        }
        if current.is_none() && entries.is_full(true) {
            return Err(ENOSPC);
        }
        let remote = entries.enter(Some(address), &mut hosts)?;
        let Some(entry) = known else {
            entries.insert(mac, remote, STATIC, &mut hosts)?;
            return Ok(true);
        };
        entries.counts.change(true, 1);
        let old = entry.remote.replace(remote);
        entry.state.store(STATIC);
        entries.left(old, &mut hosts);
        entries.changed();
        Ok(true)
    }

    /// Removes what is known of a remote MAC address; false if there is nothing.
    pub(crate) fn remove(&self, mac: Mac) -> bool {
        self.remove_one(mac, |entry, guard| entry.remote(guard).is_some())
    }

    /// A host has said that it does not have a MAC address: removes what was learned of it, if it was behind that host. One
    /// that is damped stays: its moves would be forgotten with it.
    pub(crate) fn withdrawn(&self, mac: Mac, host: IpAddr) -> bool {
        self.remove_one(mac, |entry, guard| {
            !entry.is_static()
                && entry.remote(guard).map(Remote::address) == Some(host)
                && entry.moves().damped(sys::now()) == 0
        })
    }

    /// Removes a MAC address that was learned here. False if it was not, or if it is damped: its moves would be forgotten.
    pub(crate) fn gone(&self, mac: Mac) -> bool {
        self.remove_one(mac, |entry, guard| {
            entry.remote(guard).is_none() && entry.moves().damped(sys::now()) == 0
        })
    }

    fn remove_one(&self, mac: Mac, wanted: impl FnOnce(&Entry, &Guard) -> bool) -> bool {
        let entries = self.entries();
        let guard = rcu::read_lock();
        let mut hosts = entries.lock.lock();
        match entries.table.get(&key(mac), &guard) {
            Some(item) if wanted(item.value(), &guard) => entries.remove(item, &mut hosts, &guard),
            _ => false,
        }
    }

    /// Whether no more remote addresses can be learned.
    pub(crate) fn is_full(&self) -> bool {
        self.entries().is_full(true)
    }

    /// What is known of a MAC address.
    #[inline]
    pub(crate) fn get<'g>(&'g self, mac: Mac, guard: &'g Guard) -> Option<&'g Entry> {
        let item = self.entries().table.get(&key(mac), guard)?;
        (!item.value().is_gone()).then_some(item.value())
    }

    /// How many MAC addresses are behind each host that comes after one, in order: as many as there is room for.
    pub(crate) fn hosts(&self, after: Option<IpAddr>, into: &mut KVec<(IpAddr, u32)>) {
        let mut hosts = self.entries().lock.lock();
        let first = Ipv4Addr::UNSPECIFIED.into();
        let mut cursor = hosts.0.cursor_lower_bound_mut(&after.unwrap_or(first));
        while let Some(at) = cursor {
            let (host, count) = at.current();
            if after != Some(*host) && into.push_within_capacity((*host, *count)).is_err() {
                return;
            }
            cursor = at.move_next();
        }
    }

    /// How many MAC addresses are behind a host.
    pub(crate) fn macs_of(&self, host: IpAddr) -> u32 {
        self.entries().lock.lock().count(host)
    }

    /// Removes what was learned from hosts for which this holds, on a walk that has just begun. Sleeps.
    pub(crate) fn forget_hosts(&self, walk: Walk<ByMac, Entry>, unwanted: impl Fn(IpAddr) -> bool) {
        self.entries().remove_on(walk, |entry, guard| {
            let host = entry.remote(guard).map(Remote::address);
            !entry.is_static() && host.is_some_and(&unwanted)
        });
    }

    /// The settings were changed: nothing is damped longer than it would be from now on. On a walk that has just begun. Sleeps.
    pub(crate) fn damp_no_longer(&self, walk: Walk<ByMac, Entry>, settings: &Settings) {
        let now = sys::now();
        let entries = self.entries();
        entries.remove_on(walk, |entry, _| {
            if entry.moves().damped(now) > 0 {
                let _hosts = entries.lock.lock();
                let mut moves = entry.moves();
                moves.settings_changed(now, settings);
                entry.set_moves(moves);
            }
            false
        });
    }

    /// Removes all remote entries that were learned, and tells how many. Sleeps.
    pub(crate) fn flush(&self) -> Result<u32> {
        self.entries()
            .remove_if(|entry, guard| !entry.is_static() && entry.remote(guard).is_some())
    }

    /// Ends ageing for good and removes everything. Sleeps.
    pub(crate) fn end(&self) {
        self.ageing.end();
        *self.entries().sweep.lock() = None;
        // What cannot be removed now for want of memory is removed with the table.
        let _ = self.entries().remove_if(|_, _| true);
    }

    /// Begins a walk over all entries. Sleeps.
    pub(crate) fn walk(&self) -> Result<Walk<ByMac, Entry>> {
        self.entries().table.walk(GFP_KERNEL)
    }

    /// Number of remote and of local MAC addresses.
    pub(crate) fn counts(&self) -> (u32, u32) {
        let counts = &self.entries().counts;
        (counts.remote.load(), counts.local.load())
    }

    /// Settings that it looks at have changed: a sweep is due at once.
    pub(crate) fn settings_changed(&self) {
        self.ageing.requeue(1);
    }
}
