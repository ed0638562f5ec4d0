// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Limits on how often something happens.

use crate::time::Instant;

/// What one event costs. A millisecond gives back as many of these as events are allowed in a second.
const EVENT: u64 = 1_000;

/// A limit per second, with a burst of one second's worth: in any time of `t` seconds at most `rate × (t + 1)` events pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    /// What events have cost, less what time has given back, when last looked at.
    spent: u64,
    at: Instant,
}

impl Bucket {
    /// A bucket of which nothing is spent.
    pub const fn new() -> Self {
        Self {
            spent: 0,
            at: Instant::from_millis(0),
        }
    }

    /// Whether one more event is allowed now, and if so, counts it. A rate of 0 is no limit.
    ///
    /// The rate may be another one each time. A time before that of an earlier call counts as that.
    pub fn allow(&mut self, now: Instant, rate: u32) -> bool {
        let rate = u64::from(rate);
        let burst = rate.saturating_mul(EVENT);
        if burst == 0 {
            return true;
        }
        // What was spent at a higher rate is not paid back at a lower one: at most a burst is.
        let back = now.since(self.at).saturating_mul(rate);
        let spent = self.spent.min(burst).saturating_sub(back);
        self.at = self.at.max(now);
        let with_this = spent.saturating_add(EVENT);
        let allowed = with_this <= burst;
        self.spent = if allowed { with_this } else { spent };
        allowed
    }
}
