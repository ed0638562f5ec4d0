// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The resolver against a simple model of it: lists of frames in a map.
//!
//! The model does what the documentation of the resolver says, and where that leaves a choice (which of several addresses with
//! equally many frames gives one up), it takes the resolver's if that is one of those allowed.

use std::collections::{BTreeMap, VecDeque};

use vnet_core::settings::{Setting, Settings, Unknown};
use vnet_core::varp::{Due, Fate, Held, Pending, PendingState, Resolver};
use vnet_core::{Bucket, Instant, Mac};

use super::machines::Bytes;

/// What is changed, and to which values.
const CHANGES: [(Setting, [u32; 4]); 9] = [
    (Setting::Unknown, [0, 1, 2, 0]),
    (Setting::HoldMac, [16, 0, 1, 3]),
    (Setting::HoldNet, [256, 0, 2, 5]),
    (Setting::MaxUnresolved, [128, 1, 2, 5]),
    (Setting::Probes, [5, 1, 2, 16]),
    (Setting::ProbeInterval, [100, 10, 1_000, 10_000]),
    (Setting::Negative, [5_000, 0, 10, 600_000]),
    (Setting::UnknownRate, [100, 0, 1, 3]),
    (Setting::VarpRate, [200, 0, 1, 3]),
];

type Tested = Resolver<u32, Box<[Pending]>, Box<[Held<u32>]>>;

struct Entry {
    state: PendingState,
    due: Instant,
    frames: VecDeque<u32>,
}

struct Model {
    tested: Tested,
    /// How many addresses and frames there is storage for.
    rooms: (usize, usize),
    settings: Settings,
    now: Instant,
    entries: BTreeMap<Mac, Entry>,
    requests: Bucket,
    floods: Bucket,
    /// The next frame's number.
    next: u32,
}

/// Runs the operations that the bytes stand for.
pub fn run(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let rooms = match bytes.take() {
        0 => (1_024, 1_024),
        byte => (usize::from(byte & 7), usize::from(byte >> 3)),
    };
    let mut model = Model {
        tested: Resolver::new(
            vec![Pending::UNUSED; rooms.0].into(),
            (0..rooms.1).map(|_| Held::unused()).collect(),
        ),
        rooms,
        settings: Settings::default(),
        now: Instant::from_millis(1_000_000),
        entries: BTreeMap::new(),
        requests: Bucket::new(),
        floods: Bucket::new(),
        next: 0,
    };
    for _ in 0..2_000 {
        if bytes.is_empty() {
            break;
        }
        model.step(&mut bytes);
        model.check();
    }
    model.clear();
    model.check();
    assert_eq!((model.tested.held(), model.tested.pending().len()), (0, 0));
}

fn mac(byte: u8) -> Mac {
    Mac::from_bytes([2, 0, 0, 0, 0, byte & 7])
}

impl Model {
    fn step(&mut self, bytes: &mut Bytes) {
        match bytes.take() {
            byte @ 0..0x80 => self.submit(mac(byte)),
            byte @ 0x80..0x90 => self.take(mac(byte), byte & 8 != 0),
            0x90 => self.clear(),
            byte @ 0x91..0xb0 => {
                let (setting, values) = CHANGES[usize::from(byte) % CHANGES.len()];
                let choice = bytes.take();
                let value = values[usize::from(choice & 3)];
                assert!(self.settings.set(setting, value));
                // Drivers may be late to do so.
                if choice & 4 == 0 {
                    self.drop_excess();
                }
            }
            // To the next thing that is to be done, or a little or much further.
            byte @ 0xb0..0xe0 => {
                if let Some(due) = self.tested.next_due() {
                    self.now = self.now.max(due);
                }
                if byte & 1 == 0 {
                    self.poll();
                }
            }
            byte => {
                self.now = self.now.plus(1 << (byte & 0xf));
                if byte & 0x10 == 0 {
                    self.poll();
                }
            }
        }
    }

    fn get(&self, setting: Setting) -> usize {
        self.settings.get(setting) as usize
    }

    fn held(&self) -> usize {
        self.entries.values().map(|entry| entry.frames.len()).sum()
    }

