// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Unicast frames to addresses of which nothing is known: they are held while hosts are asked, and what nobody answers for is
//! remembered for a while.
//!
//! An address that is being asked for is *probing*; once it was asked for [`Setting::Probes`] times in vain it is *absent*
//! for [`Setting::Negative`], and then forgotten. The driver takes it out with [`Resolver::take`] as soon as it learns, from
//! an announcement or from data, where the address is.
//!
//! Storage is the driver's: so many addresses, so many frames. Neither it nor the limits that are set are ever exceeded. When a limit
//! is lowered, the driver takes out the frames beyond it with [`Resolver::excess`]; nothing is added above it until what is there
//! has gone.

use core::ops::DerefMut;

use crate::mac::Mac;
use crate::rate::Bucket;
use crate::settings::{Setting, Settings, Unknown};
use crate::time::Instant;

/// The end of a list of frames.
const NONE: u16 = u16::MAX;

/// How it stands with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingState {
    /// Asked for so many times.
    Probing(u32),
    /// Nobody answered.
    Absent,
}

/// An address that is unknown.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    mac: Mac,
    state: PendingState,
    /// When something is to be done.
    due: Instant,
    /// The oldest and the youngest of its frames, and how many there are.
    first: u16,
    last: u16,
    frames: u16,
}

impl Pending {
    /// An unused place.
    pub const UNUSED: Self = Self::new(Mac::from_bytes([0; 6]), Instant::from_millis(0));

    const fn new(mac: Mac, due: Instant) -> Self {
        Self {
            mac,
            state: PendingState::Probing(1),
            due,
            first: NONE,
            last: NONE,
            frames: 0,
        }
    }

    /// The address.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// How it stands with it.
    pub fn state(&self) -> PendingState {
        self.state
    }

    /// Frames held for it.
    pub fn frames(&self) -> u16 {
        self.frames
    }
}

/// Place for a frame.
#[derive(Debug)]
pub struct Held<F> {
    frame: Option<F>,
    /// The next one for the same address, or the next free place.
    next: u16,
}

impl<F> Held<F> {
    /// An unused place.
    pub const fn unused() -> Self {
        Self {
            frame: None,
            next: NONE,
        }
    }
}

/// What becomes of a frame that was submitted.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate<F> {
    /// It is held.
    Held,
    /// It is to be sent to everyone.
    Flood(F),
    /// It is to be dropped.
    Drop(F),
}

/// What comes of submitting a frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Submitted<F> {
    /// Whether a request for the address is to be sent now.
    pub ask: bool,
    /// Whether one would be due, but too many were sent: to be counted.
    pub limited: bool,
    /// What becomes of the frame.
    pub fate: Fate<F>,
    /// An older frame that had to make room, to be dropped.
    pub evicted: Option<F>,
}

/// Something to be done now.
#[derive(Debug, PartialEq, Eq)]
pub enum Due<F> {
    /// A request for the address is to be sent.
    Ask(Mac),
    /// A held frame is to be sent to everyone.
    Flood(F),
    /// A held frame is to be dropped.
    Drop(F),
    /// Nobody has the address.
    Unresolved(Mac),
    /// A request would be due, but too many were sent: to be counted.
    Limited,
}

/// The unknown addresses of a vnet.
#[derive(Debug)]
pub struct Resolver<F, P, H> {
    /// The first `used` are in use.
    pending: P,
    used: usize,
    places: H,
    /// The first of the free places that were used once, and how many places were ever used.
    free: u16,
    touched: usize,
    held: u16,
    requests: Bucket,
    floods: Bucket,
    _frame: core::marker::PhantomData<F>,
}

