// SPDX-License-Identifier: GPL-2.0-only

//! Where the MAC addresses of a vnet are: here, or behind another host.
//!
//! Remote ones are the VARP table, local ones the vif table. They are learned from the source addresses of frames, and
//! forgotten when they were not heard for the ageing time. Static entries are made by command and only changed by it.
//!
//! Locking: the fast paths ([`Fdb::find`], and learning what is known already) run under RCU alone. Whatever changes the
//! table does so under its lock (inside RTNL, outside that of [`Remotes`]), in process context and softirq. An entry is
//! never edited but for the time it was last seen, and its remote, which is replaced whole.

use core::net::Ipv4Addr;
use core::ops::ControlFlow;

use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::Arc;
use vnet_core::Mac;

use crate::remote::{Remote, Remotes};
use crate::sys::rcu::{self, Guard, RcuArcCell};
use crate::sys::sync::{BhLock, LockKind};
use crate::sys::table::{ByMac, Item, Table, Walk};
use crate::sys::work::{Delayed, Task};
use crate::sys::{self, jiffies};

/// Entries that one run of the ageing work looks at, so that it holds its CPU for a short time only.
const SWEEP_BATCH: usize = 512;
/// The longest time between two sweeps, in milliseconds.
const SWEEP_MAX: u32 = 10_000;