    /// The resolver and the model agree.
    fn check(&self) {
        assert_eq!(self.tested.held(), self.held());
        assert_eq!(self.tested.pending().len(), self.entries.len());
        for pending in self.tested.pending() {
            let entry = &self.entries[&pending.mac()];
            assert_eq!(pending.state(), entry.state);
            assert_eq!(usize::from(pending.frames()), entry.frames.len());
            assert!(self.tested.knows(pending.mac()));
        }
        let due = self.entries.values().map(|entry| entry.due).min();
        assert_eq!(self.tested.next_due(), due);
        assert!(self.held() <= self.rooms.1 && self.entries.len() <= self.rooms.0);
    }

    fn may_ask(&mut self) -> bool {
        let rate = self.settings.get(Setting::VarpRate);
        self.requests.allow(self.now, rate)
    }

    fn may_flood(&mut self) -> bool {
        self.settings.unknown() != Unknown::Drop
            && self
                .floods
                .allow(self.now, self.settings.get(Setting::UnknownRate))
    }

    fn has_room(&self, mac: Mac) -> bool {
        self.entries[&mac].frames.len() < self.get(Setting::HoldMac)
            && self.held() < self.get(Setting::HoldNet).min(self.rooms.1)
    }

    fn submit(&mut self, mac: Mac) {
        let frame = self.next;
        self.next += 1;
        let before = (self.entries.len(), self.held());
        let submitted = self.tested.submit(mac, frame, self.now, &self.settings);
        let asks = !self.entries.contains_key(&mac) && self.insert(mac) && self.may_ask();
        assert_eq!(submitted.ask, asks);
        let probing = self
            .entries
            .get(&mac)
            .is_some_and(|entry| matches!(entry.state, PendingState::Probing(_)));
        let holds =
            probing && self.settings.unknown() != Unknown::Flood && self.get(Setting::HoldMac) > 0;
        let within = !holds
            || self.entries[&mac].frames.len() <= self.get(Setting::HoldMac)
                && self.held() <= self.get(Setting::HoldNet);
        if holds && within && !self.has_room(mac) {
            self.evict(mac, submitted.evicted);
        } else {
            assert_eq!(submitted.evicted, None);
        }
        let fate = if holds && self.has_room(mac) {
            let entry = self.entries.get_mut(&mac).expect("it was found");
            entry.frames.push_back(frame);
            Fate::Held
        } else if self.may_flood() {
            Fate::Flood(frame)
        } else {
            Fate::Drop(frame)
        };
        assert_eq!(submitted.fate, fate);
        // Also while there is more than a lowered limit allows.
        assert!(self.entries.len() <= self.get(Setting::MaxUnresolved).max(before.0));
        assert!(self.held() <= self.get(Setting::HoldNet).max(before.1));
    }

    /// Room for an address, in place of those that were absent for longest.
    fn insert(&mut self, mac: Mac) -> bool {
        while self.entries.len() >= self.get(Setting::MaxUnresolved).min(self.rooms.0) {
            let absent = || {
                self.entries
                    .iter()
                    .filter(|(_, entry)| entry.state == PendingState::Absent)
            };
            let Some(first) = absent().map(|(_, entry)| entry.due).min() else {
                return false;
            };
            let gone = absent()
                .find(|(mac, entry)| entry.due == first && !self.tested.knows(**mac))
                .map(|(mac, _)| *mac)
                .expect("one of those that are due first makes room");
            self.entries.remove(&gone);
        }
        let interval = self.settings.get(Setting::ProbeInterval);
        let entry = Entry {
            state: PendingState::Probing(1),
            due: self.now.plus(interval.into()),
            frames: VecDeque::new(),
        };
        self.entries.insert(mac, entry);
        true
    }

