// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Where the MAC addresses of a vnet are: here, or behind another host.
//!
//! Learned from the source addresses of frames and from announcements, forgotten when not heard for the ageing time. Static
//! entries are changed by command only. Sharded by MAC; a shard's lock is held for one lookup or change. The lock of the
//! hosts is inside those of the shards.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use vnet_core::varp::{Move, Moves};
use vnet_core::{Bucket, Instant, Mac, Setting, Settings};

/// Parts of the table; a dump shows one after another.
pub(crate) const SHARDS: usize = 64;

/// What is known of one MAC.
struct Entry {
    /// The host that it is behind; none if it is here.
    host: Option<IpAddr>,
    is_static: bool,
    /// When it was last heard, in milliseconds.
    seen: AtomicU64,
    moves: Moves,
}

/// One entry, as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The MAC.
    pub(crate) mac: Mac,
    /// The host that it is behind; none if it is here.
    pub(crate) host: Option<IpAddr>,
    /// Whether it was made by command.
    pub(crate) is_static: bool,
    /// Milliseconds since it was last heard.
    pub(crate) age: u32,
    /// Moves counted within the window.
    pub(crate) moves: u32,
    /// Milliseconds for which it stays where it is.
    pub(crate) damped: u32,
}

/// What came of hearing a MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing new.
    Known,
    /// It was learned.
    New,
    /// It was somewhere else until now.
    Moved,
    /// There is no room.
    Full,
    /// There is no room for more of that host.
    RemoteFull,
    /// It has moved too often, and from now on stays where it was: behind that host, or here.
    Damp(Option<IpAddr>),
    /// It stays where it was.
    Damped,
}

/// Most hosts that are remembered only because they sent frames to groups; the others share one limit.
const FLOODERS: usize = 4096;

type Shard = HashMap<Mac, Entry>;

/// A host, as far as one vnet goes.
#[derive(Default)]
struct Host {
    listed: bool,
    macs: u32,
    floods: Bucket,
}

/// The table.
pub(crate) struct Table {
    shards: [RwLock<Shard>; SHARDS],
    hosts: Mutex<BTreeMap<IpAddr, Host>>,
    other_floods: Mutex<Bucket>,
    remote: AtomicU32,
    local: AtomicU32,
}

