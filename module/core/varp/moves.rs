// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! An address that moves to and fro is in two places (a duplicate, or a loop). It is damped: for a while it stays where it is.

use crate::settings::{Setting, Settings};
use crate::time::Instant;

/// The moves of one address.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moves {
    /// The first of those that are counted.
    since: Instant,
    count: u32,
    damped_until: Instant,
}

/// What is to be done about a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Follow it.
    Follow,
    /// Do not follow it, and tell: from now on the address is damped.
    Damp,
    /// Do not follow it: the address is damped.
    Damped,
}

impl Moves {
    /// An address that has not moved.
    pub const fn new() -> Self {
        Self {
            since: Instant::from_millis(0),
            count: 0,
            damped_until: Instant::from_millis(0),
        }
    }

    /// The address was heard elsewhere, and is not where it was.
    ///
    /// In a window, which begins with a move and ends after its time or with damping, [`Setting::MoveLimit`] moves are
    /// followed. So at most twice as many are in any time as long as the shorter of window and damping.
    pub fn moved(&mut self, now: Instant, settings: &Settings) -> Move {
        if now < self.damped_until {
            return Move::Damped;
        }
        let limit = settings.get(Setting::MoveLimit);
        if limit == 0 {
            return Move::Follow;
        }
        // Damping ends the window that led to it.
        if self.count == 0 || self.damped_until > self.since || self.is_over(now, settings) {
            self.since = now;
            self.count = 0;
        }
        if self.count >= limit {
            self.damped_until = now.plus(u64::from(settings.get(Setting::Damp)));
            return Move::Damp;
        }
        self.count = self.count.saturating_add(1);
        Move::Follow
    }

    /// The settings were changed: it is damped no longer than it would be from now on.
    pub fn settings_changed(&mut self, now: Instant, settings: &Settings) {
        let longest = match settings.get(Setting::MoveLimit) {
            0 => 0,
            _ => u64::from(settings.get(Setting::Damp)),
        };
        self.damped_until = self.damped_until.min(now.plus(longest));
    }

    /// As numbers, for who keeps them in words of its own; see [`Moves::from_parts`].
    pub const fn to_parts(self) -> [u64; 3] {
        [
            self.since.as_millis(),
            self.count as u64,
            self.damped_until.as_millis(),
        ]
    }

    /// What [`Moves::to_parts`] gave.
    pub const fn from_parts([since, count, damped_until]: [u64; 3]) -> Self {
        Self {
            since: Instant::from_millis(since),
            // CAST: It was made of 32 bits.
            count: count as u32,
            damped_until: Instant::from_millis(damped_until),
        }
    }

    /// Milliseconds for which the address is still damped; 0 if it is not.
    pub fn damped(&self, now: Instant) -> u32 {
        now.until(self.damped_until)
    }

    /// Moves counted in the present window, or in that which ended in damping.
    pub fn count(&self, now: Instant, settings: &Settings) -> u32 {
        if self.is_over(now, settings) && self.damped(now) == 0 {
            0
        } else {
            self.count
        }
    }

    fn is_over(&self, now: Instant, settings: &Settings) -> bool {
        now.since(self.since) > u64::from(settings.get(Setting::MoveWindow))
    }
}
