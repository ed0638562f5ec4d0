// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Announcing that an address has appeared here, a few times, since packets are lost.

use core::ops::DerefMut;

use crate::mac::Mac;
use crate::rate::Bucket;
use crate::settings::{Setting, Settings};
use crate::time::Instant;

/// An address that is to be announced again.
#[derive(Clone, Copy, Debug)]
pub struct Appearance {
    mac: Mac,
    left: u32,
    interval: u64,
    due: Instant,
}

impl Appearance {
    /// An unused place.
    pub const UNUSED: Self = Self {
        mac: Mac::from_bytes([0; 6]),
        left: 0,
        interval: 0,
        due: Instant::from_millis(0),
    };
}

/// The addresses that are being announced, in the storage of the driver.
///
/// What the rate limit holds back is announced later. An address for which there is no room is announced once only, or, if
/// the rate limit holds that back, not at all: it is found by asking.
#[derive(Debug)]
pub struct Announcer<S> {
    /// The first `used` are in use.
    places: S,
    used: usize,
    sent: Bucket,
}

impl<S: DerefMut<Target = [Appearance]>> Announcer<S> {
    /// Nothing to announce.
    pub const fn new(places: S) -> Self {
        Self {
            places,
            used: 0,
            sent: Bucket::new(),
        }
    }

    /// An address has appeared here, or moved here. True if it is to be announced at once.
    #[must_use]
    pub fn appeared(&mut self, mac: Mac, now: Instant, settings: &Settings) -> bool {
        let total = settings.get(Setting::Announces);
        if total == 0 {
            return false;
        }
        let allowed = self.sent.allow(now, settings.get(Setting::VarpRate));
        let interval = u64::from(settings.get(Setting::AnnounceInterval));
        let entry = Appearance {
            mac,
            left: total.saturating_sub(u32::from(allowed)),
            interval: interval.saturating_mul(1 + u64::from(allowed)),
            due: now.plus(interval),
        };
        self.gone(mac);
        if entry.left > 0 {
            if let Some(place) = self.places.get_mut(self.used) {
                *place = entry;
                self.used = self.used.saturating_add(1);
            }
        }
        allowed
    }

    /// An address is not here any more: it is not announced again.
    pub fn gone(&mut self, mac: Mac) {
        let in_use = self.places.get(..self.used).unwrap_or_default();
        if let Some(at) = in_use.iter().position(|entry| entry.mac == mac) {
            self.remove(at);
        }
    }

    fn remove(&mut self, at: usize) {
        let Some(last) = self.used.checked_sub(1) else {
            return;
        };
        if at <= last && last < self.places.len() {
            self.places.swap(at, last);
            self.used = last;
        }
    }

    /// An address that is to be announced now. To be called until there is none.
    #[must_use]
    pub fn poll(&mut self, now: Instant, settings: &Settings) -> Option<Mac> {
        if settings.get(Setting::Announces) == 0 {
            self.used = 0;
        }
        loop {
            let in_use = self.places.get_mut(..self.used)?;
            let at = in_use.iter().position(|entry| entry.due <= now)?;
            let entry = in_use.get_mut(at)?;
            let allowed = self.sent.allow(now, settings.get(Setting::VarpRate));
            entry.due = now.plus(entry.interval.max(1));
            if !allowed {
                continue;
            }
            let mac = entry.mac;
            entry.interval = entry.interval.saturating_mul(2);
            entry.left = entry.left.saturating_sub(1);
            if entry.left == 0 {
                self.remove(at);
            }
            return Some(mac);
        }
    }

    /// The settings were changed: what is waited for now takes no longer than it would from now on, and no more is sent.
    pub fn settings_changed(&mut self, now: Instant, settings: &Settings) {
        let total = settings.get(Setting::Announces);
        let most = u64::from(settings.get(Setting::AnnounceInterval))
            .checked_shl(total)
            .unwrap_or(u64::MAX);
        for entry in self.places.get_mut(..self.used).unwrap_or_default() {
            // One is owed at least; none at all is what `poll` sees to.
            entry.left = entry.left.min(total.max(1));
            entry.interval = entry.interval.min(most);
            entry.due = entry.due.min(now.plus(entry.interval));
        }
    }

    /// When [`Announcer::poll`] is to be called next.
    pub fn next_due(&self) -> Option<Instant> {
        let in_use = self.places.get(..self.used)?;
        in_use.iter().map(|entry| entry.due).min()
    }
}