/// What is known of one MAC address.
pub(crate) struct Entry {
    /// Where it is; here, if there is none.
    remote: RcuArcCell<Remote>,
    /// [`LEARNED`], [`STATIC`] or [`GONE`].
    state: Atomic<i32>,
    /// When it was last heard, in ticks.
    seen: Atomic<usize>,
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
        self.state.load(Relaxed) == state
    }

    /// Whether it was removed from the table after it had been found there.
    pub(crate) fn is_gone(&self) -> bool {
        self.is(GONE)
    }

    #[inline]
    fn touch(&self, now: usize) {
        // Written once a tick, so that CPUs do not fight for the line.
        if self.seen.load(Relaxed) != now {
            self.seen.store(now, Relaxed);
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

    fn idle(&self, now: usize) -> usize {
        let idle = now.wrapping_sub(self.seen.load(Relaxed));
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
}

/// The key of a MAC address.
#[inline]
fn key(mac: Mac) -> u64 {
    let [a, b, c, d, e, f] = *mac.as_bytes();
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// The MAC address of an item.
pub(crate) fn mac_of(item: &Item<ByMac, Entry>) -> Mac {
    let [_, _, a, b, c, d, e, f] = item.key().to_be_bytes();
    Mac::from_bytes([a, b, c, d, e, f])
}

/// How many entries there are.
struct Counts {
    remote: Atomic<u32>,
    local: Atomic<u32>,
}

impl Counts {
    fn of(&self, remote: bool) -> &Atomic<u32> {
        if remote {
            &self.remote
        } else {
            &self.local
        }
    }

    /// Only under the table's lock.
    fn change(&self, remote: bool, by: i32) {
        let count = self.of(remote);
        count.store(count.load(Relaxed).saturating_add_signed(by), Relaxed);
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
    remotes: Arc<Remotes>,
    counts: Counts,
    /// Ageing time, in milliseconds.
    ageing: Atomic<u32>,
    max: Atomic<u32>,
    /// Held by who changes the table.
    #[pin]
    lock: BhLock<()>,
    /// Where a sweep that is under way goes on.
    #[pin]
    sweep: BhLock<Option<Walk<ByMac, Entry>>>,
}

impl Entries {
    fn sweep_interval(&self) -> usize {
        sys::msecs_to_jiffies((self.ageing.load(Relaxed) / 8).min(SWEEP_MAX)).max(1)
    }

    fn is_full(&self, remote: bool) -> bool {
        self.counts.of(remote).load(Relaxed) >= self.max.load(Relaxed)
    }

    /// Removes an entry. Under the lock.
    fn remove(&self, item: &Item<ByMac, Entry>, guard: &Guard) -> bool {
        let gone = self.table.remove(item, guard);
        if gone {
            item.value().state.store(GONE, Relaxed);
            let old = item.value().remote.replace(None);
            self.counts.change(old.is_some(), -1);
            if let Some(old) = old {
                self.remotes.put(old);
            }
        }
        gone
    }

    /// Removes all entries for which this holds, and tells how many. Sleeps.
    fn remove_if(&self, wanted: impl Fn(&Entry, &Guard) -> bool) -> Result<u32> {
        let mut walk = self.table.walk(GFP_KERNEL)?;
        let mut removed = 0_u32;
        loop {
            let mut budget = SWEEP_BATCH;
            let walked = walk.visit(|item, guard| {
                if budget == 0 {
                    return ControlFlow::Break(());
                }
                budget -= 1;
                if wanted(item.value(), guard) {
                    let _lock = self.lock.lock();
                    if self.remove(item, guard) {
                        removed = removed.saturating_add(1);
                    }
                }
                ControlFlow::Continue(())
            });
            if walked.done {
                return Ok(removed);
            }
            sys::work::yield_cpu();
        }
    }

    /// The slow part of learning: inserts or moves. Does not sleep.
    fn learn(&self, mac: Mac, from: Option<Ipv4Addr>) -> Heard {
        let guard = rcu::read_lock();
        let _lock = self.lock.lock();
        let now = jiffies();
        let known = self.table.get(&key(mac), &guard);
        if let Some(entry) = known.map(Item::value) {
            let current = entry.remote(&guard).map(Remote::address);
            if entry.is_static() || current == from {
                entry.touch(now);
                return Heard::Known;
            }
            if current.is_some() != from.is_some() && self.is_full(from.is_some()) {
                return Heard::Full;
            }
        } else if self.is_full(from.is_some()) {
            return Heard::Full;
        }
        let remote = match from.map(|address| self.remotes.get(address)).transpose() {
            Ok(remote) => remote,
            Err(_) => return Heard::Full,
        };
        let is_remote = remote.is_some();
        if let Some(entry) = known.map(Item::value) {
            let old = entry.remote.replace(remote);
            entry.touch(now);
            self.counts.change(old.is_some(), -1);
            self.counts.change(is_remote, 1);
            if let Some(old) = old {
                self.remotes.put(old);
            }
            return Heard::Moved;
        }
        match self.insert(mac, remote, LEARNED, now) {
            Ok(()) => Heard::New,
            Err(_) => Heard::Full,
        }
    }

    /// Inserts an entry, or gives the remote back. Under the lock.
    fn insert(
        &self,
        mac: Mac,
        remote: Option<crate::sys::rcu::RcuArc<Remote>>,
        state: i32,
        now: usize,
    ) -> Result {
        let spare = remote.clone();
        let is_remote = remote.is_some();
        let entry = Entry {
            remote: RcuArcCell::new(remote),
            state: Atomic::new(state),
            seen: Atomic::new(now),
        };
        let done = self.table.insert(key(mac), entry);
        if done.is_ok() {
            self.counts.change(is_remote, 1);
            drop(spare);
        } else if let Some(spare) = spare {
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
        let ageing = sys::msecs_to_jiffies(self.ageing.load(Relaxed));
        let mut budget = SWEEP_BATCH;
        let walked = walk.visit(|item, guard| {
            if budget == 0 {
                return ControlFlow::Break(());
            }
            budget -= 1;
            let entry = item.value();
            if !entry.is_static() && entry.idle(now) > ageing {
                let _lock = self.lock.lock();
                self.remove(item, guard);
            }
            ControlFlow::Continue(())
        });
        if !walked.done {
            *self.sweep.lock() = Some(walk);
            return Some(1);
        }
        drop(walk);
        let empty = self.counts.remote.load(Relaxed) == 0 && self.counts.local.load(Relaxed) == 0;
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
    /// An empty table. Times in milliseconds.
    pub(crate) fn new(remotes: Arc<Remotes>, ageing: u32, max: u32) -> impl PinInit<Self, Error> {
        let entries = try_pin_init!(Entries {
            table: Table::new()?,
            remotes,
            counts: Counts {
                remote: Atomic::new(0),
                local: Atomic::new(0),
            },
            ageing: Atomic::new(ageing),
            max: Atomic::new(max),
            lock <- BhLock::new((), LockKind::Fdb),
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

    /// Takes note that a frame from a MAC address came from a host, or from here.
    #[inline]
    pub(crate) fn hear(&self, mac: Mac, from: Option<Ipv4Addr>, guard: &Guard) -> Heard {
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
    pub(crate) fn set_static(&self, mac: Mac, address: Ipv4Addr) -> Result<bool> {
        let entries = self.entries();
        let guard = rcu::read_lock();
        let _lock = entries.lock.lock();
        let known = entries.table.get(&key(mac), &guard).map(Item::value);
        let current = known.and_then(|entry| entry.remote(&guard).map(Remote::address));
        if known.is_some_and(Entry::is_static) && current == Some(address) {
            return Ok(false);
        }
        if current.is_none() && entries.is_full(true) {
            return Err(ENOSPC);
        }
        let remote = entries.remotes.get(address)?;
        let Some(entry) = known else {
            entries.insert(mac, Some(remote), STATIC, jiffies())?;
            return Ok(true);
        };
        let old = entry.remote.replace(Some(remote));
        entry.state.store(STATIC, Relaxed);
        entries.counts.change(old.is_some(), -1);
        entries.counts.change(true, 1);
        if let Some(old) = old {
            entries.remotes.put(old);
        }
        Ok(true)
    }

    /// Removes what is known of a remote MAC address; false if there is nothing.
    pub(crate) fn remove(&self, mac: Mac) -> bool {
        let entries = self.entries();
        let guard = rcu::read_lock();
        let _lock = entries.lock.lock();
        match entries.table.get(&key(mac), &guard) {
            Some(item) if item.value().remote(&guard).is_some() => entries.remove(item, &guard),
            _ => false,
        }
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
        (counts.remote.load(Relaxed), counts.local.load(Relaxed))
    }

    /// Ageing time in milliseconds.
    pub(crate) fn ageing(&self) -> u32 {
        self.entries().ageing.load(Relaxed)
    }

    /// Sets the ageing time in milliseconds; a sweep is due at once.
    pub(crate) fn set_ageing(&self, ageing: u32) {
        self.entries().ageing.store(ageing, Relaxed);
        self.ageing.requeue(1);
    }

    /// Most MAC addresses that are learned, remote and local apart.
    pub(crate) fn max(&self) -> u32 {
        self.entries().max.load(Relaxed)
    }

    /// Sets the limit. What is there already stays.
    pub(crate) fn set_max(&self, max: u32) {
        self.entries().max.store(max, Relaxed);
    }
}