    /// The oldest of the address goes, or of one that has most.
    fn evict(&mut self, mac: Mac, evicted: Option<u32>) {
        let most = self.entries.values().map(|entry| entry.frames.len()).max();
        let own = !self.entries[&mac].frames.is_empty();
        let Some(frame) = evicted else {
            assert_eq!(most, Some(0), "something could have made room");
            return;
        };
        let entry = self
            .entries
            .iter_mut()
            .find(|(other, entry)| {
                entry.frames.front() == Some(&frame)
                    && if own {
                        **other == mac
                    } else {
                        Some(entry.frames.len()) == most
                    }
            })
            .map(|(_, entry)| entry)
            .expect("the oldest of the right address");
        entry.frames.pop_front();
    }

    fn drop_excess(&mut self) {
        loop {
            let most = self.entries.values().map(|entry| entry.frames.len()).max();
            let most = most.unwrap_or(0);
            let beyond =
                most > self.get(Setting::HoldMac) || self.held() > self.get(Setting::HoldNet);
            let excess = self.tested.excess(&self.settings);
            assert_eq!(excess.is_some(), beyond);
            let Some(frame) = excess else { break };
            self.pop(frame, |entry| entry.frames.len() == most);
        }
    }

    /// All frames in their order, and then the address is forgotten; or only one.
    fn take(&mut self, mac: Mac, all: bool) {
        loop {
            let taken = self.tested.take(mac);
            let expected = self
                .entries
                .get_mut(&mac)
                .and_then(|entry| entry.frames.pop_front());
            assert_eq!(taken, expected);
            if taken.is_none() {
                self.entries.remove(&mac);
            }
            if taken.is_none() || !all {
                break;
            }
        }
    }

    fn clear(&mut self) {
        while let Some(frame) = self.tested.clear() {
            self.pop(frame, |_| true);
        }
        assert_eq!(self.held(), 0, "all frames came out");
        self.entries.clear();
    }

    /// A frame came out; it was the oldest of an address for which something holds.
    fn pop(&mut self, frame: u32, holds: impl Fn(&Entry) -> bool) {
        let entry = self
            .entries
            .values_mut()
            .find(|entry| entry.frames.front() == Some(&frame))
            .expect("the oldest of its address");
        assert!(holds(entry));
        entry.frames.pop_front();
    }

    fn poll(&mut self) {
        let (now, probes) = (self.now, self.settings.get(Setting::Probes));
        let over = move |entry: &Entry| {
            entry.due <= now && matches!(entry.state, PendingState::Probing(sent) if sent >= probes)
        };
        while let Some(due) = self.tested.poll(now, &self.settings) {
            match due {
                Due::Ask(mac) => {
                    assert!(self.may_ask());
                    self.asked(mac);
                }
                Due::Limited => {
                    assert!(!self.may_ask());
                    let changed = self
                        .tested
                        .pending()
                        .iter()
                        .find(|pending| self.entries[&pending.mac()].state != pending.state())
                        .map(Pending::mac);
                    self.asked(changed.expect("one was to be asked for"));
                }
                Due::Flood(frame) => {
                    assert!(self.may_flood());
                    self.pop(frame, over);
                }
                Due::Drop(frame) => {
                    assert!(!self.may_flood());
                    self.pop(frame, over);
                }
                Due::Unresolved(mac) => {
                    let negative = self.settings.get(Setting::Negative);
                    let entry = self.entries.get_mut(&mac).expect("it was asked for");
                    assert!(over(entry) && entry.frames.is_empty());
                    entry.state = PendingState::Absent;
                    entry.due = now.plus(negative.into());
                    if negative == 0 {
                        self.entries.remove(&mac);
                    }
                }
            }
        }
        self.entries
            .retain(|_, entry| entry.state != PendingState::Absent || entry.due > now);
        assert!(
            self.entries.values().all(|entry| entry.due > now),
            "nothing is left to do"
        );
    }

    fn asked(&mut self, mac: Mac) {
        let interval = u64::from(self.settings.get(Setting::ProbeInterval));
        let probes = self.settings.get(Setting::Probes);
        let entry = self.entries.get_mut(&mac).expect("it is unknown");
        let PendingState::Probing(sent) = entry.state else {
            panic!("{mac} is absent");
        };
        assert!(sent < probes && entry.due <= self.now);
        entry.state = PendingState::Probing(sent + 1);
        entry.due = self.now.plus(interval << sent);
    }
}
