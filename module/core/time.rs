// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Points in time. The core has no clock: who drives it says what time it is.

/// A point in time of a clock that never goes back, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

impl Instant {
    /// The point that many milliseconds after the clock's beginning.
    #[inline]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the clock's beginning.
    #[inline]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// That many milliseconds later.
    #[must_use]
    #[inline]
    pub const fn plus(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds since an earlier point; 0 if it is not earlier.
    #[inline]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Milliseconds until a later point, 0 if it has passed; as many as fit if it is far.
    #[inline]
    pub fn until(self, later: Self) -> u32 {
        u32::try_from(later.0.saturating_sub(self.0)).unwrap_or(u32::MAX)
    }
}