/// A lock that a thread left behind when it panicked guards nothing that is half changed: all changes are single steps.
fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Table {
    /// Empty.
    pub(crate) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| RwLock::default()),
            hosts: Mutex::default(),
            other_floods: Mutex::default(),
            remote: AtomicU32::new(0),
            local: AtomicU32::new(0),
        }
    }

    fn shard(&self, mac: Mac) -> &RwLock<Shard> {
        let [.., c, d, e, f] = *mac.as_bytes();
        let mixed = u32::from_be_bytes([c, d, e, f]).wrapping_mul(0x9e37_79b1);
        // The highest six bits: the best of a multiplication.
        &self.shards[(mixed >> 26) as usize % SHARDS]
    }

    fn read(lock: &RwLock<Shard>) -> std::sync::RwLockReadGuard<'_, Shard> {
        lock.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(lock: &RwLock<Shard>) -> std::sync::RwLockWriteGuard<'_, Shard> {
        lock.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_of(&self, host: Option<IpAddr>) -> &AtomicU32 {
        match host {
            Some(_) => &self.remote,
            None => &self.local,
        }
    }

    /// Number of remote and of local MACs.
    pub(crate) fn counts(&self) -> (u32, u32) {
        (self.remote.load(Relaxed), self.local.load(Relaxed))
    }

    /// The host that a MAC is behind. None if it is here, or not known.
    pub(crate) fn find(&self, mac: Mac) -> Option<IpAddr> {
        Self::read(self.shard(mac)).get(&mac)?.host
    }

    /// Whether there is no room for more remote MACs.
    pub(crate) fn is_full(&self, settings: &Settings) -> bool {
        self.remote.load(Relaxed) >= settings.get(Setting::MaxMacs)
    }

    /// Whether a MAC is known to be here.
    pub(crate) fn is_here(&self, mac: Mac) -> bool {
        let shard = Self::read(self.shard(mac));
        shard.get(&mac).is_some_and(|entry| entry.host.is_none())
    }

    /// Takes note of a MAC that was heard from a host, or here.
    pub(crate) fn hear(
        &self,
        mac: Mac,
        from: Option<IpAddr>,
        now: Instant,
        settings: &Settings,
    ) -> Heard {
        if let Some(entry) = Self::read(self.shard(mac)).get(&mac) {
            if entry.is_static {
                return Heard::Known;
            }
            if entry.host == from {
                entry.seen.store(now.as_millis(), Relaxed);
                return Heard::Known;
            }
        }
        self.learn(mac, from, now, settings)
    }

    fn learn(&self, mac: Mac, from: Option<IpAddr>, now: Instant, settings: &Settings) -> Heard {
        let mut shard = Self::write(self.shard(mac));
        let max = settings.get(Setting::MaxMacs);
        let known = shard.get_mut(&mac);
        if let Some(entry) = &known {
            if entry.is_static || entry.host == from {
                entry.seen.store(now.as_millis(), Relaxed);
                return Heard::Known;
            }
        }
        let kind_changes = known
            .as_ref()
            .is_none_or(|entry| entry.host.is_some() != from.is_some());
        if kind_changes && self.count_of(from).load(Relaxed) >= max {
            return Heard::Full;
        }
        let limit = settings.get(Setting::RemoteMacs);
        match known {
            Some(entry) => {
                if !self.has_room(from, limit) {
                    return Heard::RemoteFull;
                }
                match entry.moves.moved(now, settings) {
                    Move::Follow => {}
                    Move::Damp => return Heard::Damp(entry.host),
                    Move::Damped => return Heard::Damped,
                }
                self.count(entry.host, entry.is_static, false);
                self.count(from, false, true);
                entry.host = from;
                entry.seen.store(now.as_millis(), Relaxed);
                Heard::Moved
            }
            None => {
                if !self.has_room(from, limit) {
                    return Heard::RemoteFull;
                }
                self.count(from, false, true);
                let entry = Entry {
                    host: from,
                    is_static: false,
                    seen: AtomicU64::new(now.as_millis()),
                    moves: Moves::new(),
                };
                shard.insert(mac, entry);
                Heard::New
            }
        }
    }

    fn has_room(&self, from: Option<IpAddr>, limit: u32) -> bool {
        let Some(host) = from.filter(|_| limit > 0) else {
            return true;
        };
        locked(&self.hosts)
            .get(&host)
            .is_none_or(|host| host.macs < limit)
    }

    /// Counts an entry that has come or gone. Under its shard's lock.
    fn count(&self, host: Option<IpAddr>, is_static: bool, comes: bool) {
        let by = if comes { 1 } else { -1 };
        let change = |count: u32| count.saturating_add_signed(by);
        let _ = self
            .count_of(host)
            .fetch_update(Relaxed, Relaxed, |count| Some(change(count)));
        let Some(address) = host.filter(|_| !is_static) else {
            return;
        };
        let mut hosts = locked(&self.hosts);
        let host = hosts.entry(address).or_default();
        host.macs = change(host.macs);
        if host.macs == 0 && !host.listed {
            hosts.remove(&address);
        }
    }

    /// Makes a static entry. None if it is there already; false if the table is full.
    pub(crate) fn set_static(
        &self,
        mac: Mac,
        host: IpAddr,
        now: Instant,
        settings: &Settings,
    ) -> Option<bool> {
        let mut shard = Self::write(self.shard(mac));
        let current = shard.get(&mac);
        if current.is_some_and(|entry| entry.is_static && entry.host == Some(host)) {
            return None;
        }
        let is_remote = current.is_some_and(|entry| entry.host.is_some());
        if !is_remote && self.remote.load(Relaxed) >= settings.get(Setting::MaxMacs) {
            return Some(false);
        }
        if let Some(old) = shard.remove(&mac) {
            self.count(old.host, old.is_static, false);
        }
        self.count(Some(host), true, true);
        let entry = Entry {
            host: Some(host),
            is_static: true,
            seen: AtomicU64::new(now.as_millis()),
            moves: Moves::new(),
        };
        shard.insert(mac, entry);
        Some(true)
    }

    /// Removes an entry if it is as wanted: called with its host, and whether it is static.
    pub(crate) fn remove_if(
        &self,
        mac: Mac,
        wanted: impl FnOnce(Option<IpAddr>, bool) -> bool,
    ) -> bool {
        let mut shard = Self::write(self.shard(mac));
        match shard.get(&mac) {
            Some(entry) if wanted(entry.host, entry.is_static) => {
                self.count(entry.host, entry.is_static, false);
                shard.remove(&mac);
                true
            }
            _ => false,
        }
    }

    /// A host, or the bridge here (none), does not have an address any more: removes what was learned of it, if it was there.
    /// One that is damped stays: its moves would be forgotten with it.
    pub(crate) fn withdrawn(&self, mac: Mac, from: Option<IpAddr>, now: Instant) -> bool {
        let mut shard = Self::write(self.shard(mac));
        match shard.get(&mac) {
            Some(entry)
                if entry.host == from && !entry.is_static && entry.moves.damped(now) == 0 =>
            {
                self.count(entry.host, false, false);
                shard.remove(&mac);
                true
            }
            _ => false,
        }
    }

    /// Removes all entries that are so; called with MAC, host, whether it is static, and milliseconds since it was heard.
    pub(crate) fn retain_not(
        &self,
        now: Instant,
        mut unwanted: impl FnMut(Mac, Option<IpAddr>, bool, u64) -> bool,
    ) -> u32 {
        let mut removed = 0_u32;
        for shard in &self.shards {
            Self::write(shard).retain(|mac, entry| {
                let seen = Instant::from_millis(entry.seen.load(Relaxed));
                let goes = unwanted(*mac, entry.host, entry.is_static, now.since(seen));
                if goes {
                    self.count(entry.host, entry.is_static, false);
                    removed = removed.saturating_add(1);
                }
                !goes
            });
        }
        removed
    }

    /// Removes what was learned from hosts.
    pub(crate) fn forget_learned(&self, now: Instant) -> u32 {
        self.retain_not(now, |_, host, is_static, _| !is_static && host.is_some())
    }

    /// Removes what was learned from hosts that are not listed.
    pub(crate) fn forget_unlisted(&self, now: Instant) {
        let listed: HashSet<IpAddr> = self
            .hosts()
            .into_iter()
            .filter(|(_, listed, _)| *listed)
            .map(|(address, ..)| address)
            .collect();
        self.retain_not(now, |_, host, is_static, _| {
            !is_static && host.is_some_and(|host| !listed.contains(&host))
        });
    }

    /// The settings were changed: nothing is damped longer than it would be from now on.
    pub(crate) fn settings_changed(&self, now: Instant, settings: &Settings) {
        for shard in &self.shards {
            for entry in Self::write(shard).values_mut() {
                entry.moves.settings_changed(now, settings);
            }
        }
    }

    fn show(mac: Mac, entry: &Entry, now: Instant, settings: &Settings) -> Shown {
        let seen = Instant::from_millis(entry.seen.load(Relaxed));
        Shown {
            mac,
            host: entry.host,
            is_static: entry.is_static,
            age: u32::try_from(now.since(seen)).unwrap_or(u32::MAX),
            moves: entry.moves.count(now, settings),
            damped: entry.moves.damped(now),
        }
    }

    /// One entry.
    pub(crate) fn get(&self, mac: Mac, now: Instant, settings: &Settings) -> Option<Shown> {
        let shard = Self::read(self.shard(mac));
        Some(Self::show(mac, shard.get(&mac)?, now, settings))
    }

    /// The entries of one part of the table; none beyond the last part.
    pub(crate) fn part(
        &self,
        part: usize,
        now: Instant,
        settings: &Settings,
    ) -> Option<Vec<Shown>> {
        let shard = Self::read(self.shards.get(part)?);
        Some(
            shard
                .iter()
                .map(|(mac, entry)| Self::show(*mac, entry, now, settings))
                .collect(),
        )
    }

    /// All static entries.
    pub(crate) fn statics(&self) -> Vec<(Mac, IpAddr)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = Self::read(shard);
            all.extend(
                shard
                    .iter()
                    .filter(|(_, entry)| entry.is_static)
                    .filter_map(|(mac, entry)| Some((*mac, entry.host?))),
            );
        }
        all
    }

    /// Lists a host, or takes it off the list. False if nothing changed.
    pub(crate) fn list(&self, address: IpAddr, listed: bool) -> bool {
        let mut hosts = locked(&self.hosts);
        let host = hosts.entry(address).or_default();
        let changed = host.listed != listed;
        host.listed = listed;
        if host.macs == 0 && !host.listed {
            hosts.remove(&address);
        }
        changed
    }

    /// All hosts that are listed or from which MACs were learned: address, whether listed, MACs.
    pub(crate) fn hosts(&self) -> Vec<(IpAddr, bool, u32)> {
        locked(&self.hosts)
            .iter()
            .filter(|(_, host)| host.listed || host.macs > 0)
            .map(|(address, host)| (*address, host.listed, host.macs))
            .collect()
    }

    /// Whether one more frame to a group is accepted from a host.
    pub(crate) fn allow_flood(&self, address: IpAddr, now: Instant, rate: u32) -> bool {
        if rate == 0 {
            return true;
        }
        let mut hosts = locked(&self.hosts);
        if hosts.len() < FLOODERS || hosts.contains_key(&address) {
            let host = hosts.entry(address).or_default();
            return host.floods.allow(now, rate);
        }
        locked(&self.other_floods).allow(now, rate)
    }

    /// Forgets hosts that are known only because they sent frames to groups.
    pub(crate) fn forget_flooders(&self) {
        locked(&self.hosts).retain(|_, host| host.listed || host.macs > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn mac(last: u8) -> Mac {
        Mac::from_bytes([2, 0, 0, 0, 0, last])
    }

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn addresses_are_learned_moved_and_forgotten() {
        let (table, settings) = (Table::new(), Settings::default());
        assert_eq!(table.hear(mac(1), Some(A), at(0), &settings), Heard::New);
        assert_eq!(table.hear(mac(1), Some(A), at(5), &settings), Heard::Known);
        assert_eq!(table.find(mac(1)), Some(A));
        assert_eq!(table.hear(mac(1), Some(B), at(6), &settings), Heard::Moved);
        assert_eq!(table.hosts(), [(B, false, 1)]);
        assert_eq!(table.hear(mac(1), None, at(7), &settings), Heard::Moved);
        assert_eq!((table.counts(), table.is_here(mac(1))), ((0, 1), true));
        assert_eq!(table.hosts(), []);
        assert_eq!(table.retain_not(at(100), |_, _, _, idle| idle > 93), 0);
        assert_eq!(table.retain_not(at(101), |_, _, _, idle| idle > 93), 1);
        assert_eq!(table.counts(), (0, 0));
    }

    #[test]
    fn limits_hold() {
        let (table, mut settings) = (Table::new(), Settings::default());
        assert!(settings.set(Setting::RemoteMacs, 2) && settings.set(Setting::MaxMacs, 3));
        for last in 1..=2 {
            assert_eq!(table.hear(mac(last), Some(A), at(0), &settings), Heard::New);
        }
        assert_eq!(
            table.hear(mac(3), Some(A), at(0), &settings),
            Heard::RemoteFull
        );
        assert_eq!(table.hear(mac(3), Some(B), at(0), &settings), Heard::New);
        assert_eq!(table.hear(mac(4), Some(B), at(0), &settings), Heard::Full);
        assert_eq!(table.hear(mac(4), None, at(0), &settings), Heard::New);
        assert_eq!(table.counts(), (3, 1));
        assert_eq!(table.set_static(mac(5), B, at(0), &settings), Some(false));
        assert_eq!(table.set_static(mac(3), B, at(0), &settings), Some(true));
        assert_eq!(table.set_static(mac(3), B, at(0), &settings), None);
        assert_eq!(table.hear(mac(3), Some(A), at(0), &settings), Heard::Known);
        assert_eq!(table.statics(), [(mac(3), B)]);
    }

    #[test]
    fn what_moves_too_often_stays() {
        let (table, settings) = (Table::new(), Settings::default());
        assert_eq!(table.hear(mac(1), None, at(0), &settings), Heard::New);
        let mut heard = Vec::new();
        for time in 1..=7 {
            let from = if time % 2 == 1 { Some(A) } else { None };
            heard.push(table.hear(mac(1), from, at(time), &settings));
        }
        assert_eq!(heard[..5], [Heard::Moved; 5]);
        assert_eq!(heard[5..], [Heard::Damp(Some(A)), Heard::Known]);
        assert_eq!(table.hear(mac(1), None, at(8), &settings), Heard::Damped);
        assert!(!table.withdrawn(mac(1), Some(A), at(9)));
    }

    #[test]
    fn what_is_damped_here_is_not_forgotten_with_the_bridge_port() {
        let (table, settings) = (Table::new(), Settings::default());
        assert_eq!(table.hear(mac(1), Some(A), at(0), &settings), Heard::New);
        for time in 1..=5 {
            let from = if time % 2 == 0 { Some(A) } else { None };
            assert_eq!(table.hear(mac(1), from, at(time), &settings), Heard::Moved);
        }
        let damp = table.hear(mac(1), Some(A), at(6), &settings);
        assert_eq!(damp, Heard::Damp(None));
        assert!(!table.withdrawn(mac(1), None, at(7)));
        assert!(table.is_here(mac(1)));
        let later = at(7 + u64::from(settings.get(Setting::Damp)));
        assert!(!table.withdrawn(mac(1), Some(A), later), "it is not there");
        assert!(table.withdrawn(mac(1), None, later));
        assert_eq!(table.counts(), (0, 0));
    }
}
