// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Limits on how often something happens.

use crate::time::Instant;

/// Nanoseconds in a second, and how far a bucket may be ahead of the clock: a burst is what is allowed in one second.
const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;

/// A limit per second, with a burst of one second's worth: in any time of `t` seconds at most `rate × (t + 1)` events pass.
///
/// The generic cell rate algorithm (ITU-T I.371), so that it is one number.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    /// When, in nanoseconds, the bucket is empty again.
    empty_at: u64,
}

impl Bucket {
    /// An empty bucket.
    pub const fn new() -> Self {
        Self { empty_at: 0 }
    }

    /// Whether one more event is allowed now, and if so, counts it. A rate of 0 is no limit.
    pub fn allow(&mut self, now: Instant, rate: u32) -> bool {
        let Some(cost) = SECOND.checked_div(u64::from(rate)) else {
            return true;
        };
        let now = now.as_millis().saturating_mul(MILLISECOND);
        let filled = self.empty_at.max(now).saturating_add(cost.max(1));
        if filled.saturating_sub(now) > SECOND {
            return false;
        }
        self.empty_at = filled;
        true
    }
}