impl<F, P, H> Resolver<F, P, H>
where
    P: DerefMut<Target = [Pending]>,
    H: DerefMut<Target = [Held<F>]>,
{
    /// Nothing is unknown yet. At most 65,535 frames are held, whatever place there is.
    pub const fn new(pending: P, places: H) -> Self {
        Self {
            pending,
            used: 0,
            places,
            free: NONE,
            touched: 0,
            held: 0,
            requests: Bucket::new(),
            floods: Bucket::new(),
            _frame: core::marker::PhantomData,
        }
    }

    /// Frames that are held.
    pub fn held(&self) -> usize {
        usize::from(self.held)
    }

    /// The unknown addresses.
    pub fn pending(&self) -> &[Pending] {
        self.pending.get(..self.used).unwrap_or_default()
    }

    fn position(&self, mac: Mac) -> Option<usize> {
        self.pending().iter().position(|entry| entry.mac == mac)
    }

    /// A frame to an address that is not in the driver's table.
    pub fn submit(
        &mut self,
        mac: Mac,
        frame: F,
        now: Instant,
        settings: &Settings,
    ) -> Submitted<F> {
        let (mut ask, mut limited) = (false, false);
        let at = match self.position(mac) {
            Some(at) => Some(at),
            None => {
                let at = self.insert(mac, now, settings);
                if at.is_some() {
                    ask = self.requests.allow(now, settings.get(Setting::VarpRate));
                    limited = !ask;
                }
                at
            }
        };
        let state = at
            .and_then(|at| self.pending.get(at))
            .map(|entry| entry.state);
        let holds = settings.unknown() != Unknown::Flood
            && matches!(state, Some(PendingState::Probing(_)))
            && settings.get(Setting::HoldMac) > 0;
        let Some(at) = at.filter(|_| holds) else {
            return Submitted {
                ask,
                limited,
                fate: self.flood(frame, now, settings),
                evicted: None,
            };
        };
        let evicted = self.make_room(at, settings);
        let held = if self.has_room(at, settings) {
            self.hold(at, frame)
        } else {
            Err(frame)
        };
        let fate = match held {
            Ok(()) => Fate::Held,
            Err(frame) => self.flood(frame, now, settings),
        };
        Submitted {
            ask,
            limited,
            fate,
            evicted,
        }
    }

    /// A frame to an unknown address that is not worth asking for: flooded at the limited rate, or dropped.
    pub fn flood(&mut self, frame: F, now: Instant, settings: &Settings) -> Fate<F> {
        if self.may_flood(now, settings) {
            Fate::Flood(frame)
        } else {
            Fate::Drop(frame)
        }
    }

    fn may_flood(&mut self, now: Instant, settings: &Settings) -> bool {
        settings.unknown() != Unknown::Drop
            && self.floods.allow(now, settings.get(Setting::UnknownRate))
    }

    /// Begins to ask for an address. Absent ones make room, if there is none.
    fn insert(&mut self, mac: Mac, now: Instant, settings: &Settings) -> Option<usize> {
        let max = settings.get(Setting::MaxUnresolved) as usize;
        while self.used >= max.min(self.pending.len()) {
            let absent = self
                .pending()
                .iter()
                .enumerate()
                .filter(|(_, entry)| entry.state == PendingState::Absent)
                .min_by_key(|(_, entry)| entry.due)?;
            let (at, _) = absent;
            self.remove(at);
        }
        let at = self.used;
        let due = now.plus(u64::from(settings.get(Setting::ProbeInterval)));
        *self.pending.get_mut(at)? = Pending::new(mac, due);
        self.used = self.used.saturating_add(1);
        Some(at)
    }

    /// Forgets an address that has no frames.
    fn remove(&mut self, at: usize) {
        let Some(last) = self.used.checked_sub(1) else {
            return;
        };
        if at <= last && last < self.pending.len() {
            self.pending.swap(at, last);
            self.used = last;
        }
    }

    /// Makes room for a frame for an address: its own oldest goes, or the oldest of the address that has most. None goes in
    /// vain, where limits were lowered so far that one would not be enough.
    fn make_room(&mut self, at: usize, settings: &Settings) -> Option<F> {
        let own = self.pending.get(at)?.frames;
        let in_vain = u32::from(own) > settings.get(Setting::HoldMac) || self.is_over(settings);
        if in_vain || self.has_room(at, settings) {
            return None;
        }
        if own > 0 {
            return self.pop(at);
        }
        let (greediest, _) = self.greediest()?;
        self.pop(greediest)
    }

    /// The address that has most frames, and how many.
    fn greediest(&self) -> Option<(usize, u16)> {
        let frames = self.pending().iter().map(|entry| entry.frames);
        frames.enumerate().max_by_key(|(_, frames)| *frames)
    }

    /// Whether more frames are held than may be in all.
    fn is_over(&self, settings: &Settings) -> bool {
        self.held() > settings.get(Setting::HoldNet) as usize
    }

    /// Takes a frame that is beyond a limit that was lowered, to be dropped: the oldest of the address that has most. To be called
    /// until there is none, when settings have changed.
    pub fn excess(&mut self, settings: &Settings) -> Option<F> {
        let (at, frames) = self.greediest()?;
        let beyond = u32::from(frames) > settings.get(Setting::HoldMac) || self.is_over(settings);
        if beyond {
            self.pop(at)
        } else {
            None
        }
    }

    /// Whether one more frame may be held for an address.
    fn has_room(&self, at: usize, settings: &Settings) -> bool {
        let own = self.pending.get(at).map(|entry| u32::from(entry.frames));
        let most = self.places.len().min(usize::from(NONE));
        own.is_some_and(|own| own < settings.get(Setting::HoldMac))
            && self.held() < most.min(settings.get(Setting::HoldNet) as usize)
    }

    /// Puts a frame at the end of those of an address, if there is a place.
    fn hold(&mut self, at: usize, frame: F) -> Result<(), F> {
        let Some(place) = self.find_place() else {
            return Err(frame);
        };
        let (Some(entry), Some(slot)) = (
            self.pending.get_mut(at),
            self.places.get_mut(usize::from(place)),
        ) else {
            return Err(frame);
        };
        let next_free = slot.next;
        *slot = Held {
            frame: Some(frame),
            next: NONE,
        };
        let before = entry.last;
        entry.last = place;
        entry.frames = entry.frames.saturating_add(1);
        if before == NONE {
            entry.first = place;
        } else if let Some(before) = self.places.get_mut(usize::from(before)) {
            before.next = place;
        }
        if self.free == place {
            self.free = next_free;
        } else {
            self.touched = self.touched.saturating_add(1);
        }
        self.held = self.held.saturating_add(1);
        Ok(())
    }

    /// A free place: one that was used before, or the first that was never.
    fn find_place(&self) -> Option<u16> {
        if self.free != NONE {
            return Some(self.free);
        }
        let place = u16::try_from(self.touched).ok()?;
        (place != NONE && self.touched < self.places.len()).then_some(place)
    }

    /// Takes the oldest frame of an address.
    fn pop(&mut self, at: usize) -> Option<F> {
        let entry = self.pending.get_mut(at)?;
        let place = entry.first;
        let slot = self.places.get_mut(usize::from(place))?;
        let frame = slot.frame.take()?;
        entry.first = slot.next;
        entry.frames = entry.frames.saturating_sub(1);
        if entry.first == NONE {
            entry.last = NONE;
        }
        slot.next = self.free;
        self.free = place;
        self.held = self.held.saturating_sub(1);
        Some(frame)
    }

    /// Whether an address is unknown still: asked for, or absent.
    pub fn knows(&self, mac: Mac) -> bool {
        self.position(mac).is_some()
    }

    /// It is known now where an address is: takes the frames held for it, one after another, and then forgets it.
    pub fn take(&mut self, mac: Mac) -> Option<F> {
        let at = self.position(mac)?;
        let frame = self.pop(at);
        if frame.is_none() {
            self.remove(at);
        }
        frame
    }

    /// It is known where an address is, but the driver has no room for that: for a while its frames go the way of those of an address
    /// that nobody has, so that not each of them is held and asked for anew. To be called when its frames were taken.
    pub fn unlearned(&mut self, mac: Mac, now: Instant, settings: &Settings) {
        let due = now.plus(u64::from(settings.get(Setting::Negative)));
        if due <= now {
            return;
        }
        let at = match self.position(mac) {
            Some(at) => Some(at),
            None => self.insert(mac, now, settings),
        };
        if let Some(entry) = at.and_then(|at| self.pending.get_mut(at)) {
            // Frames that have come meanwhile wait for what comes of asking.
            if entry.frames == 0 {
                entry.state = PendingState::Absent;
                entry.due = due;
            }
        }
    }

    /// Takes any frame, and forgets addresses that have none; nothing is left when there is none any more.
    pub fn clear(&mut self) -> Option<F> {
        while let Some(last) = self.used.checked_sub(1) {
            if let Some(frame) = self.pop(last) {
                return Some(frame);
            }
            self.remove(last);
        }
        None
    }

    /// Something to be done now. To be called until there is nothing.
    pub fn poll(&mut self, now: Instant, settings: &Settings) -> Option<Due<F>> {
        let probes = settings.get(Setting::Probes);
        loop {
            let at = self.pending().iter().position(|entry| entry.due <= now)?;
            let entry = self.pending.get_mut(at)?;
            let mac = entry.mac;
            match entry.state {
                PendingState::Absent => self.remove(at),
                PendingState::Probing(sent) if sent < probes => {
                    let first = u64::from(settings.get(Setting::ProbeInterval));
                    entry.state = PendingState::Probing(sent.saturating_add(1));
                    entry.due = now.plus(first.checked_shl(sent).unwrap_or(u64::MAX));
                    return Some(
                        if self.requests.allow(now, settings.get(Setting::VarpRate)) {
                            Due::Ask(mac)
                        } else {
                            Due::Limited
                        },
                    );
                }
                PendingState::Probing(_) => {
                    if let Some(frame) = self.pop(at) {
                        return Some(if self.may_flood(now, settings) {
                            Due::Flood(frame)
                        } else {
                            Due::Drop(frame)
                        });
                    }
                    let entry = self.pending.get_mut(at)?;
                    entry.state = PendingState::Absent;
                    entry.due = now.plus(u64::from(settings.get(Setting::Negative)));
                    if entry.due <= now {
                        self.remove(at);
                    }
                    return Some(Due::Unresolved(mac));
                }
            }
        }
    }

    /// The settings were changed: what is waited for now takes no longer than it would from now on.
    pub fn settings_changed(&mut self, now: Instant, settings: &Settings) {
        let first = u64::from(settings.get(Setting::ProbeInterval));
        let negative = u64::from(settings.get(Setting::Negative));
        for entry in self.pending.get_mut(..self.used).unwrap_or_default() {
            let most = match entry.state {
                PendingState::Probing(sent) => first
                    .checked_shl(sent.saturating_sub(1))
                    .unwrap_or(u64::MAX),
                PendingState::Absent => negative,
            };
            entry.due = entry.due.min(now.plus(most));
        }
    }

    /// When [`Resolver::poll`] is to be called next.
    pub fn next_due(&self) -> Option<Instant> {
        self.pending().iter().map(|entry| entry.due).min()
    }
}
